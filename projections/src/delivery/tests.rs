//! The fold, without a database: random histories held against the aggregates themselves, and logs that contradict
//! themselves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidings_domain::notification::{
    Channel, DeferReason, Delivery, DeliveryStatus, Event, FailureClass, Plan, PlanStep, SkipReason,
};

use super::fold::{DeliveryKey, Life, Row, Rows, altered};
use crate::log::{Fact, Recorded};
use crate::notification::{DeliveryOverview, Overview};
use crate::read_model::FoldError;
use crate::tests::histories::{Xorshift, created, fact, history, id, item_key, recorded};
use time::OffsetDateTime;
use time::macros::datetime;

const ADA: (&str, &str) = ("acme", "ada");

/// The table in memory: loaded, folded and stored batch by batch, as `apply` does it in SQL.
#[derive(Clone, Default, PartialEq, Debug)]
struct Table(HashMap<(DeliveryKey, Channel), Row>);

impl Table {
    fn fold(&self, batch: &[Arc<Recorded>]) -> Rows {
        let keys: HashSet<DeliveryKey> = batch.iter().filter_map(|event| altered(event)).collect();
        let mut rows = Rows::default();
        let loaded = self.0.iter().filter(|((key, _), _)| keys.contains(key));
        let mut loaded: Vec<_> = loaded.map(|((key, _), row)| (key.clone(), row.clone())).collect();
        loaded.sort_by_key(|(_, row)| row.step);
        rows.loaded(loaded);
        batch.iter().for_each(|event| rows.fold(event).unwrap());
        rows
    }

    fn commit(&mut self, rows: &Rows) {
        for key in &rows.made {
            for row in &rows.rows[key] {
                let taken = self.0.insert((key.clone(), row.delivery.channel), row.clone());
                assert_eq!(taken, None, "a row is inserted once");
            }
        }
        for key in &rows.moved {
            for row in &rows.rows[key] {
                let stands = self.0.get_mut(&(key.clone(), row.delivery.channel));
                let stands = stands.expect("only rows that stand there are updated");
                let Row { step, created, priority, .. } = *stands;
                let category = stands.category.clone();
                *stands = Row { step, created, priority, category, ..row.clone() };
            }
        }
    }
}

/// What the rows must say, from each notification's own events alone; without the last change.
fn expected(log: &[Arc<Recorded>]) -> HashMap<(DeliveryKey, Channel), Row> {
    let mut own: BTreeMap<DeliveryKey, Vec<Arc<Recorded>>> = BTreeMap::new();
    log.iter().for_each(|event| own.entry(item_key(event)).or_default().push(event.clone()));
    let mut rows = HashMap::new();
    for (key, events) in own {
        let overview = Overview::fold(&events).unwrap().unwrap();
        for (step, DeliveryOverview { delivery, failure, .. }) in (0..).zip(overview.deliveries()) {
            let row = Row {
                delivery: Delivery { due_at: since(&events, delivery), ..delivery.clone() },
                step,
                created: events[0].position,
                life: Life::parse(overview.status()).unwrap(),
                priority: overview.created.priority,
                category: overview.created.category.clone(),
                deferred: deferred(&events, delivery),
                error: failure.cloned(),
                position: 0,
                changed_at: OffsetDateTime::UNIX_EPOCH,
            };
            rows.insert((key.clone(), delivery.channel), row);
        }
    }
    rows
}

fn without_change(row: &Row) -> Row {
    Row { position: 0, changed_at: OffsetDateTime::UNIX_EPOCH, ..row.clone() }
}

/// Why its attempt waits, where nothing has failed.
fn deferred(events: &[Arc<Recorded>], delivery: &Delivery) -> Option<DeferReason> {
    let set = events.iter().rev().find_map(|event| match fact(event) {
        Event::DeliveryDeferred { channel, reason, .. } if *channel == delivery.channel => {
            Some(Some(*reason))
        }
        Event::DeliveryRetryScheduled { channel, .. } if *channel == delivery.channel => Some(None),
        _ => None,
    });
    set.flatten().filter(|_| delivery.status == DeliveryStatus::Scheduled)
}

/// When it is due. One that somebody asked for is due since then, which the aggregate does not know.
fn since(events: &[Arc<Recorded>], delivery: &Delivery) -> Option<OffsetDateTime> {
    let asked = events.iter().rev().find(|event| match fact(event) {
        Event::DeliveryRetryRequested { channel, attempt } => {
            (*channel, *attempt) == (delivery.channel, delivery.attempt)
        }
        _ => false,
    });
    let asked =
        asked.filter(|_| delivery.status == DeliveryStatus::Pending && delivery.channel.calls_outside());
    delivery.due_at.or(asked.map(|event| event.recorded_at))
}

#[test]
fn rows_are_what_the_aggregates_say_however_the_log_is_cut_and_however_often_a_batch_comes() {
    let (mut met, mut put_off) = (HashSet::new(), false);
    for number in 1..=300_u64 {
        let mut random = Xorshift(0x6465_6c69_7665_7279_u64.wrapping_mul(number) | 1);
        let log = history(&mut random);
        let (mut table, mut at) = (Table::default(), 0);
        while at < log.len() {
            let end = (at + 1 + random.below(12)).min(log.len());
            // What was not committed left no trace.
            table.fold(&log[at..=at + random.below(end - at)]);
            let (first, again) = (table.fold(&log[at..end]), table.fold(&log[at..end]));
            assert_eq!(first.rows, again.rows);
            table.commit(&again);
            let rows: HashMap<_, _> =
                table.0.iter().map(|(key, row)| (key.clone(), without_change(row))).collect();
            assert_eq!(rows, expected(&log[..end]));
            at = end;
        }
        let mut whole = Table::default();
        let rows = whole.fold(&log);
        whole.commit(&rows);
        assert_eq!(table, whole, "in one batch or in many");
        put_off |= table.0.values().any(|row| row.deferred.is_some());
        met.extend(table.0.values().map(|row| (row.life, row.delivery.status, row.error.is_some())));
    }
    let statuses: HashSet<_> = met.iter().map(|(_, status, _)| *status).collect();
    assert_eq!(statuses.len(), DeliveryStatus::ALL.len(), "only met {statuses:?}");
    assert!(met.contains(&(Life::Active, DeliveryStatus::Pending, true)), "failed again: {met:?}");
    assert!(put_off, "by quiet hours");
}

/// One step by e-mail, one after it by Slack.
fn created_outside(scheduled: bool) -> Event {
    let Event::Created(mut made) = created(ADA, scheduled) else { unreachable!("it was created") };
    let at = made.deliver_at.unwrap_or(DUE);
    let email = PlanStep { due_at: Some(at), ..PlanStep::on(Channel::Email) };
    made.plan = Plan::new(vec![email, PlanStep::on(Channel::Slack)]).unwrap();
    Event::Created(made)
}

const DUE: OffsetDateTime = datetime!(2026-08-01 09:00 UTC);
const LATER: OffsetDateTime = datetime!(2026-08-01 09:10 UTC);
const DEADLINE: OffsetDateTime = datetime!(2026-08-01 09:20 UTC);

#[test]
fn a_row_says_when_there_is_work_for_somebody() {
    let (channel, slack) = (Channel::Email, Channel::Slack);
    let failed = || Event::DeliveryFailed {
        channel,
        attempt: 1,
        error: tidings_domain::notification::Failure {
            class: FailureClass::Transient,
            detail: "busy".into(),
        },
    };
    // What happens, and from when on there is work by e-mail and by Slack.
    let steps = [
        (created_outside(false), [Some(DUE), None]),
        (Event::DeliveryStarted { channel, attempt: 1, deadline: DEADLINE }, [Some(DEADLINE), None]),
        (failed(), [Some(DEADLINE), None]),
        (Event::DeliveryRetryScheduled { channel, attempt: 2, due_at: LATER }, [Some(LATER), None]),
        (Event::DeliveryExhausted { channel, attempts: 2 }, [None, None]),
        (
            Event::DeliveryFallbackActivated { from: channel, channel: slack, due_at: LATER },
            [None, Some(LATER)],
        ),
        (Event::DeliveryRetryRequested { channel, attempt: 3 }, [Some(recorded_at(7)), Some(LATER)]),
        (Event::DeliverySkipped { channel: slack, reason: SkipReason::Seen }, [Some(recorded_at(7)), None]),
        (
            Event::DeliveryDeferred { channel, attempt: 3, due_at: LATER, reason: DeferReason::QuietHours },
            [Some(LATER), None],
        ),
        (Event::DeliveryStarted { channel, attempt: 3, deadline: DEADLINE }, [Some(DEADLINE), None]),
        (Event::Cancelled {}, [Some(DEADLINE), None]),
        (Event::DeliverySucceeded { channel, attempt: 3, provider_ref: None }, [None, None]),
    ];
    let mut rows = Rows::default();
    for (position, (event, expected)) in (1..).zip(steps) {
        let name = event.name();
        rows.fold(&recorded(position, ADA, id(1), event)).unwrap();
        let work: Vec<_> = rows.rows.values().flatten().map(Row::work_at).collect();
        assert_eq!(work, expected, "{position} {name}");
    }
    let mut rows = Rows::default();
    let work = |rows: &Rows| rows.rows.values().flatten().map(Row::work_at).next().unwrap();
    rows.fold(&recorded(1, ADA, id(1), created_outside(true))).unwrap();
    assert_eq!(work(&rows), None, "nobody works before the release");
    rows.fold(&recorded(2, ADA, id(1), Event::Released {})).unwrap();
    assert!(work(&rows).is_some());
}

fn recorded_at(position: i64) -> OffsetDateTime {
    recorded(position, ADA, id(1), Event::Released {}).recorded_at
}

#[test]
fn what_contradicts_the_log_is_refused_and_changes_nothing() {
    let mut rows = Rows::default();
    let released = recorded(1, ADA, id(1), Event::Released {});
    assert!(matches!(rows.fold(&released), Err(FoldError::NoItem { position: 1, .. })));
    let nobody = Recorded { recipient: None, ..recorded(2, ADA, id(1), created(ADA, false)) };
    assert!(matches!(rows.fold(&nobody), Err(FoldError::NoRecipient { position: 2, .. })));
    let fact = Fact::Unreadable("a broken seal".into());
    let unreadable = Recorded { fact, ..recorded(3, ADA, id(1), created(ADA, false)) };
    assert!(matches!(rows.fold(&unreadable), Err(FoldError::Unreadable(_))));
    // What alters no row needs none.
    rows.fold(&recorded(4, ADA, id(1), Event::Read {})).unwrap();
    assert!(rows.rows.is_empty() && rows.made.is_empty() && rows.moved.is_empty());
}
