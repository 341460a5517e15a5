//! Durations on the wire: a whole number and a unit, such as `250ms`, `30s`, `5m`, `2h` or `30d`. One spelling for one
//! duration comes back, so that what is read equals what was written, but for its unit.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::api::http::problem::{Kind, Problem};

/// Milliseconds of each unit, the longest first.
const UNITS_MS: [(&str, u64); 5] =
    [("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and a unit (`ms`, `s`, `m`, `h` or `d`), such as `5m`")]
pub struct InvalidDuration;

pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS_MS.into_iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
    let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(InvalidDuration)
}

/// A duration in a body, at this pointer, between these bounds.
pub fn parse_at(pointer: &str, text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, Problem> {
    let refuse = |detail: String| Problem::at(Kind::Invalid, pointer, detail);
    let duration = parse(text).map_err(|error| refuse(error.to_string()))?;
    if !bounds.contains(&duration) {
        let (min, max) = (format(*bounds.start()), format(*bounds.end()));
        return Err(refuse(format!("must be `{min}` to `{max}`")));
    }
    Ok(duration)
}

/// The same in whole seconds.
pub fn parse_seconds_at(pointer: &str, text: &str, bounds: RangeInclusive<Duration>) -> Result<u32, Problem> {
    let duration = parse_at(pointer, text, bounds)?;
    let seconds = u32::try_from(duration.as_secs()).ok().filter(|_| duration.subsec_millis() == 0);
    seconds.ok_or_else(|| Problem::at(Kind::Invalid, pointer, "must be whole seconds"))
}

/// In the longest unit that leaves no rest; what is less than a millisecond is cut.
pub fn format(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS_MS.into_iter().find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
    unit.map_or_else(|| "0s".into(), |(name, unit_ms)| format!("{}{name}", ms / unit_ms))
}

#[cfg(test)]
mod tests {
    //! What a duration may look like.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, ms, written) in [
            ("0s", 0, "0s"),
            ("0ms", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("1500ms", 1500, "1500ms"),
            ("1000ms", 1000, "1s"),
            ("30s", 30_000, "30s"),
            ("60s", 60_000, "1m"),
            ("90s", 90_000, "90s"),
            ("5m", 300_000, "5m"),
            ("007m", 420_000, "7m"),
            ("120m", 7_200_000, "2h"),
            ("36h", 129_600_000, "36h"),
            ("30d", 2_592_000_000, "30d"),
            ("18446744073709551615ms", u64::MAX, "18446744073709551615ms"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed, Duration::from_millis(ms), "{text}");
            assert_eq!(format(parsed), written, "{text}");
            assert_eq!(parse(written), Ok(parsed), "{written} reads back");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            " 5m",
            "5m ",
            "5M",
            "5min",
            "-5m",
            "+5m",
            "1.5h",
            "1h30m",
            "1e3s",
            "٥m",
            "5µs",
            "PT5M",
            "18446744073709551616ms",
            "18446744073709551615s",
        ] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn a_duration_beyond_its_bounds_is_told_them() {
        let bounds = || Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
        let parse = |text| parse_at("/plan/1/after", text, bounds()).map_err(|problem| problem.to_json());
        for text in ["1s", "1000ms", "30d", "720h"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["0s", "999ms", "31d", "2592000001ms"] {
            let problem = parse(text).unwrap_err();
            let error = r#""errors":[{"pointer":"/plan/1/after","detail":"must be `1s` to `30d`"}]"#;
            assert!(problem.contains(error), "{text}: {problem}");
        }
    }
}
