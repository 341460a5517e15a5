//! The HTTP contract: parse, authorise, execute or query, answer. Wire types live here and nowhere else.

mod audience;
mod document;
mod events;
pub(crate) mod http;
mod inbox;
mod notifications;
mod operation;
mod settings;
mod triggers;
mod values;

pub use http::origins::Origins;
pub use http::problem::{Kind, Problem};
pub use http::reads::parse_user;
pub use operation::health::Readiness;
pub use operation::keys::to_json as key_to_json;
pub use triggers::schedules::Requests;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::{LicenseObject, OpenApiService, Tags};
use tidings_projections::log::Reader;

use crate::channels::{Channels, OutgoingPolicy};
use crate::gateway::Gateway;
use crate::read_models::ReadModels;
use crate::telemetry::metrics::Vitals;
use audience::{broadcasts, browsers, recipients, topics};
use http::access::Access;
use http::backend::Backend;
use http::reads::Reads;
use http::{access, methods, problem, rate_limit, request_id};
use inbox::{bulk_marks, live, tickets};
use notifications::{batch, deliveries};
use operation::{health, keys, metrics, projections};
use settings::{categories, channels, plans, templates};
use triggers::{hooks, schedules, sources};

/// What the routes serve from.
pub struct Parts {
    pub gateway: Arc<Gateway>,
    pub reader: Reader,
    pub origins: Origins,
    pub readiness: Readiness,
    pub read_models: ReadModels,
    pub vitals: Vitals,
    pub outgoing: OutgoingPolicy,
    pub channels: Channels,
}

/// How the document groups its operations; generated clients have a class or folder for each.
#[derive(Tags)]
enum Tag {
    /// Make notifications, and follow what becomes of them.
    Notifications,
    /// What a user sees.
    Inbox,
    /// Who is reached where, in which language, and with what.
    Recipients,
    /// Words in many languages.
    Templates,
    /// Who is subscribed to what.
    Topics,
    /// Ways to people outside of the service.
    Channels,
    /// One message to many.
    Broadcasts,
    /// Webhooks that come in, and what is made of them.
    Hooks,
    /// What goes for which kind of notification.
    Categories,
    /// The same again and again, at set times.
    Schedules,
    /// Ways in for sockets.
    Sockets,
    /// The log.
    Events,
    /// How each notification fares on each channel.
    Deliveries,
    /// Who may do what.
    Keys,
    /// For those who run the service.
    Operation,
}

type Apis = (
    notifications::Notifications,
    batch::Batch,
    inbox::Inbox,
    bulk_marks::BulkMarks,
    tickets::Tickets,
    events::Events,
    projections::Projections,
    keys::Keys,
    recipients::Recipients,
    templates::Templates,
    topics::Topics,
    channels::Channels,
    broadcasts::Broadcasts,
    channels::Trials,
    sources::Sources,
    // A tuple has at most sixteen.
    (
        hooks::Hooks,
        categories::Categories,
        plans::Plans,
        schedules::Schedules,
        deliveries::Deliveries,
        browsers::Browsers,
    ),
);

fn service() -> OpenApiService<Apis, ()> {
    let apis = (
        notifications::Notifications,
        batch::Batch,
        inbox::Inbox,
        bulk_marks::BulkMarks,
        tickets::Tickets,
        events::Events,
        projections::Projections,
        keys::Keys,
        recipients::Recipients,
        templates::Templates,
        topics::Topics,
        channels::Channels,
        broadcasts::Broadcasts,
        channels::Trials,
        sources::Sources,
        (
            hooks::Hooks,
            categories::Categories,
            plans::Plans,
            schedules::Schedules,
            deliveries::Deliveries,
            browsers::Browsers,
        ),
    );
    OpenApiService::new(apis, "Tidings", env!("CARGO_PKG_VERSION"))
        .description(include_str!("document/description.md"))
        .license(LicenseObject::new("MIT OR Apache-2.0"))
}

/// The OpenAPI document, as committed in `openapi/openapi.yaml`.
pub fn document() -> String {
    document::to_yaml(&document::amend(&service().spec()))
}

/// All routes, with problems for whatever goes wrong outside of them.
pub fn routes(parts: Parts) -> impl Endpoint<Output = Response> {
    let Parts { gateway, reader, origins, readiness, read_models, vitals, outgoing, channels } = parts;
    let (pool, history) = (gateway.pool.clone(), gateway.history.clone());
    let reads = Arc::new(Reads { pool, history, reader, directory: gateway.directory.clone() });
    let api = service();
    let (document, docs) = document::endpoints(&api);
    let socket = poem::get(live::open_socket).data(gateway.clone()).data(origins.clone());
    let stream = poem::get(live::open_stream).data(gateway.clone());
    let access = Arc::new(Access::new(&api, &gateway.metrics, &gateway.tracing));
    let backend = Backend {
        commands: gateway.commands.clone(),
        reads,
        tickets: gateway.tickets.clone(),
        read_models,
        keys: gateway.keys.clone(),
        authenticator: gateway.authenticator.clone(),
        outgoing,
        channels,
    };
    Route::new()
        .nest("/", api)
        .at("/docs", poem::get(docs))
        .at("/openapi.json", poem::get(document))
        .at("/v1/ws", socket)
        .at("/v1/users/:user_id/inbox/stream", stream)
        .at("/metrics", poem::get(metrics::print).data(vitals))
        .at("/health/live", poem::get(health::live))
        .at("/health/ready", poem::get(health::ready).data(readiness))
        .data(Arc::new(backend))
        .catch_all_error(problem::answer)
        // Every layer is a type around the one before, down to its future: boxed, they stay small enough to compile.
        .boxed()
        .with(origins.cors())
        .before(move |request| {
            let origins = origins.clone();
            async move { Ok(origins.without_same(request)) }
        })
        .catch_all_error(problem::answer)
        .boxed()
        .around(rate_limit::show)
        .around(move |next, request| access::account(access.clone(), next, request))
        .around(methods::allow)
        .around(request_id::identify)
}
