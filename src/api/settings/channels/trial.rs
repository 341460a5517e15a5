//! A test message on a channel, for whoever has just configured it: what happens is answered, and recorded nowhere.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::NotificationId;
use tidings_domain::notification::{Channel, Failure, Priority, Words};
use tidings_domain::recipient::Addresses;
use tidings_projections::inbox::rfc3339;

use super::parse;
use crate::api::Tag;
use crate::api::audience::browsers::PutPushSubscription;
use crate::api::http::body::OptionalBody;
use crate::api::http::credentials::{Admin, Service};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request::Command;
use crate::api::values::addresses;
use crate::api::values::duration;
use crate::channels::{Message, NoRoute, OutgoingPolicy, Sent};
use crate::clock;

pub struct Trials;

/// What is sent, and to whom.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct TestChannel {
    /// An e-mail address, required for `email`; for `slack` and `webhook` a URL, the tenant's own where it is left out.
    #[oai(validator(min_length = 1, max_length = 2048))]
    address: Option<String>,
    /// For `web_push`, and required there: a browser.
    push_subscription: Option<PutPushSubscription>,
    #[oai(validator(min_length = 1, max_length = 1000))]
    title: Option<String>,
    body: Option<String>,
}

/// What happened.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct TestedChannel {
    outcome: TestOutcome,
    /// What the provider calls it.
    provider_ref: Option<String>,
    error: Option<TestError>,
    /// How long the endpoint asked to be left alone.
    retry_after: Option<String>,
    /// Why nothing was sent: `no_address` or `not_configured`.
    reason: Option<String>,
    /// When it may be sent: the endpoints failed too often lately, or the rate is used up.
    until: Option<String>,
}

#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
enum TestOutcome {
    Delivered,
    Failed,
    /// Nothing was sent, and nothing would be.
    Skipped,
    /// Nothing was sent now.
    Deferred,
}

/// Why it failed.
#[derive(Debug, Object)]
struct TestError {
    /// `transient`, `permanent`, `gone` or `unknown`.
    class: String,
    detail: String,
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Channels")]
impl Trials {
    /// Try a channel
    ///
    /// Sends one message at once, by the providers as they are configured, and answers what happened. It is tried once, and
    /// counts towards the channel's rate. An endpoint that says that it is no more is disabled by it.
    #[oai(path = "/channels/:channel/test", method = "post", operation_id = "testChannel")]
    async fn test(
        &self,
        command: Command<Service<Admin>, OptionalBody<TestChannel>>,
        /// `email`, `slack`, `webhook` or `web_push`.
        channel: Path<String>,
    ) -> Result<Json<TestedChannel>, Problem> {
        let channel = parse(&channel)?;
        let asked = command.body.parse()?.unwrap_or_default();
        let to = recipient(channel, asked.address, asked.push_subscription, &command.backend.outgoing)?;
        let words = words(asked.title, asked.body)?;
        let (tenant, channels) = (command.principal().tenant(), &command.backend.channels);
        let route = channels.route(tenant, channel, &to).await;
        let route = match route {
            Ok(route) => route,
            Err(NoRoute::Skip(reason)) => {
                let reason = Some(reason.as_str().into());
                return Ok(Json(TestedChannel { reason, ..TestedChannel::of(TestOutcome::Skipped) }));
            }
            Err(NoRoute::LeftAlone { pause, .. } | NoRoute::Paced { pause }) => {
                let until = Some(rfc3339(clock::now() + pause));
                return Ok(Json(TestedChannel { until, ..TestedChannel::of(TestOutcome::Deferred) }));
            }
            Err(NoRoute::Unavailable(error)) => return Err(error.into()),
        };
        let message = Message {
            tenant: tenant.clone(),
            notification: NotificationId::new(clock::new_uuid()),
            user: "test".to_owned().try_into().map_err(|error| Problem::internal(&error))?,
            channel,
            attempt: 1,
            category: None,
            critical: false,
            priority: Priority::Normal,
            created_at: clock::now(),
            expires_at: None,
            words,
            parts: BTreeMap::new(),
            data: None,
            locale: None,
        };
        Ok(Json(match route.send(&message).await {
            Sent::Delivered { provider_ref } => {
                TestedChannel { provider_ref, ..TestedChannel::of(TestOutcome::Delivered) }
            }
            Sent::Failed { failure, retry_after_s } => {
                let retry_after = retry_after_s.map(|s| duration::format(Duration::from_secs(s.into())));
                TestedChannel { retry_after, ..TestedChannel::failed(failure) }
            }
            Sent::Refused { failure } => TestedChannel::failed(failure),
        }))
    }
}

fn recipient(
    channel: Channel,
    address: Option<String>,
    browser: Option<PutPushSubscription>,
    outgoing: &OutgoingPolicy,
) -> Result<Addresses, Problem> {
    let at = "/address";
    let mut to = Addresses::default();
    let elsewhere = |pointer, detail| Err(Problem::at(Kind::Invalid, pointer, detail));
    match (channel, &address, &browser) {
        (Channel::WebPush, Some(_), _) => return elsewhere(at, "is for other channels than `web_push`"),
        (Channel::WebPush, _, _) | (_, _, None) => {}
        (_, _, Some(_)) => return elsewhere("/push_subscription", "is for the channel `web_push`"),
    }
    match channel {
        Channel::InApp => {}
        Channel::Email => to.email = address.map(|text| addresses::email(at, text)).transpose()?,
        Channel::Slack => to.slack = address.map(|text| addresses::url(at, text)).transpose()?,
        Channel::Webhook => to.webhook = address.map(|text| addresses::url(at, text)).transpose()?,
        Channel::WebPush => {
            let browser = browser.map(|browser| browser.into_domain("/push_subscription", outgoing));
            to.web_push = browser.transpose()?.into_iter().collect();
        }
    }
    Ok(to)
}

fn words(title: Option<String>, body: Option<String>) -> Result<Words, Problem> {
    let title = title.unwrap_or_else(|| "A test of Tidings".into());
    let body = body.unwrap_or_else(|| "This channel works.".into());
    Words::new(title, body, None).map_err(|invalid| Problem::at(Kind::Invalid, "/title", invalid.detail))
}

impl TestedChannel {
    fn of(outcome: TestOutcome) -> Self {
        Self { outcome, provider_ref: None, error: None, retry_after: None, reason: None, until: None }
    }

    fn failed(Failure { class, detail }: Failure) -> Self {
        let error = Some(TestError { class: class.as_str().into(), detail });
        Self { error, ..Self::of(TestOutcome::Failed) }
    }
}
