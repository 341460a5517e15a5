//! What functions take. Fluent passes over what it does not know, and a reader would be shown the function's name.

use fluent_syntax::ast;
use tidings_domain::template::ArgumentType;

type Call<'s> = ast::CallArguments<&'s str>;
type Inline<'s> = ast::InlineExpression<&'s str>;

/// A function of templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Number,
    DateTime,
}

/// What an option may be.
enum Values {
    Words(&'static [&'static str]),
    Whole { least: usize, most: usize },
}

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        [Self::Number, Self::DateTime].into_iter().find(|function| function.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "NUMBER",
            Self::DateTime => "DATETIME",
        }
    }

    pub fn takes(self) -> ArgumentType {
        match self {
            Self::Number => ArgumentType::Number,
            Self::DateTime => ArgumentType::Date,
        }
    }

    /// Those of ECMA-402 that are followed, with its bounds.
    fn options(self) -> &'static [(&'static str, Values)] {
        const DIGITS: Values = Values::Whole { least: 0, most: 20 };
        match self {
            Self::Number => &[
                ("minimumIntegerDigits", Values::Whole { least: 1, most: 21 }),
                ("minimumFractionDigits", DIGITS),
                ("maximumFractionDigits", DIGITS),
                ("useGrouping", Values::Words(&["true", "false"])),
                ("type", Values::Words(&["cardinal", "ordinal"])),
            ],
            Self::DateTime => &[
                ("dateStyle", Values::Words(&["none", "short", "medium", "long", "full"])),
                ("timeStyle", Values::Words(&["none", "short", "medium"])),
            ],
        }
    }

    /// What is wrong with a call of it whatever the types of its arguments, each with the text that it is about.
    fn flaws<'s>(self, at: &'s str, call: &Call<'s>) -> Vec<(&'s str, String)> {
        let name = self.name();
        let mut flaws = Vec::new();
        let is_fit = match call.positional.as_slice() {
            [Inline::VariableReference { .. }] => true,
            [Inline::NumberLiteral { .. }] => self == Self::Number,
            _ => false,
        };
        if !is_fit {
            let takes = match self {
                Self::Number => "one number, an argument or a literal",
                Self::DateTime => "one date, which is an argument",
            };
            flaws.push((at, format!("`{name}` takes {takes}")));
        }
        for option in &call.named {
            let id = option.name.name;
            let known = self.options().iter().find(|(known, _)| *known == id);
            let Some((_, values)) = known else {
                let names: Vec<String> = self.options().iter().map(|(name, _)| format!("`{name}`")).collect();
                flaws.push((id, format!("`{id}` is no option of `{name}`: there are {}", names.join(", "))));
                continue;
            };
            if !values.have(&option.value) {
                flaws.push((id, format!("`{id}` must be {}", values.told())));
            }
        }
        flaws.extend(self.discord(call).map(|words| (at, words.to_owned())));
        flaws
    }

    /// Options that do not go together.
    fn discord(self, call: &Call<'_>) -> Option<&'static str> {
        let option = |name: &str| {
            let option = call.named.iter().find(|option| option.name.name == name)?;
            literal(&option.value)
        };
        match self {
            Self::Number => {
                let digits = |name| option(name)?.parse::<usize>().ok();
                let (least, most) = (digits("minimumFractionDigits")?, digits("maximumFractionDigits")?);
                (least > most).then_some("`minimumFractionDigits` is above `maximumFractionDigits`")
            }
            Self::DateTime => {
                let is_none = |name| option(name).is_none_or(|style| style == "none");
                (option("dateStyle") == Some("none") && is_none("timeStyle")
                    || option("timeStyle") == Some("none") && option("dateStyle").is_none())
                .then_some("neither the date nor the time is shown")
            }
        }
    }
}

impl Values {
    fn have(&self, value: &Inline<'_>) -> bool {
        match (self, value) {
            (Self::Words(words), Inline::StringLiteral { value }) => words.contains(value),
            (Self::Whole { least, most }, Inline::NumberLiteral { value }) => {
                value.parse::<usize>().is_ok_and(|value| (*least..=*most).contains(&value))
            }
            _ => false,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Words(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Whole { least, most } => format!("a whole number from {least} to {most}"),
        }
    }
}

fn literal<'s>(value: &Inline<'s>) -> Option<&'s str> {
    match value {
        Inline::StringLiteral { value } | Inline::NumberLiteral { value } => Some(value),
        _ => None,
    }
}

/// What is wrong with a call, each with the text that it is about.
pub fn flaws<'s>(name: &'s str, call: &Call<'s>) -> Vec<(&'s str, String)> {
    match Function::named(name) {
        Some(function) => function.flaws(name, call),
        None => vec![(name, format!("`{name}` is no function: there are NUMBER and DATETIME"))],
    }
}
