//! Templates in the directory: which version is the latest, and each version compiled, once.

use std::sync::Arc;

use cqrs_es::Aggregate;
use tidings_domain::TemplateId;
use tidings_domain::template::{Template, Version};
use tidings_projections::log::ReadError;
use tidings_projections::template::fold;

use super::Directory;
use crate::render::Compiled;

/// Where a template stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The latest version, counted from 1.
    pub version: u32,
    /// Whether nothing new is made of it.
    pub retired: bool,
}

impl Directory {
    /// `None` where nothing was ever published under the key.
    pub async fn standing(&self, id: &TemplateId) -> Result<Option<Standing>, ReadError> {
        let key = id.to_string();
        let ticket = match self.inner.standings.get(&key) {
            Ok(known) => return Ok(known),
            Err(ticket) => ticket,
        };
        let template = fold(&self.events(Template::TYPE, &key).await?)?;
        let standing = |it: &Template| Standing { version: it.number(), retired: it.retired };
        let standing = template.as_ref().map(standing);
        self.inner.standings.put(key, ticket, standing, 1);
        Ok(standing)
    }

    /// A version, ready to be read. `None` where it was never published, or is not sound: the node's own log says so
    /// then, once.
    pub async fn template(&self, id: &TemplateId, version: u32) -> Result<Option<Arc<Compiled>>, ReadError> {
        let key = (id.to_string(), version);
        if let Ok(known) = self.inner.versions.get(&key) {
            return Ok(known);
        }
        let _turn = self.inner.compiling.lock().await;
        let ticket = match self.inner.versions.get(&key) {
            Ok(known) => return Ok(known),
            Err(ticket) => ticket,
        };
        let template = fold(&self.events(Template::TYPE, &key.0).await?)?;
        // What is not published may be one day.
        let Some(says) = template.as_ref().and_then(|template| template.version(version)) else {
            return Ok(None);
        };
        let bytes = says.sources.values().map(String::len).sum();
        let compiled = compile(id, version, says.clone()).await;
        self.inner.versions.put(key, ticket, compiled.clone(), bytes);
        Ok(compiled)
    }
}

/// Megabytes of sources take a while, in which nobody else should wait.
async fn compile(id: &TemplateId, version: u32, says: Version) -> Option<Arc<Compiled>> {
    match tokio::task::spawn_blocking(|| Compiled::new(says)).await {
        Ok(Ok(compiled)) => Some(Arc::new(compiled)),
        Ok(Err(flaws)) => {
            let flaw = flaws.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(template = %id, version, flaw, "a published version cannot be read");
            None
        }
        Err(error) => {
            tracing::error!(template = %id, version, %error, "a published version broke the compiler");
            None
        }
    }
}
