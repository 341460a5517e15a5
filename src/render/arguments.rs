//! What is put into the places of a template: each of its declared type, and none that is not declared.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use fluent_bundle::{FluentArgs, FluentValue};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tidings_domain::recipient::TimeZone;
use tidings_domain::template::ArgumentType;

use super::format::Moment;
use super::part::{Markup, Part};

/// `name` is the argument's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {detail}")]
pub struct BadArgument {
    pub name: String,
    pub detail: &'static str,
}

/// As they are, and escaped for each markup that is asked for.
pub struct Arguments<'a> {
    plain: FluentArgs<'a>,
    escaped: Vec<(Markup, FluentArgs<'a>)>,
}

impl<'a> Arguments<'a> {
    pub fn new(
        declared: &'a BTreeMap<String, ArgumentType>,
        given: &'a Map<String, Value>,
        time_zone: Option<&TimeZone>,
        parts: &[Part],
    ) -> Result<Self, BadArgument> {
        let bad = |name: &str, detail| BadArgument { name: name.to_owned(), detail };
        if let Some(name) = given.keys().find(|name| !declared.contains_key(*name)) {
            return Err(bad(name, "is no argument of this template"));
        }
        // Only instants ask for it.
        let zone = LazyCell::new(|| {
            let zone = time_zone.and_then(|zone| jiff::tz::TimeZone::get(zone.as_str()).ok());
            zone.unwrap_or(jiff::tz::TimeZone::UTC)
        });
        let room = || FluentArgs::with_capacity(declared.len());
        let markups = parts.iter().filter_map(|part| part.markup());
        let mut arguments = Self { plain: room(), escaped: markups.map(|markup| (markup, room())).collect() };
        for (name, kind) in declared {
            let value = given.get(name).ok_or_else(|| bad(name, "is missing"))?;
            match (kind, value) {
                (ArgumentType::String, Value::String(text)) => {
                    arguments.plain.set(name.as_str(), text.as_str());
                    for (markup, escaped) in &mut arguments.escaped {
                        escaped.set(name.as_str(), markup.escaped(text));
                    }
                }
                (ArgumentType::Number, Value::Number(number)) => {
                    let number = number.as_f64().filter(|number| number.is_finite());
                    let number = number.ok_or_else(|| bad(name, "must be a finite number"))?;
                    arguments.set(name, &FluentValue::from(number));
                }
                (ArgumentType::Date, Value::String(text)) => {
                    let at: Result<Timestamp, _> = text.parse();
                    let at = at.map_err(|_| bad(name, "must be an instant (RFC 3339)"))?;
                    let moment = Moment::new(at.to_zoned(zone.clone()));
                    arguments.set(name, &FluentValue::Custom(Box::new(moment)));
                }
                (ArgumentType::String, _) => return Err(bad(name, "must be a string")),
                (ArgumentType::Number, _) => return Err(bad(name, "must be a number")),
                (ArgumentType::Date, _) => return Err(bad(name, "must be an instant (RFC 3339)")),
            }
        }
        Ok(arguments)
    }

    /// What has nothing to be escaped.
    fn set(&mut self, name: &'a str, value: &FluentValue<'a>) {
        self.plain.set(name, value.clone());
        self.escaped.iter_mut().for_each(|(_, escaped)| escaped.set(name, value.clone()));
    }

    /// As the part takes them.
    pub fn of(&self, part: Part) -> &FluentArgs<'a> {
        let escaped = self.escaped.iter().find(|(markup, _)| part.markup() == Some(*markup));
        escaped.map_or(&self.plain, |(_, escaped)| escaped)
    }
}
