//! When a cron expression fires on the clock of a time zone.
//!
//! Where a clock is put forward, a fixed time that it leaves out comes at the first minute after it; where it is put back, a fixed
//! time that it shows twice comes once, the first time. What comes every so many minutes or hours goes by the clock: it leaves out
//! what is left out, and goes on through both halves of what is repeated. So did Vixie's cron.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use time::OffsetDateTime;

/// Characters of an expression.
pub const CHARS_MAX: usize = 128;

/// Why an expression is none; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cron expression of five fields and at most 128 characters, such as `0 9 * * 1-5`{0}")]
pub struct InvalidCron(String);

/// The ticks of an expression, up to an end.
#[derive(Clone, Debug)]
pub struct Ticks {
    cron: Cron,
    zone: TimeZone,
    ends_at: Option<OffsetDateTime>,
}

impl Ticks {
    /// `time_zone` is a name that the database knows; another is UTC.
    pub fn new(cron: &str, time_zone: &str, ends_at: Option<OffsetDateTime>) -> Result<Self, InvalidCron> {
        // Nicknames and seconds are not for everybody to read, and an empty member of a list would be passed over.
        let is_field =
            |field: &str| !field.contains('@') && field.split(',').all(|member| !member.is_empty());
        let mut fields = cron.split_whitespace();
        if cron.len() > CHARS_MAX || fields.clone().count() != 5 || !fields.all(is_field) {
            return Err(InvalidCron(String::new()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| InvalidCron(format!(" ({error})")))?;
        let zone = TimeZone::get(time_zone).unwrap_or(TimeZone::UTC);
        Ok(Self { cron, zone, ends_at })
    }

    /// The first tick after an instant, if one comes.
    pub fn after(&self, at: OffsetDateTime) -> Option<OffsetDateTime> {
        let at_second = Timestamp::from_second(at.unix_timestamp()).ok()?;
        let zoned = Zoned::new(at_second, self.zone.clone());
        let next = self.cron.find_next_occurrence(&zoned, false).ok()?;
        let next = OffsetDateTime::from_unix_timestamp(next.timestamp().as_second()).ok()?;
        // Whoever goes from tick to tick must come to an end.
        (next > at && self.ends_at.is_none_or(|ends_at| next <= ends_at)).then_some(next)
    }

    /// The first tick at an instant or after it.
    pub fn from(&self, at: OffsetDateTime) -> Option<OffsetDateTime> {
        self.after(at.checked_sub(time::Duration::MILLISECOND)?)
    }

    /// Those from a tick up to `now`, at most `limit`, and whether there are others.
    pub fn due(
        &self,
        first: OffsetDateTime,
        now: OffsetDateTime,
        limit: usize,
    ) -> (Vec<OffsetDateTime>, bool) {
        let mut ticks = std::iter::successors(Some(first), |at| self.after(*at)).take_while(|at| *at <= now);
        let due = ticks.by_ref().take(limit).collect();
        (due, ticks.next().is_some())
    }
}

#[cfg(test)]
mod tests;
