//! What becomes of ticks whose time has come: one step at a time, each of which leaves less.

use time::{Duration, OffsetDateTime};

use super::Missed;

/// A tick that is no later than this was not missed.
const LATE: Duration = Duration::seconds(60);
/// Ticks that are looked at together.
pub const DUE_MAX: usize = 10_000;
/// Missed ticks that `all` makes up for.
pub const RUN_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for what it asks for, once for this tick and for `missed` before it.
    Run { at: OffsetDateTime, missed: u32 },
    /// Pass over the first of those that are due.
    Skip { to: OffsetDateTime, count: u32 },
}

/// The next step at `now`, with `due` the ticks up to then in their order, at most [`DUE_MAX`]; `more` says that there are others
/// beyond. Nothing where none is due.
pub fn step(missed: Missed, due: &[OffsetDateTime], more: bool, now: OffsetDateTime) -> Option<Step> {
    let last = *due.last()?;
    // So many that the next look is for the rest of them.
    if more {
        return skip(due, due.len() - RUN_MAX.min(due.len() - 1));
    }
    match missed {
        Missed::Once => Some(Step::Run { at: last, missed: count(due.len() - 1) }),
        Missed::All if due.len() > RUN_MAX => skip(due, due.len() - RUN_MAX),
        Missed::All => Some(Step::Run { at: due[0], missed: 0 }),
        Missed::Skip if now - last > LATE => skip(due, due.len()),
        Missed::Skip if due.len() > 1 => skip(due, due.len() - 1),
        Missed::Skip => Some(Step::Run { at: last, missed: 0 }),
    }
}

fn skip(due: &[OffsetDateTime], first: usize) -> Option<Step> {
    let to = *due.get(first.checked_sub(1)?)?;
    Some(Step::Skip { to, count: count(first) })
}

fn count(ticks: usize) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX)
}
