//! Templates that say digests: whether one fits, which is asked when it is named and whenever a digest is opened.

use tidings_domain::notification::{DigestArgument, DigestTemplate};
use tidings_domain::template::TemplateKey;
use tidings_domain::{TemplateId, Tenant};
use tidings_projections::log::ReadError;

use super::Directory;

/// Why a template cannot say a digest; the sentence is meant for the caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("there is no such template")]
    Absent,
    #[error("the template is retired")]
    Retired,
    #[error("the template is not sound")]
    Unsound,
    #[error(
        "the template asks for `{0}`: a digest has the numbers `count` and `others`, and the strings `items`, `first`, `last` \
         and `action_url`"
    )]
    Argument(String),
}

impl Directory {
    /// The latest version of a template, to say a digest that is opened now.
    pub async fn digest_template(
        &self,
        tenant: &Tenant,
        key: &TemplateKey,
    ) -> Result<Result<DigestTemplate, Misfit>, ReadError> {
        let id = TemplateId { tenant: tenant.clone(), key: key.clone() };
        let version = match self.standing(&id).await? {
            None => return Ok(Err(Misfit::Absent)),
            Some(standing) if standing.retired => return Ok(Err(Misfit::Retired)),
            Some(standing) => standing.version,
        };
        let Some(compiled) = self.template(&id, version).await? else { return Ok(Err(Misfit::Unsound)) };
        let declared = DigestArgument::declared(&compiled.version().arguments);
        let template = declared.map(|arguments| DigestTemplate { key: id.key, version, arguments });
        Ok(template.map_err(|name| Misfit::Argument(name.to_owned())))
    }
}
