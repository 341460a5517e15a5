//! What a schedule asks for, held to what a request of a client is.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tidings_domain::Tenant;
use tidings_domain::schedule::Request;
use time::OffsetDateTime;

use crate::api::audience::broadcasts::CreateBroadcast;
use crate::api::http::body::parse;
use crate::api::http::problem::{Kind, Problem};
use crate::api::notifications::wire::CreateNotification;
use crate::commands::Asked;
use crate::directory::Directory;

/// Makes commands of what schedules ask for.
#[derive(Clone)]
pub struct Requests {
    directory: Directory,
}

impl Requests {
    pub fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// What it is `now`; a problem of the caller's says in no word what it was to say, and points into the schedule.
    pub async fn make(
        &self,
        tenant: &Tenant,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<Asked, Problem> {
        let within = (&self.directory, tenant);
        match request {
            Request::Notification(body) => {
                let create: CreateNotification = parsed("/notification", body)?;
                let create = create.into_command(now, within).await;
                let create = create.map_err(|problem| below("/notification", problem))?;
                Ok(Asked::Notification(Box::new(create)))
            }
            Request::Broadcast(body) => {
                let create: CreateBroadcast = parsed("/broadcast", body)?;
                let request = create.into_request(within).await;
                let request = request.map_err(|problem| below("/broadcast", problem))?;
                Ok(Asked::Broadcast(Box::new(request)))
            }
        }
    }
}

/// Exactly one of the two, without instants: a schedule says when.
pub fn of(sent: &Map<String, Value>) -> Result<Request, Problem> {
    let member = |name: &str| sent.get(name).and_then(Value::as_object).cloned();
    let refuse = |pointer: &str, detail: &str| Err(Problem::at(Kind::Invalid, pointer, detail));
    let (pointer, body) = match (member("notification"), member("broadcast")) {
        (Some(body), None) => ("/notification", body),
        (None, Some(body)) => ("/broadcast", body),
        (Some(_), Some(_)) => return refuse("/broadcast", "goes without `notification`"),
        (None, None) => return refuse("/notification", "or `broadcast` is missing"),
    };
    for name in ["deliver_at", "expires_at"] {
        if body.get(name).is_some_and(|instant| !instant.is_null()) {
            return refuse(&format!("{pointer}/{name}"), "is the same at each tick: leave it out");
        }
    }
    Ok(if pointer == "/notification" { Request::Notification(body) } else { Request::Broadcast(body) })
}

fn parsed<T: DeserializeOwned>(pointer: &str, body: &Map<String, Value>) -> Result<T, Problem> {
    let text = serde_json::to_string(body).map_err(|error| Problem::internal(&error))?;
    // What the parser says of a value may have the value in it.
    parse(&text).map_err(|problem| {
        Problem::at(Kind::Invalid, format!("{pointer}{}", problem.first().0), "is not what may stand here")
    })
}

/// One that is the caller's own, by a pointer into the schedule.
fn below(pointer: &str, problem: Problem) -> Problem {
    if problem.status().is_server_error() {
        return problem;
    }
    let (member, detail) = problem.first();
    Problem::at(Kind::Invalid, format!("{pointer}{member}"), detail)
}
