//! What is said of recipients.

use std::convert::Infallible;

use serde_json::json;
use tidings_domain::RecipientId;
use tidings_domain::recipient::{Action, Command};
use tokio::time::Instant;

use super::{CONFLICT_PAUSE, CommandError, Commands, Context, DEADLINE, Execution, Order};
use crate::log::{Answer, AppendError};

/// A change of something that has no id of its own to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Everything the command did is at or before this position.
    pub position: i64,
    /// Answered from the record of an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Commands {
    /// Says something of one of the tenant's users, one at a time per user on this node.
    pub async fn describe_recipient(
        &self,
        context: &Context,
        id: &RecipientId,
        action: Action,
    ) -> Result<Changed, CommandError> {
        let result = self.describe_in_turn(context, id, &action).await;
        self.metrics.count(&action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    async fn describe_in_turn(
        &self,
        context: &Context,
        id: &RecipientId,
        action: &Action,
    ) -> Result<Changed, CommandError> {
        let repeated = |answer: Answer| {
            context.check(&answer)?;
            Ok(Changed { position: answer.position, replayed: true })
        };
        if let Some(answer) = self.first_answer(context).await? {
            return repeated(answer);
        }
        let deadline = Instant::now() + DEADLINE;
        let turn = tokio::time::timeout_at(deadline, self.locks.lock(id)).await;
        let _turn = turn.map_err(|_| CommandError::Append(AppendError::Expired))?;
        while Instant::now() < deadline {
            let order = Order { id: id.to_string(), fresh: false, status: 200, result: json!({}), deadline };
            let RecipientId { tenant, user } = id.clone();
            let command = Command { tenant, user, action: action.clone() };
            let never = |refusal: Infallible| match refusal {};
            match self.append_with(&self.recipients, context, order, command, never).await? {
                Execution::Stored { position } => return Ok(Changed { position, replayed: false }),
                Execution::Replayed(answer) => return repeated(answer),
                Execution::Conflict => tokio::time::sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(CommandError::Conflict)
    }
}
