//! Plans as clients write them: the name of one of the tenant's, or steps. They are two members: what is one or the other
//! in one place is more than most generators of clients can say.

use std::time::Duration;

use poem_openapi::Object;
use tidings_domain::Tenant;
use tidings_domain::notification::{self as domain, Category, Plan};
use tidings_domain::settings::{self, PlanName};

use super::wire::PlanStepBody;
use crate::api::http::problem::{Kind, Problem};
use crate::api::values::duration;
use crate::directory::Directory;

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
