//! Tickets: how a page that can neither set a header nor name a subprotocol opens its socket.

use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::UserId;
use tidings_projections::inbox::rfc3339;

use crate::api::Tag;
use crate::api::http::body::OptionalBody;
use crate::api::http::credentials::{Anyone, InboxReadWrite};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request::Command;
use crate::auth::Principal;

pub struct Tickets;

/// Whom the ticket is for.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct CreateTicket {
    /// Whose socket it opens: required with an API key. A user's token makes tickets for that user only, and needs not
    /// say so.
    #[oai(validator(min_length = 1, max_length = 256))]
    user_id: Option<String>,
}

/// A ticket opens one socket, once.
#[derive(Debug, Object)]
struct Ticket {
    /// Pass it as `?ticket=` to `/v1/ws`.
    ticket: String,
    /// When it is worth nothing any more: 30 seconds after it was made.
    expires_at: String,
}

#[derive(ApiResponse)]
enum TicketResponse {
    /// Made.
    #[oai(status = 201)]
    Created(
        Json<Ticket>,
        /// `no-store`: a ticket is a secret.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Sockets")]
impl Tickets {
    /// Make a ticket for a socket
    ///
    /// For browsers, whose sockets can show no header. It opens one socket within 30 seconds, as the user; a socket
    /// ends with the token or the key that its ticket was made with.
    #[oai(path = "/tickets", method = "post", operation_id = "createTicket")]
    async fn create(
        &self,
        command: Command<Anyone<InboxReadWrite>, OptionalBody<CreateTicket>>,
    ) -> Result<TicketResponse, Problem> {
        let wanted = command.body.parse()?.unwrap_or_default().user_id.map(UserId::try_from).transpose();
        let wanted = wanted.map_err(|error| Problem::at(Kind::Invalid, "/user_id", error.to_string()))?;
        let principal = command.principal();
        let user = match (principal, wanted) {
            (_, Some(wanted)) => wanted,
            (Principal::User { user, .. }, None) => user.clone(),
            (
                Principal::Service { .. }
                | Principal::Timer { .. }
                | Principal::Dispatcher { .. }
                | Principal::Source { .. },
                None,
            ) => {
                return Err(Problem::at(Kind::Invalid, "/user_id", "is required with an API key"));
            }
        };
        principal.require_access_to(&user)?;
        let ticket = command.backend.tickets.issue(principal, &user).await?;
        let expires_at = rfc3339(ticket.expires_at);
        let ticket = Json(Ticket { ticket: ticket.secret, expires_at });
        Ok(TicketResponse::Created(ticket, "no-store".into()))
    }
}
