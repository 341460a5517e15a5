//! Who may do what: every operation of the document, asked by everybody there is.
//!
//! The cells come from the document as it is served (`security`, `x-scopes`), and so do the requests. An operation
//! that says nothing of its scopes fails here, and one that cannot be called from what it says of itself.

use std::path::Path;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::hooks;
use crate::support::{LONG_AGO, Service, Socket, note, signed};

const SCOPES: [&str; 5] =
    ["notifications:write", "notifications:read", "inbox:read", "inbox:write", "events:read"];
/// What a notification of ours says, and no answer to anybody else.
const OURS: &str = "for our eyes only";

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    /// Done, or not possible in this state (409).
    Open,
    Unauthorized,
    Forbidden,
    /// It belongs to somebody else.
    Absent,
}

impl Cell {
    fn of(status: u16) -> Option<Self> {
        match status {
            200..=299 | 409 => Some(Self::Open),
            401 => Some(Self::Unauthorized),
            403 => Some(Self::Forbidden),
            404 => Some(Self::Absent),
            _ => None,
        }
    }
}

/// An operation, and the request that asks for it.
struct Operation {
    name: String,
    method: String,
    path: String,
    body: Option<Value>,
    /// Those that a key must have.
    scopes: Vec<String>,
    /// The root key alone.
    root: bool,
    /// Users' tokens, too.
    users: bool,
    /// It names a notification, or a user.
    by_id: bool,
    by_user: bool,
    /// Credentials are nothing to it: it is signed, and these requests are not.
    signed: bool,
}

/// Somebody with credentials.
struct Caller {
    name: String,
    header: Option<(&'static str, String)>,
    who: Who,
}

enum Who {
    Nobody,
    Root,
    /// With these scopes; `foreign`: of another tenant.
    Key {
        scopes: Vec<&'static str>,
        foreign: bool,
    },
    Alice,
    Bob,
    /// Alice of another tenant.
    Namesake,
}

impl Operation {
    /// The cell that the document gives to a caller.
    fn cell(&self, who: &Who) -> Cell {
        let has_all = |scopes: &[&str]| {
            scopes.contains(&"admin") || self.scopes.iter().all(|scope| scopes.contains(&scope.as_str()))
        };
        match who {
            _ if self.signed => Cell::Unauthorized,
            Who::Nobody => Cell::Unauthorized,
            Who::Root => Cell::Open,
            Who::Key { .. } if self.root => Cell::Forbidden,
            Who::Key { scopes, .. } if !has_all(scopes) => Cell::Forbidden,
            Who::Key { foreign: true, .. } if self.by_id => Cell::Absent,
            Who::Alice | Who::Bob | Who::Namesake if self.root || !self.users => Cell::Forbidden,
            Who::Bob | Who::Namesake if self.by_id => Cell::Absent,
            Who::Bob if self.by_user => Cell::Forbidden,
            // A name that two tenants have is two users', or two channels.
            Who::Key { .. } | Who::Alice | Who::Bob | Who::Namesake => Cell::Open,
        }
    }

    fn request(&self, service: &Service, caller: &Caller) -> RequestBuilder {
        let mut request = service.request(&self.method, &self.path);
        if let Some((name, value)) = &caller.header {
            request = request.header(*name, value);
        }
        match &self.body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

/// The document of a running service, and what its operations may be asked about.
struct Document {
    document: Value,
    faults: Vec<String>,
}

impl Document {
    async fn operations(&mut self, service: &Service) -> Vec<Operation> {
        let mut operations = Vec::new();
        let paths = self.document["paths"].as_object().unwrap().clone();
        for (path, methods) in &paths {
            for (method, described) in methods.as_object().unwrap() {
                operations.push(self.operation(service, path, method, described).await);
            }
        }
        operations
    }

    async fn operation(
        &mut self,
        service: &Service,
        path: &str,
        method: &str,
        described: &Value,
    ) -> Operation {
        let name = described["operationId"].as_str().unwrap_or(path).to_owned();
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut scopes = texts(&described["x-scopes"]);
        let told = described["description"].as_str().unwrap_or_default();
        let root = scopes == ["root"];
        let in_words = |scope: &String| told.contains(&format!("`{scope}`"));
        let signed = name == "receiveHook" && told.contains("No credentials.");
        if !signed && scopes.is_empty() || !(root && told.contains("root key") || scopes.iter().all(in_words))
        {
            self.faults.push(format!("{name} does not say which scopes it needs"));
        }
        if root {
            scopes.clear();
        } else if let Some(unknown) =
            scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str()) && *scope != "admin")
        {
            self.faults.push(format!("{name} needs {unknown}, which is no scope"));
        }
        let security = described["security"].as_array().cloned().unwrap_or_default();
        let users = security.contains(&json!({"Bearer": []}));
        // OpenAPI 3.0: the list of what is no OAuth scheme is empty.
        let by_key = security.contains(&json!({"ApiKey": []})) && security.len() == 1 + usize::from(users);
        if !(by_key || signed && described["security"] == json!([])) {
            self.faults.push(format!("{name} has unknown security: {security:?}"));
        }
        let mut filled = path.to_owned();
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "path" {
                let name = parameter["name"].as_str().unwrap();
                filled = filled.replace(&format!("{{{name}}}"), &example(service, path, name).await);
            } else if parameter["required"] == true && parameter["example"].is_null() {
                self.faults.push(format!("{name}: give the matrix an example of {}", parameter["name"]));
            } else if parameter["required"] == true {
                filled += &required(parameter);
            }
        }
        let content = described["requestBody"]["content"].as_object();
        let body = content.and_then(|content| content.values().next());
        let body = body.map(|content| self.sample("", &content["schema"]));
        let by_user =
            path.contains("{user_id}") || body.as_ref().is_some_and(|body| body["user_id"].is_string());
        // A template is published under a key of one's own, and a draft is nobody's.
        let by_id = path.contains("{id}") || path.contains("{key}") && body.is_none();
        let by_id = by_id || path.starts_with("/v1/sources/{source}") && method != "put";
        let method = method.to_uppercase();
        Operation { name, method, path: filled, body, scopes, root, users, by_id, by_user, signed }
    }

    /// The example of a schema, or the least that fits it.
    fn sample(&self, name: &str, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.sample(name, self.document.pointer(&reference[1..]).unwrap());
        }
        if let Some(example) = schema.get("example") {
            return example.clone();
        }
        if let Some(all) = schema["allOf"].as_array() {
            return self.sample(name, &all[0]);
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[0].clone();
        }
        match (schema["type"].as_str(), name) {
            (Some("object"), _) => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let properties = schema["properties"].as_object().into_iter().flatten();
                let wanted = properties.filter(|(name, _)| {
                    required.contains(&Value::from(name.as_str())) || name.as_str() == "user_id"
                });
                wanted.map(|(name, schema)| (name.clone(), self.sample(name, schema))).collect()
            }
            (Some("array"), _) => json!([self.sample(name, &schema["items"])]),
            (Some("integer"), _) => schema["minimum"].as_f64().map_or(1, |least| least as i64).into(),
            (Some("string"), "user_id") => "alice".into(),
            (Some("string"), "until") => "2096-01-01T00:00:00Z".into(),
            (Some("string"), _) => "example".into(),
            (kind, _) => panic!("give the matrix an example of {name}, which is {kind:?}"),
        }
    }
}

/// A parameter of the query that must be there, the only one.
pub fn required(parameter: &Value) -> String {
    assert_eq!(parameter["in"], "query", "{parameter}");
    format!("?{}={}", parameter["name"].as_str().unwrap(), parameter["example"].as_str().unwrap())
}

/// Something of ours with this name.
async fn example(service: &Service, path: &str, name: &str) -> String {
    match (path, name) {
        (_, "user_id") => "alice".into(),
        (path, "id") if path.starts_with("/v1/notifications/") => {
            let mut body = note("alice");
            body["content"]["title"] = OURS.into();
            service.create_with(&body).await
        }
        (path, "id") if path.starts_with("/v1/keys/") => service.key(&["admin"]).await.id,
        (path, "name") if path.starts_with("/v1/projections/") => "delivery".into(),
        (path, "id") if path.starts_with("/v1/broadcasts/") => {
            let body = json!({"topic": "nobody", "content": {"title": OURS, "body": ""}});
            service.post("/v1/broadcasts", &body).await.expect(201).text("id")
        }
        (path, "topic") if path.starts_with("/v1/topics/") => "ours".into(),
        (path, "key") if path.starts_with("/v1/templates/") => {
            let key = format!("ours-{}", service.head().await);
            let version = json!({"default_locale": "en", "sources": {"en": format!("title = {OURS}\n")}});
            let put = service.request("PUT", &format!("/v1/templates/{key}")).json(&version);
            service.send(put.header("x-api-key", service.root_key())).await.expect(200);
            key
        }
        (path, "category") if path.starts_with("/v1/categories/") => "billing".into(),
        (path, "plan") if path.starts_with("/v1/plans/") => "insist".into(),
        (path, "key") if path.starts_with("/v1/schedules/") => {
            let key = format!("ours-{}", service.head().await);
            let content = json!({"title": OURS, "body": ""});
            let body = json!({"cron": "0 0 1 1 *", "time_zone": "UTC",
                              "notification": {"user_id": "alice", "content": content}});
            let put = service.request("PUT", &format!("/v1/schedules/{key}")).json(&body);
            service.send(put.header("x-api-key", service.root_key())).await.expect(200);
            key
        }
        // One that is not configured: nobody is called.
        (path, "channel") if path.ends_with("/test") => "slack".into(),
        (_, "channel") => {
            let webhook = json!({"url": format!("https://example.com/{}", OURS.replace(' ', "-")),
                                 "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
            let put = service.request("PUT", "/v1/channels/webhook");
            let body = json!({"providers": [{"name": "main", "webhook": webhook}]});
            service.send(put.json(&body).header("x-api-key", service.root_key())).await.expect(200);
            "webhook".into()
        }
        (_, "source") => {
            // One for each operation: one of them removes it.
            let source = format!("ours-{}", service.head().await.replace('.', "-"));
            hooks::configure(service, &source, &json!({})).await.expect(200);
            source
        }
        _ => panic!("give the matrix an example of {name} in {path}"),
    }
}

async fn callers(service: &Service) -> Vec<Caller> {
    let mut callers = Vec::new();
    let mut add = |name: &str, header: Option<(&'static str, String)>, who: Who| {
        callers.push(Caller { name: name.into(), header, who });
    };
    let by_key = |secret: String| Some(("x-api-key", secret));
    let by_token = |token: String| Some(("authorization", format!("Bearer {token}")));
    add("nobody", None, Who::Nobody);
    add("garbage", by_key("x".repeat(40)), Who::Nobody);
    add("a guess", by_key(format!("tdg_{}", "A".repeat(43))), Who::Nobody);
    add("an empty key", by_key(String::new()), Who::Nobody);
    let revoked = service.key(&["admin"]).await;
    service.revoke(&revoked).await;
    add("a revoked key", by_key(revoked.secret), Who::Nobody);
    add("a key's id", by_key(revoked.id), Who::Nobody);
    add("an expired key", by_key(expired_key(service).await), Who::Nobody);
    let expired = json!({"sub": "alice", "exp": LONG_AGO});
    add("an expired token", by_token(signed(&service.jwt_secret(), &expired)), Who::Nobody);
    for scope in SCOPES.into_iter().chain(["admin"]) {
        let key = service.key(&[scope]).await;
        add(scope, by_key(key.secret), Who::Key { scopes: vec![scope], foreign: false });
    }
    let both = ["inbox:read", "inbox:write"];
    let key = service.key(&both).await;
    add("inbox:read and inbox:write", by_key(key.secret), Who::Key { scopes: both.into(), foreign: false });
    let key = json!({"name": "theirs", "tenant": "acme", "scopes": ["admin"]});
    let key = service.key_with(key).await;
    add("another tenant's key", by_key(key.secret), Who::Key { scopes: vec!["admin"], foreign: true });
    add("Alice", by_token(service.token("alice")), Who::Alice);
    add("Bob", by_token(service.token("bob")), Who::Bob);
    add("another tenant's Alice", by_token(service.token_of("acme", "alice")), Who::Namesake);
    add("the root key", by_key(service.root_key()), Who::Root);
    callers
}

/// One that was good for an hour, and may do everything. The service does not make it as it is by now.
async fn expired_key(service: &Service) -> String {
    let secret = format!("tdg_{}", "E".repeat(43));
    let made = "INSERT INTO api_keys (id, tenant, name, sha256, hint, scopes, created_at, expires_at)
                VALUES (gen_random_uuid(), 'default', 'over', sha256(convert_to($1, 'UTF8')), '', '{admin}',
                        now() - interval '2 hours', now() - interval '1 hour')";
    sqlx::query(made).bind(&secret).execute(&mut service.sql().await).await.unwrap();
    secret
}

/// The same inbox as it was, and live: what the document says of them in words.
async fn in_words(service: &Service) -> [Operation; 2] {
    let inbox = |name: &str, path: String, scopes: &[&str], users: bool| Operation {
        name: name.into(),
        method: "GET".into(),
        path: format!("/v1/users/alice/inbox{path}"),
        body: None,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        root: false,
        users,
        by_id: false,
        by_user: true,
        signed: false,
    };
    let at = format!("?at={}", service.head().await);
    [
        inbox("the past", at, &["inbox:read", "events:read"], false),
        inbox("the stream", "/stream".into(), &["inbox:read"], true),
    ]
}

#[tokio::test]
async fn exactly_the_documented_cells_are_open() {
    let service = Service::start().await;
    let document = service.send(service.request("GET", "/openapi.json")).await.expect(200).json();
    let mut document = Document { document, faults: Vec::new() };
    let mut operations = document.operations(&service).await;
    assert!(operations.len() >= 26, "the document is read: {}", operations.len());
    operations.extend(in_words(&service).await);
    let callers = callers(&service).await;
    let mut faults = document.faults;
    for operation in &operations {
        for caller in &callers {
            let answer = operation.request(&service, caller).send().await.unwrap();
            let status = answer.status().as_u16();
            let endless = answer.headers()["content-type"] == "text/event-stream";
            let body = if endless { String::new() } else { answer.text().await.unwrap() };
            let expected = operation.cell(&caller.who);
            if Cell::of(status) != Some(expected) {
                faults.push(format!(
                    "{} by {}: {expected:?}, not {status}: {body}",
                    operation.name, caller.name
                ));
            }
            let foreign = matches!(caller.who, Who::Key { foreign: true, .. } | Who::Bob | Who::Namesake);
            if body.contains(OURS) && (foreign || expected != Cell::Open) {
                faults.push(format!("{} tells {} what is ours", operation.name, caller.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_socket_opens_to_whom_the_inbox_does() {
    let service = Service::start().await;
    let [_, like_the_stream] = in_words(&service).await;
    for caller in callers(&service).await {
        let headers: Vec<(&str, &str)> =
            caller.header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut socket = Socket::open(&service, "user_id=alice", &headers).await.unwrap();
        if caller.header.is_none() {
            // It may still bring a token, but nothing else.
            socket.send(r#"{"type":"ping"}"#).await;
        }
        match like_the_stream.cell(&caller.who) {
            Cell::Open => _ = socket.frame("welcome").await,
            _ => assert_eq!(socket.end().await, Ok(4500), "{}", caller.name),
        }
    }
}

#[test]
fn what_is_outside_of_the_document_is_known() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/mod.rs");
    let text = std::fs::read_to_string(file).unwrap();
    let routes = text.split(".at(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let asked_above = ["/v1/ws", "/v1/users/:user_id/inbox/stream"];
    let without_credentials = ["/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics"];
    let unknown: Vec<&str> =
        routes.filter(|route| !asked_above.contains(route) && !without_credentials.contains(route)).collect();
    assert!(unknown.is_empty(), "who may reach these? {unknown:?}");
}
