//! One language of a version, as it is written somewhere: a Fluent bundle that any thread may read.

use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

use super::arguments::Arguments;
use super::format::{self, Moment};
use super::part::Part;
use super::plurals::{self, Plurals};

pub struct Speaker(FluentBundle<Arc<FluentResource>>);

impl Speaker {
    /// Says the resource's words with the numbers and dates of the locale. The resource was checked: nothing in it can go
    /// wrong any more.
    pub fn new(locale: LanguageIdentifier, resource: Arc<FluentResource>) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![locale.clone()]);
        // Marks around arguments would be letters of a subject, and of whatever is searched and compared.
        bundle.set_use_isolating(false);
        bundle.set_formatter(Some(format::number));
        bundle.add_resource_overriding(resource);
        let plurals = Plurals::of(&format::locale(&locale));
        let added = [
            bundle.add_function("NUMBER", number),
            bundle.add_function("DATETIME", datetime),
            bundle.add_function(plurals::FUNCTION, move |positional, _| plurals.category(positional)),
        ];
        assert!(added.iter().all(Result::is_ok), "a new bundle has no functions");
        Self(bundle)
    }

    /// `None` where this version has no such part.
    pub fn say(&self, part: Part, arguments: &Arguments<'_>) -> Option<String> {
        let pattern = self.0.get_message(part.id())?.value()?;
        let mut errors = Vec::new();
        Some(self.0.format_pattern(pattern, Some(arguments.of(part)), &mut errors).into_owned())
    }
}

/// `NUMBER($n, minimumFractionDigits: 2)`
fn number<'a>(positional: &[FluentValue<'a>], named: &FluentArgs) -> FluentValue<'a> {
    match positional.first() {
        Some(FluentValue::Number(number)) => {
            let mut number = number.clone();
            number.options.merge(named);
            FluentValue::Number(number)
        }
        _ => FluentValue::Error,
    }
}

/// `DATETIME($due, dateStyle: "long", timeStyle: "short")`
fn datetime<'a>(positional: &[FluentValue<'a>], named: &FluentArgs) -> FluentValue<'a> {
    match positional.first() {
        Some(FluentValue::Custom(custom)) => match custom.as_any().downcast_ref::<Moment>() {
            Some(moment) => FluentValue::Custom(Box::new(moment.styled(named))),
            None => FluentValue::Error,
        },
        _ => FluentValue::Error,
    }
}
