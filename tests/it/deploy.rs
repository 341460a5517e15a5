//! What operators start from is about this service: the settings, ports, paths and words in Dockerfile, `deploy/` and
//! `docs/operations.md` are those of the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Service, run_to_end, tidings};

const PORT: u64 = 8080;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files under a folder, but for the secrets that `deploy/secrets.sh` makes.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries
        .filter(|path| path.file_name().unwrap() != "secrets")
        .flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] });
    files.collect()
}

/// Every YAML file of the deployment, with its path.
fn documents() -> Vec<(String, Value)> {
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml" || it == "yml");
    let parsed = files_under(&root().join("deploy")).into_iter().filter(is_yaml).map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let document = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap());
        let document = document.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, document)
    });
    parsed.collect()
}

/// Every value of this name, wherever it stands.
fn all<'a>(document: &'a Value, name: &str) -> Vec<&'a Value> {
    match document {
        Value::Array(items) => items.iter().flat_map(|item| all(item, name)).collect(),
        Value::Object(members) => {
            let inner = members.values().flat_map(|member| all(member, name));
            members.get(name).into_iter().chain(inner).collect()
        }
        _ => Vec::new(),
    }
}

/// The variables the binary reads, each with what it says of its default.
fn settings() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut help = tidings("serve", folder.path(), &[]);
    help.arg("--help");
    let help = run_to_end(help).output;
    let between = |text: &str, from: &str| text.split_once(from)?.1.split_once(']').map(|it| it.0.to_owned());
    let described = help.lines().filter_map(|line| {
        let variable = between(line, "[env: ")?;
        let default = between(line, "[default: ").unwrap_or_else(|| panic!("{line} says no default"));
        Some((variable, default))
    });
    described.collect()
}

#[test]
fn every_variable_that_is_named_for_operators_is_one() {
    let settings = settings();
    assert!(settings.len() > 10, "{settings:?}");
    let mut files = files_under(&root().join("deploy"));
    files.extend(files_under(&root().join("docs")));
    files.extend(["Dockerfile", "README.md"].map(|name| root().join(name)));
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        for word in text.split(|c| !is_part(c)).filter(|word| word.starts_with("TIDINGS_")) {
            let variable = word.strip_suffix("_FILE").unwrap_or(word);
            // A name that stands for all of them ends so.
            let is_known = settings.contains_key(variable) || word == "TIDINGS_";
            assert!(is_known, "{word} in {} means nothing to the service", path.display());
        }
    }
}

#[test]
fn the_table_of_settings_names_each_with_its_default() {
    let text = read("docs/operations.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `TIDINGS_")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`');
        Some((format!("TIDINGS_{name}"), cells.next()?.replace('`', "")))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), settings(), "docs/operations.md, and what --help says");
}

#[tokio::test]
async fn what_probes_ask_for_is_answered() {
    let service = Service::start().await;
    let documents = documents();
    let probes: Vec<&Value> =
        documents.iter().flat_map(|(_, document)| all(document, "httpGet")).map(|it| &it["path"]).collect();
    assert_eq!(probes.len(), 3, "startup, readiness and liveness: {probes:?}");
    let mut paths: Vec<String> = probes.into_iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    let balancer = read("deploy/haproxy.cfg");
    let check = balancer.split(" uri ").nth(1).and_then(|rest| rest.split(' ').next());
    paths.push(check.expect("nodes are checked").to_owned());
    let endpoints = documents.iter().flat_map(|(_, document)| all(document, "endpoints"));
    let scraped: Vec<&Value> = endpoints.map(|endpoints| &endpoints[0]["path"]).collect();
    assert_eq!(scraped, ["/metrics"]);
    let figures = service.send(service.request("GET", "/metrics")).await.expect(200).body;
    // What the number of nodes goes by.
    let scaled_by = documents.iter().flat_map(|(_, document)| all(document, "metric"));
    let scaled_by: Vec<&str> = scaled_by.map(|metric| metric["name"].as_str().unwrap()).collect();
    assert!(figures.contains(&format!("# TYPE {} gauge", scaled_by[0])), "{scaled_by:?}");
    for path in paths {
        service.send(service.request("GET", &path)).await.expect(200);
    }
}

#[test]
fn all_parts_speak_of_one_port() {
    let image = read("Dockerfile");
    assert!(
        image.contains(&format!("EXPOSE {PORT}\n"))
            && image.contains(&format!("TIDINGS_LISTEN=0.0.0.0:{PORT} "))
    );
    let balancer = read("deploy/haproxy.cfg");
    let servers = balancer.lines().filter(|line| line.trim().starts_with("server "));
    let (compose, mut nodes) = (read("deploy/compose.yaml"), 0);
    for server in servers {
        let address = server.split(' ').next_back().unwrap();
        let (name, port) = address.split_once(':').unwrap();
        assert_eq!(port, PORT.to_string(), "{server}");
        assert!(compose.contains(&format!("\n  {name}: *tidings\n")), "{name} is no service of compose.yaml");
        assert!(read("deploy/prometheus/prometheus.yml").contains(address), "{address} is not scraped");
        nodes += 1;
    }
    assert_eq!(nodes, 2);
    let documents = documents();
    let ports = documents.iter().flat_map(|(_, document)| all(document, "containerPort"));
    assert_eq!(ports.collect::<Vec<_>>(), [&Value::from(PORT)]);
}

/// What reaches the service from outside, as the Ingress has it: whole paths, and where more may follow.
fn listed(documents: &[(String, Value)]) -> (Vec<String>, Vec<String>) {
    let rules: Vec<&Value> = documents.iter().flat_map(|(_, document)| all(document, "paths")).collect();
    let of_type = |kind: &str| {
        let paths = rules.iter().flat_map(|rule| rule.as_array().unwrap());
        let paths = paths.filter(|path| path["pathType"] == kind);
        paths.map(|path| path["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (of_type("Exact"), of_type("Prefix"))
}

#[tokio::test]
async fn from_outside_all_is_reached_that_is_not_for_operators() {
    let (exact, prefixes) = listed(&documents());
    let is_listed = |path: &str| {
        let is_below = |prefix: &String| path == prefix || path.starts_with(&format!("{prefix}/"));
        exact.iter().any(|it| it == path) || prefixes.iter().any(is_below)
    };
    let service = Service::start().await;
    let document = service.get("/openapi.json").await.expect(200).json();
    let mut paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    paths.extend(["/v1/ws", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready"]);
    for path in paths {
        let inside = ["/v1/keys", "/v1/projections", "/metrics", "/health"];
        let is_inside = inside.iter().any(|prefix| path.starts_with(prefix));
        assert_eq!(is_listed(path), !is_inside, "{path}");
    }
    // HAProxy's list is the same, and health.
    let balancer = read("deploy/haproxy.cfg");
    let balanced = |matching: &str| {
        let line = format!("acl is_public {matching} ");
        let lines = balancer.lines().filter_map(|it| it.trim().strip_prefix(&line));
        lines.flat_map(|paths| paths.split(' ')).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // Those are paths themselves, not only what stands below them.
    let wanted = exact.iter().map(String::as_str).chain([
        "/v1/broadcasts",
        "/v1/categories",
        "/v1/notifications",
        "/v1/channels",
        "/v1/deliveries",
        "/v1/sources",
        "/v1/plans",
        "/v1/schedules",
        "/v1/templates",
        "/health/live",
        "/health/ready",
    ]);
    assert_eq!(balanced("path"), wanted.map(str::to_owned).collect());
    assert_eq!(balanced("path_beg"), prefixes.iter().map(|prefix| format!("{prefix}/")).collect());
}

#[test]
fn the_image_is_made_of_what_is_there() {
    let (image, sent) = (read("Dockerfile"), read(".dockerignore"));
    let copies =
        image.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|it| !it.starts_with("--"));
    for copy in copies {
        let (sources, _) = copy.rsplit_once(' ').unwrap();
        for source in sources.split(' ') {
            assert!(root().join(source).exists(), "{source} is not there");
            let first = source.split('/').next().unwrap();
            assert!(sent.contains(&format!("\n!{first}\n")), "{first} is not sent to the builder");
        }
    }
    for word in ["health", "serve"] {
        assert!(image.contains(&format!("\"{word}\"]")), "{word}");
    }
}

#[tokio::test]
async fn the_health_check_asks_the_service_beside_it() {
    let mut service = Service::start().await;
    let listen = service.url("").replace("http://", "");
    let ask = |service: &Service, arguments: &[&str]| {
        let mut command = service.command("health");
        run_to_end({
            // As in a container: the service listens everywhere.
            command.args(arguments).env("TIDINGS_LISTEN", listen.replace("127.0.0.1", "0.0.0.0"));
            command
        })
    };
    for (arguments, word) in [(&[][..], "alive"), (&["--ready"][..], "ready")] {
        let ended = ask(&service, arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        let said: Value = serde_json::from_str(&ended.output).unwrap();
        assert_eq!(said["status"], word);
    }
    service.terminate();
    for arguments in [&[][..], &["--ready"]] {
        let ended = ask(&service, arguments);
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    }
}

#[tokio::test]
async fn a_node_that_is_not_ready_fails_its_check_and_is_alive() {
    let mut host = Service::start().await;
    let node = host.another_node().await;
    host.kill();
    let listen = node.url("").replace("http://", "");
    let ask = |arguments: &[&str]| {
        let mut command = node.command("health");
        command.args(arguments).env("TIDINGS_LISTEN", &listen);
        run_to_end(command)
    };
    assert_eq!(ask(&[]).code, Some(0));
    let ended = ask(&["--ready"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("503") && ended.errors.contains("no-database"), "{}", ended.errors);
}
