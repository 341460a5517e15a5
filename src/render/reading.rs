//! Who says what with what in a source. Names are slices of the source: where they stand is known from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fluent_syntax::ast;

/// Something that may be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name<'s> {
    pub is_term: bool,
    pub id: &'s str,
    pub attribute: Option<&'s str>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_term { "-" } else { "" }, self.id)?;
        self.attribute.map_or(Ok(()), |attribute| write!(f, ".{attribute}"))
    }
}

/// What is said under a name, and where the name stands.
pub struct Node<'a, 's> {
    pub at: &'s str,
    pub pattern: &'a ast::Pattern<&'s str>,
    pub uses: Uses<'a, 's>,
}

impl<'a, 's> Node<'a, 's> {
    fn new(at: &'s str, pattern: &'a ast::Pattern<&'s str>) -> Self {
        let mut uses = Uses::default();
        uses.pattern(pattern);
        Self { at, pattern, uses }
    }
}

#[derive(Default)]
pub struct Reading<'a, 's> {
    pub nodes: BTreeMap<Name<'s>, Node<'a, 's>>,
    /// Where a message or a term begins that was there before.
    pub twice: Vec<&'s str>,
    /// What refers to itself, however many steps away.
    circular: BTreeSet<Name<'s>>,
}

impl<'a, 's> Reading<'a, 's> {
    pub fn of(resource: &'a ast::Resource<&'s str>) -> Self {
        let mut reading = Self::default();
        let mut seen = BTreeSet::new();
        for entry in &resource.body {
            let (is_term, id, value, attributes) = match entry {
                ast::Entry::Message(it) => (false, it.id.name, it.value.as_ref(), &it.attributes),
                ast::Entry::Term(it) => (true, it.id.name, Some(&it.value), &it.attributes),
                _ => continue,
            };
            if !seen.insert((is_term, id)) {
                reading.twice.push(id);
            }
            let name = |attribute| Name { is_term, id, attribute };
            reading.nodes.extend(value.map(|pattern| (name(None), Node::new(id, pattern))));
            reading.nodes.extend(attributes.iter().map(|attribute| {
                let at = attribute.id.name;
                (name(Some(at)), Node::new(at, &attribute.value))
            }));
        }
        let is_circular = |name: &&Name<'s>| reading.reached(**name).contains(*name);
        reading.circular = reading.nodes.keys().filter(is_circular).copied().collect();
        reading
    }

    /// Those that say something.
    pub fn messages(&self) -> impl Iterator<Item = &'s str> {
        let is_message = |name: &&Name<'s>| !name.is_term && name.attribute.is_none();
        self.nodes.keys().filter(is_message).map(|name| name.id)
    }

    /// Whether more places are filled for it than that. A chain of references as long as a source of 32 KiB allows
    /// doubles its places with each link: counting ends where it is enough.
    pub fn has_more_places(&self, name: Name<'s>, max: usize) -> bool {
        let mut open = vec![name];
        let mut places = 0;
        while let Some(name) = open.pop() {
            let Some(Node { uses, .. }) = self.nodes.get(&name) else { continue };
            places += uses.places;
            if places > max {
                return true;
            }
            open.extend(uses.references.iter().map(|(to, _)| *to));
        }
        false
    }

    /// Whether whoever follows its references comes to an end.
    pub fn has_end(&self, name: Name<'s>) -> bool {
        !self.circular.contains(&name) && self.reached(name).is_disjoint(&self.circular)
    }

    /// Whether nothing else is to be told for having none: it refers to itself, or leads to a term that does.
    pub fn is_endless(&self, name: Name<'s>) -> bool {
        self.circular.contains(&name)
            || self.reached(name).intersection(&self.circular).all(|circular| circular.is_term)
    }

    /// All that it refers to, however many steps away.
    fn reached(&self, name: Name<'s>) -> BTreeSet<Name<'s>> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![name]);
        while let Some(name) = open.pop() {
            for (to, _) in self.nodes.get(&name).into_iter().flat_map(|node| &node.uses.references) {
                if seen.insert(*to) {
                    open.push(*to);
                }
            }
        }
        seen
    }
}

/// What one pattern uses, as often as it does.
#[derive(Default)]
pub struct Uses<'a, 's> {
    pub variables: Vec<&'s str>,
    /// Functions with what they are given.
    pub calls: Vec<(&'s str, &'a ast::CallArguments<&'s str>)>,
    /// Messages, terms and their attributes, and where the reference stands.
    pub references: Vec<(Name<'s>, &'s str)>,
    /// Terms that are given something without a name.
    pub unnamed: Vec<&'s str>,
    /// Numbers that variants are for.
    pub keys: Vec<&'s str>,
    /// Placeables of its own; a choice stands for two, as it is compiled.
    pub places: usize,
}

impl<'a, 's> Uses<'a, 's> {
    fn pattern(&mut self, pattern: &'a ast::Pattern<&'s str>) {
        for element in &pattern.elements {
            if let ast::PatternElement::Placeable { expression } = element {
                self.places += 1;
                self.expression(expression);
            }
        }
    }

    fn expression(&mut self, expression: &'a ast::Expression<&'s str>) {
        match expression {
            ast::Expression::Inline(inline) => self.inline(inline),
            ast::Expression::Select { selector, variants } => {
                self.places += 1;
                self.inline(selector);
                for variant in variants {
                    if let ast::VariantKey::NumberLiteral { value } = variant.key {
                        self.keys.push(value);
                    }
                    self.pattern(&variant.value);
                }
            }
        }
    }

    fn inline(&mut self, inline: &'a ast::InlineExpression<&'s str>) {
        let name = |is_term, id, attribute: &Option<ast::Identifier<&'s str>>| Name {
            is_term,
            id,
            attribute: attribute.as_ref().map(|attribute| attribute.name),
        };
        match inline {
            ast::InlineExpression::VariableReference { id } => self.variables.push(id.name),
            ast::InlineExpression::MessageReference { id, attribute } => {
                self.references.push((name(false, id.name, attribute), id.name));
            }
            ast::InlineExpression::TermReference { id, attribute, arguments } => {
                self.references.push((name(true, id.name, attribute), id.name));
                if let Some(arguments) = arguments {
                    if !arguments.positional.is_empty() {
                        self.unnamed.push(id.name);
                    }
                    self.arguments(arguments);
                }
            }
            ast::InlineExpression::FunctionReference { id, arguments } => {
                self.calls.push((id.name, arguments));
                self.arguments(arguments);
            }
            ast::InlineExpression::Placeable { expression } => self.expression(expression),
            ast::InlineExpression::StringLiteral { .. } | ast::InlineExpression::NumberLiteral { .. } => {}
        }
    }

    fn arguments(&mut self, arguments: &'a ast::CallArguments<&'s str>) {
        arguments.positional.iter().for_each(|argument| self.inline(argument));
        arguments.named.iter().for_each(|argument| self.inline(&argument.value));
    }
}
