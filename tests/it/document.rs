//! The OpenAPI document is something to use: its examples run as they stand, its links lead where they say, and
//! `/docs` shows it without the help of any other server.

use serde_json::{Value, json};

use crate::access::required;
use crate::hooks;
use crate::support::{Answer, Service};

/// An operation, as the document has it.
struct Operation {
    method: String,
    path: String,
    says: Value,
}

struct Document(Value);

impl Document {
    async fn of(service: &Service) -> Self {
        Self(service.send(service.request("GET", "/openapi.json")).await.expect(200).json())
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(|(method, says)| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                says: says.clone(),
            })
        });
        operations.collect()
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// The example of an operation's body, where it has one.
    fn body(&self, operation: &Operation) -> Value {
        let schema = &operation.says["requestBody"]["content"]["application/json"]["schema"];
        let example = self.resolve(schema)["example"].clone();
        assert!(schema.is_null() || !example.is_null(), "{} has no example of a body", operation.id());
        example
    }

    /// The operation with a link to this one, and the link.
    fn source(&self, id: &str) -> Option<(Operation, Value)> {
        self.operations().into_iter().find_map(|operation| {
            let responses = operation.says["responses"].as_object().unwrap().values();
            let mut links = responses.filter_map(|response| response["links"].get(id));
            links.next().cloned().map(|link| (operation, link))
        })
    }

    /// Sends an operation's example; what has no example comes from the answer to another one.
    async fn send(&self, service: &Service, operation: &Operation) -> Answer {
        let mut path = operation.path.clone();
        for parameter in operation.says["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            if parameter["required"] == true && parameter["in"] != "path" {
                path += &required(parameter);
            }
            if parameter["in"] == "path" {
                let value = match &parameter["example"] {
                    Value::Null => self.linked(service, operation.id(), name).await,
                    example => example.clone(),
                };
                path = path.replace(&format!("{{{name}}}"), value.as_str().unwrap());
            }
        }
        prepare(service, operation.id(), &path).await;
        let request = service.request(&operation.method, &path).header("x-api-key", service.root_key());
        let body = self.body(operation);
        if operation.id() == "receiveHook" {
            return hooks::send(service, &path, hooks::github(&body.to_string())).await;
        }
        service.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// What a link says a parameter is, after its source was done.
    async fn linked(&self, service: &Service, id: &str, parameter: &str) -> Value {
        let source = self.source(id);
        let (source, link) =
            source.unwrap_or_else(|| panic!("{parameter} of {id} has no example and no link"));
        let answer = Box::pin(self.send(service, &source)).await;
        assert!(answer.status < 300, "{answer:?}");
        let expression = link["parameters"][parameter].as_str().unwrap();
        let pointer = expression.strip_prefix("$response.body#").unwrap();
        answer.json().pointer(pointer).unwrap().clone()
    }
}

impl Operation {
    fn id(&self) -> &str {
        self.says["operationId"].as_str().unwrap()
    }
}

/// What must have happened before an example can succeed.
async fn prepare(service: &Service, operation: &str, path: &str) {
    if operation == "retryNotificationDelivery" {
        let failed = json!({"channel": "in_app", "outcome": "failed"});
        service.post(&path.replace("/retry", "/deliver"), &failed).await.expect(200);
    }
    if ["getTemplate", "retireTemplate"].contains(&operation) {
        let version = json!({"default_locale": "en", "sources": {"en": "title = Hello\n"}});
        let put = service.request("PUT", path).header("x-api-key", service.root_key());
        service.send(put.json(&version)).await.expect(200);
    }
    if ["getCategory", "getPlan"].contains(&operation) {
        let body = if operation == "getPlan" { json!({"plan": [{"channel": "email"}]}) } else { json!({}) };
        let put = service.request("PUT", path).header("x-api-key", service.root_key());
        service.send(put.json(&body)).await.expect(200);
    }
    if ["getChannel", "removeChannel"].contains(&operation) {
        let webhook = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
        let put = service.request("PUT", path).header("x-api-key", service.root_key());
        let body = json!({"providers": [{"name": "main", "webhook": webhook}]});
        service.send(put.json(&body)).await.expect(200);
    }
    if ["getSchedule", "deleteSchedule"].contains(&operation) {
        let notification = json!({"user_id": "alice", "content": {"title": "Hello", "body": ""}});
        let body = json!({"cron": "0 0 1 1 *", "time_zone": "UTC", "notification": notification});
        let put = service.request("PUT", path).header("x-api-key", service.root_key());
        service.send(put.json(&body)).await.expect(200);
    }
    let of_source = ["getSource", "removeSource", "previewSource", "listSourceDeliveries", "receiveHook"];
    if of_source.contains(&operation) {
        hooks::configure(service, "github", &json!({})).await.expect(200);
    }
}

#[tokio::test]
async fn every_example_of_the_document_is_answered_with_success_as_documented() {
    let service = Service::start().await;
    let document = Document::of(&service).await;
    for operation in document.operations() {
        let answer = document.send(&service, &operation).await;
        let documented = &operation.says["responses"][answer.status.to_string()];
        assert!(answer.status < 300 && !documented.is_null(), "{}: {answer:?}", operation.id());
        let described = &document.resolve(documented)["content"];
        let kind = answer.header("content-type").and_then(|kind| kind.split(';').next());
        let fits = kind.is_none_or(|kind| !described[kind].is_null());
        assert!(fits, "{}: {answer:?}", operation.id());
        for name in document.resolve(documented)["headers"].as_object().into_iter().flatten() {
            let (name, says) = name;
            assert!(says["required"] != true || answer.header(name).is_some(), "{name} of {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_operation_is_described_named_and_grouped() {
    let service = Service::start().await;
    let document = Document::of(&service).await;
    let groups: Vec<&Value> = document.0["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for operation in document.operations() {
        let says = &operation.says;
        let id = operation.id();
        assert!(id.chars().all(|c| c.is_ascii_alphabetic()), "{id} is no camelCase");
        assert!(says["summary"].is_string() && says["description"].is_string(), "{id} is not described");
        assert!(groups.contains(&&says["tags"][0]), "{id} is in no group");
        for (status, response) in says["responses"].as_object().unwrap() {
            let description = document.resolve(response)["description"].as_str();
            assert!(description.is_some_and(|text| !text.is_empty()), "{status} of {id} says nothing");
        }
    }
}

#[tokio::test]
async fn the_page_of_the_documentation_needs_no_other_server() {
    let service = Service::start().await;
    let answer = service.send(service.request("GET", "/docs")).await.expect(200);
    // A browser that obeys this fetches nothing from elsewhere, whatever stands in the page.
    let policy = answer.header("content-security-policy").unwrap();
    for rule in policy.split(';').map(str::trim) {
        let sources = rule.split(' ').skip(1);
        let own = ["'none'", "'self'", "'unsafe-inline'", "data:"];
        assert!(sources.clone().all(|source| own.contains(&source)), "{rule}");
    }
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    // And nothing stands there that it would have to forbid.
    let page = &answer.body;
    let scripts: Vec<&str> = page.split("<script").skip(1).map(|it| it.split('>').next().unwrap()).collect();
    assert!(
        !scripts.is_empty() && scripts.iter().all(|attributes| !attributes.contains(" src")),
        "{scripts:?}"
    );
    let style = page.split("<style").nth(1).unwrap().split("</style>").next().unwrap();
    assert!(!style.contains("@import") && !style.contains("url(http") && !page.contains("<link "));
    // It shows the document that the service serves.
    let document = Document::of(&service).await;
    assert!(page.contains(&document.0.to_string()), "the page shows another document");
}
