//! Digests as a category's settings say them.

use std::time::Duration;

use poem_openapi::Object;
use serde::Deserialize;
use tidings_domain::Tenant;
use tidings_domain::settings::{DigestKey, DigestSettings};
use tidings_domain::template::TemplateKey;

use crate::api::http::problem::{Kind, Problem};
use crate::api::values::duration;
use crate::directory::Directory;

/// Collect them: a user gets one notification per window, which holds all that was asked for meanwhile. What is `urgent`, or has
/// a `deliver_at` or an `expires_at`, is not collected.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
pub struct PutDigest {
    /// How long it collects, from the first item on: whole seconds from `1s` to `24h`.
    window: String,
    /// Collects apart what differs in a member of its `data`: `data.` and the member's name, in at most 128 characters, with
    /// more dots for members within members. What has no text, number or boolean there is collected together.
    #[oai(validator(min_length = 6, max_length = 128))]
    key: Option<String>,
    /// A digest that has so many items, or would say more than 128 KiB, is full, and the next begins. 100 where it is left out.
    #[oai(validator(minimum(value = "2"), maximum(value = "1000")))]
    max_items: Option<u32>,
    /// The template that says it. It may declare the numbers `count` and `others` (all but the last) and the strings `items`
    /// (the titles, one per line), `first`, `last` (titles) and `action_url`. Without one it says the newest title, and all of
    /// them as its body.
    #[oai(validator(min_length = 1, max_length = 128))]
    template: Option<String>,
}

/// How notifications of a category are collected.
#[derive(Debug, Object)]
#[oai(rename = "Digest", skip_serializing_if_is_none)]
pub struct ShownDigest {
    window: String,
    key: Option<String>,
    max_items: u32,
    template: Option<String>,
}

impl PutDigest {
    pub fn into_domain(self) -> Result<DigestSettings, Problem> {
        let refuse = |pointer: &str, detail: &str| Problem::at(Kind::Invalid, pointer, detail);
        let bounds = Duration::from_secs(1)..=Duration::from_secs(DigestSettings::WINDOW_S_MAX.into());
        let key = self.key.map(DigestKey::try_from).transpose();
        let items_max = self.max_items.unwrap_or(DigestSettings::ITEMS_MAX_DEFAULT);
        if !(2..=DigestSettings::ITEMS_MAX_MAX).contains(&items_max) {
            return Err(refuse("/digest/max_items", "must be 2 to 1,000"));
        }
        let template = self.template.map(TemplateKey::new).transpose();
        Ok(DigestSettings {
            window_s: duration::parse_seconds_at("/digest/window", &self.window, bounds)?,
            key: key.map_err(|error| refuse("/digest/key", &error.to_string()))?,
            items_max,
            template: template.map_err(|invalid| refuse("/digest/template", invalid.detail))?,
        })
    }
}

impl ShownDigest {
    pub fn of(settings: &DigestSettings) -> Self {
        Self {
            window: duration::format(Duration::from_secs(settings.window_s.into())),
            key: settings.key.as_ref().map(ToString::to_string),
            max_items: settings.items_max,
            template: settings.template.as_ref().map(ToString::to_string),
        }
    }
}

/// Fails where the template cannot say a digest. Whoever publishes another version may change that later.
pub async fn check(
    settings: Option<&DigestSettings>,
    (directory, tenant): (&Directory, &Tenant),
) -> Result<(), Problem> {
    let Some(key) = settings.and_then(|settings| settings.template.as_ref()) else { return Ok(()) };
    let refuse =
        |misfit: crate::directory::Misfit| Problem::at(Kind::Invalid, "/digest/template", misfit.to_string());
    directory.digest_template(tenant, key).await?.map(drop).map_err(refuse)
}
