//! What became of commands.

use prometheus::{IntCounter, Registry};
use tidings_domain::{
    broadcast, notification, recipient, schedule, settings, source, subscription, template,
};

use super::{Each, Label, counters};
use crate::commands::CommandError;
use crate::log::AppendError;

/// What a command is to do.
#[derive(Clone, Copy)]
pub enum Order {
    Create,
    Release,
    Wake,
    Expire,
    Activate,
    Start,
    Defer,
    Deliver,
    Retry,
    Seen,
    Read,
    Unread,
    Archive,
    Unarchive,
    Snooze,
    Cancel,
    ChangeProfile,
    ChangePreferences,
    PublishTemplate,
    RetireTemplate,
    Subscribe,
    Unsubscribe,
    ConfigureChannel,
    RemoveChannel,
    DisableEndpoint,
    RequestBroadcast,
    RecordFanOut,
    CancelBroadcast,
    ChangeCategory,
    RemoveCategory,
    ChangePlan,
    RemovePlan,
    DisableAddress,
    ConfigureSource,
    RemoveSource,
    ChangeSchedule,
    Tick,
    DeleteSchedule,
    AddPushSubscription,
    RemovePushSubscription,
}

impl Label for Order {
    const NAME: &'static str = "command";
    const ALL: &'static [Self] = &[
        Self::Create,
        Self::Release,
        Self::Wake,
        Self::Expire,
        Self::Activate,
        Self::Start,
        Self::Defer,
        Self::Deliver,
        Self::Retry,
        Self::Seen,
        Self::Read,
        Self::Unread,
        Self::Archive,
        Self::Unarchive,
        Self::Snooze,
        Self::Cancel,
        Self::ChangeProfile,
        Self::ChangePreferences,
        Self::PublishTemplate,
        Self::RetireTemplate,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ConfigureChannel,
        Self::RemoveChannel,
        Self::DisableEndpoint,
        Self::RequestBroadcast,
        Self::RecordFanOut,
        Self::CancelBroadcast,
        Self::ChangeCategory,
        Self::RemoveCategory,
        Self::ChangePlan,
        Self::RemovePlan,
        Self::DisableAddress,
        Self::ConfigureSource,
        Self::RemoveSource,
        Self::ChangeSchedule,
        Self::Tick,
        Self::DeleteSchedule,
        Self::AddPushSubscription,
        Self::RemovePushSubscription,
    ];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Release => "release",
            Self::Wake => "wake",
            Self::Expire => "expire",
            Self::Activate => "activate",
            Self::Start => "start",
            Self::Defer => "defer",
            Self::Deliver => "deliver",
            Self::Retry => "retry",
            Self::Seen => "seen",
            Self::Read => "read",
            Self::Unread => "unread",
            Self::Archive => "archive",
            Self::Unarchive => "unarchive",
            Self::Snooze => "snooze",
            Self::Cancel => "cancel",
            Self::ChangeProfile => "change_profile",
            Self::ChangePreferences => "change_preferences",
            Self::PublishTemplate => "publish_template",
            Self::RetireTemplate => "retire_template",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::ConfigureChannel => "configure_channel",
            Self::RemoveChannel => "remove_channel",
            Self::DisableEndpoint => "disable_endpoint",
            Self::RequestBroadcast => "request_broadcast",
            Self::RecordFanOut => "record_fan_out",
            Self::CancelBroadcast => "cancel_broadcast",
            Self::ChangeCategory => "change_category",
            Self::RemoveCategory => "remove_category",
            Self::ChangePlan => "change_plan",
            Self::RemovePlan => "remove_plan",
            Self::DisableAddress => "disable_address",
            Self::ConfigureSource => "configure_source",
            Self::RemoveSource => "remove_source",
            Self::ChangeSchedule => "change_schedule",
            Self::Tick => "tick",
            Self::DeleteSchedule => "delete_schedule",
            Self::AddPushSubscription => "add_push_subscription",
            Self::RemovePushSubscription => "remove_push_subscription",
        }
    }
}

impl From<&notification::Action> for Order {
    fn from(action: &notification::Action) -> Self {
        use notification::Action;
        match action {
            Action::Create(_) => Self::Create,
            Action::Release { .. } => Self::Release,
            Action::Wake { .. } => Self::Wake,
            Action::Expire { .. } => Self::Expire,
            Action::Activate { .. } => Self::Activate,
            Action::Start { .. } => Self::Start,
            Action::Defer { .. } => Self::Defer,
            Action::Deliver { .. } => Self::Deliver,
            Action::Retry { .. } => Self::Retry,
            Action::MarkSeen => Self::Seen,
            Action::MarkRead => Self::Read,
            Action::MarkUnread => Self::Unread,
            Action::Archive => Self::Archive,
            Action::Unarchive => Self::Unarchive,
            Action::Snooze { .. } => Self::Snooze,
            Action::Cancel => Self::Cancel,
        }
    }
}

impl From<&recipient::Action> for Order {
    fn from(action: &recipient::Action) -> Self {
        match action {
            recipient::Action::ChangeProfile { .. } => Self::ChangeProfile,
            recipient::Action::ChangePreferences(_) => Self::ChangePreferences,
            recipient::Action::AddPushSubscription(_) => Self::AddPushSubscription,
            recipient::Action::RemovePushSubscription { .. } => Self::RemovePushSubscription,
            recipient::Action::DisableAddress { .. } => Self::DisableAddress,
        }
    }
}

impl From<&template::Action> for Order {
    fn from(action: &template::Action) -> Self {
        match action {
            template::Action::Publish(_) => Self::PublishTemplate,
            template::Action::Retire => Self::RetireTemplate,
        }
    }
}

impl From<&subscription::Action> for Order {
    fn from(action: &subscription::Action) -> Self {
        match action {
            subscription::Action::Subscribe => Self::Subscribe,
            subscription::Action::Unsubscribe => Self::Unsubscribe,
        }
    }
}

impl From<&settings::Action> for Order {
    fn from(action: &settings::Action) -> Self {
        match action {
            settings::Action::ConfigureChannel(_) => Self::ConfigureChannel,
            settings::Action::RemoveChannel { .. } => Self::RemoveChannel,
            settings::Action::DisableEndpoint { .. } => Self::DisableEndpoint,
            settings::Action::ChangeCategory { .. } => Self::ChangeCategory,
            settings::Action::RemoveCategory { .. } => Self::RemoveCategory,
            settings::Action::ChangePlan { .. } => Self::ChangePlan,
            settings::Action::RemovePlan { .. } => Self::RemovePlan,
        }
    }
}

impl From<&broadcast::Action> for Order {
    fn from(action: &broadcast::Action) -> Self {
        match action {
            broadcast::Action::Request(_) => Self::RequestBroadcast,
            broadcast::Action::RecordFanOut(_) => Self::RecordFanOut,
            broadcast::Action::Cancel => Self::CancelBroadcast,
        }
    }
}

impl From<&source::Action> for Order {
    fn from(action: &source::Action) -> Self {
        match action {
            source::Action::Configure { .. } => Self::ConfigureSource,
            source::Action::Remove => Self::RemoveSource,
        }
    }
}

impl From<&schedule::Action> for Order {
    fn from(action: &schedule::Action) -> Self {
        match action {
            schedule::Action::Change { .. } => Self::ChangeSchedule,
            schedule::Action::Record(_) => Self::Tick,
            schedule::Action::Delete => Self::DeleteSchedule,
        }
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Done,
    Replayed,
    Refused,
    Conflict,
    KeyReused,
    Busy,
    Unavailable,
    Unknown,
    Fault,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[
        Self::Done,
        Self::Replayed,
        Self::Refused,
        Self::Conflict,
        Self::KeyReused,
        Self::Busy,
        Self::Unavailable,
        Self::Unknown,
        Self::Fault,
    ];

    fn number(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
            Self::KeyReused => "key_reused",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unknown => "outcome_unknown",
            Self::Fault => "fault",
        }
    }
}

impl From<&CommandError> for Outcome {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::Refused(_)
            | CommandError::TemplateRefused(_)
            | CommandError::SettingsRefused(_)
            | CommandError::BroadcastRefused(_)
            | CommandError::SourceRefused(_)
            | CommandError::ScheduleRefused(_)
            | CommandError::Past { .. } => Self::Refused,
            CommandError::Conflict | CommandError::Append(AppendError::Conflict) => Self::Conflict,
            CommandError::KeyReused => Self::KeyReused,
            CommandError::Append(AppendError::Busy) => Self::Busy,
            CommandError::Append(AppendError::OutcomeUnknown) => Self::Unknown,
            CommandError::Append(AppendError::Expired | AppendError::DatabaseBehind)
            | CommandError::Behind(_)
            | CommandError::Unavailable(_) => Self::Unavailable,
            CommandError::Append(AppendError::Refused(_)) | CommandError::Fault(_) => Self::Fault,
        }
    }
}

/// Counts each command once, by what it was to do and what it came to.
#[derive(Clone)]
pub struct CommandMetrics {
    commands: Each<Order, Each<Outcome, IntCounter>>,
}

impl CommandMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let name = "tidings_commands_total";
        let help = "Commands, each item of a batch and of a bulk mark by itself.";
        let all = counters(registry, name, help, &[Order::NAME, Outcome::NAME]);
        let outcomes = |order| Each::make(|outcome| all.with_label_values(&[order, outcome]));
        Self { commands: Each::make(outcomes) }
    }

    /// `result` says of a success whether it was the answer of an earlier request.
    pub fn count(&self, order: impl Into<Order>, result: Result<bool, &CommandError>) {
        let outcome = match result {
            Ok(false) => Outcome::Done,
            Ok(true) => Outcome::Replayed,
            Err(error) => error.into(),
        };
        self.commands.of(order.into()).of(outcome).inc();
    }
}
