//! Reads one expression, and puts a fence around it: what it names must be there, how deep it goes is bounded, and whatever
//! could grow or go on pays toll.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, SourceInfo, operators};
use cel::parser::Expression;
use cel::{Env, Program};

use super::fuel::{JOIN, TOLL};

/// Bytes of an expression.
const BYTES_MAX: usize = 2_000;
/// How deep calls, members and literals stand in each other. A macro counts for three.
const DEPTH_MAX: usize = 64;
const FLAWS_MAX: usize = 5;
const TOO_DEEP: &str = "goes too deep";

const VARIABLES: [&str; 3] = ["payload", "headers", "source"];
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];
/// What takes no longer than its arguments are long.
const FUNCTIONS: [&str; 18] = [
    "bytes",
    "charAt",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "join",
    "lowerAscii",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upperAscii",
];

/// What is wrong, with the byte where it begins.
pub type Fault = (usize, String);

pub fn compile(env: &Env, text: &str) -> Result<Expression, Vec<Fault>> {
    if text.len() > BYTES_MAX {
        return Err(vec![(0, format!("must have at most {BYTES_MAX} bytes"))]);
    }
    let program = env.compile(text).map_err(|errors| {
        let told = errors.errors.iter().map(|error| (offset(text, error.pos), in_words(&error.msg)));
        let told: Vec<Fault> = told.collect();
        match told.iter().find(|(_, words)| words == TOO_DEEP) {
            // What else is wrong follows from that.
            Some(deep) => vec![deep.clone()],
            None => told.into_iter().take(FLAWS_MAX).collect(),
        }
    })?;
    let mut fence = Fence { says: &program, scope: Vec::new(), faults: Vec::new() };
    let expression = fence.around(program.expression().clone(), 1);
    fence.faults.truncate(FLAWS_MAX);
    if fence.faults.is_empty() { Ok(expression) } else { Err(fence.faults) }
}

/// The byte of a line and column, as the parser counts them.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let (line, column) = (usize::try_from(line - 1), usize::try_from(column - 1));
    let (Ok(line), Ok(column)) = (line, column) else { return 0 };
    let begins: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let in_line = text.get(begins..).unwrap_or_default();
    begins + in_line.char_indices().nth(column).map_or(in_line.len(), |(at, _)| at)
}

fn in_words(message: &str) -> String {
    if message.contains("Recursion limit") {
        return TOO_DEEP.into();
    }
    message.chars().take(200).collect()
}

struct Fence<'p> {
    says: &'p Program,
    /// What macros bind here.
    scope: Vec<String>,
    faults: Vec<Fault>,
}

impl Fence<'_> {
    fn fault(&mut self, id: u64, words: String) {
        let info: &SourceInfo = self.says.source_info();
        let at = info.offset_for(id).map_or(0, |(begin, _)| begin as usize);
        let at = info.source.char_indices().nth(at).map_or(0, |(byte, _)| byte);
        self.faults.push((at, words));
    }

    fn around(&mut self, it: Expression, depth: usize) -> Expression {
        let id = it.id;
        if depth > DEPTH_MAX {
            if self.faults.is_empty() {
                self.fault(id, TOO_DEEP.into());
            }
            return Expression::default();
        }
        let below = depth + 1;
        let expr = match it.expr {
            Expr::Ident(name) => {
                self.check_variable(id, &name);
                Expr::Ident(name)
            }
            Expr::Select(mut select) => {
                select.operand = Box::new(self.around(*select.operand, below));
                Expr::Select(select)
            }
            Expr::Call(call) => return self.around_call(id, call, below),
            Expr::List(mut list) => {
                let items = std::mem::take(&mut list.elements).into_iter();
                list.elements = items.map(|item| toll(self.around(item, below))).collect();
                Expr::List(list)
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        entry.key = self.around(std::mem::take(&mut entry.key), below);
                        entry.value = toll(self.around(std::mem::take(&mut entry.value), below));
                    }
                }
                Expr::Map(map)
            }
            Expr::Comprehension(it) => Expr::Comprehension(Box::new(self.around_loop(*it, below))),
            Expr::Struct(_) => {
                self.fault(id, "there are no messages here".into());
                Expr::Unspecified
            }
            literal @ (Expr::Literal(_) | Expr::Unspecified) => literal,
        };
        Expression { id, expr }
    }

    fn check_variable(&mut self, id: u64, name: &str) {
        let is_bound = name.starts_with('@') || self.scope.iter().any(|bound| bound == name);
        if !is_bound && !VARIABLES.contains(&name) && !TYPES.contains(&name) {
            self.fault(id, format!("there is no `{name}`, but `payload`, `headers` and `source`"));
        }
    }

    fn around_call(&mut self, id: u64, mut call: CallExpr, below: usize) -> Expression {
        let name = call.func_name.as_str();
        let is_operator = name.starts_with(['@', '_', '-', '!']);
        if !is_operator && !FUNCTIONS.contains(&name) {
            self.fault(id, format!("there is no function `{name}`"));
        }
        if name == "join" {
            call.func_name = JOIN.to_owned();
        }
        let grows = call.func_name == operators::ADD && !call.args.first().is_some_and(is_accumulator);
        call.target = call.target.map(|target| Box::new(self.around(*target, below)));
        call.args = call.args.into_iter().map(|arg| self.around(arg, below)).collect();
        let call = Expression { id, expr: Expr::Call(call) };
        if grows { toll(call) } else { call }
    }

    /// Each turn pays, in a place where an error ends the loop and where the interpreter still sees that a loop only appends.
    fn around_loop(&mut self, mut it: ComprehensionExpr, below: usize) -> ComprehensionExpr {
        let guarded =
            matches!(&it.loop_step.expr, Expr::Call(call) if call.func_name == operators::CONDITIONAL);
        it.iter_range = self.around(it.iter_range, below);
        it.accu_init = self.around(it.accu_init, below);
        let outer = self.scope.len();
        self.scope.push(it.iter_var.clone());
        self.scope.extend(it.iter_var2.clone());
        it.loop_step = self.around(it.loop_step, below);
        if guarded
            && let Expr::Call(call) = &mut it.loop_step.expr
            && let Some(guard) = call.args.first_mut()
        {
            *guard = toll(std::mem::take(guard));
        }
        if !matches!(it.loop_cond.expr, Expr::Literal(_)) {
            it.loop_cond = toll(self.around(it.loop_cond, below));
        }
        it.result = self.around(it.result, below);
        self.scope.truncate(outer);
        it
    }
}

/// What a loop gathers, which no text can name.
fn is_accumulator(expression: &Expression) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn toll(expression: Expression) -> Expression {
    let call = CallExpr { func_name: TOLL.to_owned(), target: None, args: vec![expression] };
    Expression { id: 0, expr: Expr::Call(call) }
}
