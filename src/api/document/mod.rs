//! The OpenAPI document: what the routes say of themselves, put so that people and generators read it alike.
//!
//! The framework's own print has habits that generators stumble over (an `allOf` of a reference and a description,
//! formats that nobody knows, a media type with a parameter) and no words for links. Everything here follows a rule, so that a new
//! route needs no line of its own. What is committed, what is served and what `/docs` shows is the same document.

pub mod examples;
pub mod scopes;

use poem::endpoint::make_sync;
use poem::{Endpoint, Response};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::{Map, Value, json};

use crate::api::http::rate_limit;

/// The document as JSON, of what the framework prints.
pub fn amend(printed: &str) -> Value {
    let mut document: Value = serde_json::from_str(printed).expect("the framework prints JSON");
    everywhere(&mut document, &mut tidy);
    let schemas = members(&mut document["components"]["schemas"]);
    for (name, schema) in schemas {
        describe_members(schema);
        if let Some(example) = examples::body(name) {
            schema["example"] = example;
        }
    }
    close_requests(&mut document);
    let schemes = document["components"]["securitySchemes"].clone();
    for operation in operations(&mut document) {
        scopes::name(operation, &schemes);
        members(&mut operation["responses"]).values_mut().for_each(name_headers);
        rate_limit::name(operation);
        prune(operation);
        describe_parameters(operation);
    }
    share_problems(&mut document);
    document["components"]["headers"] = rate_limit::headers();
    link(&mut document);
    document
}

/// The same as YAML.
pub fn to_yaml(document: &Value) -> String {
    serde_saphyr::to_string(document).expect("JSON can be written as YAML")
}

/// `/openapi.json`, and `/docs`: the framework's page with this document in the place of its own, and so that it
/// can reach nothing but this service.
pub fn endpoints<T: OpenApi>(
    service: &OpenApiService<T, ()>,
) -> (impl Endpoint + use<T>, impl Endpoint + use<T>) {
    let printed = service.spec();
    let document = amend(&printed).to_string();
    let page = service
        .swagger_ui_html()
        .replace(&printed, &document.replace("</", "<\\/"))
        .replace("filter: false,", "persistAuthorization: true, validatorUrl: null,")
        .replace("<title>Swagger UI</title>", "<title>Tidings: the API</title>");
    let json =
        make_sync(move |_| Response::builder().content_type("application/json").body(document.clone()));
    let page = make_sync(move |_| {
        let response = Response::builder().content_type("text/html; charset=utf-8");
        response.header("content-security-policy", PAGE_POLICY).body(page.clone())
    });
    (json, page)
}

/// Style and script stand in the page; what it fetches is this service's.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src \
     data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn members(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("the framework prints an object here")
}

fn everywhere(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|member| everywhere(member, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| everywhere(item, change)),
        _ => {}
    }
}

const JSON_UTF_8: &str = "application/json; charset=utf-8";

/// What generators stumble over, wherever it stands.
fn tidy(object: &mut Map<String, Value>) {
    // The charset of JSON is UTF-8 anyway (RFC 8259), and a parameter makes it another media type to a generator. The
    // order stays: the first media type is what a generated method returns.
    if object.contains_key(JSON_UTF_8) {
        let plain = |name: String| if name == JSON_UTF_8 { "application/json".into() } else { name };
        *object = std::mem::take(object).into_iter().map(|(name, it)| (plain(name), it)).collect();
    }
    // Members beside a `$ref` are ignored, so the framework adds a second schema that says the same as what stands
    // around it; one that is no object makes generators drop the operation.
    if let Some(all) = object.get_mut("allOf").and_then(Value::as_array_mut) {
        all.retain(|schema| schema.get("$ref").is_some());
    }
    let unsigned = object.get("format").and_then(Value::as_str).is_some_and(|it| it.starts_with("uint"));
    if unsigned {
        object.insert("format".into(), json!("int64"));
        object.entry("minimum").or_insert(json!(0));
    }
    // Defaults that need no saying.
    for (member, default) in [("deprecated", false), ("explode", true)] {
        if object.get(member) == Some(&json!(default)) {
            object.remove(member);
        }
    }
    if object.get("description").is_some_and(|text| text == "") && object.contains_key("content") {
        object.insert("description".into(), json!("As it stands."));
    }
}

/// Instants and free objects, which are texts and anything in the code.
fn describe_members(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        let instant = name == "until" || name.ends_with("_until") || name.ends_with("_at");
        if instant && property["type"] == "string" {
            property["format"] = json!("date-time");
        }
        let shaped = ["type", "$ref", "allOf"].iter().any(|word| property.get(word).is_some());
        if ["data", "metadata", "notification", "broadcast"].contains(&name.as_str()) && !shaped {
            property["type"] = json!("object");
            property["additionalProperties"] = json!({});
        }
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    members(&mut document["paths"]).values_mut().flat_map(|path| members(path).values_mut())
}

/// The framework writes `TIDINGS-CURSOR`; the field writes `Tidings-Cursor`.
fn name_headers(response: &mut Value) {
    let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) else { return };
    *headers = std::mem::take(headers).into_iter().map(|(name, header)| (title(&name), header)).collect();
}

fn title(name: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + &rest.to_lowercase(),
        None => String::new(),
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Takes the problems away that the operation cannot have: every handler may fail in every way, says its type.
fn prune(operation: &mut Value) {
    let named = |place: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == place).count() > 0
    };
    let (body, path) = (operation.get("requestBody").is_some(), named("path"));
    let command =
        operation["operationId"].as_str().is_some_and(|id| !id.starts_with("get") && !id.starts_with("list"));
    let responses = members(&mut operation["responses"]);
    for (status, possible) in [("404", path), ("409", command), ("413", body), ("415", body)] {
        if !possible {
            responses.remove(status);
        }
    }
}

/// Requests take the members that are described and no others: every object below a request's body says so.
fn close_requests(document: &mut Value) {
    let mut bodies: Vec<Value> =
        operations(document).filter_map(|it| it.get("requestBody").cloned()).collect();
    while let Some(mut value) = bodies.pop() {
        everywhere(&mut value, &mut |object| {
            let reference = object.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
            let Some(schema) = reference.and_then(|pointer| document.pointer_mut(pointer)) else { return };
            if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
                schema["additionalProperties"] = json!(false);
                bodies.push(schema.clone());
            }
        });
    }
}

const NOTIFICATION_ID: &str = "^ntf_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

fn describe_parameters(operation: &mut Value) {
    let of_notification = operation["operationId"].as_str().is_some_and(|id| id.contains("Notification"));
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if parameter["name"] == "user_id" {
            parameter["schema"]["minLength"] = json!(1);
            parameter["schema"]["maxLength"] = json!(256);
        }
        if of_notification && parameter["name"] == "id" {
            parameter["schema"]["pattern"] = json!(NOTIFICATION_ID);
        }
        let name = parameter["name"].as_str().filter(|_| parameter["required"] == true);
        if let Some(example) = name.and_then(examples::parameter) {
            parameter["example"] = example;
        }
    }
}

/// Each problem response once, under the name of its status.
fn share_problems(document: &mut Value) {
    let mut shared = Map::new();
    for operation in operations(document) {
        for (status, response) in members(&mut operation["responses"]) {
            if response["content"].get("application/problem+json").is_some() {
                let name = format!("Problem{status}");
                let reference = json!({"$ref": format!("#/components/responses/{name}")});
                shared.insert(name, std::mem::replace(response, reference));
            }
        }
    }
    shared.sort_keys();
    document["components"]["responses"] = Value::Object(shared);
}

/// From what makes a thing to the operations on it: `POST /things` to `/things/{id}`, and from what is made for a user
/// to that user's own.
fn link(document: &mut Value) {
    let paths = document["paths"].clone();
    let paths = paths.as_object().expect("paths are an object");
    for (path, operations) in members(&mut document["paths"]) {
        let Some(created) = operations.pointer_mut("/post/responses/201") else { continue };
        let mut links = Map::new();
        for (target, methods) in paths {
            let Some((name, source)) = source(path, target) else { continue };
            for operation in methods.as_object().into_iter().flat_map(Map::values) {
                let mut parameters = json!({name: source});
                let reads = operation["parameters"].as_array().into_iter().flatten();
                if reads.clone().any(|parameter| parameter["name"] == MIN_CURSOR) {
                    parameters[MIN_CURSOR] = json!("$response.header.Tidings-Cursor");
                }
                let id = operation["operationId"].as_str().unwrap_or_default();
                links.insert(id.to_owned(), json!({"operationId": id, "parameters": parameters}));
            }
        }
        if !links.is_empty() {
            created["links"] = Value::Object(links);
        }
    }
}

const MIN_CURSOR: &str = "Tidings-Min-Cursor";

/// The parameter of `target` that an answer of `POST path` fills, and with what.
fn source(path: &str, target: &str) -> Option<(&'static str, &'static str)> {
    let rest = target.strip_prefix(path);
    if rest.is_some_and(|rest| rest.starts_with("/{id}")) {
        return Some(("id", "$response.body#/id"));
    }
    let to_the_user = path == "/v1/notifications" && target.starts_with("/v1/users/{user_id}/inbox");
    to_the_user.then_some(("user_id", "$request.body#/user_id"))
}
