//! The read models, for operators: how far they are, who is parked, and how to build them anew.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::api::Tag;
use crate::api::http::credentials::{Caller, Root};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::Command;
use crate::read_models::{Name, Overview, ReadModels};

pub struct Projections;

/// One read model.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Projection {
    /// `inbox`, `delivery`, `timers` or `subscribers`.
    name: String,
    /// Everything up to here is folded in.
    cursor: String,
    /// Events of the log that are not.
    lag_events: i64,
    /// The age of the first of those, in seconds; 0 where there is none.
    lag_seconds: f64,
    /// Recipients of whom an event could not be applied: their reads answer `projection-behind` until a redrive.
    parked: i64,
    /// `following`, `rebuilding`, `halted` (an event that this binary does not know) or `failing`.
    state: String,
    /// Why it does not follow.
    detail: Option<String>,
}

impl Projection {
    fn new(reads: &Reads, overview: &Overview) -> Self {
        let standing = &overview.standing;
        Self {
            name: overview.name.to_string(),
            cursor: reads.cursor(standing.position),
            lag_events: standing.lag_events,
            lag_seconds: standing.lag_seconds,
            parked: standing.parked,
            state: overview.state().into(),
            detail: overview.trouble().map(str::to_owned),
        }
    }
}

/// All read models.
#[derive(Debug, Object)]
#[oai(rename = "Projections")]
struct ProjectionList {
    projections: Vec<Projection>,
}

/// A rebuild that has begun.
#[derive(Debug, Object)]
struct Rebuilding {
    name: String,
    /// `rebuilding`
    state: String,
}

#[derive(ApiResponse)]
enum RebuildResponse {
    /// Begun on this node; `GET /v1/projections` tells when it is over.
    #[oai(status = 202)]
    Begun(Json<Rebuilding>),
}

/// What a redrive did.
#[derive(Debug, Object)]
struct Redriven {
    /// Recipients that are shown again.
    redriven: u64,
    /// Recipients whose event still cannot be applied.
    parked: u64,
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Operation")]
impl Projections {
    /// List the read models
    #[oai(path = "/projections", method = "get", operation_id = "listProjections")]
    async fn list(
        &self,
        _caller: Caller<Root>,
        reads: &Reads,
        models: &ReadModels,
    ) -> Result<Json<ProjectionList>, Problem> {
        let overviews = models.overview().await?;
        let projections = overviews.iter().map(|overview| Projection::new(reads, overview)).collect();
        Ok(Json(ProjectionList { projections }))
    }

    /// Rebuild a read model
    ///
    /// A second one is built from the log while the first serves, compared with it, and put in its
    /// place. Where they agree nobody notices; recipients for whom they differ are told to start over.
    #[oai(path = "/projections/:name/rebuild", method = "post", operation_id = "rebuildProjection")]
    async fn rebuild(
        &self,
        command: Command<Root>,
        models: &ReadModels,
        /// Which.
        name: Path<String>,
    ) -> Result<RebuildResponse, Problem> {
        command.body.parse()?;
        let name = parse_name(&name)?;
        let running = models.overview().await?.iter().any(|o| o.name == name && o.standing.rebuilding);
        if running || !models.begin_rebuild(name) {
            return Err(Problem::new(Kind::Conflict, format!("{name} is being rebuilt already")));
        }
        let rebuilding = Rebuilding { name: name.to_string(), state: "rebuilding".into() };
        Ok(RebuildResponse::Begun(Json(rebuilding)))
    }

    /// Redrive parked recipients
    ///
    /// Folds each of them anew from the log; those for whom it works are told to start over.
    #[oai(path = "/projections/:name/redrive", method = "post", operation_id = "redriveProjection")]
    async fn redrive(
        &self,
        command: Command<Root>,
        models: &ReadModels,
        /// Which.
        name: Path<String>,
    ) -> Result<Json<Redriven>, Problem> {
        command.body.parse()?;
        let done = models.redrive(parse_name(&name)?).await?;
        Ok(Json(Redriven { redriven: done.redriven, parked: done.parked }))
    }
}

fn parse_name(text: &str) -> Result<Name, Problem> {
    text.parse()
        .map_err(|error: crate::read_models::UnknownName| Problem::new(Kind::NotFound, error.to_string()))
}
