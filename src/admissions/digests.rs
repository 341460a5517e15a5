//! What is collected instead of being made: into the digest that waits for the recipient, or as the first of another.

use std::collections::HashMap;

use cqrs_es::Aggregate;
use sha2::{Digest as _, Sha256};
use tidings_domain::digest::{DigestId, Window};
use tidings_domain::notification::{
    Category, Collected, Content, Create, Digest, Event, Item, Notification, Opening, TemplateVersion,
};
use tidings_domain::settings::DigestSettings;
use tidings_domain::template::TemplateKey;
use tidings_domain::{NotificationId, RecipientId, Tenant};
use tidings_projections::log::{Fact, ReadError, Recorded, Unreadable};
use time::Duration;

use super::Admissions;
use crate::clock;
use crate::render::Part;

/// Bytes of a key's hash that stand for the key: as many as a UUID has.
const HASH_BYTES: usize = 16;

/// An item that was added to a digest, as an event of that.
#[derive(Clone, Debug)]
pub struct Joined {
    pub digest: NotificationId,
    pub sequence: i64,
    pub event: Event,
}

/// How a key stands after what was collected so far.
#[derive(Clone, Default)]
pub(super) struct Standing {
    window: Window,
    sequence: i64,
    /// The last event of the digest that was opened last, where that is an item: nothing has ended it.
    open: Option<(Collected, i64)>,
}

/// Which digest it would be an item of.
pub(super) fn digest_id(
    tenant: &Tenant,
    category: &Category,
    settings: &DigestSettings,
    create: &Create,
) -> DigestId {
    let key = settings.key_of(create.data.as_ref());
    let key_hash =
        if key.is_empty() { String::new() } else { hex::encode(&Sha256::digest(&key)[..HASH_BYTES]) };
    DigestId { tenant: tenant.clone(), category: category.clone(), key_hash, user: create.user.clone() }
}

impl Admissions<'_> {
    /// Adds it to the digest that waits. Where none does, it opens the next one: then it is made with that.
    pub(super) async fn collect(
        &mut self,
        of: &DigestId,
        settings: &DigestSettings,
        id: NotificationId,
        create: &mut Create,
    ) -> Result<Option<Joined>, ReadError> {
        if !self.standings.contains_key(of) {
            self.load_digests(vec![of.clone()]).await?;
        }
        let item = self.item(&of.tenant, create).await?;
        let (now, standing) = (clock::now(), self.standings.entry(of.clone()).or_default());
        if let Some(digest) = standing.window.collecting(now)
            && let Some((last, sequence)) = &mut standing.open
            && let Some(next) = last.then(item.clone(), settings.items_max)
        {
            (*last, *sequence) = (next.clone(), *sequence + 1);
            return Ok(Some(Joined { digest, sequence: *sequence, event: Event::Collected(Box::new(next)) }));
        }
        let until = now.saturating_add(Duration::seconds(settings.window_s.into()));
        let opened = Window::open(of, id, until);
        standing.window.evolve(&opened);
        standing.sequence += 1;
        // Its creation is the first event of the notification, and this item the second.
        standing.open = Some((Collected::first(item.clone()), 2));
        self.opened.entry(of.clone()).or_default().push((standing.sequence, opened));
        let digest = self.digest(&of.tenant, settings.template.as_ref()).await?;
        (create.deliver_at, create.opening) = (Some(until), Some(Opening { digest, first: item }));
        Ok(None)
    }

    /// How it is said. A template that no longer fits says nothing rather than holding anything up.
    async fn digest(&self, tenant: &Tenant, template: Option<&TemplateKey>) -> Result<Digest, ReadError> {
        let Some(key) = template else { return Ok(Digest::default()) };
        let template = self.directory.digest_template(tenant, key).await?;
        if let Err(misfit) = &template {
            tracing::warn!(%tenant, %key, %misfit, "a digest is opened without its template");
        }
        Ok(Digest { template: template.ok() })
    }

    /// In the words that its reader would be told now.
    async fn item(&self, tenant: &Tenant, create: &Create) -> Result<Item, ReadError> {
        let reader = RecipientId { tenant: tenant.clone(), user: create.user.clone() };
        let said = self.directory.words(&reader, &create.content, &Part::IN_APP).await?;
        let template = match &create.content {
            Content::Template { template } => {
                Some(TemplateVersion { key: template.key.clone(), version: template.version })
            }
            Content::Words(_) => None,
        };
        Ok(Item { words: said.words, template, data: create.data.clone() })
    }

    /// Which digests were opened last, and the last event of each.
    pub(super) async fn load_digests(&mut self, ids: Vec<DigestId>) -> Result<(), ReadError> {
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut standings: HashMap<DigestId, Standing> =
            ids.into_iter().map(|id| (id, Standing::default())).collect();
        for event in &self.reader.newest(self.pool, Window::TYPE, &texts, 1).await? {
            if let Fact::Digest(id, opened) = readable(event)? {
                let standing = standings.entry(id.clone()).or_default();
                standing.window.evolve(opened);
                standing.sequence = event.sequence;
            }
        }
        let now = clock::now();
        let digests = standings.values().filter_map(|standing| standing.window.collecting(now));
        let digests: Vec<String> = digests.map(|digest| digest.to_string()).collect();
        if !digests.is_empty() {
            let mut open = HashMap::new();
            for event in &self.reader.newest(self.pool, Notification::TYPE, &digests, 1).await? {
                if let Fact::Notification(id, Event::Collected(last)) = readable(event)? {
                    open.insert(*id, ((**last).clone(), event.sequence));
                }
            }
            for standing in standings.values_mut() {
                standing.open = standing.window.last().and_then(|digest| open.remove(&digest));
            }
        }
        self.standings.extend(standings);
        Ok(())
    }
}

fn readable(event: &Recorded) -> Result<&Fact, ReadError> {
    match &event.fact {
        Fact::Unreadable(why) => Err(Unreadable { position: event.position, why: why.clone() }.into()),
        fact => Ok(fact),
    }
}
