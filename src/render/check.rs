//! What is wrong with a version, all of it, each where it stands.

use std::collections::{BTreeMap, BTreeSet};

use fluent_bundle::FluentResource;
use fluent_syntax::ast;
use fluent_syntax::parser::ParserError;
use tidings_domain::recipient::Locale;
use tidings_domain::template::Version;
use unic_langid::LanguageIdentifier;

use super::part::Part;
use super::plurals;

/// Something that is wrong in the source of a locale.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{locale}:{line}:{column}: {words}")]
pub struct Flaw {
    pub locale: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub words: String,
}

impl Flaw {
    fn at(locale: &Locale, source: &str, byte: usize, words: String) -> Self {
        let before = source.get(..byte).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { locale: locale.as_str().to_owned(), line, column, words }
    }
}

/// The sources, parsed, by language.
pub fn check(version: &Version) -> Result<Vec<(LanguageIdentifier, FluentResource)>, Vec<Flaw>> {
    let mut flaws = Vec::new();
    let mut resources = Vec::new();
    let mut said: BTreeMap<&Locale, BTreeSet<String>> = BTreeMap::new();
    for (locale, source) in &version.sources {
        let read = parse(locale, source).and_then(|resource| {
            let reading = Reading::of(&resource);
            flaws.extend(reading.flaws(version, locale, source));
            said.insert(locale, reading.messages.keys().map(|id| (*id).to_owned()).collect());
            Ok((language(locale)?, compile(resource, locale)?))
        });
        match read {
            Ok(resource) => resources.push(resource),
            Err(more) => flaws.extend(more),
        }
    }
    let parts = |ids: &BTreeSet<String>| -> Vec<&'static str> {
        Part::ALL.iter().map(|part| part.id()).filter(|id| ids.contains(*id)).collect()
    };
    if let Some(default) = said.get(&version.default_locale) {
        for (locale, ids) in &said {
            let missing = parts(default).into_iter().filter(|id| !ids.contains(*id));
            flaws.extend(missing.map(|id| {
                Flaw::at(locale, "", 0, format!("`{id}` is missing, which the default locale has"))
            }));
        }
        for part in Part::REQUIRED.iter().filter(|part| !default.contains(part.id())) {
            let words = format!("`{}` is missing: every template has one", part.id());
            flaws.push(Flaw::at(&version.default_locale, "", 0, words));
        }
    }
    if flaws.is_empty() { Ok(resources) } else { Err(flaws) }
}

/// A locale as Fluent knows it.
pub fn language(locale: &Locale) -> Result<LanguageIdentifier, Vec<Flaw>> {
    let unknown = |_| vec![Flaw::at(locale, "", 0, "is no language tag".to_owned())];
    locale.as_str().parse().map_err(unknown)
}

/// How deep placeables and calls may stand in each other.
const DEPTH_MAX: usize = 16;
/// Brackets of one source: whoever reads it goes down as deep, if each stands in the one before.
const BRACKETS_MAX: usize = 1_000;
/// Room for going down as deep, several times over.
const STACK_BYTES: usize = 32 << 20;
/// Places that Fluent fills at most for one message; what would come after them is left out.
const PLACES_MAX: usize = 100;

/// Reads a source where there is room to go down: how deep it goes is known only when it is read.
fn parse<'s>(locale: &Locale, source: &'s str) -> Result<ast::Resource<&'s str>, Vec<Flaw>> {
    let flaw = |at: usize, words: String| Flaw::at(locale, source, at, words);
    if let Some((at, _)) = source.match_indices(['{', '(']).nth(BRACKETS_MAX) {
        return Err(vec![flaw(at, format!("there are more than {BRACKETS_MAX} brackets"))]);
    }
    let read = || {
        let resource = fluent_syntax::parser::parse(source).map_err(|(_, errors)| {
            errors.iter().map(|error| flaw(error.pos.start, error.kind.to_string())).collect::<Vec<_>>()
        })?;
        if depth(&resource) > DEPTH_MAX {
            let words = format!("placeables and calls stand in each other more than {DEPTH_MAX} deep");
            return Err(vec![flaw(0, words)]);
        }
        Ok(resource)
    };
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
        let broken = |words: String| vec![flaw(0, words)];
        let reader = reader.map_err(|error| broken(format!("it cannot be read now: {error}")))?;
        reader.join().unwrap_or_else(|_| Err(broken("it cannot be read".to_owned())))
    })
}

/// How deep placeables and calls stand in each other.
fn depth(resource: &ast::Resource<&str>) -> usize {
    let mut deepest = 0;
    for entry in &resource.body {
        let (value, attributes) = match entry {
            ast::Entry::Message(message) => (message.value.as_ref(), &message.attributes),
            ast::Entry::Term(term) => (Some(&term.value), &term.attributes),
            _ => continue,
        };
        let patterns = value.into_iter().chain(attributes.iter().map(|attribute| &attribute.value));
        deepest = patterns.map(depth_of_pattern).max().unwrap_or(0).max(deepest);
    }
    deepest
}

fn depth_of_pattern(pattern: &ast::Pattern<&str>) -> usize {
    let elements = pattern.elements.iter().map(|element| match element {
        ast::PatternElement::Placeable { expression } => 1 + depth_of(expression),
        ast::PatternElement::TextElement { .. } => 0,
    });
    elements.max().unwrap_or(0)
}

fn depth_of(expression: &ast::Expression<&str>) -> usize {
    match expression {
        ast::Expression::Inline(inline) => depth_inline(inline),
        ast::Expression::Select { selector, variants } => {
            let variants = variants.iter().map(|variant| depth_of_pattern(&variant.value));
            variants.max().unwrap_or(0).max(depth_inline(selector))
        }
    }
}

fn depth_inline(inline: &ast::InlineExpression<&str>) -> usize {
    match inline {
        ast::InlineExpression::Placeable { expression } => 1 + depth_of(expression),
        ast::InlineExpression::FunctionReference { arguments, .. }
        | ast::InlineExpression::TermReference { arguments: Some(arguments), .. } => {
            let named = arguments.named.iter().map(|argument| &argument.value);
            1 + arguments.positional.iter().chain(named).map(depth_inline).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// What was parsed, with its choices made as CLDR has them.
fn compile(resource: ast::Resource<&str>, locale: &Locale) -> Result<FluentResource, Vec<Flaw>> {
    let broken = |(_, errors): (FluentResource, Vec<ParserError>)| {
        errors.iter().map(|error| Flaw::at(locale, "", 0, error.kind.to_string())).collect()
    };
    FluentResource::try_new(plurals::rewrite(resource)).map_err(broken)
}

/// What one message or term uses.
#[derive(Default)]
struct Uses<'s> {
    variables: BTreeSet<&'s str>,
    messages: BTreeSet<&'s str>,
    terms: BTreeSet<&'s str>,
    functions: BTreeSet<&'s str>,
    /// Placeables of its own; a choice stands for two, as it is compiled.
    places: usize,
    /// Every reference, as often as it stands there: whether it is a term's, and whose.
    references: Vec<(bool, &'s str)>,
}

/// Who says what with what in a source.
#[derive(Default)]
struct Reading<'s> {
    messages: BTreeMap<&'s str, Uses<'s>>,
    terms: BTreeMap<&'s str, Uses<'s>>,
    twice: BTreeSet<&'s str>,
}

impl<'s> Reading<'s> {
    fn of(resource: &ast::Resource<&'s str>) -> Self {
        let mut reading = Self::default();
        for entry in &resource.body {
            match entry {
                ast::Entry::Message(message) => {
                    let mut uses = Uses::default();
                    message.value.iter().for_each(|pattern| uses.pattern(pattern));
                    message.attributes.iter().for_each(|attribute| uses.pattern(&attribute.value));
                    if message.value.is_some() && reading.messages.insert(message.id.name, uses).is_some() {
                        reading.twice.insert(message.id.name);
                    }
                }
                ast::Entry::Term(term) => {
                    let mut uses = Uses::default();
                    uses.pattern(&term.value);
                    term.attributes.iter().for_each(|attribute| uses.pattern(&attribute.value));
                    if reading.terms.insert(term.id.name, uses).is_some() {
                        reading.twice.insert(term.id.name);
                    }
                }
                _ => {}
            }
        }
        reading
    }

    fn flaws(&self, version: &Version, locale: &Locale, source: &str) -> Vec<Flaw> {
        let flaw = |needle: String, words: String| {
            Flaw::at(locale, source, source.find(&needle).unwrap_or_default(), words)
        };
        let mut flaws: Vec<Flaw> =
            self.twice.iter().map(|id| flaw((*id).to_owned(), format!("`{id}` is said twice"))).collect();
        for (id, uses) in &self.messages {
            let unknown = uses.variables.iter().filter(|name| !version.arguments.contains_key(**name));
            flaws.extend(
                unknown.map(|name| {
                    flaw(format!("${name}"), format!("`${name}` is no argument of this template"))
                }),
            );
            let strange = uses.functions.iter().filter(|name| !["NUMBER", "DATETIME"].contains(name));
            flaws.extend(strange.map(|name| {
                flaw((*name).to_owned(), format!("`{name}` is no function: there are NUMBER and DATETIME"))
            }));
            flaws.extend(self.missing(uses).map(|name| flaw(name.clone(), format!("there is no `{name}`"))));
            if self.is_endless(id) {
                flaws.push(flaw((*id).to_owned(), format!("`{id}` contains itself")));
            } else if self.places(uses) > PLACES_MAX {
                let words = format!(
                    "`{id}` has more than {PLACES_MAX} places, those of what it refers to among them"
                );
                flaws.push(flaw((*id).to_owned(), words));
            }
        }
        for uses in self.terms.values() {
            flaws.extend(self.missing(uses).map(|name| flaw(name.clone(), format!("there is no `{name}`"))));
        }
        flaws
    }

    /// Messages and terms that are referred to and are not there.
    fn missing(&self, uses: &Uses<'s>) -> impl Iterator<Item = String> {
        let messages =
            uses.messages.iter().filter(|id| !self.messages.contains_key(**id)).map(|id| (*id).to_owned());
        let terms = uses.terms.iter().filter(|id| !self.terms.contains_key(**id)).map(|id| format!("-{id}"));
        messages.chain(terms).collect::<Vec<_>>().into_iter()
    }

    /// Places that are filled for it, at most. A chain of references as long as a source of 32 KiB allows doubles
    /// its places with each link: counting ends where it is enough.
    fn places(&self, uses: &Uses<'s>) -> usize {
        let mut open: Vec<&Uses<'s>> = vec![uses];
        let mut places = 0;
        while let Some(uses) = open.pop() {
            places += uses.places;
            if places > PLACES_MAX {
                break;
            }
            open.extend(uses.references.iter().filter_map(|(is_term, name)| {
                if *is_term { self.terms.get(name) } else { self.messages.get(name) }
            }));
        }
        places
    }

    /// Whether a message refers to itself, however many steps away.
    fn is_endless(&self, id: &'s str) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![(false, id)]);
        while let Some((is_term, name)) = open.pop() {
            let uses = if is_term { self.terms.get(name) } else { self.messages.get(name) };
            let Some(uses) = uses else { continue };
            let next = uses
                .messages
                .iter()
                .map(|name| (false, *name))
                .chain(uses.terms.iter().map(|name| (true, *name)));
            for next in next {
                if next == (false, id) {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        // A circle of terms that it leads into has no end either.
        seen.iter().any(|(is_term, name)| *is_term && self.leads_back(name))
    }

    fn leads_back(&self, term: &'s str) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![term]);
        while let Some(name) = open.pop() {
            for next in self.terms.get(name).into_iter().flat_map(|uses| &uses.terms) {
                if *next == term {
                    return true;
                }
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        false
    }
}

impl<'s> Uses<'s> {
    fn pattern(&mut self, pattern: &ast::Pattern<&'s str>) {
        for element in &pattern.elements {
            if let ast::PatternElement::Placeable { expression } = element {
                self.places += 1;
                self.expression(expression);
            }
        }
    }

    fn expression(&mut self, expression: &ast::Expression<&'s str>) {
        match expression {
            ast::Expression::Inline(inline) => self.inline(inline),
            ast::Expression::Select { selector, variants } => {
                self.places += 1;
                self.inline(selector);
                variants.iter().for_each(|variant| self.pattern(&variant.value));
            }
        }
    }

    fn inline(&mut self, inline: &ast::InlineExpression<&'s str>) {
        match inline {
            ast::InlineExpression::VariableReference { id } => _ = self.variables.insert(id.name),
            ast::InlineExpression::MessageReference { id, .. } => {
                self.messages.insert(id.name);
                self.references.push((false, id.name));
            }
            ast::InlineExpression::TermReference { id, arguments, .. } => {
                self.terms.insert(id.name);
                self.references.push((true, id.name));
                arguments.iter().for_each(|arguments| self.arguments(arguments));
            }
            ast::InlineExpression::FunctionReference { id, arguments } => {
                self.functions.insert(id.name);
                self.arguments(arguments);
            }
            ast::InlineExpression::Placeable { expression } => self.expression(expression),
            ast::InlineExpression::StringLiteral { .. } | ast::InlineExpression::NumberLiteral { .. } => {}
        }
    }

    fn arguments(&mut self, arguments: &ast::CallArguments<&'s str>) {
        arguments.positional.iter().for_each(|argument| self.inline(argument));
        arguments.named.iter().for_each(|argument| self.inline(&argument.value));
    }
}
