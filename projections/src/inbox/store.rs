//! Writes what a batch folded, all of it in one statement: new items, moved items, their tags, changes, counters,
//! and the checkpoint.

use std::collections::HashSet;

use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;

use super::fold::{Folded, ItemKey, Rows};
use super::item::{Change, Ended, ItemState};

/// Between tags on their way to the table; a tag has no control characters.
const SEPARATOR: &str = "\u{1f}";

const STORE: &str = "
WITH made AS (
    INSERT INTO items (tenant, user_id, notification, listed, shelf, position, category, tags, content,
                       seen_at, read_at, archived_at, snoozed_until, ended)
    SELECT tenant, user_id, notification, listed, shelf, position, category, string_to_array(tags, U&'\\001F'),
           content, seen_at, read_at, archived_at, snoozed_until, ended
      FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::smallint[], $6::bigint[], $7::timestamptz[],
                  $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[],
                  $12::text[], $13::text[], $14::text[])
           m (tenant, user_id, notification, listed, shelf, position, seen_at, read_at, archived_at,
              snoozed_until, ended, category, tags, content)
), moved AS (
    UPDATE items i
       SET listed = m.listed, shelf = m.shelf, position = m.position, seen_at = m.seen_at, read_at = m.read_at,
           archived_at = m.archived_at, snoozed_until = m.snoozed_until, ended = m.ended,
           content = coalesce(m.content, i.content)
      FROM unnest($15::text[], $16::text[], $17::uuid[], $18::bigint[], $19::smallint[], $20::bigint[],
                  $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::timestamptz[], $25::text[], $50::text[])
           m (tenant, user_id, notification, listed, shelf, position, seen_at, read_at, archived_at,
              snoozed_until, ended, content)
     WHERE (i.tenant, i.user_id, i.notification) = (m.tenant, m.user_id, m.notification)
), tagged AS (
    INSERT INTO item_tags (tenant, user_id, notification, tag, listed, shelf, position)
    SELECT * FROM unnest($26::text[], $27::text[], $28::uuid[], $29::text[], $30::bigint[], $31::smallint[],
                         $32::bigint[])
    ON CONFLICT (tenant, user_id, notification, tag)
    DO UPDATE SET listed = excluded.listed, shelf = excluded.shelf, position = excluded.position
), changed AS (
    INSERT INTO changes (tenant, user_id, position, event, notification,
                         seen_at, read_at, archived_at, snoozed_until, unread, unseen)
    SELECT * FROM unnest($33::text[], $34::text[], $35::bigint[], $36::text[], $37::uuid[],
                         $38::timestamptz[], $39::timestamptz[], $40::timestamptz[], $41::timestamptz[],
                         $42::bigint[], $43::bigint[])
), counted AS (
    INSERT INTO counters (tenant, user_id, unread, unseen, position)
    SELECT * FROM unnest($44::text[], $45::text[], $46::bigint[], $47::bigint[], $48::bigint[])
    ON CONFLICT (tenant, user_id)
    DO UPDATE SET unread = excluded.unread, unseen = excluded.unseen, position = excluded.position
)
UPDATE checkpoint SET position = $49 WHERE $49 IS NOT NULL";

type Statement<'q> = Query<'q, Postgres, PgArguments>;
type State<'a> = (&'a ItemKey, &'a ItemState);

/// Writes the rows; `checkpoint` is where the checkpoint goes, if it moves.
pub(super) async fn store(
    connection: &mut PgConnection,
    rows: &Rows,
    folded: &[Folded],
    checkpoint: Option<i64>,
) -> Result<(), sqlx::Error> {
    let (made, moved) = (with_state(rows, &rows.made), with_state(rows, &rows.moved));
    let statement = bind_states(sqlx::query(STORE), &made);
    let statement = statement
        .bind(column(&made, |(_, s)| s.category.as_deref()))
        .bind(column(&made, |(_, s)| s.tags.join(SEPARATOR)))
        .bind(column(&made, |(_, s)| &*s.content));
    let statement = bind_states(statement, &moved);
    let statement = bind_tags(statement, made.iter().chain(&moved));
    let changes: Vec<&Change> = folded.iter().filter_map(|f| f.change.as_ref()).collect();
    let statement = bind_changes(statement, &changes);
    let touched = rows.counters.iter().filter_map(|(user, (counts, at))| Some((user, counts, (*at)?)));
    let counters: Vec<_> = touched.collect();
    let statement = statement
        .bind(column(&counters, |(user, ..)| user.0.as_str()))
        .bind(column(&counters, |(user, ..)| user.1.as_str()))
        .bind(column(&counters, |(_, counts, _)| counts.unread))
        .bind(column(&counters, |(_, counts, _)| counts.unseen))
        .bind(column(&counters, |(.., at)| *at));
    // What a digest says in the end; no other item is ever reworded.
    let reworded = |(key, state): &State<'_>| rows.reworded.contains(*key).then(|| state.content.to_string());
    let reworded: Vec<Option<String>> = moved.iter().map(reworded).collect();
    statement.bind(checkpoint).bind(reworded).execute(connection).await?;
    Ok(())
}

fn with_state<'a>(rows: &'a Rows, keys: &'a HashSet<ItemKey>) -> Vec<State<'a>> {
    keys.iter().filter_map(|key| Some((key, rows.items.get(key)?))).collect()
}

fn bind_states<'q>(statement: Statement<'q>, states: &[State<'q>]) -> Statement<'q> {
    statement
        .bind(column(states, |(k, _)| k.0.as_str()))
        .bind(column(states, |(k, _)| k.1.as_str()))
        .bind(column(states, |(k, _)| k.2))
        .bind(column(states, |(_, s)| s.listed))
        .bind(column(states, |(_, s)| s.shelf()))
        .bind(column(states, |(_, s)| s.position))
        .bind(column(states, |(_, s)| s.seen_at))
        .bind(column(states, |(_, s)| s.read_at))
        .bind(column(states, |(_, s)| s.archived_at))
        .bind(column(states, |(_, s)| s.snoozed_until))
        .bind(column(states, |(_, s)| s.ended.map(Ended::as_str)))
}

fn bind_tags<'q>(statement: Statement<'q>, states: impl Iterator<Item = &'q State<'q>>) -> Statement<'q> {
    let tags: Vec<(&ItemKey, &ItemState, &String)> =
        states.flat_map(|(key, state)| state.tags.iter().map(move |tag| (*key, *state, tag))).collect();
    statement
        .bind(column(&tags, |(k, ..)| k.0.as_str()))
        .bind(column(&tags, |(k, ..)| k.1.as_str()))
        .bind(column(&tags, |(k, ..)| k.2))
        .bind(column(&tags, |(.., tag)| tag.as_str()))
        .bind(column(&tags, |(_, s, _)| s.listed))
        .bind(column(&tags, |(_, s, _)| s.shelf()))
        .bind(column(&tags, |(_, s, _)| s.position))
}

fn bind_changes<'q>(statement: Statement<'q>, changes: &[&'q Change]) -> Statement<'q> {
    statement
        .bind(column(changes, |c| c.tenant.as_str()))
        .bind(column(changes, |c| c.user_id.as_str()))
        .bind(column(changes, |c| c.item.state.position))
        .bind(column(changes, |c| c.event.as_str()))
        .bind(column(changes, |c| c.item.notification))
        .bind(column(changes, |c| c.item.state.seen_at))
        .bind(column(changes, |c| c.item.state.read_at))
        .bind(column(changes, |c| c.item.state.archived_at))
        .bind(column(changes, |c| c.item.state.snoozed_until))
        .bind(column(changes, |c| c.counts.unread))
        .bind(column(changes, |c| c.counts.unseen))
}

pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
