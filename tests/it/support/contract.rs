//! The contract of the socket, `openapi/asyncapi.yaml`: every frame that any test receives is held against it.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

/// The document of the socket, and the one it refers to.
pub struct Contract {
    pub asyncapi: Value,
    openapi: Value,
}

impl Contract {
    /// The committed one, read once.
    pub fn committed() -> &'static Self {
        static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);
        &CONTRACT
    }

    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
        let parse = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        Self { asyncapi: parse("asyncapi.yaml"), openapi: parse("openapi.yaml") }
    }

    fn message(&self, name: &str) -> &Value {
        &self.asyncapi["components"]["messages"][name]
    }

    /// The example of a frame.
    pub fn example(&self, name: &str) -> Value {
        self.message(name)["examples"][0]["payload"].clone()
    }

    /// Fails for a frame that the document does not describe, to the last member.
    #[track_caller]
    pub fn check(&self, frame: &Value) {
        let name = frame["type"].as_str().unwrap();
        let faults = self.faults(&self.asyncapi, &self.message(name)["payload"], frame, name);
        assert!(faults.is_empty(), "{faults:#?} in {frame}");
    }

    /// What of a value does not fit a schema of `home`. Stricter than a schema is read elsewhere: here a member that
    /// is not described is a fault.
    fn faults(&self, home: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let (file, pointer) = reference.split_once('#').unwrap();
            let home = match file {
                "" => home,
                "./openapi.yaml" => &self.openapi,
                other => panic!("{other} is not read"),
            };
            let schema = home.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
            return self.faults(home, schema, value, at);
        }
        if let Some(constant) = schema.get("const") {
            return if value == constant { vec![] } else { vec![format!("{at} is not {constant}")] };
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(members)) => {
                let missing = schema["required"].as_array().into_iter().flatten();
                let missing = missing.filter(|name| !members.contains_key(name.as_str().unwrap()));
                let mut faults: Vec<String> = missing.map(|name| format!("{at} lacks {name}")).collect();
                for (name, value) in members {
                    let at = format!("{at}.{name}");
                    match schema["properties"].get(name).or(schema.get("additionalProperties")) {
                        Some(schema) => faults.extend(self.faults(home, schema, value, &at)),
                        None => faults.push(format!("{at} is not described")),
                    }
                }
                faults
            }
            (Some("array"), Value::Array(items)) => {
                items.iter().flat_map(|item| self.faults(home, &schema["items"], item, at)).collect()
            }
            (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => vec![],
            (Some("integer"), Value::Number(number)) if number.is_i64() => vec![],
            (Some(kind), value) => vec![format!("{at} is no {kind} but {value}")],
        }
    }
}
