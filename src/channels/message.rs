//! What is sent, the same on every channel.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidings_domain::notification::{Category, Channel, Priority, Words};
use tidings_domain::recipient::Locale;
use tidings_domain::{NotificationId, Tenant, UserId};
use time::OffsetDateTime;

/// One notification for one user on one channel, in the words in which it is read.
#[derive(Clone, Debug)]
pub struct Message {
    pub tenant: Tenant,
    pub notification: NotificationId,
    pub user: UserId,
    pub channel: Channel,
    /// Counted from 1.
    pub attempt: u32,
    pub category: Option<Category>,
    /// Of a category that reaches its readers whatever they switched off.
    pub critical: bool,
    pub priority: Priority,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub words: Words,
    /// Parts of a template beyond the title and the body, such as `email-subject`, `email-html` or `slack`.
    pub parts: BTreeMap<String, String>,
    pub data: Option<Map<String, Value>>,
    pub locale: Option<Locale>,
}

impl Message {
    /// The same for each attempt: who gets it twice can tell.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.notification, self.channel.as_str())
    }

    /// A part of a template, where it has that.
    pub(super) fn part(&self, name: &str) -> Option<&str> {
        self.parts.get(name).map(String::as_str)
    }
}

/// One for tests.
#[cfg(test)]
pub fn sample() -> Message {
    const VALID: &str = "it is valid";
    Message {
        tenant: Tenant::default_tenant(),
        notification: "ntf_019a0000-0000-7000-8000-000000000000".parse().expect(VALID),
        user: "alice".to_owned().try_into().expect(VALID),
        channel: Channel::Email,
        attempt: 1,
        category: None,
        critical: false,
        priority: Priority::Normal,
        created_at: time::macros::datetime!(2026-11-22 12:00 UTC),
        expires_at: None,
        words: Words {
            title: "Your invoice is ready".into(),
            body: "It is due on 1 December.".into(),
            action_url: Some("https://acme.example/7".into()),
        },
        parts: BTreeMap::new(),
        data: None,
        locale: None,
    }
}
