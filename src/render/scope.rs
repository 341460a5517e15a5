//! What is known where. A message has the template's arguments; a term, and all that it refers to, has only what is passed to it,
//! which is literals.

use std::collections::BTreeMap;

use fluent_syntax::ast;
use tidings_domain::template::ArgumentType;

use super::functions::Function;
use super::reading::{Name, Reading};

/// What is wrong with a message whose references end: each with the name, in the source, that it is about.
pub fn flaws<'s>(
    reading: &Reading<'_, 's>,
    pattern: &ast::Pattern<&'s str>,
    declared: &BTreeMap<String, ArgumentType>,
) -> Vec<(&'s str, String)> {
    let mut walk = Walk { reading, declared, lost: false, flaws: Vec::new() };
    walk.pattern(pattern, None);
    walk.flaws
}

/// What a reference passes to its term.
#[derive(Clone, Copy)]
struct Passed<'a, 's> {
    to: Name<'s>,
    given: &'a [ast::NamedArgument<&'s str>],
}

struct Walk<'a, 's> {
    reading: &'a Reading<'a, 's>,
    declared: &'a BTreeMap<String, ArgumentType>,
    /// Whether a term was left in the term that is read: Fluent forgets then what was passed to this one.
    lost: bool,
    flaws: Vec<(&'s str, String)>,
}

impl<'a, 's> Walk<'a, 's> {
    fn pattern(&mut self, pattern: &'a ast::Pattern<&'s str>, passed: Option<Passed<'a, 's>>) {
        for element in &pattern.elements {
            if let ast::PatternElement::Placeable { expression } = element {
                self.expression(expression, passed);
            }
        }
    }

    fn expression(&mut self, expression: &'a ast::Expression<&'s str>, passed: Option<Passed<'a, 's>>) {
        match expression {
            ast::Expression::Inline(inline) => self.inline(inline, passed, false),
            ast::Expression::Select { selector, variants } => {
                self.inline(selector, passed, true);
                let (before, mut after) = (self.lost, self.lost);
                for variant in variants {
                    self.lost = before;
                    self.pattern(&variant.value, passed);
                    after |= self.lost;
                }
                self.lost = after;
            }
        }
    }

    /// `chooses` where it is a selector: it need not be known, as one of the variants is the default.
    fn inline(
        &mut self,
        inline: &'a ast::InlineExpression<&'s str>,
        passed: Option<Passed<'a, 's>>,
        chooses: bool,
    ) {
        let node = |is_term, id, attribute: &Option<ast::Identifier<&'s str>>| {
            let name = Name { is_term, id, attribute: attribute.as_ref().map(|attribute| attribute.name) };
            (name, self.reading.nodes.get(&name))
        };
        match inline {
            ast::InlineExpression::VariableReference { id } => self.variable(id.name, passed, chooses),
            ast::InlineExpression::MessageReference { id, attribute } => {
                if let (_, Some(node)) = node(false, id.name, attribute) {
                    self.pattern(node.pattern, passed);
                }
            }
            ast::InlineExpression::TermReference { id, attribute, arguments } => {
                if let (to, Some(node)) = node(true, id.name, attribute) {
                    let given = arguments.as_ref().map_or(&[][..], |arguments| &arguments.named);
                    self.lost = false;
                    self.pattern(node.pattern, Some(Passed { to, given }));
                }
                self.lost = true;
            }
            ast::InlineExpression::FunctionReference { id, arguments } => {
                for argument in &arguments.positional {
                    if let ast::InlineExpression::VariableReference { id: variable } = argument {
                        self.variable(variable.name, passed, chooses);
                        self.call(id.name, variable.name, passed);
                    }
                }
            }
            ast::InlineExpression::Placeable { expression } => self.expression(expression, passed),
            ast::InlineExpression::StringLiteral { .. } | ast::InlineExpression::NumberLiteral { .. } => {}
        }
    }

    fn variable(&mut self, name: &'s str, passed: Option<Passed<'a, 's>>, chooses: bool) {
        const RULE: &str = "a term sees only what is passed to it";
        let Some(Passed { to, given }) = passed else { return };
        if given.iter().any(|argument| argument.name.name == name) {
            if self.lost {
                let words = format!("`${name}` comes after another term in `{to}`, and is not passed on");
                self.flaws.push((name, words));
            }
        } else if !chooses || self.declared.contains_key(name) {
            self.flaws.push((to.id, format!("`${name}` is not passed to `{to}`: {RULE}")));
        }
    }

    /// Whether what a function is given is of its type. What is not known was told.
    fn call(&mut self, function: &'s str, name: &'s str, passed: Option<Passed<'a, 's>>) {
        let Some(function) = Function::named(function) else { return };
        let kind = match passed {
            None => self.declared.get(name).copied(),
            Some(Passed { given, .. }) => {
                let argument = given.iter().find(|argument| argument.name.name == name);
                argument.map(|argument| match argument.value {
                    ast::InlineExpression::NumberLiteral { .. } => ArgumentType::Number,
                    _ => ArgumentType::String,
                })
            }
        };
        if let Some(kind) = kind.filter(|kind| *kind != function.takes()) {
            let (takes, function, kind) = (function.takes().as_str(), function.name(), kind.as_str());
            let at = passed.map_or(name, |passed| passed.to.id);
            self.flaws.push((at, format!("`{function}` takes a {takes}, and `${name}` is a {kind}")));
        }
    }
}
