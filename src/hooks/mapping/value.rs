//! JSON as the interpreter has it, and back. A whole number is an `int` wherever it fits into one.

use std::collections::{BTreeMap, HashMap};

use cel::Value;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use cel::objects::Key;
use serde_json::{Map, Number};

pub fn of_json(json: serde_json::Value) -> Box<dyn Val> {
    match json {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(bool) => Box::new(CelBool::from(bool)),
        serde_json::Value::Number(number) => of_number(&number),
        serde_json::Value::String(text) => of_text(text),
        serde_json::Value::Array(items) => {
            Box::new(CelList::from(items.into_iter().map(of_json).collect::<Vec<_>>()))
        }
        serde_json::Value::Object(members) => {
            of_members(members.into_iter().map(|(name, member)| (name, of_json(member))))
        }
    }
}

fn of_number(number: &Number) -> Box<dyn Val> {
    if let Some(int) = number.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(uint) = number.as_u64() {
        Box::new(CelUInt::from(uint))
    } else {
        Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
    }
}

pub fn of_text(text: String) -> Box<dyn Val> {
    Box::new(CelString::from(text))
}

pub fn of_texts(texts: BTreeMap<String, String>) -> Box<dyn Val> {
    of_members(texts.into_iter().map(|(name, text)| (name, of_text(text))))
}

fn of_members(members: impl Iterator<Item = (String, Box<dyn Val>)>) -> Box<dyn Val> {
    let members = members.map(|(name, member)| (CelMapKey::from(name), member));
    Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
}

/// `None` for what JSON cannot say. Members are sorted: the interpreter does not keep their order.
pub fn to_json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(bool) => (*bool).into(),
        Value::Int(int) => (*int).into(),
        Value::UInt(uint) => (*uint).into(),
        Value::Float(float) => Number::from_f64(*float)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(to_json).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(map) => {
            let member = |(key, value): (&Key, &Value)| match key {
                Key::String(name) => Some((name.to_string(), to_json(value)?)),
                Key::Int(_) | Key::Uint(_) | Key::Bool(_) => None,
            };
            let mut members = map.map.iter().map(member).collect::<Option<Map<_, _>>>()?;
            members.sort_keys();
            members.into()
        }
        _ => return None,
    })
}
