//! Instants as they come from outside: RFC 3339, in the years 1 to 9999, cut to the milliseconds in which they are
//! written again, so that one reads back as it was given, from Postgres too.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a date and time as in RFC 3339, such as 2026-11-22T10:00:00Z, of the years 1 to 9999")]
pub struct InvalidInstant;

pub fn parse(text: &str) -> Result<OffsetDateTime, InvalidInstant> {
    let given = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidInstant)?;
    let utc = given.checked_to_offset(UtcOffset::UTC).ok_or(InvalidInstant)?;
    if !(1..=9999).contains(&utc.year()) {
        return Err(InvalidInstant);
    }
    Ok(utc.replace_millisecond(utc.millisecond()).expect("a millisecond taken from an instant fits one"))
}

#[cfg(test)]
mod tests {
    //! What an instant may look like.
    use tidings_projections::inbox::rfc3339;

    use super::*;

    #[test]
    fn an_instant_is_cut_to_milliseconds_in_utc() {
        for (text, read) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000Z"),
            ("2026-11-22T10:00:00.123999999Z", "2026-11-22T10:00:00.123Z"),
            ("2026-11-22T01:30:00.5+02:00", "2026-11-21T23:30:00.500Z"),
            ("2026-11-22T10:00:00-00:00", "2026-11-22T10:00:00.000Z"),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse(text).map(rfc3339), Ok(read.to_owned()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "now",
            "1763805600",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00 02:00",
            "2026-11-22 10:00",
            "2026-13-22T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2026-11-22T10:00:00+25:00",
            "2026-11-22T10:00:00Z ",
            "2026-11-22T10:00:00.Z",
            "+12026-11-22T10:00:00Z",
            "10000-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "-0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(parse(text), Err(InvalidInstant), "{text}");
        }
    }
}
