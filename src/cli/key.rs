//! `tidings key`: makes, lists and revokes keys of services, on the database itself, whether a service runs or not.

use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use sqlx::PgPool;
use tidings_domain::Tenant;
use tidings_projections::inbox::rfc3339;
use time::OffsetDateTime;

use super::beside::Database;
use super::{Failure, Settings, failure, load};
use crate::auth::Scope;
use crate::auth::keys::{self, KeyRow, NewKey};
use crate::{api, clock};

/// Keys read at once.
const PAGE: i64 = 1_000;
/// Postgres: there is no such table.
const UNDEFINED_TABLE: &str = "42P01";

#[derive(Subcommand)]
pub enum KeyWord {
    /// Make a key and print it: it is shown this once
    Create(CreateArgs),
    /// List keys, revoked ones too
    List(ListArgs),
    /// Revoke a key: within a second no node takes it, and what it opened is closed
    Revoke(RevokeArgs),
}

#[derive(Args)]
pub struct CreateArgs {
    /// For people, to know it by: 1 to 100 characters
    #[arg(long)]
    name: String,
    /// What it may do; may be repeated: notifications:write, notifications:read, inbox:read, inbox:write, events:read,
    /// admin
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// The tenant it acts for
    #[arg(long, default_value = "default")]
    tenant: String,
    /// How many requests per second it may make on average; as many as there are where it is left out
    #[arg(long)]
    requests_per_second: Option<u32>,
    /// How many of them may come at once
    #[arg(long)]
    burst: Option<u32>,
    /// When it ends by itself: a number and s, m, h, d or w, such as 90d
    #[arg(long)]
    expires_in: Option<Span>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
pub struct ListArgs {
    /// Only keys of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Print each as a line of JSON, as the API shows it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
pub struct RevokeArgs {
    /// The key by its id (`key_...`), not the key itself
    id: String,
    #[command(flatten)]
    settings: Settings,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span(Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "must be a number and s, m, h, d or w, such as 90d";
        let unit = text.chars().last().ok_or(EXPECTED)?;
        let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| EXPECTED)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(EXPECTED),
        };
        Ok(Self(Duration::from_secs(u64::from(number) * seconds)))
    }
}

pub async fn run(word: KeyWord) -> Result<(), Failure> {
    match word {
        KeyWord::Create(args) => create(args).await,
        KeyWord::List(args) => list(args).await,
        KeyWord::Revoke(args) => revoke(args).await,
    }
}

/// The key goes to standard output, alone; what there is to say of it to standard error.
async fn create(args: CreateArgs) -> Result<(), Failure> {
    let now = clock::now();
    let ends = |Span(span): Span| {
        let ends = time::Duration::try_from(span).ok().and_then(|span| now.checked_add(span));
        ends.filter(|at| at.year() <= 9_999).ok_or("--expires-in lies beyond the year 9999")
    };
    let new = NewKey {
        tenant: Tenant::try_from(args.tenant).map_err(failure)?,
        name: args.name,
        scopes: args.scopes,
        requests_per_second: args.requests_per_second,
        burst: args.burst,
        expires_at: args.expires_in.map(ends).transpose()?,
    };
    let (secret, row) = with_database(args.settings, async |pool| keys::create(pool, &new).await).await?;
    println!("{secret}");
    let id = keys::name_of(row.id);
    eprintln!("{id} acts for the tenant {} ({}); it is not shown again", row.tenant, row.scopes.join(", "));
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let tenant = args.tenant.map(Tenant::try_from).transpose().map_err(failure)?;
    let rows = with_database(args.settings, async |pool| all(pool, tenant.as_ref()).await).await?;
    if args.json {
        rows.into_iter().for_each(|row| println!("{}", api::key_to_json(row)));
    } else if rows.is_empty() {
        eprintln!("There are no keys.");
    } else {
        let now = clock::now();
        print!("{}", table(rows.iter().map(|row| cells(row, now)), std::io::stdout().is_terminal()));
    }
    Ok(())
}

async fn all(pool: &PgPool, tenant: Option<&Tenant>) -> Result<Vec<KeyRow>, sqlx::Error> {
    let mut rows: Vec<KeyRow> = Vec::new();
    loop {
        let page = keys::list(pool, tenant, rows.last().map(|row| row.id), PAGE).await?;
        let is_last = (page.len() as i64) < PAGE;
        rows.extend(page);
        if is_last {
            return Ok(rows);
        }
    }
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    let id = keys::parse_id(&args.id);
    let id = id.ok_or("ID must be a key's id as `tidings key list` shows it: key_ followed by a UUID")?;
    let row = with_database(args.settings, async |pool| keys::revoke(pool, id).await).await?;
    let row = row.ok_or_else(|| format!("there is no key {}", args.id))?;
    println!("{} is revoked since {}", args.id, row.revoked_at.map(rfc3339).unwrap_or_default());
    Ok(())
}

async fn with_database<T, E>(
    settings: Settings,
    work: impl AsyncFnOnce(&PgPool) -> Result<T, E>,
) -> Result<T, Failure>
where
    keys::KeyError: From<E>,
{
    let database = Database::open(&load(settings)?).await?;
    let done = work(&database.pool).await;
    database.close().await;
    done.map_err(|error| match keys::KeyError::from(error) {
        keys::KeyError::Database(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            "the database is older than this binary: run `tidings migrate` first".into()
        }
        error => failure(error),
    })
}

/// The hint is the end of the secret: it tells keys apart, and opens nothing.
const HEADINGS: [&str; 7] = ["ID", "TENANT", "NAME", "SCOPES", "HINT", "CREATED", "STATE"];

fn cells(row: &KeyRow, now: OffsetDateTime) -> [String; 7] {
    let day = |at: OffsetDateTime| at.date().to_string();
    let state = match (row.revoked_at, row.expires_at) {
        (Some(at), _) => format!("revoked {}", day(at)),
        (None, Some(at)) if at <= now => format!("expired {}", day(at)),
        (None, Some(at)) => format!("until {}", day(at)),
        (None, None) => "active".into(),
    };
    let (tenant, name) = (row.tenant.clone(), row.name.clone());
    [keys::name_of(row.id), tenant, name, row.scopes.join(","), row.hint.clone(), day(row.created_at), state]
}

/// Columns as wide as their widest cell; headings for people only, so that what reads lines gets keys.
fn table(rows: impl Iterator<Item = [String; 7]>, with_headings: bool) -> String {
    let headings = with_headings.then(|| HEADINGS.map(str::to_owned));
    let rows: Vec<[String; 7]> = headings.into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    //! Spans as they are written, and the table.
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("90d", 7_776_000), ("2w", 1_209_600), ("15m", 900), ("0h", 0)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        for bad in ["", "d", "90", "90 d", "-1d", "1.5h", "90days", "1y", "9999999999s", "1\u{e9}"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |name: &str| {
            ["key_1", "default", name, "admin", "abcd", "2026-11-22", "active"].map(str::to_owned)
        };
        let printed = table([row("a"), row("longer")].into_iter(), true);
        assert_eq!(
            printed,
            "ID     TENANT   NAME    SCOPES  HINT  CREATED     STATE\n\
             key_1  default  a       admin   abcd  2026-11-22  active\n\
             key_1  default  longer  admin   abcd  2026-11-22  active\n"
        );
        assert!(table([row("a")].into_iter(), false).starts_with("key_1"));
    }
}
