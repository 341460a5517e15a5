//! The doors to the live inbox: the socket, and the same as Server-Sent Events.

use std::sync::Arc;

use poem::web::sse::SSE;
use poem::web::websocket::WebSocket;
use poem::web::{Data, Path, Query};
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;
use tidings_projections::log::Cursor;

use super::credentials;
use super::origins::Origins;
use super::parameter;
use super::problem::{Kind, Problem};
use super::reads::{Reads, parse_user};
use crate::gateway::{self, Gateway, HEARTBEAT, Hello};

const SUBPROTOCOL: &str = "tidings.v1";

#[derive(Deserialize)]
struct SocketQuery {
    user_id: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/ws`. Only a foreign origin is refused before the upgrade; a browser cannot see any other status.
#[handler]
pub fn open_socket(
    request: &Request,
    socket: WebSocket,
    query: Query<SocketQuery>,
    gateway: Data<&Gateway>,
    origins: Data<&Origins>,
) -> Result<Response, Problem> {
    if !origins.allow(request) {
        return Err(Problem::new(Kind::Forbidden, "sockets are not open to this origin"));
    }
    let Query(SocketQuery { user_id, cursor }) = query;
    let hello = Hello { principal: credentials::check(request), user_id, cursor };
    let gateway = gateway.clone();
    Ok(socket
        .protocols([SUBPROTOCOL])
        .config(gateway::config())
        .on_upgrade(move |stream| gateway::socket(stream, gateway, hello))
        .into_response())
}

/// `GET /v1/users/{user_id}/inbox/stream`. `Last-Event-ID`, which browsers send by themselves, wins over
/// `cursor`.
#[handler]
pub async fn open_stream(
    request: &Request,
    Path(user_id): Path<String>,
    gateway: Data<&Gateway>,
    reads: Data<&Arc<Reads>>,
) -> Result<Response, Problem> {
    let principal = credentials::check(request)?;
    let user = parse_user(user_id)?;
    principal.require_access_to(&user)?;
    let cursor: Option<Cursor> = match parameter::header(request, "Last-Event-ID")? {
        None => parameter::query(request, "cursor")?,
        last_event_id => last_event_id,
    };
    reads.history.refresh(&reads.pool).await?;
    let tenant = principal.tenant().to_string();
    let frames = gateway::stream(gateway.clone(), tenant, user.into(), cursor).await;
    let frames = frames.map_err(|_| {
        Problem::new(Kind::ProjectionBehind, "the inbox cannot be read up to this cursor now")
    })?;
    Ok(SSE::new(frames).keep_alive(HEARTBEAT).into_response())
}
