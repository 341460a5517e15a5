//! What is decided of notifications before they are made, on every way that makes them: what their recipients do not want in the
//! inbox is left out of it, and what is more than a category allows is made without being delivered.
//!
//! Grants are events of the job that makes the notifications: of two that count on the same place in a window, one is refused
//! by the log and decides anew.

use std::collections::{BTreeMap, HashMap};

use cqrs_es::DomainEvent;
use cqrs_es::persist::SerializedEvent;
use serde_json::{Value, json};
use sqlx::PgPool;
use tidings_domain::admission::{Admission, AdmissionId, Event};
use tidings_domain::notification::{Category, Plan, SkipReason};
use tidings_domain::settings::Throttle;
use tidings_domain::{NotificationId, Tenant, UserId};
use tidings_projections::log::codec::CodecError;
use tidings_projections::log::{Fact, ReadError, Reader};

use crate::clock;
use crate::directory::Directory;
use crate::log::JobEvent;

/// Of the notifications of one job: what is granted to one counts for those after it.
pub struct Admissions<'a> {
    pool: &'a PgPool,
    reader: &'a Reader,
    directory: &'a Directory,
    known: HashMap<AdmissionId, Known>,
    /// In the order of ids, which keeps those of one aggregate together.
    granted: BTreeMap<AdmissionId, Vec<(i64, Event)>>,
}

/// How an aggregate stands after what was granted so far.
#[derive(Default)]
struct Known {
    state: Admission,
    sequence: i64,
}

impl<'a> Admissions<'a> {
    pub fn new(pool: &'a PgPool, reader: &'a Reader, directory: &'a Directory) -> Self {
        Self { pool, reader, directory, known: HashMap::new(), granted: BTreeMap::new() }
    }

    /// Looks up at once what would be looked up for these users one after the other.
    pub async fn meet(
        &mut self,
        tenant: &Tenant,
        category: Option<&Category>,
        users: &[UserId],
    ) -> Result<(), ReadError> {
        let Some((category, throttle)) = category.zip(self.directory.throttle(tenant, category).await?)
        else {
            return Ok(());
        };
        let id = |user: &UserId| AdmissionId {
            tenant: tenant.clone(),
            category: category.clone(),
            user: user.clone(),
        };
        self.load(users.iter().map(id).collect(), throttle).await
    }

    /// Says in a plan what will not be.
    pub async fn admit(
        &mut self,
        (tenant, user): (&Tenant, &UserId),
        category: Option<&Category>,
        id: NotificationId,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        self.directory.ask(tenant, user, category, plan).await?;
        let Some((category, throttle)) = category.zip(self.directory.throttle(tenant, category).await?)
        else {
            return Ok(());
        };
        let of = AdmissionId { tenant: tenant.clone(), category: category.clone(), user: user.clone() };
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

    /// What was granted, as part of the job that makes the notifications.
    pub async fn into_events(self, metadata: &Value) -> Result<Vec<JobEvent>, CodecError> {
        let mut sealed = Vec::new();
        for (id, granted) in self.granted {
            for (sequence, event) in granted {
                let serialized = SerializedEvent {
                    aggregate_id: id.to_string(),
                    sequence: sequence as usize,
                    aggregate_type: Admission::TYPE.into(),
                    event_type: event.event_type(),
                    event_version: event.event_version(),
                    payload: json!(event),
                    metadata: metadata.clone(),
                };
                let fact = Fact::Admission(id.clone(), event);
                let whose = (id.tenant.as_str(), Some(id.user.as_str()));
                sealed
                    .push(JobEvent::prepare(self.reader.codec(), &serialized, fact, whose.0, whose.1).await?);
            }
        }
        Ok(sealed)
    }
}
