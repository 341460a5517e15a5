//! A source's mapping, compiled: what it makes of a hook.
//!
//! Its expressions are a tenant's, and what they look at is a provider's: both are bounded. Parsing and evaluating go as deep as
//! what they are given, so each happens on a thread with room for what the limits admit; a panic ends that thread alone.

mod fence;
mod fuel;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::parser::Expression;
use cel::{Context, Env, ExecutionError, Value, extensions};
use serde_json::{Map, json};
use tidings_domain::source::{self, Fault};

/// Users of one hook.
const USERS_MAX: usize = 100;
/// Room to go as deep as any text of the greatest length can.
const STACK_BYTES: usize = 64 << 20;

/// What is wrong with an expression, and where; both are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// A JSON Pointer (RFC 6901) into the mapping.
    pub pointer: String,
    pub line: usize,
    pub column: usize,
    pub words: String,
}

/// What a mapping looks at.
pub struct Input {
    pub payload: serde_json::Value,
    /// By name, in lower case.
    pub headers: BTreeMap<String, String>,
    pub source: String,
}

/// What a mapping makes of a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// It is passed over, or for nobody.
    Ignored,
    /// Bodies of requests for notifications.
    Notifications(Vec<serde_json::Value>),
}

/// One member, by its place in the mapping.
struct Member {
    pointer: String,
    expression: Expression,
}

pub struct Mapping {
    when: Option<Member>,
    user_id: Member,
    /// What stands in the notification as it comes out, by name.
    members: Vec<(&'static str, Member)>,
    /// What stands in its content.
    words: Vec<(&'static str, Member)>,
    template: Option<String>,
    args: Vec<(String, Member)>,
}

impl Mapping {
    /// Every flaw of every expression. Takes its time: not for a thread that others wait for.
    pub fn compile(says: &source::Mapping) -> Result<Self, Vec<Flaw>> {
        let mut flaws = Vec::new();
        let mut member = |pointer: String, text: &str| {
            let fenced = with_room(|| fence::compile(&ENV, text));
            let fenced = fenced.unwrap_or_else(|| Err(vec![(0, "cannot be read".to_owned())]));
            let told = |(at, words): (usize, String)| {
                let (line, column) = place(text, at);
                Flaw { pointer: pointer.clone(), line, column, words }
            };
            match fenced {
                Ok(expression) => Some(Member { pointer, expression }),
                Err(faults) => {
                    flaws.extend(faults.into_iter().map(told));
                    None
                }
            }
        };
        let mut named = |name: &'static str, text: &Option<String>| {
            let member = member(format!("/{name}"), text.as_ref()?)?;
            Some((name, member))
        };
        let when = named("when", &says.when).map(|(_, member)| member);
        let members = [
            named("category", &says.category),
            named("priority", &says.priority),
            named("data", &says.data),
            named("tags", &says.tags),
        ];
        let words =
            [named("title", &says.title), named("body", &says.body), named("action_url", &says.action_url)];
        let args = says.args.iter().filter_map(|(name, text)| {
            let pointer = format!("/args/{}", name.replace('~', "~0").replace('/', "~1"));
            Some((name.clone(), member(pointer, text)?))
        });
        let args = args.collect();
        let user_id = member("/user_id".to_owned(), &says.user_id);
        match user_id {
            Some(user_id) if flaws.is_empty() => Ok(Self {
                when,
                user_id,
                members: members.into_iter().flatten().collect(),
                words: words.into_iter().flatten().collect(),
                template: says.template.clone(),
                args,
            }),
            _ => Err(flaws),
        }
    }

    /// Takes at most half a second.
    pub fn run(&self, input: Input) -> Result<Made, Fault> {
        let made = with_room(|| self.make(input));
        made.unwrap_or_else(|| Err(fault("", "the mapping broke on this hook")))
    }

    fn make(&self, input: Input) -> Result<Made, Fault> {
        fuel::fill();
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_as_val("payload", value::of_json(input.payload));
        context.add_variable_as_val("headers", value::of_texts(input.headers));
        context.add_variable_as_val("source", value::of_text(input.source));
        if let Some(when) = &self.when {
            match when.evaluate(&context)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(Made::Ignored),
                other => return Err(when.is_no("a bool", &other)),
            }
        }
        let users = self.users(&context)?;
        if users.is_empty() {
            return Ok(Made::Ignored);
        }
        let each = |(name, member): &(&'static str, Member)| {
            Ok(((*name).to_owned(), member.to_json(&context, wanted(name))?))
        };
        let mut members = self.members.iter().map(each).collect::<Result<Map<_, _>, Fault>>()?;
        let mut words = self.words.iter().map(each).collect::<Result<Map<_, _>, Fault>>()?;
        match &self.template {
            None => _ = members.insert("content".into(), words.into()),
            Some(key) => {
                let arg = |(name, member): &(String, Member)| {
                    Ok((name.clone(), member.to_json(&context, Wanted::Anything)?))
                };
                let args = self.args.iter().map(arg).collect::<Result<Map<_, _>, Fault>>()?;
                words.insert("key".into(), json!(key));
                words.insert("args".into(), args.into());
                members.insert("template".into(), words.into());
            }
        }
        let for_user = |user: String| {
            let mut notification = Map::from_iter([("user_id".to_owned(), json!(user))]);
            notification.extend(members.clone());
            notification.into()
        };
        Ok(Made::Notifications(users.into_iter().map(for_user).collect()))
    }

    /// Each once.
    fn users(&self, context: &Context) -> Result<Vec<String>, Fault> {
        let member = &self.user_id;
        let mut users: Vec<String> = Vec::new();
        match member.evaluate(context)? {
            Value::String(user) => users.push(user.to_string()),
            Value::List(list) => {
                if list.len() > USERS_MAX {
                    return Err(member.fault("must be at most 100 users"));
                }
                for item in list.iter() {
                    match item {
                        Value::String(user) if users.iter().any(|known| *known == **user) => {}
                        Value::String(user) => users.push(user.to_string()),
                        other => return Err(member.is_no("a list of strings only", other)),
                    }
                }
            }
            other => return Err(member.is_no("a string or a list of strings", &other)),
        }
        Ok(users)
    }
}

/// What an expression must come to.
#[derive(Clone, Copy)]
enum Wanted {
    Text,
    Object,
    Texts,
    Anything,
}

fn wanted(member: &str) -> Wanted {
    match member {
        "data" => Wanted::Object,
        "tags" => Wanted::Texts,
        _ => Wanted::Text,
    }
}

impl Member {
    fn evaluate(&self, context: &Context) -> Result<Value, Fault> {
        let result = Value::resolve(&self.expression, context);
        // An operator may have passed over the error that says so.
        if fuel::is_spent() {
            return Err(self.fault("takes too long, or makes too much of the hook"));
        }
        result.map_err(|error| self.fault(&in_words(&error)))
    }

    fn to_json(&self, context: &Context, wanted: Wanted) -> Result<serde_json::Value, Fault> {
        let made = self.evaluate(context)?;
        let fits = match (wanted, &made) {
            (Wanted::Text, Value::String(_))
            | (Wanted::Object, Value::Map(_))
            | (Wanted::Texts, Value::List(_))
            | (Wanted::Anything, _) => Ok(()),
            (Wanted::Text, other) => Err(self.is_no("a string", other)),
            (Wanted::Object, other) => Err(self.is_no("a map", other)),
            (Wanted::Texts, other) => Err(self.is_no("a list of strings", other)),
        };
        fits?;
        value::to_json(&made).ok_or_else(|| self.fault("must be what JSON can say"))
    }

    fn fault(&self, detail: &str) -> Fault {
        fault(&self.pointer, detail)
    }

    fn is_no(&self, expected: &str, made: &Value) -> Fault {
        self.fault(&format!("must be {expected}, not {}", made.type_of()))
    }
}

fn fault(pointer: &str, detail: &str) -> Fault {
    Fault { pointer: pointer.to_owned(), detail: detail.to_owned() }
}

/// What went wrong, without the values that it went wrong with: those are the provider's.
fn in_words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(_) => "there is no such member; ask with has() first".into(),
        ExecutionError::NoSuchOverload(call) => {
            format!("`{}` does not go with {}", call.function(), call.argument_types().join(", "))
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            format!("`{operator}` does not go with {}, {}", left.type_of(), right.type_of())
        }
        ExecutionError::IndexOutOfBounds(_) => "the list is not that long".into(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "divides by zero".into(),
        ExecutionError::Overflow(..) => "comes to a number that is too large".into(),
        ExecutionError::FunctionError { function, .. } => format!("`{function}` fails"),
        _ => "cannot be evaluated with this hook".into(),
    }
}

/// The standard functions, some of strings, and our own.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(extensions::strings).expect("nothing else has their names");
    fuel::declare(&mut env);
    Arc::new(env)
});

/// The line and column of a byte of a text.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_begins = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_begins..].chars().count() + 1)
}

/// `None` where it panicked, or there is no thread now.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}
