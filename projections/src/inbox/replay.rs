//! A user's inbox as it was: folded anew from the log, in memory, by the fold that makes the read model. It needs no
//! read model and moves none.

use sqlx::PgPool;

use super::fold::Rows;
use super::item::{Counts, Item};
use super::page::{Page, PageQuery};
use crate::log::{ReadError, Reader};
use crate::read_model::FoldError;

/// Events in memory at a time.
const PAGE_EVENTS: i64 = 250;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Everything a user had at one position.
#[derive(Debug)]
pub struct Replayed {
    /// Newest first; neither scheduled nor cancelled nor expired.
    pub items: Vec<Item>,
    pub counts: Counts,
    pub position: i64,
}

impl Replayed {
    /// What the page would have been.
    pub fn page(self, query: &PageQuery) -> Page {
        let Self { mut items, counts, position } = self;
        items.retain(|Item { state, .. }| {
            let shelves = query.shown.shelves();
            state.shelf().is_some_and(|shelf| shelves.contains(&shelf))
                && query.before.is_none_or(|before| state.listed < Some(before))
                && query.category.as_deref().is_none_or(|wanted| state.category.as_deref() == Some(wanted))
                && query.tag.as_ref().is_none_or(|wanted| state.tags.contains(wanted))
        });
        let more = items.len() as i64 > query.limit;
        items.truncate(query.limit as usize);
        let next = if more { items.last().and_then(|last| last.state.listed) } else { None };
        Page { items, next, counts, position }
    }
}

/// Folds all events of the user up to `position`, which the log has reached.
pub async fn inbox_at(
    pool: &PgPool,
    reader: &Reader,
    owner: (&str, &str),
    position: i64,
) -> Result<Replayed, ReplayError> {
    let mut rows = Rows::default();
    let mut counts = Counts::default();
    let mut after = 0;
    loop {
        let events = reader.of_recipient(pool, owner, (after, position), PAGE_EVENTS).await?;
        for event in &events {
            if let Some(change) = rows.fold(event)? {
                counts = change.counts;
            }
        }
        match events.last() {
            Some(last) => after = last.position,
            None => break,
        }
    }
    let items = rows.items.into_iter().filter(|(_, state)| state.shelf().is_some());
    let mut items: Vec<Item> =
        items.map(|((_, _, notification), state)| Item { notification, state }).collect();
    items.sort_unstable_by_key(|item| std::cmp::Reverse(item.state.listed));
    Ok(Replayed { items, counts, position })
}
