//! The rules of the fold, one by one: which events a user sees, what they do to the counts, and which logs
//! contradict themselves.

use std::iter::successors;

use serde_json::{Value, json};
use tidings_domain::notification::{
    Channel, Collected, DeferReason, Digested, Event, Failure, FailureClass, Plan, PlanStep, SkipReason,
};

use crate::inbox::fold::Rows;
use crate::inbox::item::{Change, Counts, rfc3339};
use crate::read_model::FoldError;
use crate::tests::histories::{SNOOZES, created, id, item, recorded};

const ADA: (&str, &str) = ("acme", "ada");

/// An event, the counts it leaves where it meets a new item in the inbox, if it makes a change there, and whether
/// it makes one where the item is still scheduled.
type Row = (&'static str, Option<(i64, i64)>, bool);

const TABLE: [Row; 23] = [
    ("notification.created", Some((1, 1)), false),
    ("notification.released", Some((1, 1)), true),
    ("notification.woken", Some((1, 1)), false),
    ("notification.seen", Some((1, 0)), false),
    ("notification.read", Some((0, 0)), false),
    ("notification.unread", Some((1, 1)), false),
    ("notification.archived", Some((0, 0)), false),
    ("notification.unarchived", Some((1, 1)), false),
    ("notification.snoozed", Some((0, 0)), false),
    ("notification.cancelled", Some((0, 0)), false),
    ("notification.expired", Some((0, 0)), false),
    ("notification.collected", None, false),
    ("notification.digested", Some((1, 1)), false),
    ("delivery.fallback_activated", None, false),
    ("delivery.started", None, false),
    ("delivery.succeeded", None, false),
    ("delivery.failed", None, false),
    ("delivery.retry_scheduled", None, false),
    ("delivery.deferred", None, false),
    ("delivery.skipped", None, false),
    ("delivery.exhausted", None, false),
    ("delivery.dead_lettered", None, false),
    ("delivery.retry_requested", None, false),
];

/// A new variant does not compile until it stands in the chain, and so the table cannot forget it.
fn event_after(event: &Event) -> Option<Event> {
    let channel = Channel::InApp;
    let error = Failure { class: FailureClass::Reported, detail: "no device".into() };
    Some(match event {
        Event::Created(_) => Event::Released {},
        Event::Released {} => Event::Woken {},
        Event::Woken {} => Event::Seen {},
        Event::Seen {} => Event::Read {},
        Event::Read {} => Event::Unread {},
        Event::Unread {} => Event::Archived {},
        Event::Archived {} => Event::Unarchived {},
        Event::Unarchived {} => Event::Snoozed { until: SNOOZES[0] },
        Event::Snoozed { .. } => Event::Cancelled {},
        Event::Cancelled {} => Event::Expired {},
        Event::Expired {} => Event::Collected(Box::new(Collected::first(item("An item")))),
        Event::Collected(_) => Event::Digested(Box::new(Digested { count: 0, content: None, data: None })),
        Event::Digested(_) => Event::DeliveryFallbackActivated { from: channel, channel, due_at: SNOOZES[0] },
        Event::DeliveryFallbackActivated { .. } => {
            Event::DeliveryStarted { channel, attempt: 1, deadline: SNOOZES[0] }
        }
        Event::DeliveryStarted { .. } => Event::DeliverySucceeded { channel, attempt: 1, provider_ref: None },
        Event::DeliverySucceeded { .. } => Event::DeliveryFailed { channel, attempt: 1, error },
        Event::DeliveryFailed { .. } => {
            Event::DeliveryRetryScheduled { channel, attempt: 2, due_at: SNOOZES[0] }
        }
        Event::DeliveryRetryScheduled { .. } => {
            let reason = DeferReason::QuietHours;
            Event::DeliveryDeferred { channel, attempt: 2, due_at: SNOOZES[0], reason }
        }
        Event::DeliveryDeferred { .. } => Event::DeliverySkipped { channel, reason: SkipReason::NoAddress },
        Event::DeliverySkipped { .. } => Event::DeliveryExhausted { channel, attempts: 1 },
        Event::DeliveryExhausted { .. } => Event::DeliveryDeadLettered { channel },
        Event::DeliveryDeadLettered { .. } => Event::DeliveryRetryRequested { channel, attempt: 2 },
        Event::DeliveryRetryRequested { .. } => return None,
    })
}

fn one_event_of_each_kind() -> impl Iterator<Item = Event> {
    successors(Some(created(ADA, false)), event_after)
}

/// Ada's one notification and what happens to it, from position 1.
struct Told {
    rows: Rows,
    position: i64,
}

impl Told {
    fn new() -> Self {
        Self { rows: Rows::default(), position: 0 }
    }

    fn created(scheduled: bool) -> Self {
        let mut told = Self::new();
        told.tell(created(ADA, scheduled));
        told
    }

    fn tell(&mut self, event: Event) -> Option<Change> {
        self.position += 1;
        self.rows.fold(&recorded(self.position, ADA, id(1), event)).unwrap()
    }

    fn counts(&self) -> Counts {
        self.rows.counters[&("acme".to_owned(), "ada".to_owned())].0
    }
}

#[test]
fn an_event_makes_a_change_where_its_user_sees_something_of_it() {
    let names: Vec<&str> = one_event_of_each_kind().map(|event| event.name()).collect();
    assert_eq!(names, TABLE.map(|row| row.0), "the table has every event");
    for (event, (name, shown, when_scheduled)) in one_event_of_each_kind().zip(TABLE) {
        let creation = matches!(event, Event::Created(_));
        let mut told = if creation { Told::new() } else { Told::created(false) };
        let change = told.tell(event.clone());
        let told_counts = change.as_ref().map(|change| (change.counts.unread, change.counts.unseen));
        assert_eq!(told_counts, shown, "{name} in the inbox");
        let (unread, unseen) = shown.unwrap_or((1, 1));
        assert_eq!(told.counts(), Counts { unread, unseen }, "{name} in the inbox");
        if let Some(change) = change {
            assert_eq!((change.event.as_str(), change.item.state.position), (name, told.position));
            assert_eq!((change.tenant.as_str(), change.user_id.as_str()), ADA);
            assert_eq!(change.item.notification, id(1).uuid());
        }

        let mut told = if creation { Told::new() } else { Told::created(true) };
        let event = if creation { created(ADA, true) } else { event };
        let change = told.tell(event);
        assert_eq!(change.is_some(), when_scheduled, "{name} while it is scheduled");
        let expected = i64::from(when_scheduled);
        assert_eq!(told.counts(), Counts { unread: expected, unseen: expected }, "{name} while scheduled");
    }
}

#[test]
fn a_released_notification_is_listed_where_it_was_released() {
    let mut told = Told::created(true);
    let change = told.tell(Event::Released {}).unwrap();
    assert_eq!(change.item.state.listed, Some(2));
}

#[test]
fn an_end_is_told_once_more_to_who_had_the_item_listed() {
    for end in [Event::Cancelled {}, Event::Expired {}] {
        let mut told = Told::created(true);
        told.tell(Event::Released {});
        let change = told.tell(end).unwrap();
        assert_eq!((change.counts, change.item.state.listed), (Counts::default(), Some(2)));
    }
}

#[test]
fn an_archived_item_counts_again_only_when_it_is_neither_archived_nor_snoozed() {
    let mut told = Told::created(false);
    let steps = [
        (Event::Snoozed { until: SNOOZES[0] }, (0, 0)),
        (Event::Archived {}, (0, 0)),
        (Event::Woken {}, (0, 0)),
        (Event::Unread {}, (0, 0)),
        (Event::Unarchived {}, (1, 1)),
        (Event::Read {}, (0, 0)),
        (Event::Unread {}, (1, 0)),
    ];
    for (event, (unread, unseen)) in steps {
        let name = event.name();
        assert_eq!(told.tell(event).unwrap().counts, Counts { unread, unseen }, "after {name}");
    }
}

#[test]
fn the_first_sight_of_an_item_is_the_one_that_stays() {
    let mut told = Told::created(false);
    let seen_at = told.tell(Event::Seen {}).unwrap().item.state.seen_at;
    assert!(seen_at.is_some());
    // No domain of today says it twice; whoever did would not make it later.
    assert_eq!(told.tell(Event::Seen {}).unwrap().item.state.seen_at, seen_at);
    told.tell(Event::DeliverySucceeded { channel: Channel::InApp, attempt: 1, provider_ref: None });
    let read = told.tell(Event::Read {}).unwrap().item.state;
    assert_eq!(read.seen_at, seen_at);
    assert!(read.read_at > seen_at, "read later than seen");
    let unread = told.tell(Event::Unread {}).unwrap().item.state;
    assert_eq!((unread.seen_at, unread.read_at), (seen_at, None));
}

#[test]
fn an_item_holds_what_its_creation_said() {
    let mut told = Told::new();
    let event = recorded(1, ADA, id(1), created(ADA, false));
    let change = told.rows.fold(&event).unwrap().unwrap();
    let content: Value = serde_json::from_str(&change.item.state.content).unwrap();
    assert_eq!(
        content,
        json!({
            "title": "Invoice 42", "body": "It is due.", "priority": "normal",
            "created_at": rfc3339(event.recorded_at),
        })
    );
}

#[test]
fn what_is_delivered_elsewhere_is_in_no_inbox_whatever_happens_to_it() {
    for (scheduled, event) in
        [false, true].into_iter().flat_map(|s| one_event_of_each_kind().map(move |e| (s, e)))
    {
        let mut told = Told::created(false);
        let Event::Created(mut made) = created(ADA, scheduled) else { unreachable!("it was created") };
        made.plan = Plan::new(vec![PlanStep::on(Channel::Email)]).unwrap();
        let name = event.name();
        let event = if name == "notification.created" { Event::Read {} } else { event };
        for (position, event) in (2..).zip([Event::Created(made), event, Event::Unread {}]) {
            let change = told.rows.fold(&recorded(position, ADA, id(2), event)).unwrap();
            assert_eq!(change, None, "{name}");
        }
        assert_eq!(told.counts(), Counts { unread: 1, unseen: 1 }, "{name}");
        let shelves = told.rows.items.values().filter(|item| item.shelf().is_some());
        assert_eq!((told.rows.items.len(), shelves.count()), (2, 1));
        assert!(told.rows.moved.is_empty(), "{name} moves no row");
    }
}

#[test]
fn a_change_of_what_was_never_created_contradicts_the_log() {
    // An item of a digest alters nothing before its release.
    let alters =
        |event: &Event| event.name().starts_with("notification.") && !matches!(event, Event::Collected(_));
    for event in one_event_of_each_kind().filter(alters).skip(1) {
        let name = event.name();
        let mut told = Told::created(false);
        // Another notification, and the same one of somebody else.
        for (owner, number) in [(ADA, 2), (("acme", "bob"), 1), (("other", "ada"), 1)] {
            let error = told.rows.fold(&recorded(2, owner, id(number), event.clone())).unwrap_err();
            assert!(
                matches!(&error, FoldError::NoItem { position: 2, event } if event == name),
                "{name} of {owner:?}: {error:?}"
            );
            let sentence = format!("position 2: {name} of a notification that was never created");
            assert_eq!(error.to_string(), sentence);
        }
        assert_eq!((told.rows.items.len(), told.rows.counters.len()), (1, 1), "{name} left no trace");
        assert_eq!(told.counts(), Counts { unread: 1, unseen: 1 });
    }
}

#[test]
fn a_delivery_of_what_was_never_created_changes_nothing() {
    for event in one_event_of_each_kind().filter(|event| event.name().starts_with("delivery.")) {
        let mut told = Told::new();
        assert_eq!(told.tell(event), None);
        assert!(told.rows.items.is_empty() && told.rows.counters.is_empty());
    }
}

#[test]
fn an_event_of_a_notification_must_name_its_recipient() {
    for event in one_event_of_each_kind() {
        let name = event.name();
        let mut told = Told::created(false);
        let mut event = recorded(2, ADA, id(1), event);
        event.recipient = None;
        let error = told.rows.fold(&event).unwrap_err();
        assert!(
            matches!(&error, FoldError::NoRecipient { position: 2, event } if event == name),
            "{error:?}"
        );
        assert_eq!(error.to_string(), format!("position 2: {name} names no recipient"));
        assert_eq!(told.counts(), Counts { unread: 1, unseen: 1 });
    }
}
