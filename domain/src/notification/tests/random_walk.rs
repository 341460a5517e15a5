//! Laws that hold whatever is asked in whatever order: 20,000 random commands, the same in every run.

use std::collections::BTreeSet;

use crate::notification::{
    Action, Channel, Command, Create, DeliveryStatus, Error, Event, Life, Notification, PlanStep,
};
use crate::{Issuer, UserId};

use super::samples::*;

const WALKS: usize = 1_000;
const COMMANDS_PER_WALK: usize = 20;

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

fn random_create(random: &mut Xorshift) -> Action {
    Action::Create(Box::new(Create {
        plan: if random.one_in(8) { vec![] } else { PlanStep::default_plan() },
        deliver_at: random.pick(&[None, Some(RELEASE_AT)]),
        expires_at: random.pick(&[None, Some(EXPIRES_AT)]),
        ..create()
    }))
}

fn random_action(random: &mut Xorshift) -> Action {
    let attempt = random.pick(&[None, None, Some(1), Some(2)]);
    match random.below(40) {
        0 => random_create(random),
        1..=4 => Action::Release { at: random.pick(&[RELEASE_AT, RELEASE_AT, OTHER_INSTANT]) },
        5..=7 => Action::Wake { at: random.pick(&[SNOOZE_UNTIL, OTHER_INSTANT]) },
        8 => Action::Expire { at: random.pick(&[EXPIRES_AT, OTHER_INSTANT]) },
        9..=11 => delivered(attempt),
        12..=15 => failed(attempt),
        16..=19 => Action::Retry { channel: random.pick(&[None, Some(Channel::InApp)]) },
        20..=22 => Action::MarkSeen,
        23..=25 => Action::MarkRead,
        26..=28 => Action::MarkUnread,
        29..=31 => Action::Archive,
        32..=34 => Action::Unarchive,
        35..=37 => Action::Snooze { until: random.pick(&[SNOOZE_UNTIL, OTHER_INSTANT]) },
        _ => Action::Cancel,
    }
}

fn random_command(random: &mut Xorshift, step: usize) -> Command {
    let begins = step == 0 && !random.one_in(8);
    let action = if begins { random_create(random) } else { random_action(random) };
    // The samples' notifications belong to one tenant; a stranger may ask for anything but to create one.
    let issuer = if matches!(action, Action::Create(_)) { service() } else { random_issuer(random) };
    Command { issuer, action }
}

fn assert_possible(state: &Notification) {
    let marked = state.seen || state.read || state.archived || state.snoozed_until.is_some();
    let statuses = || state.deliveries.iter().map(|delivery| delivery.status);
    assert!(state.seen || !state.read, "read implies seen: {state:?}");
    assert_eq!(state.owner.is_none(), state.life == Life::Absent, "whoever exists is owned: {state:?}");
    assert!(state.deliveries.iter().all(|d| d.attempt >= 1), "attempts count from 1: {state:?}");
    if marked && !state.deliveries.is_empty() {
        assert!(statuses().all(|s| s == DeliveryStatus::Delivered), "a mark settles: {state:?}");
    }
    let allowed: &[DeliveryStatus] = match state.life {
        Life::Absent => {
            assert_eq!(*state, Notification::default());
            &[]
        }
        Life::Scheduled { .. } => {
            assert!(!marked, "nobody marks what is hidden: {state:?}");
            &[DeliveryStatus::Pending]
        }
        Life::Released => &[DeliveryStatus::Pending, DeliveryStatus::Delivered, DeliveryStatus::DeadLettered],
        Life::Cancelled => {
            &[DeliveryStatus::Cancelled, DeliveryStatus::Delivered, DeliveryStatus::DeadLettered]
        }
        Life::Expired => &[DeliveryStatus::Expired, DeliveryStatus::Delivered, DeliveryStatus::DeadLettered],
    };
    assert!(statuses().all(|status| allowed.contains(&status)), "life and deliveries agree: {state:?}");
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

/// Decides and folds one command, holding every law against it.
fn step(state: &mut Notification, command: &Command) -> Result<Vec<Event>, Error> {
    let before = state.clone();
    let decided = before.decide(command);
    assert_eq!(before.decide(command), decided, "decide is a function: {before:?} {command:?}");

    for event in decided.iter().flatten() {
        state.evolve(event);
    }
    assert_possible(state);
    assert_life_goes_forward(&before.life, &state.life);

    if matches!(before.life, Life::Cancelled | Life::Expired) {
        assert_eq!(decided.as_deref().unwrap_or_default(), [], "an end is an end: {before:?} {command:?}");
    }
    if decided.as_ref().is_ok_and(|events| !events.is_empty()) {
        assert_ne!(*state, before, "whoever changes nothing emits nothing: {command:?}");
        let repeated = match command.action {
            Action::Create(_) => Err(Error::AlreadyExists),
            Action::Retry { .. } => Err(Error::NothingToRetry),
            _ => Ok(vec![]),
        };
        assert_eq!(state.decide(command), repeated, "repeated at once: {before:?} {command:?}");
    }
    decided
}

const ERROR_KINDS: usize = 9;

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
        Error::NothingToRetry => "nothing to retry",
    }
}

#[test]
fn no_order_of_commands_leads_to_an_impossible_state() {
    let mut random = Xorshift(0x7469_6469_6e67_7321);
    let (mut emitted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..WALKS {
        let mut state = Notification::default();
        for index in 0..COMMANDS_PER_WALK {
            match step(&mut state, &random_command(&mut random, index)) {
                Ok(events) => emitted.extend(events.iter().map(Event::name)),
                Err(error) => drop(refused.insert(kind(&error))),
            }
        }
    }
    // A walk that never came by a rule has not tested it.
    assert_eq!(emitted, one_event_of_each_kind().map(|event| event.name()).collect());
    assert_eq!(refused.len(), ERROR_KINDS, "only met {refused:?}");
}

#[test]
fn strangers_never_get_an_event_out_of_any_state() {
    let mut random = Xorshift(0x0bad_5eed_0bad_5eed);
    let stranger = |user: Option<UserId>| Issuer { tenant: tenant("acme-2"), user };
    for _ in 0..WALKS / 10 {
        let mut state = Notification::default();
        for index in 0..COMMANDS_PER_WALK {
            let command = random_command(&mut random, index);
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
