//! Whether recipients want what would be put into their inbox: their own word, else what their tenant says of the category.

use cqrs_es::Aggregate;
use tidings_domain::notification::{Category, Channel, Create, Plan, SkipReason};
use tidings_domain::recipient::{Preferences, Recipient};
use tidings_domain::settings::CategorySettings;
use tidings_domain::{Tenant, UserId};
use tidings_projections::log::{Outage, ReadError};

use super::Directory;

impl Directory {
    /// Leaves out of a plan what the recipient does not want in the inbox. Nothing is looked up for a tenant none of whose
    /// recipients was ever described.
    pub async fn ask(
        &self,
        tenant: &Tenant,
        user: &UserId,
        category: Option<&Category>,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        if !plan.is_in_inbox() {
            return Ok(());
        }
        let settings = self.settings(tenant).await?;
        if settings.is_critical(category) {
            return Ok(());
        }
        let admits = |preferences: &Preferences| settings.admits(preferences, category, Channel::InApp);
        let admitted = match self.describes_anybody(tenant).await? {
            true => admits(&self.described(tenant, user).await?),
            false => admits(&Preferences::default()),
        };
        if !admitted {
            plan.skip(Channel::InApp, SkipReason::Preference);
        }
        Ok(())
    }

    /// Whether what is decided of a creation depends on those before it.
    pub async fn is_bound(&self, tenant: &Tenant, create: &Create) -> Result<bool, ReadError> {
        let Some(category) = &create.category else { return Ok(false) };
        let settings = self.settings(tenant).await?;
        let bounds = |category: &CategorySettings| {
            category.throttle.is_some() || category.digest.as_ref().is_some_and(|it| it.collects(create))
        };
        Ok(settings.categories.get(category).is_some_and(bounds))
    }

    /// Whether any recipient of the tenant was ever described.
    pub async fn describes_anybody(&self, tenant: &Tenant) -> Result<bool, ReadError> {
        let key = tenant.to_string();
        let ticket = match self.inner.described.get(&key) {
            Ok(known) => return Ok(known),
            Err(ticket) => ticket,
        };
        let prefix = format!("rcp_{}:{tenant}", key.len());
        let events = self.inner.reader.latest(&self.inner.pool, Recipient::TYPE, (&prefix, ""), 1).await?;
        let described = !events.is_empty();
        self.inner.described.put(key, ticket, described, 1);
        Ok(described)
    }

    /// A description that is damaged is none: who wanted to be told nothing is told too much rather than nobody anything.
    async fn described(&self, tenant: &Tenant, user: &UserId) -> Result<Preferences, ReadError> {
        match self.recipient(tenant, user).await {
            Ok(recipient) => Ok(recipient.preferences.clone()),
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                tracing::error!(%error, "a recipient cannot be read, and is asked nothing");
                Ok(Preferences::default())
            }
        }
    }
}
