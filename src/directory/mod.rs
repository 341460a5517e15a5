//! What this node remembers of aggregates that are read often and change seldom: recipients, tenants' settings,
//! and templates ready to be read.
//!
//! The log is never further than a look-up away: what is not remembered is folded from it. A change made here is
//! forgotten by the command that makes it, one made elsewhere by the feed, which sees every event. So what is remembered
//! is as old as the feed at most. A version of a template never changes, and stays.

mod digests;
mod shelf;
mod source;
mod template;
mod wishes;
mod words;

pub use digests::Misfit;
pub use source::KnownSource;
pub use template::Standing;
pub use words::Reading;

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use cqrs_es::Aggregate;
use sqlx::PgPool;
use tidings_domain::recipient::Recipient;
use tidings_domain::settings::Settings;
use tidings_domain::source::SourceId;
use tidings_domain::{RecipientId, SettingsId, TemplateId, Tenant, UserId};
use tidings_projections::log::{Outage, ReadError, Reader, Recorded, Unreadable};
use tidings_projections::{recipient, settings};

use crate::render::Compiled;
use crate::telemetry::Repeated;
use shelf::{Shelf, Ticket};

/// Bytes of remembered recipients, by what they take in the log.
const RECIPIENTS_BYTES_MAX: usize = 32 << 20;
/// What each takes beside that.
const ENTRY_BYTES: usize = 512;
/// Bytes of remembered settings, likewise.
const SETTINGS_BYTES_MAX: usize = 16 << 20;
/// Tenants of whom it is remembered whether they have described anybody.
const TENANTS_MAX: usize = 10_000;
/// Templates whose standing is remembered.
const STANDINGS_MAX: usize = 10_000;
/// Bytes of the sources of compiled versions, which take several times as much.
const SOURCES_BYTES_MAX: usize = 16 << 20;

/// Sources of webhooks that are remembered, and names of none, each.
const HOOK_SOURCES_MAX: usize = 1_000;

#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    reader: Reader,
    recipients: Shelf<String, Arc<Recipient>>,
    settings: Shelf<String, Arc<Settings>>,
    /// By tenant.
    described: Shelf<String, bool>,
    standings: Shelf<String, Option<Standing>>,
    /// `None` of one that is not sound.
    versions: Shelf<(String, u32), Option<Arc<Compiled>>>,
    sources: Shelf<String, Arc<KnownSource>>,
    /// Names that nobody has configured a source under. Anybody may ask for them, so they push out each other only.
    no_sources: Shelf<String, ()>,
    /// Held while a template is read and compiled: who waits finds it there.
    compiling: tokio::sync::Mutex<()>,
    /// What should have words and has none.
    unsaid: Repeated,
}

impl Directory {
    pub fn new(pool: PgPool, reader: Reader) -> Self {
        let inner = Inner {
            pool,
            reader,
            recipients: Shelf::new(RECIPIENTS_BYTES_MAX),
            settings: Shelf::new(SETTINGS_BYTES_MAX),
            described: Shelf::new(TENANTS_MAX),
            standings: Shelf::new(STANDINGS_MAX),
            versions: Shelf::new(SOURCES_BYTES_MAX),
            sources: Shelf::new(HOOK_SOURCES_MAX),
            no_sources: Shelf::new(HOOK_SOURCES_MAX),
            compiling: tokio::sync::Mutex::default(),
            unsaid: Repeated::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// An empty one where nobody has described the user.
    pub async fn recipient(&self, tenant: &Tenant, user: &UserId) -> Result<Arc<Recipient>, ReadError> {
        let id = RecipientId { tenant: tenant.clone(), user: user.clone() }.to_string();
        let ticket = match self.inner.recipients.get(&id) {
            Ok(known) => return Ok(known),
            Err(ticket) => ticket,
        };
        let events = self.events(Recipient::TYPE, &id).await?;
        Ok(self.remember(id, ticket, &events)?)
    }

    /// Looks up all of these that are not known, at once; what cannot be read is told to whoever asks for it. The error is
    /// an outage.
    pub async fn meet(&self, recipients: impl Iterator<Item = RecipientId>) -> Result<(), ReadError> {
        let unknown = recipients.map(|id| id.to_string());
        let unknown =
            unknown.filter_map(|id| self.inner.recipients.get(&id).err().map(|ticket| (id, ticket)));
        let unknown: BTreeMap<String, Ticket> = unknown.collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = unknown.keys().cloned().collect();
        let events = match self.inner.reader.of_aggregates(&self.inner.pool, Recipient::TYPE, &ids).await {
            Ok(events) => events,
            Err(error) if error.is_outage() => return Err(error),
            Err(_) => return Ok(()),
        };
        let one_by_one = events.chunk_by(|event, next| event.aggregate_id == next.aggregate_id);
        let mut own: HashMap<&str, &[Arc<Recorded>]> =
            one_by_one.filter_map(|events| Some((events.first()?.aggregate_id.as_str(), events))).collect();
        for (id, ticket) in unknown {
            let own = own.remove(id.as_str()).unwrap_or_default();
            let _ = self.remember(id, ticket, own);
        }
        Ok(())
    }

    fn remember(
        &self,
        id: String,
        ticket: Ticket,
        events: &[Arc<Recorded>],
    ) -> Result<Arc<Recipient>, Unreadable> {
        let largest = events.iter().map(|event| event.stored_bytes).max().unwrap_or_default();
        let recipient = Arc::new(recipient::fold(events)?);
        self.inner.recipients.put(id, ticket, recipient.clone(), ENTRY_BYTES + largest);
        Ok(recipient)
    }

    /// Empty where nothing was ever set.
    pub async fn settings(&self, tenant: &Tenant) -> Result<Arc<Settings>, ReadError> {
        let id = SettingsId { tenant: tenant.clone() }.to_string();
        let ticket = match self.inner.settings.get(&id) {
            Ok(known) => return Ok(known),
            Err(ticket) => ticket,
        };
        let events = self.events(Settings::TYPE, &id).await?;
        let bytes: usize = events.iter().map(|event| event.stored_bytes).sum();
        let settings = Arc::new(settings::fold(&events)?);
        self.inner.settings.put(id, ticket, settings.clone(), ENTRY_BYTES + bytes);
        Ok(settings)
    }

    /// As somebody described the user up to a position of the log; not remembered.
    async fn recipient_at(
        &self,
        tenant: &Tenant,
        user: &UserId,
        position: i64,
    ) -> Result<Recipient, ReadError> {
        let id = RecipientId { tenant: tenant.clone(), user: user.clone() }.to_string();
        let mut events = self.events(Recipient::TYPE, &id).await?;
        events.retain(|event| event.position <= position);
        Ok(recipient::fold(&events)?)
    }

    /// To be called after every change: commands do it for their own, the feed for those of others. Ids of aggregates
    /// that are not remembered here are passed over.
    pub fn forget(&self, aggregate_id: &str) {
        if let Ok(id) = RecipientId::from_str(aggregate_id) {
            self.inner.recipients.forget(&aggregate_id.to_owned());
            // Who was described once was described for ever.
            let tenant = id.tenant.to_string();
            if self.inner.described.get(&tenant) != Ok(true) {
                self.inner.described.forget(&tenant);
            }
        } else if SettingsId::from_str(aggregate_id).is_ok() {
            self.inner.settings.forget(&aggregate_id.to_owned());
        } else if TemplateId::from_str(aggregate_id).is_ok() {
            self.inner.standings.forget(&aggregate_id.to_owned());
        } else if SourceId::from_str(aggregate_id).is_ok() {
            self.inner.sources.forget(&aggregate_id.to_owned());
            self.inner.no_sources.forget(&aggregate_id.to_owned());
        }
    }

    /// A new epoch began: all of it may be of the history that is gone.
    pub fn clear(&self) {
        self.inner.recipients.clear();
        self.inner.settings.clear();
        self.inner.described.clear();
        self.inner.standings.clear();
        self.inner.versions.clear();
        self.inner.sources.clear();
        self.inner.no_sources.clear();
    }

    async fn events(&self, aggregate_type: &str, id: &str) -> Result<Vec<Arc<Recorded>>, ReadError> {
        self.inner.reader.of_aggregates(&self.inner.pool, aggregate_type, &[id.to_owned()]).await
    }
}
