//! The calls for one message: by the first that takes it, or to everyone; and what they come to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tidings_domain::notification::{Channel, Failure, FailureClass};
use tidings_domain::settings::{self, Endpoint, Semantics};
use tidings_domain::{RecipientId, SettingsId, Tenant, recipient};
use tokio::time::Instant;

use super::email::Exit;
use super::target::Target;
use super::web_push::Signer;
use super::{Inner, Message, Sent, failed, patience, slack, web_push, webhook};
use crate::auth::Principal;
use crate::clock;
use crate::commands::{CommandError, Context};

/// How long it may take to say that an endpoint is no more, beyond the time limit of its call.
const DISABLING: Duration = Duration::from_millis(900);

/// How a message reaches its recipient.
pub struct Route {
    pub(super) inner: Arc<Inner>,
    pub(super) tenant: Tenant,
    pub(super) channel: Channel,
    /// The first has passed its breaker; where everyone is called, all have.
    pub(super) targets: Vec<Target>,
    /// Some of those who would be called are left alone for now.
    pub(super) incomplete: bool,
    pub(super) time_limit: Duration,
    pub(super) semantics: Semantics,
}

/// Whether a channel calls everyone at once: each of a user's browsers, and not only the first that takes it.
pub(super) fn calls_everyone(channel: Channel) -> bool {
    channel == Channel::WebPush
}

impl Route {
    /// How long [`Route::send`] takes at most, but for what is quick: an e-mail's connection and its sending have the limit each.
    pub fn timeout(&self) -> Duration {
        let calls = match self.channel {
            Channel::Email => 2 * self.targets.len(),
            channel if calls_everyone(channel) => 1,
            _ => self.targets.len(),
        };
        self.time_limit * u32::try_from(calls).unwrap_or(u32::MAX)
    }

    pub fn is_at_most_once(&self) -> bool {
        self.semantics == Semantics::AtMostOnce
    }

    pub async fn send(&self, message: &Message) -> Sent {
        if calls_everyone(self.channel) { self.to_all(message).await } else { self.to_first(message).await }
    }

    /// By the first that takes it. One that fails for the moment, is no more or was failing before is passed over.
    async fn to_first(&self, message: &Message) -> Sent {
        let mut passed_over: Vec<(Sent, &Target)> = Vec::new();
        for (place, target) in self.targets.iter().enumerate() {
            let (breakers, now) = (&self.inner.breakers, Instant::now());
            // The first has passed already.
            if place > 0 && !breakers.pass(&target.circuit, now, patience(self.time_limit)) {
                continue;
            }
            let sent = self.to(target, message).await;
            match sent.class() {
                Some(FailureClass::Transient | FailureClass::Gone) => passed_over.push((sent, target)),
                _ => return sent,
            }
        }
        summary(passed_over)
    }

    /// To everyone at once. It is delivered when one took it; the others are not asked again, so that nobody gets it twice.
    async fn to_all(&self, message: &Message) -> Sent {
        let calls = self.targets.iter().map(|target| async move { (self.to(target, message).await, target) });
        let mut all: Vec<(Sent, &Target)> = join_all(calls).await;
        if let Some(at) = all.iter().position(|(sent, _)| sent.class().is_none()) {
            return all.swap_remove(at).0;
        }
        let may_pass = all.iter().any(|(sent, _)| sent.class() == Some(FailureClass::Transient));
        if self.incomplete && !may_pass { left_alone() } else { summary(all) }
    }

    /// One call, of which the breaker learns and the metrics tell.
    async fn to(&self, target: &Target, message: &Message) -> Sent {
        let (breakers, called) = (&self.inner.breakers, Instant::now());
        let sent = self.call(target, message).await.without(&target.address);
        let took = called.elapsed().as_secs_f64();
        self.inner.metrics.call_seconds.of(self.channel).observe(took);
        match &sent {
            Sent::Failed {
                failure: Failure { class: FailureClass::Transient, .. },
                retry_after_s: Some(s),
            } => {
                breakers.asked(&target.circuit, Instant::now(), Duration::from_secs((*s).into()));
            }
            Sent::Failed {
                failure: Failure { class: FailureClass::Transient | FailureClass::Unknown, .. },
                ..
            } => {
                breakers.failed(&target.circuit, called, Instant::now());
            }
            _ => breakers.succeeded(&target.circuit, called),
        }
        if sent.class() == Some(FailureClass::Gone) {
            // How the message fared is told in any case.
            let _ = tokio::time::timeout(DISABLING, self.disable(target, message)).await;
        }
        sent
    }

    async fn call(&self, target: &Target, message: &Message) -> Sent {
        let (post, limit) = (&self.inner.post, self.time_limit);
        match &target.provider.endpoint {
            Endpoint::Webhook { .. } => {
                webhook::send(post, &target.address, &target.secrets, message, limit).await
            }
            Endpoint::Slack {} => slack::send(post, &target.address, message, limit).await,
            Endpoint::Smtp(smtp) => {
                let (password, semantics) = (target.secrets.password.as_deref(), self.semantics);
                let exit = Exit { smtp, password, semantics, time_limit: limit };
                self.inner.mail.send(&exit, &target.address, message).await
            }
            Endpoint::WebPush { subject } => {
                let Some(browser) = &target.browser else {
                    return failed(FailureClass::Permanent, "no browser is known there".into());
                };
                let signer = Signer { private_key: target.secrets.private_key.as_deref(), subject };
                web_push::send(post, browser, &signer, message, limit).await
            }
        }
    }

    /// An endpoint that is no more is not called again, and an event says so.
    async fn disable(&self, target: &Target, message: &Message) {
        let context = Context {
            principal: Principal::Timer { tenant: self.tenant.clone() },
            request_id: clock::new_uuid().to_string(),
            idempotency: None,
            trace: None,
        };
        let (channel, commands) = (self.channel, &self.inner.commands);
        let changed: Result<_, CommandError> = if target.own {
            let id = RecipientId { tenant: self.tenant.clone(), user: message.user.clone() };
            let address = target.address.clone();
            let action = recipient::Action::DisableAddress { channel, address };
            commands.describe_recipient(&context, &id, action).await
        } else {
            let id = SettingsId { tenant: self.tenant.clone() };
            let (provider, url) = (target.provider.name.clone(), target.address.clone());
            let action = settings::Action::DisableEndpoint { channel, provider, url };
            commands.change_settings(&context, &id, action).await
        };
        // The next message finds out by itself.
        if let Err(error) = changed {
            tracing::warn!(%error, "an endpoint that is no more could not be disabled");
        }
    }
}

fn left_alone() -> Sent {
    failed(FailureClass::Transient, "its endpoints have failed too often lately".into())
}

/// What all failures come to: worth another attempt where one of them is, gone where all are. Without any, every breaker opened
/// meanwhile.
fn summary(failures: Vec<(Sent, &Target)>) -> Sent {
    let mut told: Vec<String> = Vec::new();
    for (sent, target) in &failures {
        if let Sent::Failed { failure, .. } | Sent::Refused { failure } = sent {
            let line = format!("{}: {}", target.provider.name, failure.detail);
            // Ten browsers of one push service have one answer.
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    let several = told.len() > 1;
    let mut all: Vec<Sent> = failures.into_iter().map(|(sent, _)| sent).collect();
    let first = |wanted: FailureClass| all.iter().position(|sent| sent.class() == Some(wanted));
    let worst = first(FailureClass::Transient).or_else(|| first(FailureClass::Permanent)).unwrap_or(0);
    if all.is_empty() {
        return left_alone();
    }
    match all.swap_remove(worst) {
        Sent::Failed { failure, retry_after_s } if several => {
            Sent::Failed { failure: Failure { detail: told.join("; "), ..failure }, retry_after_s }
        }
        Sent::Refused { failure } if several => {
            Sent::Refused { failure: Failure { detail: told.join("; "), ..failure } }
        }
        sent => sent,
    }
}
