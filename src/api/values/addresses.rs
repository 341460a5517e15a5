//! Whether a language, a time zone, an e-mail address or a URL is one: those who know answer, and what they call it is
//! what is kept.

use tidings_domain::recipient::{InvalidProfile, Locale, TimeZone};

use crate::api::http::problem::{Kind, Problem};
use crate::channels::OutgoingPolicy;

fn refuse(pointer: &str, detail: &str) -> Problem {
    Problem::at(Kind::Invalid, pointer, detail)
}

/// BCP 47, in its canonical spelling.
pub fn locale(pointer: &str, text: &str) -> Result<Locale, Problem> {
    let known: Option<unic_langid::LanguageIdentifier> = text.parse().ok();
    let canonical = known.and_then(|known| Locale::new(known.to_string()).ok());
    canonical.ok_or_else(|| refuse(pointer, "must be a language tag of BCP 47, such as `de` or `de-AT`"))
}

/// The IANA time zone database that this binary was built with, in its spelling.
pub fn time_zone(pointer: &str, text: &str) -> Result<TimeZone, Problem> {
    let known = jiff::tz::TimeZone::get(text).ok();
    let named = known.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned);
    let zone = named.and_then(|name| TimeZone::new(name).ok());
    zone.ok_or_else(|| {
        refuse(pointer, "must be a name of the IANA time zone database, such as `Europe/Vienna`")
    })
}

/// RFC 5321, section 4.1.2, with a domain of RFC 5890.
pub fn email(pointer: &str, text: String) -> Result<String, Problem> {
    match text.parse::<lettre::Address>() {
        Ok(_) => Ok(text),
        Err(_) => Err(refuse(pointer, "must be an e-mail address")),
    }
}

/// Where something is posted to. Whether its host may be reached is decided when it is.
pub fn url(pointer: &str, text: String) -> Result<String, Problem> {
    let parsed = reqwest::Url::parse(&text).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain
    });
    if parsed.is_some() {
        Ok(text)
    } else {
        Err(refuse(pointer, "must be a URL of the scheme `https` or `http`, without a user or a password"))
    }
}

/// The same, judged as far as its name tells.
pub fn endpoint(pointer: &str, text: String, outgoing: &OutgoingPolicy) -> Result<String, Problem> {
    let text = url(pointer, text)?;
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let url = reqwest::Url::parse(&text).ok().filter(|_| plain && text.len() <= 2_048);
    let url = url.ok_or_else(|| refuse(pointer, "must be a URL of at most 2,048 characters"))?;
    outgoing.check_url(&url).map_err(|refused| refuse(pointer, &refused.to_string()))?;
    Ok(text)
}

impl From<InvalidProfile> for Problem {
    fn from(error: InvalidProfile) -> Self {
        refuse(error.pointer, error.detail)
    }
}
