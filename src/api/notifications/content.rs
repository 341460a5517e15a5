//! What a new notification is to say: words as they are, or a template with what goes into its places.

use std::collections::BTreeMap;

use poem_openapi::Object;
use serde::Deserialize;
use serde_json::Value;
use tidings_domain::notification::{Content, Templated};
use tidings_domain::template::TemplateKey;
use tidings_domain::{TemplateId, Tenant};

use crate::api::http::problem::{Kind, Problem};
use crate::directory::Directory;
use crate::render::{BadArgument, Unfit};

/// What it says.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(rename = "Content", deny_unknown_fields)]
pub struct ContentBody {
    /// 1 to 1,000 characters.
    #[oai(validator(min_length = 1, max_length = 1000))]
    title: String,
    body: String,
    /// Where a click leads: at most 2,048 characters, no scheme that runs code.
    #[oai(validator(min_length = 1, max_length = 2048))]
    action_url: Option<String>,
}

/// A template that says it to each reader in the reader's own language, and on the reader's own clock.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[oai(rename = "TemplateUse", deny_unknown_fields)]
pub struct TemplateBody {
    /// Which one. The version that is the latest now is the notification's for ever.
    #[oai(validator(min_length = 1, max_length = 128))]
    key: String,
    /// What goes into its places, by name: all that the template declares, each of its type, and nothing else.
    args: Option<BTreeMap<String, Value>>,
    /// Where a click leads, instead of where the template says.
    #[oai(validator(min_length = 1, max_length = 2048))]
    action_url: Option<String>,
}

/// Exactly one of the two.
pub async fn content(
    content: Option<ContentBody>,
    template: Option<TemplateBody>,
    (directory, tenant): (&Directory, &Tenant),
) -> Result<Content, Problem> {
    match (content, template) {
        (Some(ContentBody { title, body, action_url }), None) => Ok(Content::new(title, body, action_url)?),
        // Boxed: who brings words should not carry its space.
        (None, Some(template)) => Box::pin(template.into_content(directory, tenant)).await,
        (Some(_), Some(_)) => Err(Problem::at(Kind::Invalid, "/template", "goes without `content`")),
        (None, None) => {
            Err(Problem::at(Kind::Invalid, "/content", "must be there, unless there is a `template`"))
        }
    }
}

impl TemplateBody {
    async fn into_content(self, directory: &Directory, tenant: &Tenant) -> Result<Content, Problem> {
        let refuse = |pointer: &str, detail: &str| Problem::at(Kind::Invalid, pointer, detail);
        let key = TemplateKey::new(self.key).map_err(|invalid| refuse("/template/key", invalid.detail))?;
        let id = TemplateId { tenant: tenant.clone(), key };
        let standing = directory.standing(&id).await?;
        let standing = standing.ok_or_else(|| refuse("/template/key", "there is no such template"))?;
        if standing.retired {
            return Err(refuse("/template/key", "the template is retired"));
        }
        let args = self.args.unwrap_or_default().into_iter().collect();
        let template = Templated::new(id.key.clone(), standing.version, args, self.action_url)?;
        let compiled = directory.template(&id, standing.version).await?;
        let compiled = compiled.ok_or_else(|| refuse("/template/key", "the template is not sound"))?;
        compiled.check(&template).map_err(|unfit| match unfit {
            Unfit::Argument(BadArgument { name, detail }) => {
                refuse(&format!("/template/args/{}", escaped(&name)), detail)
            }
            Unfit::ActionUrl(_) => refuse("/template/args", &unfit.to_string()),
        })?;
        Ok(Content::Template { template })
    }
}

/// A member's name as a part of a JSON Pointer (RFC 6901).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
