//! Categories: how a tenant's notifications of a kind are delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::SettingsId;
use tidings_domain::notification;
use tidings_domain::settings::{self, Action, CategorySettings, Throttle};

use super::digests::{self, PutDigest, ShownDigest};
use crate::api::Tag;
use crate::api::audience::recipients::switches;
use crate::api::http::backend::Backend;
use crate::api::http::body::{Body, CommandBody};
use crate::api::http::credentials::{Admin, Caller, Service};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::notifications::plan::PlanStepBody;
use crate::api::notifications::plan::{PlanChoice, PlannedStep};
use crate::api::values::duration;

pub struct Categories;

/// How notifications of the category are delivered. It replaces what was said before.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutCategory {
    /// Whether they reach users whatever those switched off, and at any hour; `false` where it is left out.
    critical: Option<bool>,
    /// Channels that are on or off (`in_app`, `email`, `slack`, `webhook`, `web_push`) for users who say nothing of it.
    channels: Option<BTreeMap<String, bool>>,
    /// The plan of those that name none, step by step.
    #[oai(validator(min_items = 1, max_items = 8))]
    plan: Option<Vec<PlanStepBody>>,
    /// The same by the name of a plan: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    plan_name: Option<String>,
    throttle: Option<PutThrottle>,
    digest: Option<PutDigest>,
}

/// How many of them a user gets: the rest is recorded and skipped as `throttled`, on every channel.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutThrottle {
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    max: u32,
    /// In every span of this length: whole seconds from `1s` to `30d`.
    window: String,
}

/// How many notifications of a category a user gets.
#[derive(Debug, Object)]
#[oai(rename = "Throttle")]
struct ShownThrottle {
    max: u32,
    window: String,
}

/// How notifications of a category are delivered.
#[derive(Debug, Object)]
#[oai(rename = "Category", skip_serializing_if_is_none)]
struct Shown {
    category: String,
    critical: bool,
    /// By channel.
    channels: BTreeMap<String, bool>,
    plan: Option<Vec<PlannedStep>>,
    plan_name: Option<String>,
    throttle: Option<ShownThrottle>,
    digest: Option<ShownDigest>,
}

/// The categories that a tenant has said something of.
#[derive(Debug, Object)]
struct CategoryList {
    categories: Vec<Shown>,
}

/// A category of which nothing is said any more.
#[derive(Debug, Object)]
struct RemovedCategory {
    category: String,
}

#[derive(ApiResponse)]
enum CategoryResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<Shown>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum RemovedResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Removed(
        Json<RemovedCategory>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Categories")]
impl Categories {
    /// Say how a category is delivered
    ///
    /// Nobody makes a category: it is there for as long as a notification names it. What is said of it holds for
    /// notifications to come. A tenant may say something of 200.
    #[oai(path = "/categories/:category", method = "put", operation_id = "putCategory")]
    async fn put(
        &self,
        command: Command<Service<Admin>, Body<PutCategory>>,
        /// The category: 1 to 64 characters without control characters.
        category: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<CategoryResponse, Problem> {
        let category = parse(category.0)?;
        let settings = command.body.parse::<PutCategory>()?.into_domain()?;
        let shown = Shown::of(&category, &settings);
        let Backend { commands, reads, .. } = &*command.backend;
        let within = (&reads.directory, command.principal().tenant());
        if let Err(problem) = digests::check(settings.digest.as_ref(), within).await {
            // It may have been done before the template changed.
            let earlier = commands.earlier_change(&command.context(&key)).await?.ok_or(problem)?;
            return Ok(CategoryResponse::Kept(Json(shown), reads.cursor(earlier.position), Some(true)));
        }
        let action = Action::ChangeCategory { category, settings: Box::new(settings) };
        let (cursor, replayed) = command.set(&key, action).await?;
        Ok(CategoryResponse::Kept(Json(shown), cursor, replayed))
    }

    /// Look at how a category is delivered
    #[oai(path = "/categories/:category", method = "get", operation_id = "getCategory")]
    async fn get(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// The category.
        category: Path<String>,
    ) -> Result<Json<Shown>, Problem> {
        let category = parse(category.0)?;
        let settings = reads.settings(caller.principal.tenant()).await?;
        let found = settings.categories.get(&category);
        let found = found.ok_or_else(|| Problem::new(Kind::NotFound, "nothing is said of the category"))?;
        Ok(Json(Shown::of(&category, found)))
    }

    /// Say nothing more of a category
    #[oai(path = "/categories/:category", method = "delete", operation_id = "removeCategory")]
    async fn remove(
        &self,
        command: Command<Service<Admin>>,
        /// The category.
        category: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<RemovedResponse, Problem> {
        command.body.parse()?;
        let category = parse(category.0)?;
        let removed = RemovedCategory { category: category.as_str().into() };
        let (cursor, replayed) = command.set(&key, Action::RemoveCategory { category }).await?;
        Ok(RemovedResponse::Removed(Json(removed), cursor, replayed))
    }

    /// List categories
    ///
    /// Those that the key's tenant has said something of.
    #[oai(path = "/categories", method = "get", operation_id = "listCategories")]
    async fn list(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
    ) -> Result<Json<CategoryList>, Problem> {
        let settings = reads.settings(caller.principal.tenant()).await?;
        let categories = settings.categories.iter().map(|(category, says)| Shown::of(category, says));
        Ok(Json(CategoryList { categories: categories.collect() }))
    }
}

fn parse(text: String) -> Result<notification::Category, Problem> {
    notification::Category::new(text).map_err(|error| Problem::at(Kind::Malformed, "category", error.detail))
}

impl<B: CommandBody> Command<Service<Admin>, B> {
    /// Changes the tenant's settings; gives back the position and whether it was a repetition, as headers say it.
    pub async fn set(&self, key: &Key, action: Action) -> Result<(String, Option<bool>), Problem> {
        let id = SettingsId { tenant: self.principal().tenant().clone() };
        let changed = self.backend.commands.change_settings(&self.context(key), &id, action).await?;
        Ok((self.backend.reads.cursor(changed.position), changed.replayed.then_some(true)))
    }
}

impl PutCategory {
    fn into_domain(self) -> Result<CategorySettings, Problem> {
        Ok(CategorySettings {
            critical: self.critical.unwrap_or_default(),
            channels: switches("/channels", self.channels.unwrap_or_default())?,
            plan: PlanChoice { steps: self.plan, name: self.plan_name }.into_domain()?,
            throttle: self.throttle.map(PutThrottle::into_domain).transpose()?,
            digest: self.digest.map(PutDigest::into_domain).transpose()?,
        })
    }
}

impl PutThrottle {
    fn into_domain(self) -> Result<Throttle, Problem> {
        if !(1..=Throttle::MAX_MAX).contains(&self.max) {
            return Err(Problem::at(Kind::Invalid, "/throttle/max", "must be 1 to 1,000"));
        }
        let bounds = Duration::from_secs(1)..=Duration::from_secs(Throttle::WINDOW_S_MAX.into());
        let window_s = duration::parse_seconds_at("/throttle/window", &self.window, bounds)?;
        Ok(Throttle { max: self.max, window_s })
    }
}

impl Shown {
    fn of(category: &notification::Category, settings: &CategorySettings) -> Self {
        let channels = settings.channels.iter();
        let (plan, plan_name) = match &settings.plan {
            Some(settings::PlanChoice::Steps(plan)) => (Some(PlannedStep::of(plan)), None),
            Some(settings::PlanChoice::Named(name)) => (None, Some(name.to_string())),
            None => (None, None),
        };
        Self {
            category: category.as_str().into(),
            critical: settings.critical,
            channels: channels.map(|(channel, on)| (channel.as_str().into(), *on)).collect(),
            plan,
            plan_name,
            throttle: settings.throttle.map(|Throttle { max, window_s }| ShownThrottle {
                max,
                window: duration::format(Duration::from_secs(window_s.into())),
            }),
            digest: settings.digest.as_ref().map(ShownDigest::of),
        }
    }
}
