//! The fold, without a database: every event on its own, and random histories held against the aggregates themselves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::HashMap;
use std::sync::Arc;

use tidings_domain::notification::{
    Channel, DeliveryStatus, Event, Life, Notification, Plan, PlanStep, SkipReason,
};
use time::macros::datetime;

use super::fold::{Kind, Moves, Set, TimerKey};
use crate::log::{Fact, Recorded};
use crate::read_model::FoldError;
use crate::tests::histories::{SNOOZES, Xorshift, created, fact, history, id, item_key, recorded};

const ADA: (&str, &str) = ("acme", "ada");

type Table = HashMap<TimerKey, Set>;

/// As `store` does it in SQL.
fn store(table: &mut Table, batch: &[Arc<Recorded>]) {
    let mut moves = Moves::default();
    batch.iter().for_each(|event| moves.fold(event).unwrap());
    for (key, set) in moves.timers {
        match set {
            Some(set) => _ = table.insert(key, set),
            None => _ = table.remove(&key),
        }
    }
}

/// What the aggregates wait for, without where it was set.
fn awaited(log: &[Arc<Recorded>]) -> HashMap<TimerKey, time::OffsetDateTime> {
    let mut aggregates: HashMap<_, Notification> = HashMap::new();
    log.iter().for_each(|event| aggregates.entry(item_key(event)).or_default().evolve(fact(event)));
    let mut awaited = HashMap::new();
    for ((tenant, user, id), state) in aggregates {
        let (release, alive) = match state.life {
            Life::Scheduled { release_at } => (Some(release_at), true),
            Life::Released => (None, true),
            Life::Absent | Life::Cancelled | Life::Expired => (None, false),
        };
        let wake = state.snoozed_until.filter(|_| alive);
        let expire = state.expires_at.filter(|_| alive);
        for (kind, at) in [(Kind::Release, release), (Kind::Wake, wake), (Kind::Expire, expire)] {
            awaited.extend(at.map(|at| ((tenant.clone(), user.clone(), id, kind), at)));
        }
        for waits in state.deliveries.iter().filter(|d| d.status == DeliveryStatus::Waiting) {
            let key = (tenant.clone(), user.clone(), id, Kind::Activate(waits.channel));
            awaited.extend(waits.due_at.map(|at| (key, at)));
        }
    }
    awaited
}

#[test]
fn timers_are_what_the_aggregates_wait_for_however_the_log_is_cut_and_repeated() {
    for number in 1..=300_u64 {
        let mut random = Xorshift(0x7469_6d65_7273_2121_u64.wrapping_mul(number) | 1);
        let log = history(&mut random);
        let (mut table, mut at) = (Table::new(), 0);
        while at < log.len() {
            let end = (at + 1 + random.below(12)).min(log.len());
            store(&mut table, &log[at..end]);
            let once = table.clone();
            store(&mut table, &log[at..end]);
            assert_eq!(table, once, "the same events twice");
            let due: HashMap<_, _> = table.iter().map(|(key, set)| (key.clone(), set.due_at)).collect();
            assert_eq!(due, awaited(&log[..end]));
            at = end;
        }
    }
}

#[test]
fn each_event_sets_replaces_or_clears_its_timers() {
    let (expires, release) = (datetime!(2026-08-03 09:00 UTC), datetime!(2026-08-02 09:00 UTC));
    let [tuesday, wednesday] = SNOOZES;
    // After the creation of a scheduled notification: what stands of release, wake and expire.
    let steps = [
        (created(ADA, true), [Some(release), None, Some(expires)]),
        (Event::Released {}, [None, None, Some(expires)]),
        (Event::Snoozed { until: tuesday }, [None, Some(tuesday), Some(expires)]),
        (Event::Seen {}, [None, Some(tuesday), Some(expires)]),
        (Event::Snoozed { until: wednesday }, [None, Some(wednesday), Some(expires)]),
        (Event::Woken {}, [None, None, Some(expires)]),
        (Event::Snoozed { until: tuesday }, [None, Some(tuesday), Some(expires)]),
        (Event::Cancelled {}, [None, None, None]),
    ];
    let mut table = Table::new();
    for (position, (event, expected)) in (1..).zip(steps) {
        let name = event.name();
        store(&mut table, &[Arc::new(recorded(position, ADA, id(1), event))]);
        let at =
            |kind| table.get(&(ADA.0.into(), ADA.1.into(), id(1).uuid(), kind)).map(|set: &Set| set.due_at);
        assert_eq!([Kind::Release, Kind::Wake, Kind::Expire].map(at), expected, "{position} {name}");
    }
    let mut table = Table::new();
    store(&mut table, &[Arc::new(recorded(1, ADA, id(1), created(ADA, true)))]);
    store(&mut table, &[Arc::new(recorded(2, ADA, id(1), Event::Expired {}))]);
    assert_eq!(table, Table::new(), "what has expired waits for nothing");
}

/// What waits of e-mail, Slack and the webhook.
fn steps_that_wait(table: &Table) -> Vec<Channel> {
    let outside = Channel::ALL.into_iter().filter(|channel| channel.calls_outside());
    let key = |channel| (ADA.0.into(), ADA.1.into(), id(1).uuid(), Kind::Activate(channel));
    outside.filter(|channel| table.contains_key(&key(*channel))).collect()
}

#[test]
fn a_step_that_waits_for_an_instant_has_a_timer_until_its_turn_has_come_or_passed() {
    use Channel::{Email, InApp, Slack, Webhook};
    let at = |minute| Some(datetime!(2026-08-01 09:00 UTC) + time::Duration::minutes(minute));
    let Event::Created(mut made) = created(ADA, false) else { unreachable!("it was created") };
    // A first step that is due is no step that waits.
    let steps = [(Email, at(0)), (Slack, at(5)), (Webhook, at(9))];
    made.plan =
        Plan::new(steps.map(|(on, due_at)| PlanStep { due_at, ..PlanStep::on(on) }).to_vec()).unwrap();
    let mut table = Table::new();
    let mut tell = |position, event| {
        store(&mut table, &[Arc::new(recorded(position, ADA, id(1), event))]);
        steps_that_wait(&table)
    };
    assert_eq!(tell(1, Event::Created(made)), [Slack, Webhook]);
    let activated =
        |channel| Event::DeliveryFallbackActivated { from: InApp, channel, due_at: at(5).unwrap() };
    assert_eq!(tell(2, activated(Slack)), [Webhook]);
    let started = Event::DeliveryStarted { channel: Webhook, attempt: 1, deadline: at(6).unwrap() };
    assert_eq!(tell(3, started), [Webhook], "attempts are for workers");
    let reason = SkipReason::Seen;
    assert_eq!(tell(4, Event::DeliverySkipped { channel: Webhook, reason }), []);
}

#[test]
fn a_batch_names_the_earliest_instant_it_set() {
    let mut moves = Moves::default();
    assert_eq!(moves.earliest(), None);
    moves.fold(&recorded(1, ADA, id(1), created(ADA, true))).unwrap();
    moves.fold(&recorded(2, ADA, id(2), Event::Snoozed { until: SNOOZES[0] })).unwrap();
    assert_eq!(moves.earliest(), Some(datetime!(2026-08-02 09:00 UTC)));
    moves.fold(&recorded(3, ADA, id(1), Event::Cancelled {})).unwrap();
    assert_eq!(moves.earliest(), Some(SNOOZES[0]));
}

#[test]
fn what_cannot_be_read_or_names_nobody_is_refused_and_changes_nothing() {
    let mut moves = Moves::default();
    let nobody = Recorded { recipient: None, ..recorded(1, ADA, id(1), created(ADA, true)) };
    assert!(matches!(moves.fold(&nobody), Err(FoldError::NoRecipient { position: 1, .. })));
    let fact = Fact::Unreadable("a broken seal".into());
    let unreadable = Recorded { fact, ..recorded(2, ADA, id(1), created(ADA, true)) };
    assert!(matches!(moves.fold(&unreadable), Err(FoldError::Unreadable(_))));
    assert!(moves.is_empty());
}

#[test]
fn a_schedule_waits_for_its_next_tick_until_it_is_paused_at_its_end_or_deleted() {
    use tidings_domain::schedule::{self, ScheduleId};
    let schedule: ScheduleId = "sch_4:acmestandup".parse().unwrap();
    let at = datetime!(2026-08-03 09:00 UTC);
    let tell = |position, next_at: Option<time::OffsetDateTime>, deleted| {
        let (tenant, key) = (schedule.tenant.clone(), schedule.key.clone());
        let fact = match deleted {
            true => schedule::Event::Deleted { tenant, key, defined_by: 1 },
            false => schedule::Event::Ticked { defined_by: 1, at, missed: 0, created: Vec::new(), next_at },
        };
        let event = recorded(position, ADA, id(1), Event::Seen {});
        Recorded {
            recipient: None,
            aggregate_id: schedule.to_string(),
            fact: Fact::Schedule(schedule.clone(), fact),
            ..event
        }
    };
    let mut moves = Moves::default();
    let key = (ADA.0.to_owned(), schedule.to_string());
    moves.fold(&tell(1, Some(at), false)).unwrap();
    assert_eq!(moves.schedules[&key], Some(Set { due_at: at, position: 1 }));
    assert_eq!(moves.earliest(), Some(at));
    moves.fold(&tell(2, None, false)).unwrap();
    assert_eq!(moves.schedules[&key], None);
    moves.fold(&tell(3, Some(at), false)).unwrap();
    moves.fold(&tell(4, None, true)).unwrap();
    assert_eq!(moves.schedules[&key], None);
}
