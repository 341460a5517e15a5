//! The people, instants, events and actions that the tests share.
//!
//! `one_event_of_each_kind` and `one_action_of_each_kind` are chains of exhaustive matches: a new variant does
//! not compile until it stands in the chain, and so no loop over them can forget it.

use std::iter::successors;

use time::OffsetDateTime;
use time::macros::datetime;

use crate::notification::{
    Action, Backoff, Channel, Collected, Content, Create, Created, DeferReason, Digest, DigestArgument,
    DigestTemplate, Digested, Event, Failure, FailureClass, Item, Jitter, Outcome, Plan, PlanStep, Priority,
    RetryPolicy, SkipReason, Tags, Words,
};
use crate::template::TemplateKey;
use crate::{Issuer, Tenant, UserId};

/// When notifications are created, and most commands come.
pub const NOW: OffsetDateTime = datetime!(2026-08-01 08:00 UTC);
pub const RELEASE_AT: OffsetDateTime = datetime!(2026-08-01 09:00 UTC);
pub const SNOOZE_UNTIL: OffsetDateTime = datetime!(2026-08-02 09:00 UTC);
pub const EXPIRES_AT: OffsetDateTime = datetime!(2026-08-03 09:00 UTC);
/// An instant that no event and no command of the others names.
pub const OTHER_INSTANT: OffsetDateTime = datetime!(2026-08-04 09:00 UTC);

pub fn tenant(name: &str) -> Tenant {
    Tenant::try_from(name.to_owned()).expect("the name is a tenant")
}

pub fn user(name: &str) -> UserId {
    UserId::try_from(name.to_owned()).expect("the name is a user id")
}

/// A service of the owner's tenant.
pub fn service() -> Issuer {
    Issuer { tenant: tenant("acme"), user: None }
}

/// A user of the owner's tenant; `ada` is the owner.
pub fn issued_by(name: &str) -> Issuer {
    Issuer { tenant: tenant("acme"), user: Some(user(name)) }
}

pub fn create() -> Create {
    Create {
        user: user("ada"),
        content: Content::new("Invoice 42".into(), "It is due.".into(), None).expect("the content is valid"),
        category: None,
        priority: Priority::Normal,
        plan: Plan::default(),
        data: None,
        tags: Tags::default(),
        deliver_at: None,
        expires_at: Some(EXPIRES_AT),
        now: NOW,
        opening: None,
    }
}

pub fn created_from(create: Create) -> Event {
    Event::Created(Box::new(Created {
        tenant: tenant("acme"),
        user_id: create.user,
        content: Some(create.content),
        category: create.category,
        priority: create.priority,
        plan: create.plan.counted_from(create.deliver_at.unwrap_or(create.now)),
        data: create.data,
        tags: create.tags,
        deliver_at: create.deliver_at,
        expires_at: create.expires_at,
        digest: create.opening.map(|opening| opening.digest),
    }))
}

/// In the inbox of `ada` at once, until `EXPIRES_AT`.
pub fn created() -> Event {
    created_from(create())
}

/// Hidden until `RELEASE_AT`.
pub fn scheduled() -> Event {
    created_from(Create { deliver_at: Some(RELEASE_AT), ..create() })
}

/// Nothing is planned, so nothing is delivered.
pub fn created_without_plan() -> Event {
    created_from(Create { plan: serde_json::from_str("[]").expect("it is a list"), ..create() })
}

pub fn succeeded(attempt: u32) -> Event {
    Event::DeliverySucceeded { channel: Channel::InApp, attempt, provider_ref: None }
}

pub fn retry_requested(attempt: u32) -> Event {
    Event::DeliveryRetryRequested { channel: Channel::InApp, attempt }
}

/// What a reported failure of an attempt leaves in the log.
pub fn dead_lettered(attempt: u32) -> [Event; 3] {
    let error = Failure { class: FailureClass::Reported, detail: "no device".into() };
    [
        Event::DeliveryFailed { channel: Channel::InApp, attempt, error },
        Event::DeliveryExhausted { channel: Channel::InApp, attempts: attempt },
        Event::DeliveryDeadLettered { channel: Channel::InApp },
    ]
}

/// `created`, then these.
pub fn created_and(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    [created()].into_iter().chain(events).collect()
}

pub fn delivered(attempt: Option<u32>) -> Action {
    Action::Deliver { channel: Channel::InApp, attempt, outcome: Outcome::delivered(), at: NOW }
}

pub fn failed(attempt: Option<u32>) -> Action {
    Action::Deliver {
        channel: Channel::InApp,
        attempt,
        outcome: Outcome::reported("no device".into()),
        at: NOW,
    }
}

/// Five minutes after the creation.
pub const EMAIL_AT: OffsetDateTime = datetime!(2026-08-01 08:05 UTC);
/// An hour after the creation.
pub const WEBHOOK_AT: OffsetDateTime = datetime!(2026-08-01 09:00 UTC);
/// Until when an attempt that begins at `NOW` is left alone.
pub const DEADLINE: OffsetDateTime = datetime!(2026-08-01 08:00:30 UTC);

/// Three attempts, a second apart or less, then two.
pub const THREE: RetryPolicy =
    RetryPolicy { attempts_max: 3, backoff: Backoff::Exponential { base_ms: 1000, cap_ms: 60_000 } };

/// A step that is tried three times.
pub fn tried(channel: Channel) -> PlanStep {
    PlanStep { retry: Some(THREE), ..PlanStep::on(channel) }
}

pub fn in_app() -> PlanStep {
    PlanStep::on(Channel::InApp)
}

/// In the inbox of `ada` at once, with this plan.
pub fn planned(steps: impl IntoIterator<Item = PlanStep>) -> Vec<Event> {
    let plan = Plan::new(steps.into_iter().collect()).expect("the plan is valid");
    vec![created_from(Create { plan, ..create() })]
}

/// A history, then these.
pub fn and(history: Vec<Event>, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    history.into_iter().chain(events).collect()
}

pub fn activated(from: Channel, channel: Channel, due_at: OffsetDateTime) -> Event {
    Event::DeliveryFallbackActivated { from, channel, due_at }
}

pub fn started(channel: Channel, attempt: u32) -> Event {
    Event::DeliveryStarted { channel, attempt, deadline: DEADLINE }
}

pub fn scheduled_again(channel: Channel, attempt: u32, due_at: OffsetDateTime) -> Event {
    Event::DeliveryRetryScheduled { channel, attempt, due_at }
}

pub fn skipped(channel: Channel, reason: SkipReason) -> Event {
    Event::DeliverySkipped { channel, reason }
}

pub fn failure(class: FailureClass) -> Failure {
    Failure { class, detail: "451 try again later".into() }
}

pub fn failed_on(channel: Channel, attempt: u32, class: FailureClass) -> Event {
    Event::DeliveryFailed { channel, attempt, error: failure(class) }
}

pub fn exhausted(channel: Channel, attempts: u32) -> Event {
    Event::DeliveryExhausted { channel, attempts }
}

pub fn start(channel: Channel, attempt: u32) -> Action {
    Action::Start { channel, attempt, now: NOW, deadline: DEADLINE }
}

/// When the night is over.
pub const MORNING: OffsetDateTime = datetime!(2026-08-02 07:00 UTC);

pub fn defer(channel: Channel, attempt: u32) -> Action {
    Action::Defer { channel, attempt, now: NOW, until: MORNING, reason: DeferReason::QuietHours }
}

pub fn deferred(channel: Channel, attempt: u32) -> Event {
    Event::DeliveryDeferred { channel, attempt, due_at: MORNING, reason: DeferReason::QuietHours }
}

/// How an attempt ended, at `NOW`.
pub fn ended(channel: Channel, attempt: u32, outcome: Outcome) -> Action {
    Action::Deliver { channel, attempt: Some(attempt), outcome, at: NOW }
}

/// A wait that is half of what it may be.
pub fn fails(channel: Channel, attempt: u32, class: FailureClass) -> Action {
    let outcome = Outcome::Failed { failure: failure(class), retry_after_s: None, jitter: Jitter(1 << 31) };
    ended(channel, attempt, outcome)
}

pub fn skips(channel: Channel, reason: SkipReason) -> Action {
    ended(channel, 1, Outcome::Skipped { reason })
}

pub fn retry() -> Action {
    Action::Retry { channel: None }
}

pub fn snooze() -> Action {
    Action::Snooze { until: SNOOZE_UNTIL }
}

/// What the user does to an item; each is refused unless the notification is in the inbox.
pub fn marks() -> [Action; 6] {
    use Action::{Archive, MarkRead, MarkSeen, MarkUnread, Unarchive};
    [MarkSeen, MarkRead, MarkUnread, Archive, Unarchive, snooze()]
}

/// The marks, outcomes and retries: everything that needs a notification in the inbox.
pub fn actions_of_the_released() -> impl Iterator<Item = Action> {
    marks().into_iter().chain([delivered(None), failed(None), retry()])
}

pub fn one_action_of_each_kind() -> impl Iterator<Item = Action> {
    successors(Some(Action::Create(Box::new(create()))), action_after)
}

fn action_after(action: &Action) -> Option<Action> {
    Some(match action {
        Action::Create(_) => Action::Release { at: RELEASE_AT },
        Action::Release { .. } => Action::Wake { at: SNOOZE_UNTIL },
        Action::Wake { .. } => Action::Expire { at: EXPIRES_AT },
        Action::Expire { .. } => Action::Activate { channel: Channel::Email, at: EMAIL_AT },
        Action::Activate { .. } => start(Channel::Email, 1),
        Action::Start { .. } => defer(Channel::Email, 1),
        Action::Defer { .. } => delivered(None),
        Action::Deliver { .. } => retry(),
        Action::Retry { .. } => Action::MarkSeen,
        Action::MarkSeen => Action::MarkRead,
        Action::MarkRead => Action::MarkUnread,
        Action::MarkUnread => Action::Archive,
        Action::Archive => Action::Unarchive,
        Action::Unarchive => snooze(),
        Action::Snooze { .. } => Action::Cancel,
        Action::Cancel => return None,
    })
}

/// Something that a digest takes up.
pub fn item(title: &str) -> Item {
    let words = Words { title: title.into(), body: "Hm.".into(), action_url: None };
    Item { words, template: None, data: None }
}

/// How a digest is said by a template that wants to know all of it.
pub fn said_by_a_template() -> Digest {
    let key = TemplateKey::new("comments-digest".into()).expect("it is a key");
    let template = DigestTemplate { key, version: 2, arguments: DigestArgument::ALL.into() };
    Digest { template: Some(template) }
}

/// The end of a digest of which nothing is known any more.
pub fn digested_to_nothing() -> Digested {
    Digested { count: 0, content: None, data: None }
}

pub fn one_event_of_each_kind() -> impl Iterator<Item = Event> {
    successors(Some(created()), event_after)
}

fn event_after(event: &Event) -> Option<Event> {
    let [failed, exhausted, dead_lettered] = dead_lettered(1);
    Some(match event {
        Event::Created(_) => Event::Released {},
        Event::Released {} => Event::Woken {},
        Event::Woken {} => Event::Seen {},
        Event::Seen {} => Event::Read {},
        Event::Read {} => Event::Unread {},
        Event::Unread {} => Event::Archived {},
        Event::Archived {} => Event::Unarchived {},
        Event::Unarchived {} => Event::Snoozed { until: SNOOZE_UNTIL },
        Event::Snoozed { .. } => Event::Cancelled {},
        Event::Cancelled {} => Event::Expired {},
        Event::Expired {} => Event::Collected(Box::new(Collected::first(item("Ada commented")))),
        Event::Collected(_) => Event::Digested(Box::new(digested_to_nothing())),
        Event::Digested(_) => activated(Channel::InApp, Channel::Email, EMAIL_AT),
        Event::DeliveryFallbackActivated { .. } => started(Channel::Email, 1),
        Event::DeliveryStarted { .. } => succeeded(1),
        Event::DeliverySucceeded { .. } => failed,
        Event::DeliveryFailed { .. } => scheduled_again(Channel::Email, 2, EMAIL_AT),
        Event::DeliveryRetryScheduled { .. } => deferred(Channel::Email, 2),
        Event::DeliveryDeferred { .. } => skipped(Channel::Slack, SkipReason::NoAddress),
        Event::DeliverySkipped { .. } => exhausted,
        Event::DeliveryExhausted { .. } => dead_lettered,
        Event::DeliveryDeadLettered { .. } => retry_requested(2),
        Event::DeliveryRetryRequested { .. } => return None,
    })
}
