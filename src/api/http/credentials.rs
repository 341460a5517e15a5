//! Credentials of a request. Every operation names in its signature which it accepts, so none can forget to ask.

use std::marker::PhantomData;

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::backend::Backend;
use super::closed;
use super::problem::Problem;
use super::rate_limit;
use crate::auth::{Denied, Principal, Scope};

/// Which credentials an operation accepts. The document says it, too: the scopes stand beside the schemes, and
/// [`crate::api::document`] gives them their place.
pub trait Credentials: Send {
    fn check(request: &Request) -> impl Future<Output = Result<Principal, Problem>> + Send;
    /// Names of security schemes, and of scopes, which are none.
    fn schemes() -> Vec<&'static str>;
    fn register(registry: &mut Registry);
}

/// The scopes that a key must have, all of them.
pub trait Needs: Send {
    const SCOPES: &'static [Scope];
}

pub struct NotificationsWrite;
pub struct NotificationsRead;
pub struct InboxRead;
pub struct InboxWrite;
pub struct InboxReadWrite;
pub struct EventsRead;
pub struct Admin;

impl Needs for NotificationsWrite {
    const SCOPES: &'static [Scope] = &[Scope::NotificationsWrite];
}

impl Needs for NotificationsRead {
    const SCOPES: &'static [Scope] = &[Scope::NotificationsRead];
}

impl Needs for InboxRead {
    const SCOPES: &'static [Scope] = &[Scope::InboxRead];
}

impl Needs for InboxWrite {
    const SCOPES: &'static [Scope] = &[Scope::InboxWrite];
}

impl Needs for InboxReadWrite {
    const SCOPES: &'static [Scope] = &[Scope::InboxRead, Scope::InboxWrite];
}

impl Needs for Admin {
    const SCOPES: &'static [Scope] = &[Scope::Admin];
}

impl Needs for EventsRead {
    const SCOPES: &'static [Scope] = &[Scope::EventsRead];
}

/// Whoever shows an API key with these scopes, or a user his token.
pub struct Anyone<N>(PhantomData<N>);

/// Whoever shows an API key with these scopes.
pub struct Service<N>(PhantomData<N>);

/// Whoever shows the root key.
pub struct Root;

/// A checked caller, as an argument of a query.
pub struct Caller<C> {
    pub principal: Principal,
    credentials: PhantomData<C>,
}

const API_KEY: &str = "ApiKey";
const BEARER: &str = "Bearer";
/// In the place of a scope: no scope is enough.
pub const ROOT: &str = "root";

/// Checks what the request shows: the API key wins where both are there. A key that has a limit has made one request more
/// by this.
pub async fn check(request: &Request) -> Result<Principal, Denied> {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let bearer = text("authorization").map(|value| match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    });
    let authenticator = &Backend::of(request).authenticator;
    let principal = authenticator.check(text("x-api-key"), bearer).await?;
    if let Some(standing) = authenticator.count(&principal).await {
        rate_limit::tell(standing);
        if !standing.admitted {
            return Err(Denied::RateLimited);
        }
    }
    Ok(principal)
}

/// What comes before every operation: the caller may ask for it, and asks for nothing it does not know.
pub async fn admit<C: Credentials>(request: &Request) -> Result<Principal, Problem> {
    let principal = C::check(request).await?;
    closed::check(request)?;
    Ok(principal)
}

fn register_api_key(registry: &mut Registry) {
    let scheme = MetaSecurityScheme {
        ty: "apiKey",
        description: Some(
            "A service's key. It acts for its whole tenant, within its scopes: an operation says which it needs as \
             `x-scopes`. Keys are made with the root key.",
        ),
        name: Some("x-api-key"),
        key_in: Some("header"),
        scheme: None,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    };
    registry.create_security_scheme(API_KEY, scheme);
}

fn register_bearer(registry: &mut Registry) {
    let scheme = MetaSecurityScheme {
        ty: "http",
        description: Some(
            "An end user's token: `sub` is the user, `exp` is required, `tenant` defaults to `default`. It \
             reaches that user's own inbox and browsers.",
        ),
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format: Some("JWT"),
        flows: None,
        openid_connect_url: None,
    };
    registry.create_security_scheme(BEARER, scheme);
}

fn require<N: Needs>(principal: Principal) -> Result<Principal, Problem> {
    N::SCOPES.iter().try_for_each(|scope| principal.require(*scope))?;
    Ok(principal)
}

fn with_scopes<N: Needs>(schemes: &[&'static str]) -> Vec<&'static str> {
    let scopes = N::SCOPES.iter().map(|scope| scope.name());
    schemes.iter().copied().chain(scopes).collect()
}

impl<N: Needs> Credentials for Anyone<N> {
    /// A user's token needs no scope: it is good for what concerns that user, which each operation asks.
    async fn check(request: &Request) -> Result<Principal, Problem> {
        match check(request).await? {
            user @ Principal::User { .. } => Ok(user),
            principal => require::<N>(principal),
        }
    }

    fn schemes() -> Vec<&'static str> {
        with_scopes::<N>(&[API_KEY, BEARER])
    }

    fn register(registry: &mut Registry) {
        register_api_key(registry);
        register_bearer(registry);
    }
}

impl<N: Needs> Credentials for Service<N> {
    async fn check(request: &Request) -> Result<Principal, Problem> {
        require::<N>(check(request).await?)
    }

    fn schemes() -> Vec<&'static str> {
        with_scopes::<N>(&[API_KEY])
    }

    fn register(registry: &mut Registry) {
        register_api_key(registry);
    }
}

impl Credentials for Root {
    async fn check(request: &Request) -> Result<Principal, Problem> {
        let principal = check(request).await?;
        principal.require_root()?;
        Ok(principal)
    }

    fn schemes() -> Vec<&'static str> {
        vec![API_KEY, ROOT]
    }

    fn register(registry: &mut Registry) {
        register_api_key(registry);
    }
}

impl<'a, C: Credentials> ApiExtractor<'a> for Caller<C> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        C::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        C::schemes()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self { principal: admit::<C>(request).await?, credentials: PhantomData })
    }
}
