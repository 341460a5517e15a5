//! Executes commands: load, decide, append, and again when somebody else was faster.
//!
//! Single commands go through the framework; many at once through [`many`], which loads in one query and
//! appends one job per aggregate.

mod bounded;
mod broadcasts;
mod bulk;
mod changes;
mod error;
mod hooks;
mod idempotency;
mod locks;
mod many;
mod redrive;
mod schedules;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use bulk::{BulkDone, BulkKind, BulkMark};
pub use changes::Changed;
pub use error::{CommandError, PAST};
pub use hooks::{Hooked, Verdict};
pub use idempotency::Idempotency;
pub use many::Item;
pub use redrive::{Redrive, Redriven};
pub use schedules::{Asked, DueTick};

use std::collections::HashMap;
use std::time::Duration;

use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateError, CqrsFramework};
use serde_json::{Value, json};
use sqlx::PgPool;
use tidings_domain::broadcast::Broadcast;
use tidings_domain::notification::{Action, Command, Create, Notification};
use tidings_domain::recipient::Recipient;
use tidings_domain::settings::Settings;
use tidings_domain::source::Source;
use tidings_domain::subscription::Subscription;
use tidings_domain::template::Template;
use tidings_domain::{NotificationId, upcast};
use tidings_projections::log::Reader;
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::Principal;
use crate::clock;
use crate::directory::Directory;
use crate::log::{Answer, AppendError, Appended, Call, GroupCommit, History, Lane, Log, with_call};
use crate::telemetry::Tracing;
use crate::telemetry::metrics::CommandMetrics;
use crate::telemetry::traces::{Span, TRACEPARENT, Trace};
use error::check_time;
use locks::Locks;

/// How long a command may wait for the log.
const DEADLINE: Duration = Duration::from_secs(5);
/// A pause between attempts after a conflict with another node.
pub const CONFLICT_PAUSE: Duration = Duration::from_millis(5);

/// On whose behalf, and as part of which request.
#[derive(Clone, Debug)]
pub struct Context {
    pub principal: Principal,
    pub request_id: String,
    pub idempotency: Option<Idempotency>,
    /// What it is part of, where that is traced.
    pub trace: Option<Trace>,
}

impl Context {
    /// `append` is the span that everything which follows the events belongs to.
    fn metadata(&self, command_id: Uuid, append: Option<&Span>) -> HashMap<String, String> {
        let mut metadata = HashMap::from([
            ("tenant".into(), self.principal.tenant().to_string()),
            ("actor".into(), self.principal.actor()),
            ("command_id".into(), command_id.to_string()),
            ("request_id".into(), self.request_id.clone()),
            ("correlation_id".into(), self.request_id.clone()),
            ("causation_id".into(), self.request_id.clone()),
        ]);
        metadata.extend(append.map(|span| (TRACEPARENT.into(), span.trace().to_string())));
        metadata
    }
}

/// A command that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub id: NotificationId,
    /// Everything the command did is at or before this position.
    pub position: i64,
    /// Answered from the record of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// The notification is a digest, and what was asked for is an item of it.
    pub collected: bool,
}

impl Done {
    fn stored(id: NotificationId, position: i64) -> Self {
        Self { id, position, replayed: false, collected: false }
    }
}

/// The framework, over the one log.
type Framework<A> = CqrsFramework<A, PersistedEventStore<GroupCommit, A>>;

pub struct Commands {
    notifications: Framework<Notification>,
    recipients: Framework<Recipient>,
    templates: Framework<Template>,
    sources: Framework<Source>,
    subscriptions: Framework<Subscription>,
    settings: Framework<Settings>,
    broadcasts: Framework<Broadcast>,
    pool: PgPool,
    reader: Reader,
    log: Log,
    history: History,
    directory: Directory,
    locks: Locks,
    metrics: CommandMetrics,
    tracing: Tracing,
}

/// What one execution is to do beside its command.
struct Order {
    id: String,
    /// The id is new: there is nothing to load.
    fresh: bool,
    /// What its repetitions are answered.
    status: i16,
    result: Value,
    deadline: Instant,
}

/// What one execution came to.
enum Execution {
    Stored { position: i64 },
    Replayed(Answer),
    Conflict,
}

fn framework<A: Aggregate<Services = ()>>(repository: GroupCommit) -> Framework<A> {
    let store = PersistedEventStore::new_event_store(repository).with_upcasters(upcast::upcasters());
    CqrsFramework::new(store, Vec::new(), ())
}

impl Commands {
    pub fn new(
        pool: PgPool,
        reader: Reader,
        log: Log,
        history: History,
        directory: Directory,
        (metrics, tracing): (&CommandMetrics, &Tracing),
    ) -> Self {
        let repository = || GroupCommit::new(pool.clone(), log.clone(), reader.codec().clone());
        Self {
            notifications: framework(repository()),
            recipients: framework(repository()),
            templates: framework(repository()),
            sources: framework(repository()),
            subscriptions: framework(repository()),
            settings: framework(repository()),
            broadcasts: framework(repository()),
            pool,
            reader,
            log,
            history,
            directory,
            locks: Locks::default(),
            metrics: metrics.clone(),
            tracing: tracing.clone(),
        }
    }

    /// Creates a notification under a fresh id.
    pub async fn create(&self, context: &Context, create: Create) -> Result<Done, CommandError> {
        let mut create = Action::Create(Box::new(create));
        let result = self.create_fresh(context, &mut create).await;
        self.metrics.count(&create, result.as_ref().map(|done| done.replayed));
        result
    }

    async fn create_fresh(&self, context: &Context, create: &mut Action) -> Result<Done, CommandError> {
        if let Some(answer) = self.first_answer(context).await? {
            return context.replayed(&answer);
        }
        let id = NotificationId::new(clock::new_uuid());
        let deadline = Instant::now() + DEADLINE;
        if let Some(bound) = self.bound(context, create).await? {
            let item = Item { id, action: create.clone(), part: 0 };
            return self.create_bounded(context, &item, &bound, Lane::Single, deadline).await;
        }
        self.ask(context, create).await?;
        while Instant::now() < deadline {
            match self.execute(context, id, create.clone(), true, 201, deadline).await? {
                Execution::Stored { position } => return Ok(Done::stored(id, position)),
                Execution::Replayed(answer) => return context.replayed(&answer),
                // Nobody else knows the id: a new epoch began meanwhile.
                Execution::Conflict => tokio::time::sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(CommandError::Conflict)
    }

    /// Leaves out of what is to be created what its recipient does not want.
    async fn ask(&self, context: &Context, action: &mut Action) -> Result<(), CommandError> {
        let Action::Create(create) = action else { return Ok(()) };
        let Create { user, category, plan, .. } = &mut **create;
        Ok(self.directory.ask(context.principal.tenant(), user, category.as_ref(), plan).await?)
    }

    /// Executes a command on an existing notification, one at a time per notification on this node.
    pub async fn act(
        &self,
        context: &Context,
        id: NotificationId,
        action: Action,
    ) -> Result<Done, CommandError> {
        let result = self.act_in_turn(context, id, &action).await;
        self.metrics.count(&action, result.as_ref().map(|done| done.replayed));
        result
    }

    async fn act_in_turn(
        &self,
        context: &Context,
        id: NotificationId,
        action: &Action,
    ) -> Result<Done, CommandError> {
        if let Some(answer) = self.first_answer(context).await? {
            return context.replayed(&answer);
        }
        let deadline = Instant::now() + DEADLINE;
        // Whoever waits for his turn beyond the deadline was not tried, and says so.
        let turn = tokio::time::timeout_at(deadline, self.locks.lock(&id)).await;
        let _turn = turn.map_err(|_| CommandError::Append(AppendError::Expired))?;
        while Instant::now() < deadline {
            match self.execute(context, id, action.clone(), false, 200, deadline).await? {
                Execution::Stored { position } => return Ok(Done::stored(id, position)),
                Execution::Replayed(answer) => return context.replayed(&answer),
                Execution::Conflict => tokio::time::sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(CommandError::Conflict)
    }

    async fn execute(
        &self,
        context: &Context,
        id: NotificationId,
        action: Action,
        fresh: bool,
        status: i16,
        deadline: Instant,
    ) -> Result<Execution, CommandError> {
        check_time(&action, clock::now())?;
        let command = Command { issuer: context.principal.issuer(), action };
        let order = Order { id: id.to_string(), fresh, status, result: json!({"id": id}), deadline };
        self.append_with(&self.notifications, context, order, command, CommandError::Refused).await
    }

    /// Loads, decides and appends, once.
    async fn append_with<A: Aggregate>(
        &self,
        framework: &Framework<A>,
        context: &Context,
        order: Order,
        command: A::Command,
        refused: fn(A::Error) -> CommandError,
    ) -> Result<Execution, CommandError> {
        let command_id = clock::new_uuid();
        let mut call = Call::new(command_id, context.principal.tenant().to_string(), order.deadline);
        call.fresh = order.fresh;
        call.record = context
            .idempotency
            .as_ref()
            .map(|key| key.record(&context.principal, 0, order.status, order.result));
        let mut append = self.tracing.child(context.trace, "append");
        let metadata = context.metadata(command_id, append.as_ref());
        let execution = framework.execute_with_metadata(&order.id, command, metadata);
        // Boxed here, once: the framework's future is large, and every layer above would copy it.
        let (result, appended) = Box::pin(with_call(call, execution)).await;
        if let Some(append) = &mut append {
            describe(append, appended.as_ref());
        }
        match (result, appended) {
            (_, Some(Ok(Appended::Stored { position }))) => Ok(Execution::Stored { position }),
            (_, Some(Ok(Appended::Replayed(answer)))) => Ok(Execution::Replayed(answer)),
            (_, Some(Err(AppendError::Conflict))) => Ok(Execution::Conflict),
            (_, Some(Err(error))) => Err(CommandError::Append(error)),
            (Err(AggregateError::UserError(refusal)), None) => Err(refused(refusal)),
            (Err(error), None) => Err(CommandError::of_framework(error)),
            (Ok(()), None) => Err(CommandError::Fault("the framework did not append".into())),
        }
    }
}

/// What became of an append, for its span; nothing where it was not tried.
fn describe(append: &mut Span, appended: Option<&Result<Appended, AppendError>>) {
    match appended {
        Some(Ok(Appended::Stored { position })) => append.set("tidings.position", *position),
        Some(Ok(Appended::Replayed(_))) => append.set("tidings.replayed", true),
        Some(Err(error)) => append.fail(error.to_string()),
        None => {}
    }
}
