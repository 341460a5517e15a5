//! The list of a tenant's notifications, for those who made them.

use std::collections::HashMap;
use std::sync::Arc;

use cqrs_es::Aggregate;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, Type};
use poem_openapi::{Enum, Object};
use tidings_domain::notification::{Content, Notification as Aggregated, Words};
use tidings_domain::{NotificationId, RecipientId, Tenant};
use tidings_projections::delivery::{self, Life, ListQuery, Listed};
use tidings_projections::log::Recorded;
use tidings_projections::notification::Overview;

use super::wire::Notification;
use crate::api::http::next::Next;
use crate::api::http::parameter::{Before, Parameter};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::render::Part;

/// Where a notification stands.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum NotificationStatus {
    Scheduled,
    Active,
    Cancelled,
    Expired,
}

impl Parameter for NotificationStatus {
    fn schema() -> MetaSchemaRef {
        Self::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <Self as Type>::register(registry);
    }

    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let expected = "must be scheduled, active, cancelled or expired";
        Self::parse_from_parameter(text).map_err(|_| Problem::at(Kind::Malformed, name, expected))
    }
}

impl From<NotificationStatus> for Life {
    fn from(status: NotificationStatus) -> Self {
        match status {
            NotificationStatus::Scheduled => Self::Scheduled,
            NotificationStatus::Active => Self::Active,
            NotificationStatus::Cancelled => Self::Cancelled,
            NotificationStatus::Expired => Self::Expired,
        }
    }
}

/// A page of notifications, newest first. Which ones they are holds at `cursor`; each of them is as it stands now, which
/// may be newer.
#[derive(Debug, Object)]
pub struct NotificationPage {
    notifications: Vec<Notification>,
    /// Pass it as `before` for the next page; null at the end.
    next: Next,
    cursor: String,
}

/// Looks up a page.
pub async fn page(reads: &Reads, tenant: &Tenant, query: &ListQuery) -> Result<NotificationPage, Problem> {
    let listed = delivery::list(&reads.pool, tenant.as_str(), query).await?;
    Ok(NotificationPage {
        notifications: notifications(reads, &listed).await?,
        next: Next(listed.next.map(Before::next)),
        cursor: reads.cursor(listed.position),
    })
}

/// The notifications of a page, each folded from its own events.
async fn notifications(reads: &Reads, listed: &Listed) -> Result<Vec<Notification>, Problem> {
    let id = |notification: &uuid::Uuid| NotificationId::new(*notification).to_string();
    let ids: Vec<String> = listed.notifications.iter().map(id).collect();
    let mut events: HashMap<String, Vec<Arc<Recorded>>> = HashMap::new();
    for event in reads.reader.of_aggregates(&reads.pool, Aggregated::TYPE, &ids).await? {
        events.entry(event.aggregate_id.clone()).or_default().push(event);
    }
    let mut overviews = Vec::with_capacity(ids.len());
    for id in &ids {
        let own = events.get(id).map(Vec::as_slice).unwrap_or_default();
        overviews.extend(Overview::fold(own).map_err(|error| Problem::internal(&error))?);
    }
    let readers = overviews.iter().filter(|overview| is_of_template(overview)).map(recipient);
    reads.directory.meet(readers).await?;
    let mut notifications = Vec::with_capacity(ids.len());
    for overview in &overviews {
        let (words, cursor) = (words(reads, overview).await?, reads.history.cursor(overview.position));
        notifications.push(Notification::new(overview, words, cursor));
    }
    Ok(notifications)
}

fn is_of_template(overview: &Overview) -> bool {
    matches!(overview.created.content, Some(Content::Template { .. }))
}

fn recipient(overview: &Overview) -> RecipientId {
    RecipientId { tenant: overview.created.tenant.clone(), user: overview.user.clone() }
}

/// As its user reads it now; nothing is left of what was forgotten.
pub async fn words(reads: &Reads, overview: &Overview) -> Result<Words, Problem> {
    match &overview.created.content {
        Some(content) => Ok(reads.directory.words(&recipient(overview), content, &Part::IN_APP).await?.words),
        None => Ok(Words::default()),
    }
}
