//! Expressions on clocks that are put forward and back, and expressions that are none.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::time::Instant;

use time::macros::datetime;

use super::*;

fn ticks(cron: &str, zone: &str) -> Ticks {
    Ticks::new(cron, zone, None).unwrap()
}

fn instant(text: &str) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(text.parse::<Timestamp>().unwrap().as_second()).unwrap()
}

/// The ticks from the first instant on are these.
fn assert_ticks(cron: &str, zone: &str, from: &str, expected: &[&str]) {
    let ticks = ticks(cron, zone);
    let mut at = instant(from);
    for next in expected {
        at = ticks.after(at).unwrap();
        assert_eq!(at, instant(next), "{cron} in {zone} from {from}");
    }
}

#[test]
fn a_fixed_time_that_the_clock_leaves_out_comes_right_after_and_only_that_day() {
    let table = [
        // 02:00 to 03:00 on March 29.
        ("30 2 * * *", "Europe/Vienna", "2026-03-28T02:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        // 02:00 to 03:00 on March 8.
        ("30 2 * * *", "America/New_York", "2026-03-07T08:00Z", ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]),
        // 01:00 to 02:00 on March 29.
        ("15 1 * * *", "Europe/London", "2026-03-28T02:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:15Z"]),
        // Half an hour only: 02:00 to 02:30 on October 4.
        (
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T16:00Z",
            ["2026-10-03T15:30Z", "2026-10-04T15:10Z"],
        ),
        // At midnight: 00:00 to 01:00 on September 6.
        ("0 0 * * *", "America/Santiago", "2026-09-05T05:00Z", ["2026-09-06T04:00Z", "2026-09-07T03:00Z"]),
        // 02:00 to 03:00 on September 27.
        ("30 2 * * *", "Pacific/Auckland", "2026-09-25T15:00Z", ["2026-09-26T14:00Z", "2026-09-27T13:30Z"]),
    ];
    for (cron, zone, from, expected) in table {
        assert_ticks(cron, zone, &seconds(from), &expected.map(seconds).each_ref().map(String::as_str));
    }
}

#[test]
fn a_fixed_time_that_the_clock_shows_twice_comes_once() {
    let table = [
        // 03:00 to 02:00 on October 25.
        ("30 2 * * *", "Europe/Vienna", "2026-10-24T02:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        // 02:00 to 01:00 on November 1.
        ("30 1 * * *", "America/New_York", "2026-10-31T08:00Z", ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]),
        // 02:00 to 01:00 on October 25.
        ("15 1 * * *", "Europe/London", "2026-10-24T02:00Z", ["2026-10-25T00:15Z", "2026-10-26T01:15Z"]),
        // Half an hour only: 02:00 to 01:30 on April 5.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T16:00Z",
            ["2026-04-04T14:45Z", "2026-04-05T15:15Z"],
        ),
        // Over midnight: 00:00 to 23:00 of April 4.
        ("30 23 * * *", "America/Santiago", "2026-04-04T03:00Z", ["2026-04-05T02:30Z", "2026-04-06T03:30Z"]),
    ];
    for (cron, zone, from, expected) in table {
        assert_ticks(cron, zone, &seconds(from), &expected.map(seconds).each_ref().map(String::as_str));
    }
}

fn seconds(text: &str) -> String {
    text.replace('Z', ":00Z")
}

#[test]
fn what_comes_every_half_an_hour_goes_by_the_clock() {
    let forward = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    assert_ticks("*/30 * * * *", "Europe/Vienna", "2026-03-29T00:00:00Z", &forward);
    let back =
        ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"];
    assert_ticks("*/30 * * * *", "Europe/Vienna", "2026-10-25T00:00:00Z", &back);
}

#[test]
fn days_of_the_month_and_of_the_week_are_either_as_cron_has_it() {
    // The thirteenth is a Thursday; Fridays are the seventh and the fourteenth.
    let expected = ["2026-08-07T00:00:00Z", "2026-08-13T00:00:00Z", "2026-08-14T00:00:00Z"];
    assert_ticks("0 0 13 8 5", "UTC", "2026-08-01T00:00:00Z", &expected);
    assert_ticks("0 0 29 2 *", "UTC", "2026-08-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
}

#[test]
fn an_instant_between_two_seconds_is_before_the_next_tick_only() {
    let ticks = ticks("* * * * *", "UTC");
    let (nine, minute) = (datetime!(2026-08-03 09:00 UTC), time::Duration::MINUTE);
    assert_eq!(ticks.from(nine), Some(nine));
    assert_eq!(ticks.after(nine), Some(nine + minute));
    let later = nine + time::Duration::milliseconds(500);
    assert_eq!((ticks.from(later), ticks.after(later)), (Some(nine + minute), Some(nine + minute)));
}

#[test]
fn ticks_end_where_they_are_said_to() {
    let nine = datetime!(2026-08-03 09:00 UTC);
    let ends_at = nine + time::Duration::minutes(2);
    let ticks = Ticks::new("* * * * *", "UTC", Some(ends_at)).unwrap();
    let (due, more) = ticks.due(nine, nine + time::Duration::HOUR, 10);
    assert_eq!((due.as_slice(), more), (&[nine, nine + time::Duration::MINUTE, ends_at][..], false));
    assert_eq!(ticks.after(ends_at), None);
    assert!(ticks.due(nine, nine + time::Duration::HOUR, 2).1);
    assert_eq!(ticks.due(nine, nine - time::Duration::MINUTE, 2), (Vec::new(), false));
}

#[test]
fn what_never_fires_is_found_out_soon() {
    let begun = Instant::now();
    let now = datetime!(2026-08-03 09:00 UTC);
    for cron in ["0 0 31 2 *", "0 0 30 2 *", "59 23 31 2,4,6,9,11 *", "0 0 31 2 +1", "* * 31 2 *"] {
        for zone in ["UTC", "Europe/Vienna", "Australia/Lord_Howe"] {
            assert_eq!(ticks(cron, zone).after(now), None, "{cron}");
        }
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn what_is_no_expression_of_five_fields_is_refused() {
    let long = format!("{} * * * *", (0..60).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let bad = [
        "",
        "*",
        "* * * *",
        "* * * * * *",
        "0 0 * * * 2026",
        "@daily",
        "@reboot",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "* * * * MOO",
        "-1 * * * *",
        "1,,2 * * * *",
        "* * * * *\u{0}",
        "٣ * * * *",
        "99999999999999999999 * * * *",
        &long,
    ];
    for cron in bad {
        assert!(Ticks::new(cron, "UTC", None).is_err(), "{cron}");
    }
    for cron in [
        "0 9 * * 1-5",
        "0 9 * * MON-FRI",
        "*/15 8-18 1,15 jan-mar *",
        "0 0 L * *",
        "0 9 * * 5#2",
        "  0   9 * * 7 ",
    ] {
        assert!(Ticks::new(cron, "UTC", None).is_ok(), "{cron}");
    }
}
