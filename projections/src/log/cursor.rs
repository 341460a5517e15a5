//! Cursors: how a position of the log is named outside the process.
//!
//! `"<epoch>.<position>"` means "everything up to here". An epoch begins when the database went back in time
//! (a restore, a failover that lost the tail): above that point the same number may name another event, and the
//! epoch tells the two apart, like the leader epoch of Kafka (KIP-101).

use std::fmt;
use std::str::FromStr;

use sqlx::PgExecutor;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub epoch: i64,
    pub position: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("a cursor is two decimal numbers with a dot between them, as received from Tidings")]
    Malformed,
    /// It names a history this log does not have; only reading anew helps.
    #[error("the cursor belongs to a history of the log that no longer exists")]
    EpochLost,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    /// Exactly what `Display` writes: digits without sign or leading zeros.
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, position) = text.split_once('.').ok_or(CursorError::Malformed)?;
        Ok(Self { epoch: number(epoch)?, position: number(position)? })
    }
}

fn number(digits: &str) -> Result<i64, CursorError> {
    let canonical = digits == "0" || !digits.starts_with('0');
    if !canonical || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CursorError::Malformed);
    }
    digits.parse().map_err(|_| CursorError::Malformed)
}

/// One stretch of the log's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub number: i64,
    pub first_position: i64,
}

/// All epochs, oldest first; never empty, numbers and first positions both ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs(Vec<Epoch>);

impl Epochs {
    pub async fn load(executor: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT epoch, first_position FROM log_epochs ORDER BY epoch")
                .fetch_all(executor)
                .await?;
        Self::new(rows.into_iter().map(|(number, first_position)| Epoch { number, first_position }).collect())
            .ok_or(sqlx::Error::RowNotFound)
    }

    /// `None` when the list is empty.
    pub fn new(epochs: Vec<Epoch>) -> Option<Self> {
        if epochs.is_empty() { None } else { Some(Self(epochs)) }
    }

    pub fn current(&self) -> Epoch {
        *self.0.last().expect("a log has at least one epoch")
    }

    /// The first position at which histories may differ for somebody who knows the epochs up to `known`.
    pub fn fork_after(&self, known: i64) -> Option<i64> {
        self.0.iter().filter(|epoch| epoch.number > known).map(|epoch| epoch.first_position).min()
    }

    /// The one cursor of a position: that of the epoch it was written in.
    pub fn cursor(&self, position: i64) -> Cursor {
        let epoch = self.0.iter().rev().find(|e| e.first_position <= position).unwrap_or(&self.0[0]);
        Cursor { epoch: epoch.number, position }
    }

    /// The position a cursor stands for, if this log has that history up to there. `head` is the log's end.
    pub fn resolve(&self, cursor: Cursor, head: i64) -> Result<i64, CursorError> {
        let known = self.0.iter().any(|e| e.number == cursor.epoch);
        let overtaken = self.0.iter().any(|e| e.number > cursor.epoch && cursor.position >= e.first_position);
        if known && !overtaken && cursor.position <= head {
            Ok(cursor.position)
        } else {
            Err(CursorError::EpochLost)
        }
    }
}

#[cfg(test)]
mod tests {
    //! What a cursor may look like, and when it is lost.
    use super::*;

    fn epochs() -> Epochs {
        let epoch = |number, first_position| Epoch { number, first_position };
        Epochs::new(vec![epoch(100, 1), epoch(200, 51), epoch(300, 51), epoch(400, 80)]).expect("not empty")
    }

    #[test]
    fn a_cursor_reads_back_as_written() {
        for (epoch, position) in [(1, 0), (1_763_000_000, 42), (7, i64::MAX)] {
            let cursor = Cursor { epoch, position };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn any_other_spelling_is_malformed() {
        for text in
            ["", ".", "1", "1.", ".1", "1.2.3", "01.2", "1.02", "+1.2", "1.-2", " 1.2", "1.2 ", "a.b", "1.٣"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError::Malformed), "{text}");
        }
        assert_eq!("1.9223372036854775808".parse::<Cursor>(), Err(CursorError::Malformed));
    }

    #[test]
    fn a_position_is_named_with_the_epoch_it_was_written_in() {
        let named = [(0, 100), (1, 100), (50, 100), (51, 300), (79, 300), (80, 400), (500, 400)];
        for (position, epoch) in named {
            assert_eq!(epochs().cursor(position), Cursor { epoch, position });
        }
    }

    #[test]
    fn several_epochs_learned_at_once_fork_where_the_first_of_them_began() {
        assert_eq!(epochs().fork_after(400), None);
        assert_eq!(epochs().fork_after(300), Some(80));
        assert_eq!(epochs().fork_after(100), Some(51));
        assert_eq!(epochs().fork_after(0), Some(1));
    }

    #[test]
    fn a_cursor_is_valid_below_the_start_of_every_later_epoch_and_up_to_the_head() {
        let resolve = |epoch, position| epochs().resolve(Cursor { epoch, position }, 90);
        assert_eq!(resolve(100, 50), Ok(50));
        assert_eq!(resolve(100, 51), Err(CursorError::EpochLost));
        assert_eq!(resolve(200, 50), Ok(50));
        assert_eq!(resolve(300, 79), Ok(79));
        assert_eq!(resolve(300, 80), Err(CursorError::EpochLost));
        assert_eq!(resolve(400, 90), Ok(90));
        assert_eq!(resolve(400, 91), Err(CursorError::EpochLost), "above the head");
        assert_eq!(resolve(150, 10), Err(CursorError::EpochLost), "an epoch this log never had");
        assert_eq!(resolve(500, 10), Err(CursorError::EpochLost), "an epoch from the future");
    }
}
