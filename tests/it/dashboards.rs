//! The alerts and the board for operators are made of metrics that exist, with labels that they have.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::metrics::documented;

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("deploy/prometheus/alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn panels() -> Vec<Value> {
    let board: Value = serde_json::from_str(&read("deploy/grafana/tidings.json")).unwrap();
    board["panels"].as_array().unwrap().clone()
}

/// What stands in PromQL beside metrics, labels and numbers, as far as we use it.
const WORDS: [&str; 14] = [
    "and",
    "by",
    "changes",
    "count",
    "histogram_quantile",
    "ignoring",
    "increase",
    "max",
    "rate",
    "sum",
    "up",
    "job",
    "instance",
    "le",
];

type Documented = BTreeMap<String, (String, Vec<String>)>;

/// The metrics of an expression; panics at a name or a label that does not exist.
fn check(expression: &str, documented: &Documented) -> Vec<String> {
    let mut used = Vec::new();
    let labels: Vec<&str> = documented.values().flat_map(|(_, labels)| labels).map(String::as_str).collect();
    // Every second part is quoted.
    for unquoted in expression.split('"').step_by(2) {
        let words = unquoted.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
        for word in words.filter(|word| word.starts_with(|c: char| c.is_alphabetic())) {
            if word.starts_with("tidings_") || word.starts_with("process_") {
                used.push(metric(word, documented).unwrap_or_else(|| panic!("{word} in {expression}")));
            } else if !WORDS.contains(&word) && !labels.contains(&word) && !is_duration(word) {
                panic!("{word} in {expression}");
            }
        }
    }
    let count = |bracket: char| expression.matches(bracket).count();
    assert_eq!((count('('), count('{'), count('[')), (count(')'), count('}'), count(']')), "{expression}");
    used
}

/// A histogram is used by its parts, everything else by its name.
fn metric(word: &str, documented: &Documented) -> Option<String> {
    let parts = ["_bucket", "_sum", "_count"];
    let of_histogram = parts.iter().find_map(|part| {
        let name = word.strip_suffix(part)?;
        documented.get(name).filter(|(kind, _)| kind == "histogram").map(|_| name)
    });
    let plain = documented.get(word).filter(|(kind, _)| kind != "histogram").map(|_| word);
    of_histogram.or(plain).map(str::to_owned)
}

fn is_duration(word: &str) -> bool {
    word.trim_end_matches(['s', 'm', 'h', 'd']).bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn every_alert_is_made_of_metrics_that_exist_and_says_what_to_do() {
    let (documented, manual) = (documented(), read("docs/operations.md"));
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str);
        let name = text("/alert").unwrap();
        check(text("/expr").unwrap(), &documented);
        assert!(["critical", "warning"].contains(&text("/labels/severity").unwrap()), "{name}");
        assert!(text("/annotations/summary").is_some_and(|summary| !summary.ends_with('.')), "{name}");
        assert!(text("/annotations/description").is_some_and(|told| told.ends_with('.')), "{name}");
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(text("/annotations/runbook_url"), Some(anchor.as_str()));
        let section = manual.split_once(&format!("\n### {name}\n")).map(|(_, rest)| rest.trim_start());
        assert!(section.is_some_and(|text| !text.starts_with('#')), "{name} is not in docs/operations.md");
    }
    // And the manual speaks of no alert that there is not.
    let sections = manual.lines().filter_map(|line| line.strip_prefix("### Tidings"));
    let known = |name: &str| alerts.iter().any(|it| it["alert"] == format!("Tidings{name}"));
    assert_eq!(sections.filter(|name| !known(name)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_panel_of_the_board_is_made_of_metrics_that_exist() {
    let documented = documented();
    let mut shown = Vec::new();
    let mut places = Vec::new();
    for panel in panels().iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel.pointer("/fieldConfig/defaults/unit").is_some_and(Value::is_string), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            // Grafana's own words for the chosen node, job and range.
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            shown.extend(check(&expression, &documented));
        }
        places.push((panel["gridPos"]["y"].as_i64(), panel["gridPos"]["x"].as_i64()));
    }
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), count, "two panels in one place");
    let hidden: Vec<&String> = documented.keys().filter(|name| !shown.contains(name)).collect();
    // What a board has no use for.
    let useless = [
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
        "tidings_embedded",
        "tidings_feed_position",
        "tidings_http_requests_in_flight",
        "tidings_log_head_position",
        "tidings_mirror_entries_pushed_total",
        "tidings_mirror_position",
        "tidings_mirror_state",
        "tidings_read_model_position",
        "tidings_read_model_state",
        "tidings_timers_fired_total",
    ];
    assert_eq!(hidden, useless, "show it, or say that it is not worth it");
}

#[test]
#[should_panic(expected = "tidings_nonsense")]
fn a_metric_that_does_not_exist_is_found_out() {
    check(
        r#"sum by (instance) (rate(tidings_nonsense_total{code="tidings_quoted"}[5m])) > 1"#,
        &documented(),
    );
}
