//! Sources as Fluent reads them. Whoever writes one may make it go as deep as he likes: it is bounded before it is followed.

use fluent_bundle::FluentResource;
use fluent_syntax::ast;
use fluent_syntax::parser::ParserError;
use tidings_domain::recipient::Locale;
use tidings_domain::template::Version;
use unic_langid::LanguageIdentifier;

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
    pub fn at(locale: &Locale, source: &str, byte: usize, words: String) -> Self {
        let (line, column) = place(source, byte);
        Self { locale: locale.as_str().to_owned(), line, column, words }
    }
}

/// The line and the column, in characters, both counted from 1.
pub fn place(source: &str, byte: usize) -> (usize, usize) {
    let before = source.get(..byte).unwrap_or(source);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The sources, parsed, by language. What was published once is read, whatever is refused since.
pub fn read(version: &Version) -> Result<Vec<(LanguageIdentifier, FluentResource)>, Vec<Flaw>> {
    let mut flaws = Vec::new();
    let mut resources = Vec::new();
    for (locale, source) in &version.sources {
        let read = parse(locale, unmarked(source))
            .and_then(|resource| Ok((language(locale)?, compile(resource, locale)?)));
        match read {
            Ok(resource) => resources.push(resource),
            Err(more) => flaws.extend(more),
        }
    }
    if flaws.is_empty() { Ok(resources) } else { Err(flaws) }
}

/// Without the mark by which some editors say that a file is UTF-8: Fluent has no place for it.
pub fn unmarked(source: &str) -> &str {
    source.strip_prefix('\u{feff}').unwrap_or(source)
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

/// Reads a source where there is room to go down: how deep it goes is known only when it is read.
pub fn parse<'s>(locale: &Locale, source: &'s str) -> Result<ast::Resource<&'s str>, Vec<Flaw>> {
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
