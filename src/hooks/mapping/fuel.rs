//! What one hook may cost: a mapping pays for what it builds and for each turn of a loop, and stops when nothing is left.
//!
//! The interpreter takes plain functions, so what is left stands beside the thread that evaluates one mapping and nothing else.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cel::common::types::{CelList, CelMap, CelString, DYN_TYPE, LIST_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

/// Passes its argument on, for its price. No expression can name it.
pub const TOLL: &str = "@toll";
/// `join`, which asks for the price first.
pub const JOIN: &str = "@join";

/// Bytes that a mapping may build, more or less.
const BYTES_MAX: u64 = 64 << 20;
/// What a value costs beside its text.
const VALUE_BYTES: u64 = 64;
const TIME_MAX: Duration = Duration::from_millis(500);

thread_local! {
    static BYTES_LEFT: Cell<u64> = const { Cell::new(0) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Before a mapping is evaluated.
pub fn fill() {
    BYTES_LEFT.set(BYTES_MAX);
    DEADLINE.set(Some(Instant::now() + TIME_MAX));
}

/// Whether nothing is left, of the one or the other.
pub fn is_spent() -> bool {
    BYTES_LEFT.get() == 0 || DEADLINE.get().is_none_or(|deadline| Instant::now() >= deadline)
}

pub fn declare(env: &mut Env) {
    let dynamic = env.add_overload(TOLL, TOLL, vec![DYN_TYPE], toll);
    dynamic.and_then(|()| env.add_member_overload(JOIN, "@join()", LIST_TYPE, vec![], join)).expect(NEW);
    env.add_member_overload(JOIN, "@join(string)", LIST_TYPE, vec![STRING_TYPE], join).expect(NEW);
}

const NEW: &str = "nothing else is called so";

fn pay(bytes: u64) -> Result<(), ExecutionError> {
    BYTES_LEFT.set(BYTES_LEFT.get().saturating_sub(bytes));
    if is_spent() { Err(ExecutionError::function_error(TOLL, "nothing is left")) } else { Ok(()) }
}

fn toll<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.into_iter().next().ok_or_else(ExecutionError::missing_argument_or_target)?;
    pay(price(&*value, BYTES_LEFT.get()))?;
    Ok(value)
}

/// What a copy of it takes; what is beyond `most` is not counted.
fn price(value: &dyn Val, most: u64) -> u64 {
    let add = |sum: u64, item: &dyn Val| {
        if sum >= most { sum } else { sum + price(item, most - sum) }
    };
    if let Some(text) = value.downcast_ref::<CelString>() {
        VALUE_BYTES + text.inner().len() as u64
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().fold(VALUE_BYTES, |sum, item| add(sum, item.as_ref()))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().values().fold(VALUE_BYTES, |sum, item| add(sum + VALUE_BYTES, item.as_ref()))
    } else {
        VALUE_BYTES
    }
}

/// The strings of a list, with another between each.
fn join<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let no_strings = || ExecutionError::no_such_member_overload("join", vec!["list".into(), "string".into()]);
    let list = args.first().and_then(|list| list.downcast_ref::<CelList>()).ok_or_else(no_strings)?;
    let separator = match args.get(1) {
        None => "",
        Some(separator) => separator.downcast_ref::<CelString>().ok_or_else(no_strings)?.inner(),
    };
    let texts = list.inner().iter().map(|item| item.downcast_ref::<CelString>().map(CelString::inner));
    let texts: Vec<&str> = texts.collect::<Option<_>>().ok_or_else(no_strings)?;
    let bytes: usize = texts.iter().map(|text| text.len() + separator.len()).sum();
    pay(bytes as u64)?;
    Ok(CowVal::owned(CelString::from(texts.join(separator))))
}
