//! Plural categories by CLDR (ICU4X). Fluent's own rules leave out every `n % 100` of a range, so that an Arabic 103 would be
//! read as if it were no number of its kind.
//!
//! Choices are rewritten before they are read: `{ $n -> [0] a [one] b *[other] c }` becomes `{ $n -> [0] a *[other]
//! { PLURAL($n) -> [one] b *[other] c } }`, and `PLURAL` gives a number's category, and anything else as it is.

use fluent_bundle::FluentValue;
use fluent_bundle::types::FluentNumberType;
use fluent_syntax::ast::{
    CallArguments, Entry, Expression, Identifier, InlineExpression, Pattern, PatternElement, Resource,
    Variant, VariantKey,
};
use fluent_syntax::serializer::serialize;
use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};

use super::format::decimal;

pub const FUNCTION: &str = "PLURAL";

/// The source with every choice made by this module.
pub fn rewrite(mut resource: Resource<&str>) -> String {
    for entry in &mut resource.body {
        match entry {
            Entry::Message(message) => {
                message.value.iter_mut().for_each(pattern);
                message.attributes.iter_mut().for_each(|attribute| pattern(&mut attribute.value));
            }
            Entry::Term(term) => {
                pattern(&mut term.value);
                term.attributes.iter_mut().for_each(|attribute| pattern(&mut attribute.value));
            }
            Entry::Comment(_) | Entry::GroupComment(_) | Entry::ResourceComment(_) | Entry::Junk { .. } => {}
        }
    }
    serialize(&resource)
}

fn pattern(pattern: &mut Pattern<&str>) {
    for element in &mut pattern.elements {
        if let PatternElement::Placeable { expression } = element {
            choice(expression);
        }
    }
}

fn choice(expression: &mut Expression<&str>) {
    match expression {
        Expression::Inline(InlineExpression::Placeable { expression }) => choice(expression),
        Expression::Inline(_) => {}
        Expression::Select { selector, variants } => {
            variants.iter_mut().for_each(|variant| pattern(&mut variant.value));
            let by_category = InlineExpression::FunctionReference {
                id: Identifier { name: FUNCTION },
                arguments: CallArguments { positional: vec![selector.clone()], named: Vec::new() },
            };
            let is_exact = |variant: &Variant<&str>| matches!(variant.key, VariantKey::NumberLiteral { .. });
            if !variants.iter().any(is_exact) {
                *selector = by_category;
                return;
            }
            let mut exact: Vec<_> = variants.iter().filter(|variant| is_exact(variant)).cloned().collect();
            exact.iter_mut().for_each(|variant| variant.default = false);
            let others = variants.iter().filter(|variant| !is_exact(variant) || variant.default).cloned();
            let others = Expression::Select { selector: by_category, variants: others.collect() };
            exact.push(Variant {
                key: VariantKey::Identifier { name: "other" },
                value: Pattern { elements: vec![PatternElement::Placeable { expression: others }] },
                default: true,
            });
            *variants = exact;
        }
    }
}

/// The categories of one language; without any, where not even its parents have rules.
pub struct Plurals {
    cardinal: Option<PluralRules>,
    ordinal: Option<PluralRules>,
}

impl Plurals {
    pub fn of(locale: &Locale) -> Self {
        Self {
            cardinal: PluralRules::try_new_cardinal(locale.into()).ok(),
            ordinal: PluralRules::try_new_ordinal(locale.into()).ok(),
        }
    }

    /// What `PLURAL` gives.
    pub fn category<'a>(&self, positional: &[FluentValue<'a>]) -> FluentValue<'a> {
        match positional.first() {
            Some(FluentValue::Number(number)) => {
                let ordinal = number.options.r#type == FluentNumberType::Ordinal;
                let rules = if ordinal { &self.ordinal } else { &self.cardinal };
                let category = rules.as_ref().zip(decimal(number)).map(|(rules, n)| rules.category_for(&n));
                FluentValue::from(name(category.unwrap_or(PluralCategory::Other)))
            }
            Some(value) => value.clone(),
            None => FluentValue::Error,
        }
    }
}

fn name(category: PluralCategory) -> &'static str {
    match category {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    }
}
