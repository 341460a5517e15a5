//! What is decided of notifications before they are made, on every way that makes them: what their recipients do not want in the
//! inbox is left out of it, what is more than a category allows is made without being delivered, and what a category collects
//! joins the digest that waits.
//!
//! Grants and the openings of digests are events of the job that makes the notifications: of two that count on the same place, one
//! is refused by the log and decides anew.

mod digests;

pub use digests::Joined;

use std::collections::{BTreeMap, HashMap};

use cqrs_es::DomainEvent;
use cqrs_es::persist::SerializedEvent;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use tidings_domain::admission::{Admission, AdmissionId, Event};
use tidings_domain::digest::{self, DigestId, Window};
use tidings_domain::notification::{Category, Content, Create, Plan, SkipReason};
use tidings_domain::settings::{CategorySettings, Throttle};
use tidings_domain::{NotificationId, RecipientId, Tenant};
use tidings_projections::log::codec::CodecError;
use tidings_projections::log::{Codec, Fact, ReadError, Reader};

use crate::clock;
use crate::directory::Directory;
use crate::log::JobEvent;
use digests::{Standing, digest_id};

/// Of the notifications of one job: what is granted to one counts for those after it. They are of different recipients, so that
/// no digest gets more than one: the log wants what it takes of one aggregate side by side.
pub struct Admissions<'a> {
    pool: &'a PgPool,
    reader: &'a Reader,
    directory: &'a Directory,
    known: HashMap<AdmissionId, Known>,
    /// In the order of ids, which keeps those of one aggregate together.
    granted: BTreeMap<AdmissionId, Vec<(i64, Event)>>,
    standings: HashMap<DigestId, Standing>,
    opened: BTreeMap<DigestId, Vec<(i64, digest::Event)>>,
}

/// How an aggregate stands after what was granted so far.
#[derive(Default)]
struct Known {
    state: Admission,
    sequence: i64,
}

impl<'a> Admissions<'a> {
    pub fn new(pool: &'a PgPool, reader: &'a Reader, directory: &'a Directory) -> Self {
        let (known, granted) = (HashMap::new(), BTreeMap::new());
        Self { pool, reader, directory, known, granted, standings: HashMap::new(), opened: BTreeMap::new() }
    }

    /// Looks up at once what would be looked up for these one after the other. All of them say the same.
    pub async fn meet(&mut self, tenant: &Tenant, creates: &[Create]) -> Result<(), ReadError> {
        let Some((first, category)) = creates.first().and_then(|it| Some((it, it.category.as_ref()?))) else {
            return Ok(());
        };
        let settings = self.directory.settings(tenant).await?;
        let Some(settings) = settings.categories.get(category) else { return Ok(()) };
        if let Some(digest) = settings.digest.as_ref().filter(|digest| digest.collects(first)) {
            if matches!(first.content, Content::Template { .. }) {
                let recipient = |it: &Create| RecipientId { tenant: tenant.clone(), user: it.user.clone() };
                self.directory.meet(creates.iter().map(recipient)).await?;
            }
            let ids = creates.iter().map(|create| digest_id(tenant, category, digest, create));
            self.load_digests(ids.collect()).await?;
        }
        if let Some(throttle) = settings.throttle {
            let ids = creates.iter().map(|create| admission_id(tenant, category, create));
            self.load(ids.collect(), throttle).await?;
        }
        Ok(())
    }

    /// Decides what becomes of a notification that is asked for: it is made under this id, with what will not be said in its
    /// plan, or it joins a digest.
    pub async fn admit(
        &mut self,
        tenant: &Tenant,
        id: NotificationId,
        create: &mut Create,
    ) -> Result<Option<Joined>, ReadError> {
        let settings = match &create.category {
            Some(category) => self.directory.settings(tenant).await?.categories.get(category).cloned(),
            None => None,
        };
        let settings = create.category.clone().zip(settings);
        if let Some((category, CategorySettings { digest: Some(digest), .. })) = &settings
            && digest.collects(create)
        {
            let of = digest_id(tenant, category, digest, create);
            if let Some(joined) = self.collect(&of, digest, id, create).await? {
                return Ok(Some(joined));
            }
        }
        let Create { user, category, plan, .. } = create;
        self.directory.ask(tenant, user, category.as_ref(), plan).await?;
        if let Some((category, CategorySettings { throttle: Some(throttle), .. })) = settings {
            self.count(admission_id(tenant, &category, create), throttle, id, &mut create.plan).await?;
        }
        Ok(None)
    }

    /// What is more than a category allows is skipped.
    async fn count(
        &mut self,
        of: AdmissionId,
        throttle: Throttle,
        id: NotificationId,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        if !self.known.contains_key(&of) {
            self.load(vec![of.clone()], throttle).await?;
        }
        let known = self.known.entry(of.clone()).or_default();
        match known.state.admit(&of, id, throttle, clock::now()) {
            Some(event) => {
                known.state.evolve(&event);
                known.sequence += 1;
                self.granted.entry(of).or_default().push((known.sequence, event));
            }
            None => plan.skip_all(SkipReason::Throttled),
        }
        Ok(())
    }

    async fn load(&mut self, ids: Vec<AdmissionId>, throttle: Throttle) -> Result<(), ReadError> {
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let newest = self.reader.newest(self.pool, Admission::TYPE, &texts, throttle.max.into()).await?;
        self.known.extend(ids.into_iter().map(|id| (id, Known::default())));
        for event in &newest {
            match &event.fact {
                Fact::Admission(id, fact) => {
                    let known = self.known.entry(id.clone()).or_default();
                    known.state.evolve(fact);
                    known.sequence = event.sequence;
                }
                Fact::Unreadable(why) => {
                    let (position, why) = (event.position, why.clone());
                    return Err(tidings_projections::log::Unreadable { position, why }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What was granted and opened, as part of the job that makes the notifications.
    pub async fn into_events(self, metadata: &Value) -> Result<Vec<JobEvent>, CodecError> {
        let (codec, mut sealed) = (self.reader.codec(), Vec::new());
        for (id, granted) in self.granted {
            for (sequence, event) in granted {
                let fact = |event| Fact::Admission(id.clone(), event);
                let whose = (id.tenant.as_str(), Some(id.user.as_str()));
                let place = (Admission::TYPE, id.to_string(), sequence);
                sealed.push(seal(codec, place, event, fact, whose, metadata).await?);
            }
        }
        for (id, opened) in self.opened {
            for (sequence, event) in opened {
                let fact = |event| Fact::Digest(id.clone(), event);
                let whose = (id.tenant.as_str(), Some(id.user.as_str()));
                let place = (Window::TYPE, id.to_string(), sequence);
                sealed.push(seal(codec, place, event, fact, whose, metadata).await?);
            }
        }
        Ok(sealed)
    }
}

fn admission_id(tenant: &Tenant, category: &Category, create: &Create) -> AdmissionId {
    AdmissionId { tenant: tenant.clone(), category: category.clone(), user: create.user.clone() }
}

async fn seal<E: DomainEvent + Serialize>(
    codec: &Codec,
    (aggregate_type, aggregate_id, sequence): (&str, String, i64),
    event: E,
    fact: impl FnOnce(E) -> Fact,
    (tenant, user): (&str, Option<&str>),
    metadata: &Value,
) -> Result<JobEvent, CodecError> {
    let serialized = SerializedEvent {
        aggregate_id,
        sequence: sequence as usize,
        aggregate_type: aggregate_type.into(),
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload: json!(event),
        metadata: metadata.clone(),
    };
    JobEvent::prepare(codec, &serialized, fact(event), tenant, user).await
}
