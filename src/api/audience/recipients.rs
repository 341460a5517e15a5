//! Recipients: where a user is reached, in which language, on whose clock, and with what.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;
use tidings_domain::RecipientId;
use tidings_domain::notification::{Category, Channel};
use tidings_domain::recipient::{self, Action, LocalTime, Recipient};
use tidings_projections::recipient::fold;

use super::browsers::{PushSubscription, PutPushSubscription};
use crate::api::Tag;
use crate::api::http::body::{Body, CommandBody};
use crate::api::http::credentials::{Caller, NotificationsRead, NotificationsWrite, Service};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::{Reads, parse_user};
use crate::api::http::request::{Command, Key};
use crate::api::values::addresses;
use crate::channels::OutgoingPolicy;
use crate::commands::Changed;

pub struct Recipients;

/// How a user is reached. It replaces what was said before: what is left out is known no more, but for browsers (`web_push`).
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutProfile {
    /// The language in which the user reads: a BCP 47 tag such as `de-AT`.
    #[oai(validator(min_length = 1, max_length = 35))]
    locale: Option<String>,
    /// The user's clock: a name of the IANA time zone database, such as `Europe/Vienna`.
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: Option<String>,
    addresses: Option<PutAddresses>,
}

/// Where each channel reaches the user.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutAddresses {
    /// An e-mail address: at most 254 characters.
    #[oai(validator(min_length = 1, max_length = 254))]
    email: Option<String>,
    /// The URL of an incoming webhook of Slack: `http` or `https`, at most 2,048 characters.
    #[oai(validator(min_length = 1, max_length = 2048))]
    slack: Option<String>,
    /// The URL that webhooks for the user are sent to: `http` or `https`, at most 2,048 characters.
    #[oai(validator(min_length = 1, max_length = 2048))]
    webhook: Option<String>,
    /// Browsers, the oldest first: at most 10, no two with the same endpoint. They register themselves; left out they stay.
    #[oai(validator(max_items = 10))]
    web_push: Option<Vec<PutPushSubscription>>,
}

/// How a user is reached.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Profile {
    user_id: String,
    /// In its canonical spelling.
    locale: Option<String>,
    time_zone: Option<String>,
    addresses: Addresses,
}

/// Where each channel reaches the user.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Addresses {
    email: Option<String>,
    slack: Option<String>,
    webhook: Option<String>,
    /// Browsers, the oldest first.
    web_push: Option<Vec<PushSubscription>>,
}

/// With what a user wants to be reached. It replaces what was said before.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutPreferences {
    /// Channels that are on or off (`in_app`, `email`, `slack`, `webhook`, `web_push`), for every category that says nothing else.
    channels: Option<BTreeMap<String, bool>>,
    /// The same for single categories, at most 200 of them.
    categories: Option<BTreeMap<String, BTreeMap<String, bool>>>,
    quiet_hours: Option<PutQuietHours>,
}

/// When nothing but the inbox reaches the user: every day on the user's own clock, over midnight where `to` is not after
/// `from`. What falls into it waits for its end.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PutQuietHours {
    /// The first quiet minute, such as `22:00`.
    #[oai(validator(min_length = 5, max_length = 5))]
    from: String,
    /// The first minute that is not quiet any more, such as `07:00`.
    #[oai(validator(min_length = 5, max_length = 5))]
    to: String,
}

/// With what a user wants to be reached.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Preferences {
    user_id: String,
    /// By channel.
    channels: BTreeMap<String, bool>,
    /// By category, then by channel.
    categories: BTreeMap<String, BTreeMap<String, bool>>,
    quiet_hours: Option<QuietHours>,
}

/// When nothing but the inbox reaches the user.
#[derive(Debug, Object)]
struct QuietHours {
    from: String,
    to: String,
}

#[derive(ApiResponse)]
enum ProfileResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<Profile>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[derive(ApiResponse)]
enum PreferencesResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<Preferences>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Recipients")]
impl Recipients {
    /// Say how a user is reached
    ///
    /// Addresses are personal: the log seals them, and they are shown by `GET` and to whoever may read events
    /// (`events:read`).
    #[oai(path = "/users/:user_id", method = "put", operation_id = "putProfile")]
    async fn put_profile(
        &self,
        command: Command<Service<NotificationsWrite>, Body<PutProfile>>,
        /// The user.
        user_id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<ProfileResponse, Problem> {
        let asked = command.body.parse::<PutProfile>()?;
        let (id, action) = (id(&command, user_id.0)?, asked.into_action(&command.backend.outgoing)?);
        let changed = command.describe(&id, &key, action).await?;
        // As it stood then, with the browsers that were there: a repetition is given the answer of the first.
        let reads = &command.backend.reads;
        let profile = recipient(reads, &id, changed.position).await?.profile;
        let (cursor, replayed) = (reads.cursor(changed.position), changed.replayed.then_some(true));
        Ok(ProfileResponse::Kept(Json(Profile::new(&id, profile)), cursor, replayed))
    }

    /// Look at how a user is reached
    ///
    /// Always current. Of whom nothing was said nothing is known: an empty profile, and no error.
    #[oai(path = "/users/:user_id", method = "get", operation_id = "getProfile")]
    async fn get_profile(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The user.
        user_id: Path<String>,
    ) -> Result<Json<Profile>, Problem> {
        let id = RecipientId { tenant: caller.principal.tenant().clone(), user: parse_user(user_id.0)? };
        Ok(Json(Profile::new(&id, recipient(reads, &id, i64::MAX).await?.profile)))
    }

    /// Say with what a user wants to be reached
    #[oai(path = "/users/:user_id/preferences", method = "put", operation_id = "putPreferences")]
    async fn put_preferences(
        &self,
        command: Command<Service<NotificationsWrite>, Body<PutPreferences>>,
        /// The user.
        user_id: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        key: Key,
    ) -> Result<PreferencesResponse, Problem> {
        let preferences = command.body.parse::<PutPreferences>()?.into_domain()?;
        let (id, action) = (id(&command, user_id.0)?, Action::ChangePreferences(preferences.clone()));
        let changed = command.describe(&id, &key, action).await?;
        let cursor = command.backend.reads.cursor(changed.position);
        let replayed = changed.replayed.then_some(true);
        Ok(PreferencesResponse::Kept(Json(Preferences::new(&id, preferences)), cursor, replayed))
    }

    /// Look at with what a user wants to be reached
    ///
    /// Always current; empty where nothing was said.
    #[oai(path = "/users/:user_id/preferences", method = "get", operation_id = "getPreferences")]
    async fn get_preferences(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The user.
        user_id: Path<String>,
    ) -> Result<Json<Preferences>, Problem> {
        let id = RecipientId { tenant: caller.principal.tenant().clone(), user: parse_user(user_id.0)? };
        Ok(Json(Preferences::new(&id, recipient(reads, &id, i64::MAX).await?.preferences)))
    }
}

fn id<C, B>(command: &Command<C, B>, user_id: String) -> Result<RecipientId, Problem> {
    Ok(RecipientId { tenant: command.principal().tenant().clone(), user: parse_user(user_id)? })
}

/// As it stood at a position of the log.
async fn recipient(reads: &Reads, id: &RecipientId, position: i64) -> Result<Recipient, Problem> {
    let mut events = reads.reader.of_aggregates(&reads.pool, Recipient::TYPE, &[id.to_string()]).await?;
    events.retain(|event| event.position <= position);
    fold(&events).map_err(|error| Problem::internal(&error))
}

impl<C, B: CommandBody> Command<C, B> {
    /// Says something of a user.
    pub(super) async fn describe(
        &self,
        id: &RecipientId,
        key: &Key,
        action: Action,
    ) -> Result<Changed, Problem> {
        Ok(self.backend.commands.describe_recipient(&self.context(key), id, action).await?)
    }
}

impl PutProfile {
    fn into_action(self, outgoing: &OutgoingPolicy) -> Result<Action, Problem> {
        let PutAddresses { email, slack, webhook, web_push } = self.addresses.unwrap_or_default();
        let email = email.map(|text| addresses::email("/addresses/email", text)).transpose()?;
        let slack = slack.map(|text| addresses::url("/addresses/slack", text)).transpose()?;
        let webhook = webhook.map(|text| addresses::url("/addresses/webhook", text)).transpose()?;
        let keeps_push = web_push.is_none();
        let browsers = web_push.unwrap_or_default().into_iter().enumerate();
        let browsers = browsers
            .map(|(index, browser)| browser.into_domain(&format!("/addresses/web_push/{index}"), outgoing));
        let browsers = browsers.collect::<Result<Vec<_>, Problem>>()?;
        let profile = recipient::Profile {
            locale: self.locale.map(|text| addresses::locale("/locale", &text)).transpose()?,
            time_zone: self.time_zone.map(|text| addresses::time_zone("/time_zone", &text)).transpose()?,
            addresses: recipient::Addresses::new(email, slack, webhook, browsers)?,
        };
        Ok(Action::ChangeProfile { profile, keeps_push })
    }
}

impl Profile {
    fn new(id: &RecipientId, profile: recipient::Profile) -> Self {
        let recipient::Addresses { email, slack, webhook, web_push } = profile.addresses;
        let browsers: Vec<PushSubscription> = web_push.into_iter().map(Into::into).collect();
        let web_push = Some(browsers).filter(|browsers| !browsers.is_empty());
        Self {
            user_id: id.user.to_string(),
            locale: profile.locale.map(|locale| locale.as_str().to_owned()),
            time_zone: profile.time_zone.map(|zone| zone.as_str().to_owned()),
            addresses: Addresses { email, slack, webhook, web_push },
        }
    }
}

impl PutPreferences {
    fn into_domain(self) -> Result<recipient::Preferences, Problem> {
        let categories = self.categories.unwrap_or_default();
        if categories.len() > recipient::Preferences::CATEGORIES_MAX {
            return Err(Problem::at(Kind::Invalid, "/categories", "must have at most 200 members"));
        }
        let of_category = |(name, given): (String, BTreeMap<String, bool>)| {
            let pointer = format!("/categories/{}", name.replace('~', "~0").replace('/', "~1"));
            let category = Category::new(name)
                .map_err(|error| Problem::at(Kind::Invalid, pointer.clone(), error.detail))?;
            Ok((category, switches(&pointer, given)?))
        };
        let time = |pointer: &str, text: &str| {
            text.parse::<LocalTime>().map_err(|error| Problem::at(Kind::Invalid, pointer, error.to_string()))
        };
        let quiet_hours = self.quiet_hours.map(|hours| {
            let (from, to) = (time("/quiet_hours/from", &hours.from)?, time("/quiet_hours/to", &hours.to)?);
            if from == to {
                return Err(Problem::at(Kind::Invalid, "/quiet_hours/to", "must differ from `from`"));
            }
            Ok(recipient::QuietHours { from, to })
        });
        Ok(recipient::Preferences {
            channels: switches("/channels", self.channels.unwrap_or_default())?,
            categories: categories.into_iter().map(of_category).collect::<Result<_, Problem>>()?,
            quiet_hours: quiet_hours.transpose()?,
        })
    }
}

/// On and off, by the names of channels; `pointer` is where they stand.
pub fn switches(pointer: &str, given: BTreeMap<String, bool>) -> Result<recipient::Switches, Problem> {
    let switch = |(name, on): (String, bool)| match Channel::parse(&name) {
        Some(channel) => Ok((channel, on)),
        None => Err(Problem::at(
            Kind::Invalid,
            format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
            "must be one of `in_app`, `email`, `slack`, `webhook` and `web_push`",
        )),
    };
    given.into_iter().map(switch).collect()
}

impl Preferences {
    fn new(id: &RecipientId, preferences: recipient::Preferences) -> Self {
        let named = |switches: recipient::Switches| -> BTreeMap<String, bool> {
            switches.into_iter().map(|(channel, on)| (channel.as_str().to_owned(), on)).collect()
        };
        let categories = preferences.categories.into_iter();
        Self {
            user_id: id.user.to_string(),
            channels: named(preferences.channels),
            categories: categories
                .map(|(name, switches)| (name.as_str().to_owned(), named(switches)))
                .collect(),
            quiet_hours: preferences
                .quiet_hours
                .map(|hours| QuietHours { from: hours.from.to_string(), to: hours.to.to_string() }),
        }
    }
}
