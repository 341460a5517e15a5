//! What every request is served from. A request carries one pointer to all of it, and handlers name the part they use.

use std::sync::Arc;

use poem::{FromRequest, Request, RequestBody};

use super::reads::Reads;
use crate::auth::{self, Authenticator, Tickets};
use crate::channels::{Channels, OutgoingPolicy};
use crate::commands::Commands;
use crate::read_models::ReadModels;

pub struct Backend {
    pub commands: Arc<Commands>,
    pub reads: Arc<Reads>,
    pub tickets: Tickets,
    pub read_models: ReadModels,
    pub keys: auth::Keys,
    pub authenticator: Arc<Authenticator>,
    pub outgoing: OutgoingPolicy,
    pub channels: Channels,
}

impl Backend {
    pub fn of(request: &Request) -> &Arc<Self> {
        request.data().expect("the routes give it to every request")
    }
}

/// Lets a handler take this part of it.
macro_rules! part {
    ($part:ty, $backend:ident => $value:expr) => {
        impl<'a> FromRequest<'a> for &'a $part {
            async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
                let $backend = Backend::of(request);
                Ok($value)
            }
        }
    };
}

part!(Backend, backend => backend);
part!(Reads, backend => &backend.reads);
part!(ReadModels, backend => &backend.read_models);
part!(auth::Keys, backend => &backend.keys);
