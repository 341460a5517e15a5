//! Plans as clients write them: the name of one of the tenant's, or steps. They are two members: what is one or the other
//! in one place is more than most generators of clients can say.

use std::time::Duration;

use poem_openapi::{Enum, Object};
use serde::Deserialize;
use tidings_domain::Tenant;
use tidings_domain::notification::{self as domain, Category, Plan, PlanStep};
use tidings_domain::settings::{self, PlanName};

use crate::api::http::problem::{Kind, Problem};
use crate::api::values::duration;
use crate::directory::Directory;

/// A way to reach the recipient.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum Channel {
    InApp,
    Email,
    Slack,
    Webhook,
    WebPush,
}

/// What makes a step needless when its turn comes.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum Unless {
    Delivered,
    Seen,
    Read,
}

/// One step of a plan. Its turn comes when the step before it has failed or was skipped, and at the latest `after` so long.
/// What the user has seen or read needs no further step.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(rename = "PlanStep", deny_unknown_fields)]
pub struct PlanStepBody {
    /// `in_app` can only be the first; no channel twice.
    channel: Channel,
    /// When its turn comes by itself, counted from when the notification is shown: whole seconds from `1s` to `30d`, with
    /// the units `ms`, `s`, `m`, `h` and `d`. The first step has none.
    after: Option<String>,
    /// Skip it if the step before it was `delivered`, or the user has `seen` or `read` the notification. One that says
    /// `read` goes on while it is only seen. The first step has none.
    unless: Option<Unless>,
}

impl From<Channel> for domain::Channel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::InApp => Self::InApp,
            Channel::Email => Self::Email,
            Channel::Slack => Self::Slack,
            Channel::Webhook => Self::Webhook,
            Channel::WebPush => Self::WebPush,
        }
    }
}

impl From<Unless> for domain::Unless {
    fn from(unless: Unless) -> Self {
        match unless {
            Unless::Delivered => Self::Delivered,
            Unless::Seen => Self::Seen,
            Unless::Read => Self::Read,
        }
    }
}

impl PlanStepBody {
    /// The step of this index.
    pub fn into_step(self, index: usize) -> Result<PlanStep, Problem> {
        let pointer = format!("/plan/{index}/after");
        let after_s = self.after.map(|text| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(Plan::AFTER_S_MAX.into());
            duration::parse_seconds_at(&pointer, &text, bounds)
        });
        let step = PlanStep::on(self.channel.into());
        Ok(PlanStep { after_s: after_s.transpose()?, unless: self.unless.map(Into::into), ..step })
    }
}

/// The members `plan` and `plan_name` of a request, of which it has one at most.
#[derive(Debug)]
pub struct PlanChoice {
    pub steps: Option<Vec<PlanStepBody>>,
    pub name: Option<String>,
}

/// One step of a plan.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PlannedStep {
    channel: String,
    /// When its turn comes by itself.
    after: Option<String>,
    /// What makes it needless: `delivered`, `seen` or `read`.
    unless: Option<String>,
}

/// The plan that a notification or a broadcast is made with: as a later change of the settings leaves it.
pub async fn fixed_plan(
    choice: PlanChoice,
    category: Option<&Category>,
    (directory, tenant): (&Directory, &Tenant),
) -> Result<Plan, Problem> {
    let named = match choice.into_domain()? {
        Some(settings::PlanChoice::Steps(plan)) => return Ok(plan),
        Some(settings::PlanChoice::Named(name)) => Some(name),
        None => None,
    };
    let settings = directory.settings(tenant).await?;
    let Some(name) = named else { return Ok(settings.plan_for(category)) };
    let unknown = || Problem::from(settings::Error::UnknownPlan);
    settings.plans.get(&name).cloned().ok_or_else(unknown)
}

/// The steps, at the member `plan`.
pub fn plan(steps: Vec<PlanStepBody>) -> Result<Plan, Problem> {
    let steps = steps.into_iter().enumerate().map(|(index, step)| step.into_step(index));
    Ok(Plan::new(steps.collect::<Result<_, _>>()?)?)
}

pub fn plan_name(pointer: &str, text: String) -> Result<PlanName, Problem> {
    PlanName::try_from(text).map_err(|error| Problem::at(Kind::Invalid, pointer, error.to_string()))
}

impl PlanChoice {
    pub fn into_domain(self) -> Result<Option<settings::PlanChoice>, Problem> {
        Ok(match (self.steps, self.name) {
            (None, None) => None,
            (Some(steps), None) => Some(settings::PlanChoice::Steps(plan(steps)?)),
            (None, Some(name)) => Some(settings::PlanChoice::Named(plan_name("/plan_name", name)?)),
            (Some(_), Some(_)) => {
                return Err(Problem::at(Kind::Invalid, "/plan_name", "goes without `plan`"));
            }
        })
    }
}

impl PlannedStep {
    pub fn of(plan: &Plan) -> Vec<Self> {
        plan.steps().iter().map(Self::from).collect()
    }
}

impl From<&domain::PlanStep> for PlannedStep {
    fn from(step: &domain::PlanStep) -> Self {
        Self {
            channel: step.channel.as_str().into(),
            after: step.after_s.map(|after_s| duration::format(Duration::from_secs(after_s.into()))),
            unless: step.unless.map(|unless| unless.as_str().into()),
        }
    }
}
