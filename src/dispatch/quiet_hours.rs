//! When quiet hours end, on the recipient's own clock. A clock that is set forward or back in the middle of them neither
//! wakes anybody early nor keeps anything back for longer than the clock says.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use tidings_domain::recipient::{self, LocalTime, QuietHours};
use time::OffsetDateTime;

/// Nights that may follow each other without a moment between them, as where a whole day is left out of a calendar.
const ADJOINING_MAX: usize = 4;

/// When the quiet time around this instant ends; `None` where it is not quiet. Without a zone that is known, UTC counts.
pub fn quiet_until(
    hours: QuietHours,
    zone: Option<&recipient::TimeZone>,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let zone = zone.and_then(|zone| TimeZone::get(zone.as_str()).ok()).unwrap_or(TimeZone::UTC);
    let now = Timestamp::from_nanosecond(now.unix_timestamp_nanos()).ok()?;
    let mut until = None;
    let mut at = now;
    for _ in 0..ADJOINING_MAX {
        match end_around(hours, &zone, at) {
            Some(end) => (until, at) = (Some(end), end),
            None => break,
        }
    }
    OffsetDateTime::from_unix_timestamp_nanos(until?.as_nanosecond()).ok()
}

/// The end of one night that this instant falls into: that of the day before, of the same day or of the one after, which
/// may have begun where the clock goes back at midnight.
fn end_around(hours: QuietHours, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(at).date();
    let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
    let nights = days.into_iter().flatten().filter_map(|day| night(hours, zone, day));
    nights.filter(|(from, to)| *from <= at && at < *to).map(|(_, to)| to).max()
}

/// From when to when it is quiet in the night that begins on this day.
fn night(hours: QuietHours, zone: &TimeZone, day: Date) -> Option<(Timestamp, Timestamp)> {
    let last_day = if hours.to > hours.from { day } else { day.checked_add(1.day()).ok()? };
    let (from, _) = on_clock(zone, day, hours.from)?;
    let (_, to) = on_clock(zone, last_day, hours.to)?;
    Some((from, to))
}

/// The first and the last instant at which a clock shows this. A time that the clock leaves out comes when it is passed
/// over.
fn on_clock(zone: &TimeZone, day: Date, time: LocalTime) -> Option<(Timestamp, Timestamp)> {
    let time = Time::new(time.hour.try_into().ok()?, time.minute.try_into().ok()?, 0, 0).ok()?;
    let shown = zone.to_ambiguous_timestamp(day.to_datetime(time));
    match shown.offset() {
        AmbiguousOffset::Unambiguous { .. } => shown.unambiguous().ok().map(|at| (at, at)),
        AmbiguousOffset::Fold { .. } => Some((shown.earlier().ok()?, shown.later().ok()?)),
        AmbiguousOffset::Gap { .. } => {
            let before = shown.earlier().ok()?;
            let passed = zone.following(before).next()?.timestamp();
            Some((passed, passed))
        }
    }
}

#[cfg(test)]
mod tests {
    //! Nights in many places, ordinary ones and those in which clocks are set.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use time::format_description::well_known::Rfc3339;

    use super::*;

    /// When it ends, if it is quiet at all.
    #[track_caller]
    fn assert_quiet(zone: &str, (from, to): (&str, &str), at: &str, until: Option<&str>) {
        let hours = QuietHours { from: from.parse().unwrap(), to: to.parse().unwrap() };
        let name = recipient::TimeZone::new(zone.into()).unwrap();
        let instant = |text| OffsetDateTime::parse(text, &Rfc3339).unwrap();
        let found = quiet_until(hours, Some(&name), instant(at));
        assert_eq!(found, until.map(instant), "{zone}, {from} to {to}, at {at}");
        // What ends is over.
        if let Some(end) = found {
            assert_eq!(quiet_until(hours, Some(&name), end), None, "{zone} at {end}");
        }
    }

    #[test]
    fn a_night_goes_over_midnight_or_not() {
        let (zone, night, nap) = ("Europe/Vienna", ("22:00", "07:00"), ("13:00", "14:30"));
        for (at, until) in [
            ("2026-01-15T20:59:59Z", None),
            ("2026-01-15T21:00:00Z", Some("2026-01-16T06:00:00Z")),
            ("2026-01-15T23:00:00Z", Some("2026-01-16T06:00:00Z")),
            ("2026-01-16T05:59:59.999Z", Some("2026-01-16T06:00:00Z")),
            ("2026-01-16T06:00:00Z", None),
            ("2026-01-16T12:00:00Z", None),
        ] {
            assert_quiet(zone, night, at, until);
        }
        for (at, until) in [
            ("2026-07-15T10:59:00Z", None),
            ("2026-07-15T11:00:00Z", Some("2026-07-15T12:30:00Z")),
            ("2026-07-15T12:30:00Z", None),
        ] {
            assert_quiet(zone, nap, at, until);
        }
        assert_quiet("UTC", ("00:00", "23:59"), "2026-07-15T23:58:00Z", Some("2026-07-15T23:59:00Z"));
        assert_quiet("UTC", ("23:00", "00:00"), "2026-07-15T23:30:00Z", Some("2026-07-16T00:00:00Z"));
    }

    #[test]
    fn nights_in_which_clocks_are_set_forward_are_shorter() {
        let night = ("22:00", "07:00");
        assert_quiet("Europe/Vienna", night, "2026-03-28T22:00:00Z", Some("2026-03-29T05:00:00Z"));
        assert_quiet("America/New_York", night, "2026-03-08T03:00:00Z", Some("2026-03-08T11:00:00Z"));
        assert_quiet("America/St_Johns", night, "2026-03-08T02:00:00Z", Some("2026-03-08T09:30:00Z"));
        // By half an hour.
        assert_quiet("Australia/Lord_Howe", night, "2026-10-03T12:00:00Z", Some("2026-10-03T20:00:00Z"));
        // At midnight.
        assert_quiet("Africa/Cairo", night, "2026-04-23T21:00:00Z", Some("2026-04-24T04:00:00Z"));
    }

    #[test]
    fn nights_in_which_clocks_are_set_back_are_longer() {
        let night = ("22:00", "07:00");
        assert_quiet("Europe/Vienna", night, "2026-10-24T22:00:00Z", Some("2026-10-25T06:00:00Z"));
        assert_quiet("America/New_York", night, "2026-11-01T03:00:00Z", Some("2026-11-01T12:00:00Z"));
        assert_quiet("America/St_Johns", night, "2026-11-01T01:00:00Z", Some("2026-11-01T10:30:00Z"));
        assert_quiet("Australia/Lord_Howe", night, "2026-04-04T12:00:00Z", Some("2026-04-04T20:30:00Z"));
        // For Ramadan, and back.
        assert_quiet("Africa/Casablanca", night, "2026-02-14T23:00:00Z", Some("2026-02-15T07:00:00Z"));
        assert_quiet("Africa/Casablanca", night, "2026-03-21T23:00:00Z", Some("2026-03-22T06:00:00Z"));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_comes_when_it_is_passed_over() {
        // 02:00 becomes 03:00 at 01:00 UTC.
        for to in ["02:00", "02:30", "03:00"] {
            assert_quiet(
                "Europe/Vienna",
                ("22:00", to),
                "2026-03-28T23:00:00Z",
                Some("2026-03-29T01:00:00Z"),
            );
        }
        assert_quiet("Europe/Vienna", ("02:30", "05:00"), "2026-03-29T00:59:59Z", None);
        assert_quiet(
            "Europe/Vienna",
            ("02:30", "05:00"),
            "2026-03-29T01:00:00Z",
            Some("2026-03-29T03:00:00Z"),
        );
        // All of it is left out.
        assert_quiet("Europe/Vienna", ("02:15", "02:45"), "2026-03-29T01:00:00Z", None);
        // 02:00 becomes 02:30 at 15:30 UTC.
        assert_quiet(
            "Australia/Lord_Howe",
            ("22:00", "02:15"),
            "2026-10-03T14:00:00Z",
            Some("2026-10-03T15:30:00Z"),
        );
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_begins_with_the_first_and_ends_with_the_last() {
        // 03:00 becomes 02:00 at 01:00 UTC: 02:30 is at 00:30 and at 01:30.
        assert_quiet(
            "Europe/Vienna",
            ("22:00", "02:30"),
            "2026-10-25T00:31:00Z",
            Some("2026-10-25T01:30:00Z"),
        );
        assert_quiet("Europe/Vienna", ("02:30", "05:00"), "2026-10-25T00:29:00Z", None);
        assert_quiet(
            "Europe/Vienna",
            ("02:30", "05:00"),
            "2026-10-25T00:30:00Z",
            Some("2026-10-25T04:00:00Z"),
        );
        assert_quiet(
            "Europe/Vienna",
            ("02:30", "05:00"),
            "2026-10-25T01:10:00Z",
            Some("2026-10-25T04:00:00Z"),
        );
    }

    #[test]
    fn nights_are_nights_also_where_a_day_is_left_out_or_the_offset_is_odd() {
        // 29 December 2011 was followed by the 31st at 10:00 UTC.
        assert_quiet(
            "Pacific/Apia",
            ("22:00", "07:00"),
            "2011-12-30T09:00:00Z",
            Some("2011-12-30T17:00:00Z"),
        );
        assert_quiet(
            "Asia/Kathmandu",
            ("22:00", "07:00"),
            "2026-05-01T16:15:00Z",
            Some("2026-05-02T01:15:00Z"),
        );
        assert_quiet("Asia/Kathmandu", ("22:00", "07:00"), "2026-05-01T16:14:59Z", None);
        assert_quiet(
            "Pacific/Kiritimati",
            ("22:00", "07:00"),
            "2026-05-01T08:00:00Z",
            Some("2026-05-01T17:00:00Z"),
        );
    }

    #[test]
    fn who_has_no_zone_that_is_known_lives_by_utc() {
        let hours = QuietHours { from: "22:00".parse().unwrap(), to: "07:00".parse().unwrap() };
        let unknown = recipient::TimeZone::new("Mars/Olympus".into()).unwrap();
        let at = OffsetDateTime::parse("2026-05-01T23:00:00Z", &Rfc3339).unwrap();
        for zone in [None, Some(&unknown)] {
            assert_eq!(quiet_until(hours, zone, at), Some(at + time::Duration::hours(8)));
        }
    }
}
