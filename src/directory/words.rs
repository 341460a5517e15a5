//! What notifications of templates say: looked up here, made by `render`.

use tidings_domain::notification::{Content, Templated, Words};
use tidings_domain::recipient::Recipient;
use tidings_domain::{RecipientId, TemplateId, Tenant, UserId};
use tidings_projections::inbox::Unsaid;
use tidings_projections::log::{Outage, ReadError};

use super::Directory;
use crate::render::{Part, Reader, Said};

/// Who reads an inbox.
#[derive(Debug)]
pub enum Reading<'a> {
    /// The user, as known now.
    Now { tenant: &'a Tenant, user: &'a UserId },
    /// Whoever the user was at some time.
    Then { tenant: &'a Tenant, recipient: Box<Recipient> },
}

impl Directory {
    /// What a notification says to its user now, in the parts asked for. Words are as they are. The error is an outage:
    /// whatever else is wrong, something is said.
    pub async fn words(
        &self,
        RecipientId { tenant, user }: &RecipientId,
        content: &Content,
        parts: &[Part],
    ) -> Result<Said, ReadError> {
        match content {
            Content::Words(words) => Ok(Said { words: words.clone(), ..Said::default() }),
            Content::Template { template } => self.said(tenant, user, template, parts).await,
        }
    }

    /// What an inbox shows of a template.
    pub async fn words_of(&self, reading: &Reading<'_>, template: &Templated) -> Result<Words, ReadError> {
        let said = match reading {
            Reading::Now { tenant, user } => self.said(tenant, user, template, &Part::IN_APP).await,
            Reading::Then { tenant, recipient } => self.say(tenant, recipient, template, &Part::IN_APP).await,
        };
        Ok(said?.words)
    }

    /// An item of an inbox, as its user reads it: as it is, where it has its words.
    pub async fn told(&self, (tenant, user): (&str, &str), item: String) -> Result<String, ReadError> {
        let Some(unsaid) = Unsaid::of(&item) else { return Ok(item) };
        let owner = (Tenant::try_from(tenant.to_owned()), UserId::try_from(user.to_owned()));
        let (Ok(tenant), Ok(user)) = owner else { return Ok(item) };
        let reading = Reading::Now { tenant: &tenant, user: &user };
        Ok(unsaid.say(&self.words_of(&reading, &unsaid.template).await?))
    }

    /// Whoever the user was at a position of the log.
    pub async fn reading_at<'a>(
        &self,
        tenant: &'a Tenant,
        user: &UserId,
        position: i64,
    ) -> Result<Reading<'a>, ReadError> {
        let recipient = Box::new(self.recipient_at(tenant, user, position).await?);
        Ok(Reading::Then { tenant, recipient })
    }

    async fn said(
        &self,
        tenant: &Tenant,
        user: &UserId,
        template: &Templated,
        parts: &[Part],
    ) -> Result<Said, ReadError> {
        match self.recipient(tenant, user).await {
            Ok(recipient) => self.say(tenant, &recipient, template, parts).await,
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                self.tell(template, &error);
                self.say(tenant, &Recipient::default(), template, parts).await
            }
        }
    }

    async fn say(
        &self,
        tenant: &Tenant,
        recipient: &Recipient,
        template: &Templated,
        parts: &[Part],
    ) -> Result<Said, ReadError> {
        let id = TemplateId { tenant: tenant.clone(), key: template.key.clone() };
        let compiled = match self.template(&id, template.version).await {
            Ok(compiled) => compiled,
            Err(error) if error.is_outage() => return Err(error),
            Err(error) => {
                self.tell(template, &error);
                None
            }
        };
        let Some(compiled) = compiled else {
            self.tell(template, &"it has no such version");
            return Ok(Said::key_of(template));
        };
        let (locale, time_zone) = (&recipient.profile.locale, &recipient.profile.time_zone);
        let reader = Reader { locale: locale.as_ref(), time_zone: time_zone.as_ref() };
        Ok(Said::of(template, &compiled, reader, parts).unwrap_or_else(|bad| {
            self.tell(template, &bad);
            Said::key_of(template)
        }))
    }

    /// Checks keep it from happening: whoever damaged a template or a profile should hear of it.
    fn tell(&self, template: &Templated, error: &dyn std::fmt::Display) {
        if let Some(times) = self.inner.unsaid.count() {
            let (key, version) = (template.key.as_str(), template.version);
            tracing::error!(%error, key, version, times, "a notification cannot be said as it should be");
        }
    }
}
