//! Random histories of a few users and notifications. The domain decides every event, so each of them is one
//! that a log may hold.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use tidings_domain::notification::{
    Action, Backoff, Channel, Collected, Command, Content, Create, DeferReason, Delivery, DeliveryStatus,
    Digest, Event, Failure, FailureClass, Item, Jitter, Notification, Opening, Outcome, Plan, PlanStep,
    Priority, RetryPolicy, SkipReason, Tags, Unless, Words,
};
use tidings_domain::{Issuer, NotificationId, Tenant, UserId};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::log::{Fact, Recorded};

const BEGINNING: OffsetDateTime = datetime!(2026-08-01 09:00 UTC);
const RELEASE_AT: OffsetDateTime = datetime!(2026-08-02 09:00 UTC);
const EXPIRES_AT: OffsetDateTime = datetime!(2026-08-03 09:00 UTC);
/// Until when users snooze.
pub const SNOOZES: [OffsetDateTime; 2] = [datetime!(2026-08-04 09:00 UTC), datetime!(2026-08-05 09:00 UTC)];

/// The same name in two tenants is two users.
const OWNERS: [(&str, &str); 3] = [("acme", "ada"), ("acme", "bob"), ("other", "ada")];
const NOTIFICATIONS: usize = 6;
const COMMANDS: usize = 120;

/// Marsaglia's xorshift64 (2003): enough spread for a test, and no dependency.
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits are the weakest.
        (self.0 >> 33) as usize % bound
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// An event as the log holds it; the members that no fold looks at are left empty. Two events share an instant,
/// as those of one append do.
pub fn recorded(position: i64, (tenant, user): (&str, &str), id: NotificationId, event: Event) -> Recorded {
    Recorded {
        position,
        recorded_at: BEGINNING + Duration::milliseconds(position / 2),
        tenant: tenant.into(),
        recipient: Some(user.into()),
        aggregate_type: "notification".into(),
        aggregate_id: id.to_string(),
        sequence: 0,
        event_type: event.name().into(),
        event_version: String::new(),
        payload: Value::Null,
        metadata: RawValue::NULL.to_owned(),
        stored_bytes: 0,
        fact: Fact::Notification(id, event),
    }
}

/// The item an event belongs to, whether or not it alters it.
pub fn item_key(event: &Recorded) -> (String, String, Uuid) {
    let (id, _) = event.notification().unwrap().unwrap();
    (event.tenant.clone(), event.recipient.clone().unwrap(), id.uuid())
}

pub fn fact(event: &Recorded) -> &Event {
    event.notification().unwrap().unwrap().1
}

pub fn id(number: usize) -> NotificationId {
    NotificationId::new(Uuid::from_u128(number as u128))
}

pub fn create(user: &str, title: &str, deliver_at: Option<OffsetDateTime>) -> Create {
    Create {
        user: UserId::try_from(user.to_owned()).unwrap(),
        content: Content::new(title.into(), "It is due.".into(), None).unwrap(),
        category: None,
        priority: Priority::Normal,
        plan: Plan::default(),
        data: None,
        tags: Tags::default(),
        deliver_at,
        expires_at: Some(EXPIRES_AT),
        now: BEGINNING,
        opening: None,
    }
}

/// What the creation of a notification leaves in the log: hidden until it is released, or shown at once.
pub fn created((tenant, user): (&str, &str), scheduled: bool) -> Event {
    let create = create(user, "Invoice 42", scheduled.then_some(RELEASE_AT));
    let command = Command { issuer: service(tenant), action: Action::Create(Box::new(create)) };
    Notification::default().decide(&command).unwrap().pop().unwrap()
}

fn service(tenant: &str) -> Issuer {
    Issuer { tenant: Tenant::try_from(tenant.to_owned()).unwrap(), user: None }
}

struct Subject {
    owner: (&'static str, &'static str),
    id: NotificationId,
    state: Notification,
    /// The last item, while it collects.
    collected: Option<Collected>,
}

/// The log of one run, from position 1.
pub fn history(random: &mut Xorshift) -> Vec<Arc<Recorded>> {
    let mut subjects: Vec<Subject> = (0..NOTIFICATIONS)
        .map(|n| {
            let state = Notification::default();
            Subject { owner: random.pick(&OWNERS), id: id(n), state, collected: None }
        })
        .collect();
    let mut events = Vec::new();
    for turn in 0..COMMANDS {
        let now = BEGINNING + Duration::seconds(turn as i64);
        let number = random.below(NOTIFICATIONS);
        let subject = &mut subjects[number];
        for event in subject.next(random, number, now) {
            subject.state.evolve(&event);
            subject.collected = match &event {
                Event::Collected(item) => Some((**item).clone()),
                _ => None,
            };
            let position = events.len() as i64 + 1;
            events.push(Arc::new(recorded(position, subject.owner, subject.id, event)));
        }
    }
    events
}

impl Subject {
    fn next(&self, random: &mut Xorshift, number: usize, now: OffsetDateTime) -> Vec<Event> {
        if let Some(last) = self.collected.as_ref().filter(|_| random.below(3) > 0) {
            let next = last.then(item(&format!("Item {now}")), 5);
            return next.map(|next| Event::Collected(Box::new(next))).into_iter().collect();
        }
        let action = action(random, self, number, now);
        self.state.decide(&Command { issuer: service(self.owner.0), action }).unwrap_or_default()
    }
}

pub fn item(title: &str) -> Item {
    let words = Words { title: title.to_owned(), ..Words::default() };
    Item { words, template: None, data: None }
}

fn action(random: &mut Xorshift, subject: &Subject, number: usize, now: OffsetDateTime) -> Action {
    if subject.state.owner.is_none() {
        let deliver_at = random.pick(&[None, None, Some(RELEASE_AT)]);
        let create = create(subject.owner.1, &format!("Invoice {number}"), deliver_at);
        let (plan, priority) = (plan(random), random.pick(&Priority::ALL));
        let opening = Opening { digest: Digest::default(), first: item("The first") };
        let opening = Some(opening).filter(|_| deliver_at.is_some() && random.below(2) == 0);
        return Action::Create(Box::new(Create { plan, priority, opening, ..create }));
    }
    match random.below(80) {
        0..=6 => Action::Release { at: RELEASE_AT },
        7..=11 => Action::Wake { at: random.pick(&SNOOZES) },
        12 => Action::Expire { at: EXPIRES_AT },
        13 => Action::Cancel,
        14..=49 => delivering(random, &subject.state.deliveries, now),
        50..=54 => Action::Retry { channel: None },
        55..=56 => Action::MarkSeen,
        57..=58 => Action::MarkRead,
        59..=64 => Action::MarkUnread,
        65..=66 => Action::Archive,
        67..=71 => Action::Unarchive,
        _ => Action::Snooze { until: random.pick(&SNOOZES) },
    }
}

/// The inbox alone, or channels that stand in for it.
fn plan(random: &mut Xorshift) -> Plan {
    let backoff = Backoff::Exponential { base_ms: 1000, cap_ms: 4000 };
    let retry = Some(RetryPolicy { attempts_max: 3, backoff });
    let mut steps = vec![PlanStep::on(Channel::InApp)];
    for channel in [Channel::Email, Channel::Slack, Channel::Webhook] {
        let after_s = random.pick(&[None, Some(20)]);
        let unless = random.pick(&[None, Some(Unless::Delivered), Some(Unless::Read)]);
        steps.push(PlanStep { after_s, unless, retry, ..PlanStep::on(channel) });
    }
    match random.below(4) {
        0 => steps.truncate(1),
        1 => drop(steps.remove(0)),
        2 => steps.truncate(2),
        _ => {}
    }
    (steps[0].after_s, steps[0].unless) = (None, None);
    Plan::new(steps).unwrap()
}

/// What a timer, a worker or a reporter does next on some channel.
fn delivering(random: &mut Xorshift, deliveries: &[Delivery], now: OffsetDateTime) -> Action {
    let Delivery { channel, attempt, status, due_at, deadline, .. } = random.pick(deliveries);
    let lost = deadline.is_some_and(|deadline| deadline <= now);
    match status {
        DeliveryStatus::Waiting => Action::Activate { channel, at: due_at.unwrap_or(now) },
        _ if lost || channel != Channel::InApp && status != DeliveryStatus::Started => {
            let (attempt, now) = (attempt + u32::from(lost), due_at.map_or(now, |due_at| now.max(due_at)));
            if random.below(6) == 0 {
                let (until, reason) = (now + Duration::seconds(10), DeferReason::QuietHours);
                return Action::Defer { channel, attempt, now, until, reason };
            }
            Action::Start { channel, attempt, now, deadline: now + Duration::seconds(10) }
        }
        _ => {
            let class = random.pick(&[FailureClass::Transient, FailureClass::Transient, FailureClass::Gone]);
            let failure = Failure { class, detail: "no device".into() };
            let outcome = match random.below(6) {
                0 => Outcome::delivered(),
                1 => Outcome::Skipped { reason: SkipReason::NoAddress },
                _ => Outcome::Failed { failure, retry_after_s: None, jitter: Jitter(1 << 31) },
            };
            Action::Deliver { channel, attempt: None, outcome, at: now }
        }
    }
}
