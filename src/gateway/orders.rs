//! The commands of one socket: executed in the order in which they came, one at a time, like those of HTTP.
//!
//! Each runs in a task of its own, which holds locks that others wait for and so must not stand still while a frame
//! is being written. What was received is carried out, also when the socket ends meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::frame::{Close, Frame};
use super::inbound::Order;
use super::{Gateway, Owner, Session};
use crate::api::http::request_id;
use crate::api::{Problem, parse_user};
use crate::auth::{Principal, Scope};
use crate::clock;
use crate::commands::{BulkMark, Context};
use crate::telemetry::traces::Span;

/// A command and who gave it.
pub struct Ordered {
    pub order: Result<Order, Problem>,
    pub principal: Principal,
    /// Whose inbox the socket shows.
    pub owner: Arc<Owner>,
    /// Without one there is no answer.
    pub reference: Option<String>,
}

/// What became of a command.
pub struct Done {
    result: Result<i64, Problem>,
    reference: Option<String>,
}

#[derive(Default)]
pub struct Orders {
    waiting: VecDeque<Ordered>,
    running: Option<JoinHandle<Done>>,
}

impl Orders {
    /// How many are not done.
    pub fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    pub fn push(&mut self, gateway: &Arc<Gateway>, ordered: Ordered) {
        self.waiting.push_back(ordered);
        self.go_on(gateway);
    }

    /// The next one that is done; never, while there is none. Dropping the future loses nothing.
    pub async fn done(&mut self, gateway: &Arc<Gateway>) -> Result<Done, Close> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let done = running.await;
        self.running = None;
        self.go_on(gateway);
        // Only a panic ends a command without a result, and that is logged where it happens.
        done.map_err(|_| Close::GoingAway)
    }

    fn go_on(&mut self, gateway: &Arc<Gateway>) {
        if self.running.is_none()
            && let Some(ordered) = self.waiting.pop_front()
        {
            self.running = Some(tokio::spawn(execute(gateway.clone(), ordered)));
        }
    }

    /// Carries out what is left; nobody waits for answers.
    pub async fn finish(mut self, gateway: &Arc<Gateway>) {
        while self.running.is_some() {
            let _ = self.done(gateway).await;
        }
    }
}

impl Done {
    /// Answers, if an answer was asked for.
    pub fn tell(self, session: &mut Session) {
        let Some(reference) = self.reference else { return };
        match self.result {
            Ok(position) => session.reply(position, reference),
            Err(problem) => session.refuse(Frame::error(Some(&reference), &problem.to_json())),
        }
    }
}

async fn execute(gateway: Arc<Gateway>, ordered: Ordered) -> Done {
    let Ordered { order, principal, owner, reference } = ordered;
    let request_id = clock::new_uuid().to_string();
    // What a socket asks for has no trace of its own to be part of.
    let span = gateway.tracing.enter("socket command", None);
    let trace = span.as_ref().map(Span::trace);
    let context = Context { principal, request_id: request_id.clone(), idempotency: None, trace };
    let allowed = || context.principal.require(Scope::InboxWrite).and(context.principal.check());
    let result = match order.and_then(|order| allowed().map(|()| order).map_err(Problem::from)) {
        Ok(order) => request_id::scope(&request_id, carry_out(&gateway, &context, &owner, order)).await,
        Err(problem) => Err(problem),
    };
    Done { result, reference }
}

/// Everything it did is at or before the position given back.
async fn carry_out(
    gateway: &Gateway,
    context: &Context,
    owner: &Owner,
    order: Order,
) -> Result<i64, Problem> {
    match order {
        Order::One { id, action } => Ok(gateway.commands.act(context, id, action).await?.position),
        Order::All { mark, up_to, category } => {
            let user = parse_user(owner.user_id.to_string())?;
            let up_to = match up_to {
                Some(cursor) => Some(gateway.history.resolve(&gateway.pool, cursor).await??),
                None => None,
            };
            let bulk = BulkMark { user, mark, up_to, category };
            Ok(gateway.commands.mark_all(context, bulk).await?.position)
        }
    }
}
