//! Sources of webhooks in the directory: what each says, with its mapping compiled and its limit counted.

use std::sync::Arc;

use cqrs_es::Aggregate;
use tidings_domain::source::{Configured, Source, SourceId};
use tidings_projections::log::ReadError;
use tidings_projections::source::fold;

use super::Directory;
use crate::hooks::Mapping;
use crate::rate_limit::{Limit, Rate};

/// A source that is there.
pub struct KnownSource {
    pub configured: Configured,
    /// `None` of one that a later version of this program refuses: the node's own log says so, once.
    pub mapping: Option<Arc<Mapping>>,
    pub limit: Option<Limit>,
}

impl Directory {
    /// `None` where nobody has configured it.
    pub async fn source(&self, id: &SourceId) -> Result<Option<Arc<KnownSource>>, ReadError> {
        let key = id.to_string();
        let ticket = match self.inner.sources.get(&key) {
            Ok(known) => return Ok(Some(known)),
            Err(ticket) => ticket,
        };
        let no_ticket = match self.inner.no_sources.get(&key) {
            Ok(()) => return Ok(None),
            Err(ticket) => ticket,
        };
        let source = fold(&self.events(Source::TYPE, &key).await?)?;
        let Some(configured) = source.configured else {
            self.inner.no_sources.put(key, no_ticket, (), 1);
            return Ok(None);
        };
        let known = Arc::new(know(id, configured).await);
        self.inner.sources.put(key, ticket, known.clone(), 1);
        Ok(Some(known))
    }
}

async fn know(id: &SourceId, configured: Configured) -> KnownSource {
    let says = configured.settings.mapping.clone();
    let mapping = match tokio::task::spawn_blocking(move || Mapping::compile(&says)).await {
        Ok(Ok(mapping)) => Some(Arc::new(mapping)),
        Ok(Err(flaws)) => {
            let flaw = flaws.first().map(|flaw| flaw.words.as_str()).unwrap_or_default();
            tracing::error!(source = %id, flaw, "a configured mapping cannot be read");
            None
        }
        Err(error) => {
            tracing::error!(source = %id, %error, "a configured mapping broke the compiler");
            None
        }
    };
    let settings = &configured.settings;
    let rate = settings
        .requests_per_second
        .map(|per_second| Rate { per_second, burst: settings.burst.unwrap_or(per_second) });
    KnownSource { mapping, limit: rate.map(Limit::new), configured }
}
