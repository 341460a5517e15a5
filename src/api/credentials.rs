//! Credentials of a request. Every operation names in its signature which it accepts, so none can forget to ask.

use std::marker::PhantomData;
use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::closed;
use super::problem::Problem;
use crate::auth::{Authenticator, Denied, Principal};

/// Which credentials an operation accepts.
pub trait Credentials: Send {
    fn check(request: &Request) -> impl Future<Output = Result<Principal, Problem>> + Send;
    fn schemes() -> Vec<&'static str>;
    fn register(registry: &mut Registry);
}

/// Whoever shows a valid API key or token.
pub struct Anyone;

/// Whoever shows a valid API key.
pub struct Service;

/// Whoever shows the root key.
pub struct Root;

/// A checked caller, as an argument of a query.
pub struct Caller<C> {
    pub principal: Principal,
    credentials: PhantomData<C>,
}

const API_KEY: &str = "ApiKey";
const BEARER: &str = "Bearer";

/// Checks what the request shows: the API key wins where both are there.
pub async fn check(request: &Request) -> Result<Principal, Denied> {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let bearer = text("authorization").map(|value| match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    });
    let authenticator = request.data::<Arc<Authenticator>>().ok_or(Denied::Missing)?;
    authenticator.check(text("x-api-key"), bearer).await
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
        description: Some("A service's key. It acts for its whole tenant."),
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
             reaches that user's own inbox.",
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

impl Credentials for Anyone {
    async fn check(request: &Request) -> Result<Principal, Problem> {
        Ok(check(request).await?)
    }

    fn schemes() -> Vec<&'static str> {
        vec![API_KEY, BEARER]
    }

    fn register(registry: &mut Registry) {
        register_api_key(registry);
        register_bearer(registry);
    }
}

impl Credentials for Service {
    async fn check(request: &Request) -> Result<Principal, Problem> {
        let principal = check(request).await?;
        principal.require_service()?;
        Ok(principal)
    }

    fn schemes() -> Vec<&'static str> {
        vec![API_KEY]
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
        vec![API_KEY]
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
