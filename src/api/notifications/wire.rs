//! The shapes of requests and answers, and their conversion from and to what the domain speaks.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::{Enum, Object};
use serde::Deserialize;
use serde_json::Value;
use tidings_domain::broadcast::Message;
use tidings_domain::notification::{self as domain, Category, Content, Create, Tags, Words};
use tidings_domain::{NotificationId, Tenant, UserId};
use tidings_projections::inbox::{Fixed, Item, rfc3339};
use tidings_projections::log::Cursor;
use tidings_projections::notification::{DeliveryOverview, Overview};
use time::OffsetDateTime;

use super::content::{ContentBody, TemplateBody, content};
use super::plan::{PlanChoice, PlanStepBody, fixed_plan};
use crate::api::http::problem::{Kind, Problem};
use crate::api::values::duration;
use crate::api::values::instant::parse_instant;
use crate::directory::Directory;
use crate::dispatch::policies;

/// A notification to create.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct CreateNotification {
    /// Whose inbox: 1 to 256 characters without control characters.
    #[oai(validator(min_length = 1, max_length = 256))]
    user_id: String,
    /// What it says; exactly one of `content` and `template`.
    content: Option<ContentBody>,
    /// The same in the words of a template.
    template: Option<TemplateBody>,
    /// A kind of notification, such as `billing`: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    category: Option<String>,
    /// Defaults to `normal`.
    priority: Option<Priority>,
    /// How to deliver, step by step. Defaults to the plan of the category, else to the one named `default`, else to
    /// `[{"channel":"in_app"}]`. Where `in_app` is not its first step, the notification is in no inbox.
    #[oai(validator(min_items = 1, max_items = 8))]
    plan: Option<Vec<PlanStepBody>>,
    /// The same by the name of a plan: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    plan_name: Option<String>,
    /// Anything the front end needs, given back as it is.
    data: Option<BTreeMap<String, Value>>,
    /// At most 20 distinct labels of 1 to 64 characters.
    #[oai(validator(max_items = 20))]
    tags: Option<Vec<String>>,
    /// Show it from this instant on (RFC 3339, cut to milliseconds); at once where it is left out or has passed.
    deliver_at: Option<String>,
    /// Take it from the inbox at this instant (RFC 3339, cut to milliseconds), which must lie in the future and after
    /// `deliver_at`.
    expires_at: Option<String>,
}

/// How soon and how loudly.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum Priority {
    Low,
    Normal,
    High,
    Urgent,
}

impl From<Priority> for domain::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
            Priority::Urgent => Self::Urgent,
        }
    }
}

/// What a notification says and how it is delivered, whoever gets it.
pub struct Says {
    pub content: Option<ContentBody>,
    pub template: Option<TemplateBody>,
    pub category: Option<String>,
    pub priority: Option<Priority>,
    pub plan: PlanChoice,
    pub data: Option<BTreeMap<String, Value>>,
    pub tags: Option<Vec<String>>,
    pub deliver_at: Option<String>,
    pub expires_at: Option<String>,
}

impl CreateNotification {
    /// Whether its words or its plan are looked up. Then the same may be refused today and have been done yesterday.
    pub fn is_looked_up(&self) -> bool {
        self.template.is_some() || self.plan_name.is_some()
    }

    /// The command it asks for; a problem names the member that stands in its way.
    pub async fn into_command(
        self,
        now: OffsetDateTime,
        within: (&Directory, &Tenant),
    ) -> Result<Create, Problem> {
        let user = UserId::try_from(self.user_id)
            .map_err(|error| Problem::at(Kind::Invalid, "/user_id", error.to_string()))?;
        let says = Says {
            content: self.content,
            template: self.template,
            category: self.category,
            priority: self.priority,
            plan: PlanChoice { steps: self.plan, name: self.plan_name },
            data: self.data,
            tags: self.tags,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
        };
        Ok(says.into_message(within).await?.to(user, now).expect("what was just said has words"))
    }
}

impl Says {
    /// A problem names the member that stands in its way.
    pub async fn into_message(self, within: (&Directory, &Tenant)) -> Result<Message, Problem> {
        let content = content(self.content, self.template, within).await?;
        let category = self.category.map(Category::new).transpose()?;
        let mut plan = fixed_plan(self.plan, category.as_ref(), within).await?;
        policies::fix(within.0, within.1, &mut plan).await?;
        let deliver_at = self.deliver_at.map(|text| parse_instant("/deliver_at", &text)).transpose()?;
        let expires_at = self.expires_at.map(|text| parse_instant("/expires_at", &text)).transpose()?;
        if expires_at.zip(deliver_at).is_some_and(|(expires, delivers)| expires <= delivers) {
            return Err(Problem::at(Kind::Invalid, "/expires_at", "must be later than `deliver_at`"));
        }
        Ok(Message {
            content: Some(content),
            category,
            priority: self.priority.map(Into::into).unwrap_or_default(),
            plan,
            data: self.data.map(|data| data.into_iter().collect()),
            tags: Tags::new(self.tags.unwrap_or_default())?,
            deliver_at,
            expires_at,
        })
    }
}

/// A command was done: everything it did is at or before `cursor`.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Receipt {
    /// The notification.
    pub id: String,
    /// `true` where that is a digest, and what was asked for is an item of it.
    pub collected: Option<bool>,
    pub cursor: String,
}

/// An item of an inbox.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct InboxItem {
    id: String,
    title: String,
    body: String,
    action_url: Option<String>,
    category: Option<String>,
    /// `low`, `normal`, `high` or `urgent`.
    priority: String,
    data: Option<Value>,
    tags: Option<Vec<String>>,
    created_at: String,
    seen_at: Option<String>,
    read_at: Option<String>,
    archived_at: Option<String>,
    snoozed_until: Option<String>,
    /// Its last change.
    cursor: String,
}

impl InboxItem {
    /// `words` are those of its template, if it has one.
    pub fn new(
        Item { notification, state }: &Item,
        fixed: Fixed,
        words: Option<Words>,
        cursor: Cursor,
    ) -> Self {
        let own = |fixed: &mut Fixed| Words {
            title: fixed.title.take().unwrap_or_default(),
            body: fixed.body.take().unwrap_or_default(),
            action_url: fixed.action_url.take(),
        };
        let mut fixed = fixed;
        let Words { title, body, action_url } = words.unwrap_or_else(|| own(&mut fixed));
        Self {
            id: NotificationId::new(*notification).to_string(),
            title,
            body,
            action_url,
            category: fixed.category,
            priority: fixed.priority,
            data: fixed.data.map(Value::Object),
            tags: (!fixed.tags.is_empty()).then_some(fixed.tags),
            created_at: fixed.created_at,
            seen_at: state.seen_at.map(rfc3339),
            read_at: state.read_at.map(rfc3339),
            archived_at: state.archived_at.map(rfc3339),
            snoozed_until: state.snoozed_until.map(rfc3339),
            cursor: cursor.to_string(),
        }
    }
}

/// Which version of a template says it.
#[derive(Debug, Object)]
pub struct TemplateRef {
    key: String,
    version: u32,
}

/// A notification as its makers see it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Notification {
    id: String,
    user_id: String,
    /// `scheduled`, `active`, `cancelled` or `expired`.
    status: String,
    /// As its user reads it now.
    title: String,
    body: String,
    action_url: Option<String>,
    template: Option<TemplateRef>,
    category: Option<String>,
    /// `low`, `normal`, `high` or `urgent`.
    priority: String,
    data: Option<Value>,
    tags: Option<Vec<String>>,
    created_at: String,
    /// When it was to be shown, where that was later than its creation.
    deliver_at: Option<String>,
    expires_at: Option<String>,
    seen_at: Option<String>,
    read_at: Option<String>,
    archived_at: Option<String>,
    snoozed_until: Option<String>,
    /// How many items a digest has collected.
    collected: Option<u32>,
    /// Step by step, as the plan has it.
    deliveries: Vec<Delivery>,
    /// Its last event.
    cursor: String,
}

/// How the delivery on one channel stands.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Delivery {
    channel: String,
    /// `waiting` for its turn, `pending`, `scheduled` for another attempt, `started`, `delivered`, `skipped`, `exhausted`
    /// where another channel took over, `dead_lettered`, `cancelled` or `expired`.
    status: String,
    /// The current attempt, from 1.
    attempt: u32,
    /// How often it is tried by itself, where that is more than once.
    attempts_max: Option<u32>,
    /// What the plan says of when its turn comes.
    after: Option<String>,
    /// What makes it needless: `delivered`, `seen` or `read`.
    unless: Option<String>,
    /// When its turn comes by itself, or the attempt may begin.
    due_at: Option<String>,
    /// When the attempt that is under way is given up.
    deadline: Option<String>,
    /// Why it was skipped: `no_address`, `preference`, `quiet_hours`, `not_configured`, `throttled`, `seen`, `read`,
    /// `delivered`, `cancelled` or `expired`.
    skipped: Option<String>,
    /// What kind of failure the last attempt met, unless a later one succeeded: `transient`, `permanent`, `gone`,
    /// `reported` or `unknown`.
    error_class: Option<String>,
    /// Why the last attempt failed, unless a later one succeeded.
    error: Option<String>,
    /// What the provider calls what it took over.
    provider_ref: Option<String>,
}

impl Notification {
    /// In these words.
    pub fn new(overview: &Overview, words: Words, cursor: Cursor) -> Self {
        let created = &overview.created;
        let Words { title, body, action_url } = words;
        let template = match &created.content {
            Some(Content::Template { template }) => {
                Some(TemplateRef { key: template.key.to_string(), version: template.version })
            }
            Some(Content::Words(_)) | None => None,
        };
        let tags = created.tags.as_slice();
        Self {
            id: overview.id.to_string(),
            user_id: overview.user.to_string(),
            status: overview.status().into(),
            title,
            body,
            action_url,
            template,
            category: created.category.as_ref().map(|c| c.as_str().to_owned()),
            priority: created.priority.as_str().into(),
            data: created.data.clone().map(Value::Object),
            tags: (!tags.is_empty()).then(|| tags.to_vec()),
            created_at: rfc3339(overview.created_at),
            deliver_at: created.deliver_at.map(rfc3339),
            expires_at: created.expires_at.map(rfc3339),
            seen_at: overview.seen_at.map(rfc3339),
            read_at: overview.read_at.map(rfc3339),
            archived_at: overview.archived_at.map(rfc3339),
            snoozed_until: overview.state.snoozed_until.map(rfc3339),
            collected: overview.collected,
            deliveries: overview.deliveries().map(Delivery::new).collect(),
            cursor: cursor.to_string(),
        }
    }
}

impl Delivery {
    fn new(stands: DeliveryOverview<'_>) -> Self {
        let DeliveryOverview { step, delivery, failure, provider_ref } = stands;
        let after = step.after_s.map(|after_s| duration::format(Duration::from_secs(after_s.into())));
        Self {
            channel: delivery.channel.as_str().into(),
            status: delivery.status.as_str().into(),
            attempt: delivery.attempt,
            attempts_max: step.retry.map(|policy| policy.attempts_max),
            after,
            unless: step.unless.map(|unless| unless.as_str().into()),
            due_at: delivery.due_at.map(rfc3339),
            deadline: delivery.deadline.map(rfc3339),
            skipped: delivery.skipped.map(|reason| reason.as_str().into()),
            error_class: failure.map(|failure| failure.class.as_str().into()),
            error: failure.map(|failure| failure.detail.clone()),
            provider_ref: provider_ref.map(str::to_owned),
        }
    }
}
