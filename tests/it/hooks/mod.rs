//! Webhooks that come in: who is believed, what is made of them, once, and what becomes of those that nothing can be made of.

mod refused;
mod schemes;
mod sources;

use hmac::{Hmac, Mac};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Answer, Service};

pub const SECRET: &str = "It's a Secret to Everybody";

/// A webhook, signed: its headers and its body.
pub struct Signed {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

pub fn hex_mac(secret: &[u8], message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// As GitHub sends it, under the same id each time.
pub fn github(body: &str) -> Signed {
    github_as("72d3162e-cc78-11e3-81ab-4c9367dc0958", SECRET, body)
}

pub fn github_as(delivery: &str, secret: &str, body: &str) -> Signed {
    let headers = vec![
        ("x-github-delivery", delivery.to_owned()),
        ("x-github-event", "issues".to_owned()),
        ("x-hub-signature-256", format!("sha256={}", hex_mac(secret.as_bytes(), body))),
    ];
    Signed { headers, body: body.to_owned() }
}

pub fn posting(service: &Service, path: &str, hook: Signed) -> RequestBuilder {
    let request = service.request("POST", path).header("content-type", "application/json").body(hook.body);
    hook.headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

pub async fn send(service: &Service, path: &str, hook: Signed) -> Answer {
    service.send(posting(service, path, hook)).await
}

/// A source of GitHub's, with these members beside or instead of its own.
pub fn source(members: &Value) -> Value {
    let mut source = json!({
        "scheme": "github",
        "secrets": [SECRET],
        "mapping": {
            "user_id": "payload.assignee.login",
            "title": "payload.issue.title",
            "body": "'#' + string(payload.issue.number)",
        },
    });
    for (name, member) in members.as_object().unwrap() {
        match (source[name].as_object_mut(), member.as_object()) {
            (Some(before), Some(members)) => before.extend(members.clone()),
            _ => source[name] = member.clone(),
        }
    }
    source
}

pub async fn configure(service: &Service, name: &str, members: &Value) -> Answer {
    put(service, name, &source(members)).await
}

pub async fn put(service: &Service, name: &str, body: &Value) -> Answer {
    let put = service.request("PUT", &format!("/v1/sources/{name}")).header("x-api-key", service.root_key());
    service.send(put.json(body)).await
}

/// An issue, assigned to somebody.
pub fn issue(user: &str) -> String {
    json!({"action": "assigned", "assignee": {"login": user}, "issue": {"title": "The bell does not ring", "number": 42}})
        .to_string()
}

pub async fn deliveries(service: &Service, name: &str) -> Vec<Value> {
    let page = service.get(&format!("/v1/sources/{name}/deliveries")).await.expect(200).json();
    page["deliveries"].as_array().unwrap().clone()
}

/// The titles in a user's inbox, the newest first.
pub async fn titles(service: &Service, user: &str) -> Vec<String> {
    let inbox = service.inbox(user, "").await;
    let items = inbox["items"].as_array().unwrap().iter();
    items.map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}
