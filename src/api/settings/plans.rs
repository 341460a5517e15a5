//! Plans that have names: how notifications are delivered that ask for them, or for none.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::settings::{Action, PlanName, Settings};

use crate::api::Tag;
use crate::api::http::body::Body;
use crate::api::http::credentials::{Admin, Caller, Service};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::notifications::plan::PlanStepBody;
use crate::api::notifications::plan::{PlannedStep, plan};

pub struct Plans;

/// A plan to keep.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutPlan {
    /// How to deliver, step by step.
    #[oai(validator(min_items = 1, max_items = 8))]
    plan: Vec<PlanStepBody>,
}

/// A plan with a name.
#[derive(Debug, Object)]
#[oai(rename = "NamedPlan")]
struct Shown {
    name: String,
    plan: Vec<PlannedStep>,
}

/// The named plans of a tenant.
#[derive(Debug, Object)]
struct PlanList {
    plans: Vec<Shown>,
}

/// A plan that is no more.
#[derive(Debug, Object)]
struct RemovedPlan {
    name: String,
}

#[derive(ApiResponse)]
enum PlanResponse {
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
        Json<RemovedPlan>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Categories")]
impl Plans {
    /// Name a plan
    ///
    /// It replaces the plan of that name, for notifications to come. The one named `default` is that of notifications which
    /// name no plan and whose category names none. A tenant has at most 100.
    #[oai(path = "/plans/:plan", method = "put", operation_id = "putPlan")]
    async fn put(
        &self,
        command: Command<Service<Admin>, Body<PutPlan>>,
        /// The plan: 1 to 64 characters of A-Z, a-z, 0-9, ., _ and -, the first of them a letter or a digit.
        #[oai(name = "plan")]
        name: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<PlanResponse, Problem> {
        let name = parse(name.0)?;
        let plan = plan(command.body.parse::<PutPlan>()?.plan)?;
        let shown = Shown { name: name.to_string(), plan: PlannedStep::of(&plan) };
        let (cursor, replayed) = command.set(&key, Action::ChangePlan { name, plan }).await?;
        Ok(PlanResponse::Kept(Json(shown), cursor, replayed))
    }

    /// Look at a plan
    #[oai(path = "/plans/:plan", method = "get", operation_id = "getPlan")]
    async fn get(
        &self,
        caller: Caller<Service<Admin>>,
        reads: &Reads,
        /// The plan.
        #[oai(name = "plan")]
        name: Path<String>,
    ) -> Result<Json<Shown>, Problem> {
        let name = parse(name.0)?;
        let settings = reads.settings(caller.principal.tenant()).await?;
        let shown = shown(&settings).find(|shown| shown.name == name.as_str());
        shown.map(Json).ok_or_else(|| Problem::new(Kind::NotFound, "there is no plan of this name"))
    }

    /// Remove a plan
    ///
    /// Notifications keep what they were made with. One that a category uses is not removed: `invalid-state`.
    #[oai(path = "/plans/:plan", method = "delete", operation_id = "removePlan")]
    async fn remove(
        &self,
        command: Command<Service<Admin>>,
        /// The plan.
        #[oai(name = "plan")]
        name: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<RemovedResponse, Problem> {
        command.body.parse()?;
        let name = parse(name.0)?;
        let removed = RemovedPlan { name: name.to_string() };
        let (cursor, replayed) = command.set(&key, Action::RemovePlan { name }).await?;
        Ok(RemovedResponse::Removed(Json(removed), cursor, replayed))
    }

    /// List plans
    ///
    /// Those with names, of the key's tenant.
    #[oai(path = "/plans", method = "get", operation_id = "listPlans")]
    async fn list(&self, caller: Caller<Service<Admin>>, reads: &Reads) -> Result<Json<PlanList>, Problem> {
        let settings = reads.settings(caller.principal.tenant()).await?;
        Ok(Json(PlanList { plans: shown(&settings).collect() }))
    }
}

fn parse(text: String) -> Result<PlanName, Problem> {
    PlanName::try_from(text).map_err(|error| Problem::at(Kind::Malformed, "plan", error.to_string()))
}

fn shown(settings: &Settings) -> impl Iterator<Item = Shown> {
    settings.plans.iter().map(|(name, plan)| Shown { name: name.to_string(), plan: PlannedStep::of(plan) })
}
