//! Templates: publish versions of words, look at them, see what a reader would.

use std::collections::BTreeMap;
use std::sync::Arc;

use cqrs_es::Aggregate;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_domain::recipient::{Locale, TimeZone};
use tidings_domain::template::{self, Action, Template, TemplateKey, Version};
use tidings_domain::{InvalidIdentity, TemplateId, Tenant, UserId};
use tidings_projections::log::Fact;
use tidings_projections::template::fold;

use crate::api::Tag;
use crate::api::http::body::{Body, CommandBody};
use crate::api::http::credentials::{Admin, Caller, NotificationsRead, Service};
use crate::api::http::next::Next;
use crate::api::http::parameter::{Limit, Parameter, Query};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::reads::Reads;
use crate::api::http::request::{Command, Key};
use crate::api::notifications::content::escaped;
use crate::api::values::addresses;
use crate::directory::Directory;
use crate::render::{Compiled, Flaw, Part, Reader};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: u32 = 100;

pub struct Templates;

/// What an argument is.
#[derive(Clone, Copy, Debug, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum ArgumentType {
    String,
    Number,
    /// An instant (RFC 3339), shown on the reader's clock.
    Date,
}

/// A version of a template: words in one or more languages, with places for arguments.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PublishTemplate {
    /// Whose words are used where the reader's language has none: a BCP 47 tag, one of `sources`.
    #[oai(validator(min_length = 1, max_length = 35))]
    default_locale: String,
    /// By locale, in Fluent (projectfluent.org): at most 100 of them with 32 KiB each. The messages `title`, which is required,
    /// `body`, `action-url`, `email-subject`, `email-text`, `email-html` and `slack` are what channels show; others may be
    /// referred to. `NUMBER` and `DATETIME` are the functions there are. Arguments are escaped in `slack` and in `email-html`,
    /// which is left out of an e-mail where it has more than 1 MiB.
    sources: BTreeMap<String, String>,
    /// What the sources may use, by name: at most 50. Whoever uses the template must give all of them.
    arguments: Option<BTreeMap<String, ArgumentType>>,
}

/// Who would read it, and what is put into its places.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(deny_unknown_fields)]
struct PreviewTemplate {
    /// The reader's language: a BCP 47 tag. The nearest there is speaks, and else the default.
    #[oai(validator(min_length = 1, max_length = 35))]
    locale: Option<String>,
    /// The reader's clock: a name of the IANA time zone database; UTC where it is left out.
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: Option<String>,
    /// A user who reads, in the language and on the clock of the user's profile; goes without `locale` and `time_zone`.
    #[oai(validator(min_length = 1, max_length = 256))]
    user_id: Option<String>,
    /// By name.
    args: Option<BTreeMap<String, Value>>,
    /// Which version; the latest where it is left out.
    #[oai(validator(minimum(value = "1")))]
    version: Option<u32>,
    /// A version that is not published, instead of one that is.
    draft: Option<PublishTemplate>,
}

/// A version of a template.
#[derive(Debug, Object)]
struct TemplateVersion {
    key: String,
    /// Counted from 1.
    version: u32,
    /// Whether nothing new is made of it.
    retired: bool,
    default_locale: String,
    /// By locale, in Fluent.
    sources: BTreeMap<String, String>,
    /// `string`, `number` or `date`, by name.
    arguments: BTreeMap<String, String>,
}

/// A template in a list.
#[derive(Debug, Object)]
struct TemplateSummary {
    key: String,
    /// Whether nothing new is made of it.
    retired: bool,
}

/// Templates by key.
#[derive(Debug, Object)]
struct TemplatePage {
    templates: Vec<TemplateSummary>,
    /// Pass it as `after` for the next page; null at the end.
    next: Next,
}

/// What a reader would see.
#[derive(Debug, Object)]
struct Preview {
    /// Whose words they are: one of the version's locales.
    locale: String,
    /// `title`, `body`, `action-url`, `email-subject`, `email-text`, `email-html` and `slack`, as far as the version has them.
    parts: BTreeMap<String, String>,
}

#[derive(ApiResponse)]
enum TemplateResponse {
    /// Recorded, or already so.
    #[oai(status = 200)]
    Kept(
        Json<TemplateVersion>,
        /// Everything the command did is at or before this position of the log.
        #[oai(header = "Tidings-Cursor")]
        String,
        /// `true` where an earlier request with the same key had done it.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

impl Parameter for TemplateKey {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        Self::new(text.to_owned()).map_err(|error| Problem::at(Kind::Malformed, name, error.detail))
    }
}

impl Parameter for u32 {
    fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|_| Problem::at(Kind::Malformed, name, "must be a whole number from 0 to 4,294,967,295"))
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::Templates")]
impl Templates {
    /// Publish a template
    ///
    /// A new version, unless the latest says the same. What was made of an earlier one is shown with that one for ever. All
    /// that is wrong with it is told at once, each with its line and column.
    #[oai(path = "/templates/:key", method = "put", operation_id = "publishTemplate")]
    async fn publish(
        &self,
        command: Command<Service<Admin>, Body<PublishTemplate, TEMPLATE_BYTES_MAX>>,
        /// The template: 1 to 128 characters of `a-z`, `0-9`, `.`, `_` and `-`.
        key: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Key,
    ) -> Result<TemplateResponse, Problem> {
        let id = id(command.principal().tenant(), &key)?;
        let says = command.body.parse::<PublishTemplate>()?.into_domain("")?;
        compiled(says.clone(), "").await?;
        command.change(&id, &idempotency_key, Action::Publish(says)).await
    }

    /// Retire a template
    ///
    /// Nothing new is made of it until somebody publishes it again.
    #[oai(path = "/templates/:key", method = "delete", operation_id = "retireTemplate")]
    async fn retire(
        &self,
        command: Command<Service<Admin>>,
        /// The template.
        key: Path<String>,
        /// Makes a repetition harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Key,
    ) -> Result<TemplateResponse, Problem> {
        command.body.parse()?;
        let id = id(command.principal().tenant(), &key)?;
        command.change(&id, &idempotency_key, Action::Retire).await
    }

    /// Look at a template
    #[oai(path = "/templates/:key", method = "get", operation_id = "getTemplate")]
    async fn get(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// The template.
        key: Path<String>,
        /// Which version; the latest where it is left out.
        version: Query<u32>,
    ) -> Result<Json<TemplateVersion>, Problem> {
        let id = id(caller.principal.tenant(), &key)?;
        let template = template(reads, &id).await?;
        TemplateVersion::of(&id, &template, version.0).map(Json)
    }

    /// List templates
    ///
    /// Those of the key's tenant, by key.
    #[oai(path = "/templates", method = "get", operation_id = "listTemplates")]
    async fn list(
        &self,
        caller: Caller<Service<NotificationsRead>>,
        reads: &Reads,
        /// Templates of the page: 1 to 100, 20 where it is left out.
        limit: Query<Limit<LIMIT_MAX>>,
        /// The `next` of the page before.
        after: Query<TemplateKey>,
    ) -> Result<Json<TemplatePage>, Problem> {
        let (tenant, limit) = (caller.principal.tenant(), limit.0.map_or(LIMIT_DEFAULT, |limit| limit.0));
        let prefix = format!("tpl_{}:{tenant}", tenant.as_str().len());
        let after =
            after.0.map(|key| TemplateId { tenant: tenant.clone(), key }.to_string()).unwrap_or_default();
        let events = reads.reader.latest(&reads.pool, Template::TYPE, (&prefix, &after), limit + 1).await?;
        let mut templates: Vec<TemplateSummary> = Vec::with_capacity(events.len());
        for event in &events {
            let Fact::Template(id, fact) = &event.fact else { continue };
            let retired = matches!(fact, template::Event::Retired { .. });
            templates.push(TemplateSummary { key: id.key.to_string(), retired });
        }
        let more = templates.len() as i64 > limit;
        templates.truncate(limit as usize);
        let next = templates.last().filter(|_| more).map(|template| template.key.clone());
        Ok(Json(TemplatePage { templates, next: Next(next) }))
    }

    /// See what a reader would
    ///
    /// Of a version that is published, or of a draft. Nothing is recorded.
    #[oai(path = "/templates/:key/preview", method = "post", operation_id = "previewTemplate")]
    async fn preview(
        &self,
        command: Command<Service<NotificationsRead>, Body<PreviewTemplate, TEMPLATE_BYTES_MAX>>,
        /// The template.
        key: Path<String>,
    ) -> Result<Json<Preview>, Problem> {
        let id = id(command.principal().tenant(), &key)?;
        let mut asked: PreviewTemplate = command.body.parse()?;
        let directory = &command.backend.reads.directory;
        let says = match asked.draft.take() {
            Some(_) if asked.version.is_some() => {
                return Err(Problem::at(Kind::Invalid, "/version", "goes without a draft"));
            }
            Some(draft) => Arc::new(compiled(draft.into_domain("/draft")?, "/draft").await?),
            None => published(directory, &id, asked.version).await?,
        };
        let (locale, time_zone) = asked.reader(directory, &id.tenant).await?;
        let reader = Reader { locale: locale.as_ref(), time_zone: time_zone.as_ref() };
        let args: Map<String, Value> = asked.args.unwrap_or_default().into_iter().collect();
        let rendered = says
            .render(reader, &args, &Part::ALL)
            .map_err(|bad| Problem::at(Kind::Invalid, format!("/args/{}", escaped(&bad.name)), bad.detail))?;
        let parts = rendered.parts.into_iter().map(|(part, words)| (part.id().to_owned(), words)).collect();
        Ok(Json(Preview { locale: rendered.locale.to_owned(), parts }))
    }
}

/// Bytes of a version with all its sources.
const TEMPLATE_BYTES_MAX: usize = 4 << 20;

fn id(tenant: &Tenant, key: &str) -> Result<TemplateId, Problem> {
    Ok(TemplateId { tenant: tenant.clone(), key: TemplateKey::parse("key", key)? })
}

async fn template(reads: &Reads, id: &TemplateId) -> Result<Template, Problem> {
    template_at(reads, id, i64::MAX).await
}

/// As it stood at a position of the log.
async fn template_at(reads: &Reads, id: &TemplateId, position: i64) -> Result<Template, Problem> {
    let mut events = reads.reader.of_aggregates(&reads.pool, Template::TYPE, &[id.to_string()]).await?;
    events.retain(|event| event.position <= position);
    let template = fold(&events).map_err(|error| Problem::internal(&error))?;
    template.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such template"))
}

/// The version asked for, or the latest, ready to be read.
async fn published(
    directory: &Directory,
    id: &TemplateId,
    version: Option<u32>,
) -> Result<Arc<Compiled>, Problem> {
    let standing = directory.standing(id).await?;
    let standing = standing.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such template"))?;
    let published = directory.template(id, version.unwrap_or(standing.version)).await?;
    published.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such version"))
}

/// The version asked for, or the latest, with its number.
fn of_version(template: &Template, number: Option<u32>) -> Result<(u32, &Version), Problem> {
    let number = number.unwrap_or_else(|| template.number());
    let version = template.version(number);
    Ok((number, version.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such version"))?))
}

/// Each flaw by the pointer to its source, below `base`. Megabytes of sources take a while, in which no other request
/// should wait for this one.
async fn compiled(version: Version, base: &str) -> Result<Compiled, Problem> {
    let compiling = tokio::task::spawn_blocking(|| Compiled::checked(version)).await;
    compiling.map_err(|error| Problem::internal(&error))?.map_err(|flaws| {
        let told = |Flaw { locale, line, column, words }: &Flaw| {
            (format!("{base}/sources/{locale}"), format!("line {line}, column {column}: {words}"))
        };
        Problem::at_all(Kind::Invalid, flaws.iter().map(told))
    })
}

impl<C, B: CommandBody> Command<C, B> {
    /// Changes a template, and shows what it says then.
    async fn change(&self, id: &TemplateId, key: &Key, action: Action) -> Result<TemplateResponse, Problem> {
        let reads = &self.backend.reads;
        let changed = self.backend.commands.change_template(&self.context(key), id, action).await?;
        // As it stood then: a repetition is given the answer of the first, whatever was published since.
        let shown = TemplateVersion::of(id, &template_at(reads, id, changed.position).await?, None)?;
        let replayed = changed.replayed.then_some(true);
        Ok(TemplateResponse::Kept(Json(shown), reads.cursor(changed.position), replayed))
    }
}

impl PreviewTemplate {
    /// In which language and on whose clock.
    async fn reader(
        &mut self,
        directory: &Directory,
        tenant: &Tenant,
    ) -> Result<(Option<Locale>, Option<TimeZone>), Problem> {
        let (locale, time_zone) = (self.locale.take(), self.time_zone.take());
        if let Some(user) = self.user_id.take() {
            let refuse = |pointer| Err(Problem::at(Kind::Invalid, pointer, "goes without a user"));
            match (locale, time_zone) {
                (Some(_), _) => return refuse("/locale"),
                (_, Some(_)) => return refuse("/time_zone"),
                (None, None) => {}
            }
            let invalid = |error: InvalidIdentity| Problem::at(Kind::Invalid, "/user_id", error.to_string());
            let user = UserId::try_from(user).map_err(invalid)?;
            let profile = directory.recipient(tenant, &user).await?.profile.clone();
            return Ok((profile.locale, profile.time_zone));
        }
        let locale = locale.map(|text| addresses::locale("/locale", &text)).transpose()?;
        let time_zone = time_zone.map(|text| addresses::time_zone("/time_zone", &text)).transpose()?;
        Ok((locale, time_zone))
    }
}

impl PublishTemplate {
    /// Problems point below `base`.
    fn into_domain(self, base: &str) -> Result<Version, Problem> {
        let default = addresses::locale(&format!("{base}/default_locale"), &self.default_locale)?;
        let mut sources: BTreeMap<Locale, String> = BTreeMap::new();
        for (name, source) in self.sources {
            let pointer = format!("{base}/sources/{}", escaped(&name));
            if sources.insert(addresses::locale(&pointer, &name)?, source).is_some() {
                return Err(Problem::at(Kind::Invalid, pointer, "is the locale of another source, too"));
            }
        }
        let kind = |kind| match kind {
            ArgumentType::String => template::ArgumentType::String,
            ArgumentType::Number => template::ArgumentType::Number,
            ArgumentType::Date => template::ArgumentType::Date,
        };
        let arguments = self.arguments.unwrap_or_default().into_iter().map(|(name, it)| (name, kind(it)));
        let version = Version::new(default, sources, arguments.collect());
        version.map_err(|error| Problem::at(Kind::Invalid, format!("{base}{}", error.pointer), error.detail))
    }
}

impl TemplateVersion {
    fn of(id: &TemplateId, template: &Template, number: Option<u32>) -> Result<Self, Problem> {
        let (version, says) = of_version(template, number)?;
        let sources = says.sources.iter();
        let arguments = says.arguments.iter();
        Ok(Self {
            key: id.key.to_string(),
            version,
            retired: template.retired,
            default_locale: says.default_locale.as_str().to_owned(),
            sources: sources.map(|(locale, words)| (locale.as_str().to_owned(), words.clone())).collect(),
            arguments: arguments.map(|(name, kind)| (name.clone(), kind.as_str().to_owned())).collect(),
        })
    }
}
