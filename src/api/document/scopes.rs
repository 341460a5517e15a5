//! The scopes of each operation, as the document says them.

use serde_json::{Value, json};

use crate::api::http::credentials::ROOT;

/// Takes the scopes out of where an operation names them, among its security schemes, and says them as `x-scopes` and in
/// words. (OpenAPI 3.0 has scopes for OAuth only.) `schemes` are those that the document describes.
pub fn name(operation: &mut Value, schemes: &Value) {
    let named = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let named: Vec<String> = named.flat_map(|alternative| alternative.keys().cloned()).collect();
    if named.is_empty() {
        // OpenAPI 3.0: an empty list is how an operation says that it needs no credentials.
        operation["security"] = json!([]);
        return;
    }
    let (schemes, scopes): (Vec<_>, Vec<_>) = named.into_iter().partition(|name| schemes.get(name).is_some());
    let users = schemes.iter().any(|scheme| scheme == "Bearer");
    let alternatives: Vec<Value> = schemes.iter().map(|scheme| json!({scheme: []})).collect();
    let words = in_words(&scopes, users);
    let told = operation["description"].as_str();
    let told = told.map_or_else(|| words.clone(), |told| format!("{told}\n\n{words}"));
    let Some(members) = operation.as_object_mut() else { return };
    members.insert("security".into(), alternatives.into());
    members.insert("x-scopes".into(), scopes.into());
    members.insert("description".into(), told.into());
}

fn in_words(scopes: &[String], users: bool) -> String {
    if scopes.iter().any(|scope| scope == ROOT) {
        return "Needs the root key.".into();
    }
    let quoted: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
    let noun = if quoted.len() == 1 { "Scope" } else { "Scopes" };
    let or = if users { "; or the user's own token" } else { "" };
    format!("{noun}: {}{or}.", quoted.join(" and "))
}
