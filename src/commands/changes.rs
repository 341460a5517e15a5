//! Changes of what a tenant has one of under a name: a recipient, a template, its settings, a source.

use std::convert::Infallible;
use std::fmt::Display;
use std::hash::Hash;

use cqrs_es::Aggregate;
use serde_json::json;
use tidings_domain::recipient::{self, Recipient};
use tidings_domain::settings::{self, Settings};
use tidings_domain::source::{self, Source, SourceId};
use tidings_domain::template::{self, Template};
use tidings_domain::{RecipientId, SettingsId, TemplateId};
use tokio::time::Instant;

use super::{CONFLICT_PAUSE, CommandError, Commands, Context, DEADLINE, Execution, Framework, Order};
use crate::log::{Answer, AppendError};

/// What has a name, and so no id to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Everything the command did is at or before this position.
    pub position: i64,
    /// Answered from the record of an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Commands {
    /// Says something of one of the tenant's users.
    pub async fn describe_recipient(
        &self,
        context: &Context,
        id: &RecipientId,
        action: recipient::Action,
    ) -> Result<Changed, CommandError> {
        let never = |refusal: Infallible| match refusal {};
        let RecipientId { tenant, user } = id.clone();
        let command = recipient::Command { tenant, user, action };
        let result = self.change::<Recipient>(&self.recipients, context, id, &command, never).await;
        self.metrics.count(&command.action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// Publishes or retires one of the tenant's templates.
    pub async fn change_template(
        &self,
        context: &Context,
        id: &TemplateId,
        action: template::Action,
    ) -> Result<Changed, CommandError> {
        let TemplateId { tenant, key } = id.clone();
        let command = template::Command { tenant, key, action };
        let refused = CommandError::TemplateRefused;
        let result = self.change::<Template>(&self.templates, context, id, &command, refused).await;
        self.metrics.count(&command.action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// Says something of a tenant's channels.
    pub async fn change_settings(
        &self,
        context: &Context,
        id: &SettingsId,
        action: settings::Action,
    ) -> Result<Changed, CommandError> {
        let command = settings::Command { tenant: id.tenant.clone(), action };
        let refused = CommandError::SettingsRefused;
        let result = self.change::<Settings>(&self.settings, context, id, &command, refused).await;
        self.metrics.count(&command.action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// Configures or removes one of the tenant's sources of webhooks.
    pub async fn change_source(
        &self,
        context: &Context,
        id: &SourceId,
        action: source::Action,
    ) -> Result<Changed, CommandError> {
        let SourceId { tenant, name } = id.clone();
        let command = source::Command { tenant, name, action };
        let refused = CommandError::SourceRefused;
        let result = self.change::<Source>(&self.sources, context, id, &command, refused).await;
        self.metrics.count(&command.action, result.as_ref().map(|changed| changed.replayed));
        result
    }

    /// What an earlier request with the same key changed.
    pub async fn earlier_change(&self, context: &Context) -> Result<Option<Changed>, CommandError> {
        self.first_answer(context).await?.map(|answer| repeated(context, &answer)).transpose()
    }

    /// One at a time per aggregate on this node.
    pub(super) async fn change<A: Aggregate<Command: Clone>>(
        &self,
        framework: &Framework<A>,
        context: &Context,
        id: &(impl Hash + Display),
        command: &A::Command,
        refused: fn(A::Error) -> CommandError,
    ) -> Result<Changed, CommandError> {
        if let Some(earlier) = self.earlier_change(context).await? {
            return Ok(earlier);
        }
        let deadline = Instant::now() + DEADLINE;
        let turn = tokio::time::timeout_at(deadline, self.locks.lock(id)).await;
        let _turn = turn.map_err(|_| CommandError::Append(AppendError::Expired))?;
        while Instant::now() < deadline {
            let order = Order { id: id.to_string(), fresh: false, status: 200, result: json!({}), deadline };
            match self.append_with(framework, context, order, command.clone(), refused).await? {
                Execution::Stored { position } => {
                    self.directory.forget(&id.to_string());
                    return Ok(Changed { position, replayed: false });
                }
                Execution::Replayed(answer) => return repeated(context, &answer),
                Execution::Conflict => tokio::time::sleep(CONFLICT_PAUSE).await,
            }
        }
        Err(CommandError::Conflict)
    }
}

pub(super) fn repeated(context: &Context, answer: &Answer) -> Result<Changed, CommandError> {
    context.check(answer)?;
    Ok(Changed { position: answer.position, replayed: true })
}
