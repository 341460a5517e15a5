//! Laws that hold whatever is asked in whatever order: 60,000 random commands, the same in every run.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use crate::notification::{
    Action, Channel, Command, Create, DeferReason, Delivery, DeliveryStatus, Error, Event, FailureClass,
    Jitter, Life, Notification, Opening, Outcome, Plan, PlanStep, SkipReason, Unless,
};
use crate::{Issuer, UserId};

use super::samples::*;

const WALKS: usize = 3_000;
const COMMANDS_PER_WALK: usize = 30;

/// Marsaglia's xorshift64 (2003): enough spread for a test, and no dependency.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits are the weakest.
        (self.0 >> 33) as usize % bound
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

fn random_issuer(random: &mut Xorshift) -> Issuer {
    let strangers = [
        issued_by("bob"),
        Issuer { tenant: tenant("acme-2"), user: None },
        Issuer { tenant: tenant("acme-2"), user: Some(user("ada")) },
    ];
    if random.one_in(16) { random.pick(&strangers) } else { random.pick(&[service(), issued_by("ada")]) }
}

/// One or more channels in any order, each waiting for whatever a step can wait for.
fn random_plan(random: &mut Xorshift) -> Plan {
    let (mut channels, mut steps) = (Channel::ALL.to_vec(), Vec::new());
    for index in 0..1 + random.below(4) {
        let channel =
            channels.remove(if index == 0 { random.below(2) } else { random.below(channels.len()) });
        channels.retain(|left| *left != Channel::InApp);
        let retry = random.pick(&[None, Some(THREE)]).filter(|_| channel.calls_outside());
        let (mut after_s, mut unless) = (None, None);
        if index > 0 {
            after_s = random.pick(&[None, Some(60), Some(300)]);
            unless = random.pick(&[None, Some(Unless::Delivered), Some(Unless::Seen), Some(Unless::Read)]);
        }
        steps.push(PlanStep { after_s, unless, retry, ..PlanStep::on(channel) });
        if channels.is_empty() {
            break;
        }
    }
    Plan::new(steps).unwrap()
}

fn random_create(random: &mut Xorshift) -> Action {
    let deliver_at = random.pick(&[None, None, Some(RELEASE_AT)]);
    let opening = deliver_at
        .filter(|_| random.one_in(2))
        .map(|_| Opening { digest: said_by_a_template(), first: item("An item") });
    Action::Create(Box::new(Create {
        plan: match random.below(8) {
            0 => serde_json::from_str("[]").unwrap(),
            1 | 2 => Plan::default(),
            _ => random_plan(random),
        },
        deliver_at,
        expires_at: random.pick(&[None, Some(EXPIRES_AT)]),
        opening,
        ..create()
    }))
}

fn random_outcome(random: &mut Xorshift) -> Outcome {
    match random.below(10) {
        0..=2 => Outcome::delivered(),
        3..=8 => Outcome::Failed {
            failure: failure(random.pick(&[
                FailureClass::Transient,
                FailureClass::Transient,
                FailureClass::Permanent,
                FailureClass::Unknown,
            ])),
            retry_after_s: random.pick(&[None, Some(120)]),
            jitter: Jitter(random.below(1 << 32) as u32),
        },
        _ => Outcome::Skipped { reason: random.pick(&[SkipReason::NoAddress, SkipReason::Preference]) },
    }
}

/// What a worker, a timer or a reporter does on some channel, mostly at the right moment.
fn random_delivery_action(random: &mut Xorshift, state: &Notification, now: OffsetDateTime) -> Action {
    let known: Vec<Delivery> = state.deliveries.clone();
    let Some(delivery) = (!known.is_empty()).then(|| random.pick(&known)) else {
        return start(Channel::Email, 1);
    };
    let channel = if random.one_in(20) { random.pick(&Channel::ALL) } else { delivery.channel };
    match random.below(8) {
        0 | 1 => Action::Activate { channel, at: delivery.due_at.unwrap_or(OTHER_INSTANT) },
        2 if random.one_in(3) => {
            let (attempt, until) = (delivery.attempt, now + Duration::hours(random.pick(&[8, 72])));
            Action::Defer { channel, attempt, now, until, reason: DeferReason::QuietHours }
        }
        2..=4 => {
            let overdue = u32::from(delivery.deadline.is_some_and(|deadline| deadline <= now));
            let attempt = delivery.attempt + random.pick(&[overdue, overdue, overdue, 1 - overdue, 2]);
            Action::Start { channel, attempt, now, deadline: now + Duration::seconds(30) }
        }
        _ => {
            let attempt =
                random.pick(&[None, Some(delivery.attempt), Some(delivery.attempt), Some(1), Some(2)]);
            Action::Deliver { channel, attempt, outcome: random_outcome(random), at: now }
        }
    }
}

fn random_action(random: &mut Xorshift, state: &Notification, now: OffsetDateTime) -> Action {
    match random.below(64) {
        0 => random_create(random),
        1..=5 => Action::Release { at: random.pick(&[RELEASE_AT, RELEASE_AT, OTHER_INSTANT]) },
        6..=7 => Action::Wake { at: random.pick(&[SNOOZE_UNTIL, OTHER_INSTANT]) },
        8 => Action::Expire { at: random.pick(&[EXPIRES_AT, OTHER_INSTANT]) },
        9..=40 => random_delivery_action(random, state, now),
        41..=45 => {
            Action::Retry { channel: random.pick(&[None, None, Some(Channel::InApp), Some(Channel::Email)]) }
        }
        46..=47 => Action::MarkSeen,
        48..=49 => Action::MarkRead,
        50..=52 => Action::MarkUnread,
        53..=54 => Action::Archive,
        55..=57 => Action::Unarchive,
        58..=61 => Action::Snooze { until: random.pick(&[SNOOZE_UNTIL, OTHER_INSTANT]) },
        _ => Action::Cancel,
    }
}

fn random_command(random: &mut Xorshift, index: usize, state: &Notification, now: OffsetDateTime) -> Command {
    let begins = index == 0 && !random.one_in(8);
    let action = if begins { random_create(random) } else { random_action(random, state, now) };
    // The samples' notifications belong to one tenant; a stranger may ask for anything but to create one.
    let issuer = if matches!(action, Action::Create(_)) { service() } else { random_issuer(random) };
    Command { issuer, action }
}

fn assert_possible(state: &Notification) {
    use DeliveryStatus::{Pending, Scheduled, Skipped, Started, Waiting};
    let marked = state.seen || state.read || state.archived || state.snoozed_until.is_some();
    assert!(state.seen || !state.was_read, "read implies seen: {state:?}");
    assert!(state.was_read || !state.read, "who reads has read: {state:?}");
    assert_eq!(state.owner.is_none(), state.life == Life::Absent, "whoever exists is owned: {state:?}");
    assert_eq!(state.deliveries.len(), state.plan.len(), "a step, a delivery: {state:?}");
    for (delivery, step) in state.deliveries.iter().zip(&state.plan) {
        let Delivery { channel, attempt, status, due_at, deadline, skipped } = delivery.clone();
        assert!(attempt >= 1, "attempts count from 1: {state:?}");
        assert_eq!(deadline.is_some(), status == Started, "only what is under way has a deadline: {state:?}");
        assert_eq!(skipped.is_some(), status == Skipped, "what is skipped has a reason: {state:?}");
        assert!(
            due_at.is_none() || matches!(status, Waiting | Pending | Scheduled),
            "nobody waits: {state:?}"
        );
        if marked && channel == Channel::InApp {
            assert!(matches!(status, DeliveryStatus::Delivered | Skipped), "a mark settles: {state:?}");
        }
        if channel.calls_outside() && (state.was_read || state.seen && step.unless != Some(Unless::Read)) {
            assert!(!status.is_unstarted(), "what was seen or read stops what waits: {state:?}");
        }
        match state.life {
            Life::Absent => panic!("nothing is planned: {state:?}"),
            Life::Scheduled { .. } => {
                assert!(matches!(status, Pending | Waiting), "nothing began: {state:?}")
            }
            Life::Released => {}
            Life::Cancelled | Life::Expired => assert!(!status.is_unstarted(), "an end ends: {state:?}"),
        }
    }
    assert!(
        !marked || !matches!(state.life, Life::Scheduled { .. }),
        "nobody marks what is hidden: {state:?}"
    );
    assert_what_failed_is_taken_over_or_dead_lettered(state);
}

fn assert_what_failed_is_taken_over_or_dead_lettered(state: &Notification) {
    let any = |is: &dyn Fn(&Delivery) -> bool| state.deliveries.iter().any(is);
    let open = any(&|d| d.channel.calls_outside() && d.status.is_open());
    let failed = any(&|d| d.status == DeliveryStatus::Exhausted);
    if failed && !open && state.life == Life::Released {
        let answered = any(&|d| {
            matches!(
                d.status,
                DeliveryStatus::Delivered | DeliveryStatus::DeadLettered | DeliveryStatus::Pending
            ) || d.skipped.is_some_and(SkipReason::is_needless)
        });
        assert!(answered, "a failure is not forgotten: {state:?}");
    }
}

fn assert_life_goes_forward(before: &Life, after: &Life) {
    let forward = match before {
        _ if before == after => true,
        Life::Absent => matches!(after, Life::Scheduled { .. } | Life::Released),
        Life::Scheduled { .. } => matches!(after, Life::Released | Life::Cancelled | Life::Expired),
        Life::Released => matches!(after, Life::Cancelled | Life::Expired),
        Life::Cancelled | Life::Expired => false,
    };
    assert!(forward, "from {before:?} to {after:?}");
}

/// What an event may not be, given what was so when its command was decided.
fn assert_may_happen(before: &Notification, command: &Command, event: &Event) {
    let at = event.channel().and_then(|channel| before.deliveries.iter().position(|d| d.channel == channel));
    let Some((delivery, step)) = at.map(|at| (&before.deliveries[at], &before.plan[at])) else { return };
    let context = format!("{before:?} {command:?} {event:?}");
    if let Event::DeliveryStarted { .. } | Event::DeliveryFallbackActivated { .. } = event {
        assert_eq!(before.life, Life::Released, "nothing begins before or after: {context}");
        assert!(!before.was_read, "nothing begins once it is read: {context}");
        assert!(!before.seen || step.unless == Some(Unless::Read), "nor once it is seen: {context}");
    }
    if let Action::Deliver { attempt: Some(attempt), channel, .. } = command.action
        && event.channel() == Some(channel)
    {
        assert_eq!(attempt, delivery.attempt, "a stale outcome changes nothing: {context}");
    }
    if matches!(before.life, Life::Cancelled | Life::Expired) {
        let under_way = delivery.status == DeliveryStatus::Started;
        assert!(under_way && matches!(command.action, Action::Deliver { .. }), "an end is an end: {context}");
    }
    if let Event::DeliveryRetryScheduled { attempt, .. } = event {
        assert!(step.retry.is_some_and(|policy| *attempt <= policy.attempts_max), "one too many: {context}");
    }
}

/// Decides and folds one command, holding every law against it.
fn step(state: &mut Notification, command: &Command) -> Result<Vec<Event>, Error> {
    let before = state.clone();
    let decided = before.decide(command);
    assert_eq!(before.decide(command), decided, "decide is a function: {before:?} {command:?}");

    for event in decided.iter().flatten() {
        assert_may_happen(&before, command, event);
        state.evolve(event);
    }
    assert_possible(state);
    assert_life_goes_forward(&before.life, &state.life);

    if decided.as_ref().is_ok_and(|events| !events.is_empty()) {
        assert_ne!(*state, before, "whoever changes nothing emits nothing: {command:?}");
        let again = state.decide(command);
        let repeated = match command.action {
            Action::Create(_) => again == Err(Error::AlreadyExists),
            Action::Retry { .. } => matches!(again, Err(Error::NothingToRetry | Error::Stopped { .. })),
            Action::Start { .. } => again == Err(Error::AlreadyStarted),
            Action::Defer { .. } => matches!(again, Err(Error::NotDue | Error::AttemptEnded { .. })),
            // What ended its attempt is stale, or has ended it.
            Action::Deliver { .. } => again.as_ref().map_or(true, Vec::is_empty),
            _ => again == Ok(vec![]),
        };
        assert!(repeated, "repeated at once: {before:?} {command:?} {again:?}");
    }
    decided
}

/// What a plan comes to if workers and timers go on and nobody ever answers: its end.
fn run_out(state: &mut Notification, mut now: OffsetDateTime) {
    let run = |state: &mut Notification, action| {
        let done = step(state, &Command { issuer: service(), action });
        assert!(done.as_ref().is_ok_and(|events| !events.is_empty()), "it goes on: {done:?} {state:?}");
    };
    if let Life::Scheduled { release_at } = state.life {
        run(state, Action::Release { at: release_at });
        now = now.max(release_at);
    }
    for _ in 0..200 {
        now += Duration::hours(1);
        let next = state.deliveries.iter().find(|d| match d.status {
            DeliveryStatus::Waiting => d.due_at.is_some() && state.life == Life::Released,
            DeliveryStatus::Started => true,
            DeliveryStatus::Pending | DeliveryStatus::Scheduled => d.channel.calls_outside(),
            _ => false,
        });
        let Some(Delivery { channel, attempt, status, due_at, .. }) = next.cloned() else { break };
        // A random timer may have fired before its time.
        now = due_at.map_or(now, |due_at| now.max(due_at));
        let deadline = now + Duration::seconds(30);
        run(
            state,
            match (status, due_at) {
                (DeliveryStatus::Waiting, Some(at)) => Action::Activate { channel, at },
                (DeliveryStatus::Started, _) => fails(channel, attempt, FailureClass::Transient),
                _ => Action::Start { channel, attempt, now, deadline },
            },
        );
    }
    // Whatever is open now waits for the inbox, which waits for its user.
    let in_app = state.deliveries.first().is_some_and(|d| d.status == DeliveryStatus::Pending);
    if in_app && state.life == Life::Released {
        let _ = step(state, &Command { issuer: service(), action: Action::MarkRead });
    }
    assert!(state.deliveries.iter().all(|d| !d.status.is_open()), "every delivery ends: {state:?}");
}

/// Attempts that began, and those that somebody asked for, per channel.
#[derive(Default)]
struct Attempts(BTreeMap<Channel, (u32, u32)>);

impl Attempts {
    fn count(&mut self, state: &Notification, events: &[Event]) {
        for event in events {
            let Some(channel) = event.channel() else { continue };
            let (begun, asked) = self.0.entry(channel).or_default();
            match event {
                Event::DeliveryStarted { .. } => *begun += 1,
                Event::DeliveryRetryRequested { .. } => *asked += 1,
                _ => {}
            }
            let planned = state.plan.iter().find(|step| step.channel == channel).unwrap();
            let max = planned.retry.map_or(1, |policy| policy.attempts_max);
            assert!(*begun <= max + *asked, "{channel:?} began {begun} times: {state:?}");
        }
    }
}

const ERROR_KINDS: usize = 16;

fn kind(error: &Error) -> &'static str {
    match error {
        Error::AlreadyExists => "already exists",
        Error::NotFound => "not found",
        Error::NotReleased => "not released",
        Error::Cancelled => "cancelled",
        Error::Expired => "expired",
        Error::ChannelNotPlanned => "channel not planned",
        Error::StaleAttempt { .. } => "stale attempt",
        Error::AttemptEnded { .. } => "attempt ended",
        Error::NotActivated => "not activated",
        Error::NothingToCall => "nothing to call",
        Error::NotDue => "not due",
        Error::AlreadyStarted => "already started",
        Error::NoAttemptLeft => "no attempt left",
        Error::NotStarted => "not started",
        Error::Stopped { .. } => "stopped",
        Error::NothingToRetry => "nothing to retry",
    }
}

#[test]
fn no_order_of_commands_leads_to_an_impossible_state() {
    let mut random = Xorshift(0x7469_6469_6e67_7321);
    let (mut emitted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let (mut reasons, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..WALKS {
        let (mut state, mut attempts, mut now) = (Notification::default(), Attempts::default(), NOW);
        for index in 0..COMMANDS_PER_WALK {
            now += Duration::seconds(random.pick(&[0, 1, 5, 60]));
            let command = random_command(&mut random, index, &state, now);
            match step(&mut state, &command) {
                Ok(events) => {
                    attempts.count(&state, &events);
                    emitted.extend(events.iter().map(Event::name));
                }
                Err(error) => drop(refused.insert(kind(&error))),
            }
            statuses.extend(state.deliveries.iter().map(|d| d.status.as_str()));
        }
        reasons.extend(state.deliveries.iter().filter_map(|d| d.skipped).map(SkipReason::as_str));
        if state.life != Life::Absent {
            run_out(&mut state, now);
        }
    }
    // A walk that never came by a rule has not tested it.
    assert_eq!(emitted, one_event_of_each_kind().map(|event| event.name()).collect());
    assert_eq!(refused.len(), ERROR_KINDS, "only met {refused:?}");
    assert_eq!(statuses.len(), DeliveryStatus::ALL.len(), "only met {statuses:?}");
    let met =
        ["cancelled", "delivered", "expired", "no_address", "preference", "quiet_hours", "read", "seen"];
    assert_eq!(reasons, BTreeSet::from(met));
}

#[test]
fn strangers_never_get_an_event_out_of_any_state() {
    let mut random = Xorshift(0x0bad_5eed_0bad_5eed);
    let stranger = |user: Option<UserId>| Issuer { tenant: tenant("acme-2"), user };
    for _ in 0..WALKS / 10 {
        let mut state = Notification::default();
        for index in 0..COMMANDS_PER_WALK {
            let command = random_command(&mut random, index, &state, NOW);
            if !matches!(command.action, Action::Create(_)) {
                for issuer in [issued_by("bob"), stranger(None), stranger(Some(user("ada")))] {
                    let asked = Command { issuer, action: command.action.clone() };
                    assert_eq!(state.decide(&asked), Err(Error::NotFound), "{asked:?}");
                }
            }
            // What the stranger asked in vain, the owner gets.
            let _ = step(&mut state, &command);
        }
    }
}
