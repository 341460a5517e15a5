//! The doors to the live inbox: the socket, and the same as Server-Sent Events.

use std::sync::Arc;

use poem::http::header;
use poem::web::sse::SSE;
use poem::web::websocket::WebSocket;
use poem::web::{Data, Path};
use poem::{IntoResponse, Request, Response, handler};
use tidings_projections::log::Cursor;
use uuid::Uuid;

use crate::api::http::closed;
use crate::api::http::credentials;
use crate::api::http::origins::Origins;
use crate::api::http::parameter::{self, Parameter};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_user};
use crate::auth::{Denied, Scope};
use crate::gateway::{self, Close, Gateway, HEARTBEAT, Hello, Join, Owner, Query, Shown};

const SUBPROTOCOL: &str = "tidings.v1";
/// A browser can set no header of a handshake, but name subprotocols: this one carries its token.
const BEARER_SUBPROTOCOL: &str = "bearer.";

/// `GET /v1/ws`. Only a foreign origin is refused before the upgrade; a browser cannot see any other status.
#[handler]
pub async fn open_socket(
    request: &Request,
    socket: WebSocket,
    gateway: Data<&Arc<Gateway>>,
    origins: Data<&Origins>,
) -> Result<Response, Problem> {
    if !origins.allow(request) {
        return Err(Problem::new(Kind::Forbidden, "sockets are not open to this origin"));
    }
    let hello = Box::new(Hello {
        shown: shown(request, &gateway).await,
        query: socket_query(request).map_err(|_| Close::BadRequest),
    });
    let gateway = gateway.clone();
    Ok(socket
        .protocols([SUBPROTOCOL])
        .config(gateway::config())
        .on_upgrade(move |stream| {
            let sockets = gateway.sockets.clone();
            // Boxed: the task around it would hold it several times.
            sockets.track_future(Box::pin(gateway::serve(Box::new(stream), gateway, hello)))
        })
        .into_response())
}

/// The first credentials there are: headers, the subprotocol, a ticket.
async fn shown(request: &Request, gateway: &Gateway) -> Shown {
    match credentials::check(request).await {
        Err(Denied::Missing) => {}
        checked => return Shown::Checked(checked),
    }
    let named = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let named = named.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if let Some(token) = named.filter_map(|name| name.trim().strip_prefix(BEARER_SUBPROTOCOL)).next() {
        return Shown::Checked(gateway.authenticator.check_token(token).await);
    }
    match parameter::query(request, "ticket") {
        Ok(Some(ticket)) => Shown::Ticket(ticket),
        // A query that cannot be read is refused as such.
        Ok(None) | Err(_) => Shown::Nothing,
    }
}

fn socket_query(request: &Request) -> Result<Query, Problem> {
    closed::check_names(request, &["user_id", "cursor", "connection_id", "ticket"])?;
    parameter::query::<String>(request, "ticket")?;
    Ok(Query {
        user_id: parameter::query(request, "user_id")?,
        cursor: parameter::query(request, "cursor")?,
        goes_on_from: connection_id(request)?,
    })
}

/// A connection as its `welcome` named it.
struct ConnectionId(Uuid);

impl Parameter for ConnectionId {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let digits = text.strip_prefix("con_").filter(|digits| digits.len() == 32);
        let id = digits.and_then(|digits| Uuid::try_parse(digits).ok());
        let expected = "must be a connection as its `welcome` named it";
        id.map(Self).ok_or_else(|| Problem::at(Kind::Malformed, name, expected))
    }
}

fn connection_id(request: &Request) -> Result<Option<Uuid>, Problem> {
    Ok(parameter::query(request, "connection_id")?.map(|ConnectionId(id)| id))
}

/// `GET /v1/users/{user_id}/inbox/stream`. `Last-Event-ID`, which browsers send by themselves, wins over
/// `cursor`.
#[handler]
pub async fn open_stream(
    request: &Request,
    Path(user_id): Path<String>,
    gateway: Data<&Arc<Gateway>>,
    reads: &Reads,
) -> Result<Response, Problem> {
    let principal = credentials::check(request).await?;
    principal.require(Scope::InboxRead)?;
    let user = parse_user(user_id)?;
    principal.require_access_to(&user)?;
    closed::check_names(request, &["cursor", "connection_id"])?;
    let in_address: Option<Cursor> = parameter::query(request, "cursor")?;
    let cursor = parameter::header(request, "Last-Event-ID")?.or(in_address);
    reads.history.refresh(&reads.pool).await?;
    let owner = Owner { tenant: principal.tenant().as_str().into(), user_id: user.as_str().into() };
    let (goes_on_from, key) = (connection_id(request)?, principal.key().cloned());
    let join = Join { owner: Arc::new(owner), cursor, goes_on_from, key };
    let frames = gateway::stream(gateway.clone(), &principal, join).await.map_err(refusal)?;
    Ok(SSE::new(frames).keep_alive(HEARTBEAT).into_response())
}

fn refusal(close: Close) -> Problem {
    match close {
        Close::TooManyConnections => {
            Problem::new(Kind::TooManyConnections, "the user has as many connections as are allowed")
        }
        Close::Revoked => Denied::UnknownKey.into(),
        _ => Problem::new(Kind::ProjectionBehind, "the inbox cannot be read up to this cursor now"),
    }
}
