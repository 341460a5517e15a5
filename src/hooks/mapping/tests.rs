//! What mappings make of hooks, how they are refused, and what stops them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::*;

fn mapping(members: &Json) -> source::Mapping {
    let mut all = json!({"user_id": "'alice'"});
    all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn run(members: Json, payload: Json) -> Result<Made, Fault> {
    let headers = BTreeMap::from([("x-github-event".to_owned(), "issues".to_owned())]);
    let mapping = Mapping::compile(&mapping(&members)).unwrap();
    mapping.run(Input { payload, headers, source: "github".into() })
}

/// What one expression comes to, as a template's argument.
fn evaluate(expression: &str, payload: Json) -> Result<Json, String> {
    let made = run(json!({"template": "t", "args": {"it": expression}}), payload);
    match made.map_err(|fault| fault.detail)? {
        Made::Notifications(all) => Ok(all[0]["template"]["args"]["it"].clone()),
        Made::Ignored => panic!("it is for alice"),
    }
}

fn flaws(expression: &str) -> Vec<(usize, usize, String)> {
    let flaws = Mapping::compile(&mapping(&json!({ "title": expression }))).err().unwrap_or_default();
    assert!(flaws.iter().all(|flaw| flaw.pointer == "/title"));
    flaws.into_iter().map(|flaw| (flaw.line, flaw.column, flaw.words)).collect()
}

#[test]
fn a_mapping_makes_a_notification_for_each_user_once() {
    let members = json!({
        "when": "headers['x-github-event'] == 'issues' && payload.action == 'opened'",
        "user_id": "payload.assignees.map(it, it.login)",
        "title": "source + ': ' + payload.title",
        "body": "'#' + string(payload.number)",
        "action_url": "payload.url",
        "category": "'issues'",
        "priority": "payload.labels.exists(it, it == 'urgent') ? 'high' : 'normal'",
        "data": "{'number': payload.number, 'labels': payload.labels}",
        "tags": "payload.labels.filter(it, it.size() < 10)",
    });
    let assignees = json!([{"login": "alice"}, {"login": "bob"}, {"login": "alice"}]);
    let payload = json!({
        "action": "opened", "assignees": assignees, "title": "Ouch", "number": 7, "url": "https://e.example/7",
        "labels": ["urgent", "a label that is long"],
    });
    let one = |user: &str| {
        json!({
            "user_id": user, "category": "issues", "priority": "high", "tags": ["urgent"],
            "content": {"title": "github: Ouch", "body": "#7", "action_url": "https://e.example/7"},
            "data": {"labels": ["urgent", "a label that is long"], "number": 7},
        })
    };
    assert_eq!(
        run(members.clone(), payload.clone()),
        Ok(Made::Notifications(vec![one("alice"), one("bob")]))
    );
    let mut closed = payload.clone();
    closed["action"] = json!("closed");
    assert_eq!(run(members.clone(), closed), Ok(Made::Ignored));
    let mut nobodys = payload;
    nobodys["assignees"] = json!([]);
    assert_eq!(run(members, nobodys), Ok(Made::Ignored));
}

#[test]
fn a_template_takes_the_place_of_words() {
    let members = json!({"template": "invoice.ready", "args": {"sum": "payload.sum / 100"}});
    let template = json!({"key": "invoice.ready", "args": {"sum": 20}});
    let expected = vec![json!({"user_id": "alice", "template": template})];
    assert_eq!(run(members, json!({"sum": 2000})), Ok(Made::Notifications(expected)));
}

#[test]
fn json_is_what_it_was() {
    let payload = json!({
        "a": [1, -1, 1.5, true, null, "ü", {}, []], "big": u64::MAX, "small": i64::MIN, "o": {"b": 1, "a": {"c": 2}},
    });
    assert_eq!(evaluate("payload", payload.clone()), Ok(payload));
    for (expression, expected) in [
        ("payload.n + 1", json!(6)),
        ("payload.n == 5 && type(payload.n) == int", json!(true)),
        ("has(payload.none) ? 1 : 2", json!(2)),
        ("payload.l.join(', ')", json!("a, b")),
        ("payload.l.join()", json!("ab")),
        ("payload.l[1].upperAscii()", json!("B")),
        ("'a,b'.split(',')", json!(["a", "b"])),
        ("payload.l.all(x, x != '') && payload.l.exists_one(x, x == 'a')", json!(true)),
        ("payload.l.map(x, x == 'b', x + x)", json!(["bb"])),
        ("'a' in payload.l", json!(true)),
    ] {
        assert_eq!(evaluate(expression, json!({"n": 5, "l": ["a", "b"]})), Ok(expected), "{expression}");
    }
}

#[test]
fn what_does_not_parse_is_refused_with_its_place() {
    assert_eq!(flaws("payload.a.")[0].0, 1);
    assert_eq!((flaws("payload.a\n + ) 3")[0].0, flaws("payload.a\n + ) 3")[0].1), (2, 4));
    let (line, column, words) = flaws("payload.a +\n  paylod.b").remove(0);
    assert_eq!((line, column), (2, 3));
    assert_eq!(words, "there is no `paylod`, but `payload`, `headers` and `source`");
    for (expression, words) in [
        ("[1].map(x, y)", "there is no `y`, but"),
        ("[1].map(x, x) + x", "there is no `x`, but"),
        ("payload.a.replace('', payload.b)", "there is no function `replace`"),
        ("payload.a.matches('(a+)+$')", "there is no function `matches`"),
        ("timestamp('2020-01-01T00:00:00Z')", "there is no function `timestamp`"),
        ("nope(1)", "there is no function `nope`"),
        ("Message{a: 1}", "there are no messages here"),
        ("", "mismatched input"),
        (&"a".repeat(2_001), "must have at most 2000 bytes"),
        (&vec!["1"; 65].join("+"), "goes too deep"),
        (&vec!["1"; 1_000].join("+"), "goes too deep"),
        (&format!("payload{}", ".a".repeat(900)), "goes too deep"),
        (&format!("{}1{}", "[".repeat(900), "]".repeat(900)), "goes too deep"),
        (&format!("{}1{}", "(".repeat(900), ")".repeat(900)), "goes too deep"),
        (&format!("{}1{}", "[1].map(x,".repeat(150), ")".repeat(150)), "goes too deep"),
    ] {
        let told = flaws(expression);
        assert!((1..=5).contains(&told.len()) && told[0].2.contains(words), "{expression}: {told:?}");
    }
    assert!(flaws(&vec!["1"; 60].join("+")).is_empty());
}

#[test]
fn an_error_names_its_member_and_tells_nothing_of_the_hook() {
    for (members, pointer, detail) in [
        (json!({"title": "payload.none"}), "/title", "there is no such member; ask with has() first"),
        (json!({"title": "payload.secret + 1"}), "/title", "`add` does not go with string, int"),
        (json!({"title": "payload.n"}), "/title", "must be a string, not int"),
        (json!({"when": "payload.secret"}), "/when", "must be a bool, not string"),
        (json!({"user_id": "payload.n"}), "/user_id", "must be a string or a list of strings, not int"),
        (json!({"user_id": "['a', 1]"}), "/user_id", "must be a list of strings only, not int"),
        (json!({"user_id": "payload.many"}), "/user_id", "must be at most 100 users"),
        (json!({"data": "[1]"}), "/data", "must be a map, not list"),
        (json!({"data": "{1: 2}"}), "/data", "must be what JSON can say"),
        (json!({"tags": "'a'"}), "/tags", "must be a list of strings, not string"),
        (json!({"title": "payload.many[100000]"}), "/title", "the list is not that long"),
        (json!({"title": "string(1 / (payload.n - 5))"}), "/title", "divides by zero"),
        (
            json!({"title": "payload.n * 9223372036854775807 == 1 ? '' : ''"}),
            "/title",
            "comes to a number that is too large",
        ),
        (json!({"title": "payload.secret.substring(99)"}), "/title", "`substring` fails"),
        (json!({"template": "t", "args": {"a/b": "1.0 / 0.0"}}), "/args/a~1b", "must be what JSON can say"),
    ] {
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        let made = run(members.clone(), json!({"secret": "hunter2", "n": 5, "many": many}));
        assert_eq!(made, Err(fault(pointer, detail)), "{members}");
    }
}

#[test]
fn whoever_makes_too_much_of_a_hook_or_takes_too_long_is_stopped() {
    let numbers: Vec<i32> = (0..60_000).collect();
    let payload = json!({"l": numbers, "s": "x".repeat(100_000), "t": vec!["x"; 2_000]});
    let hostile = [
        "payload.l.filter(x, x in payload.l && x < 0)".to_owned(),
        "payload.l.all(x, payload.l.all(y, payload.l.all(z, true)))".to_owned(),
        "payload.l.exists(x, payload.l.exists(y, false)) || true".to_owned(),
        "payload.l.map(x, payload.s + payload.s)".to_owned(),
        "payload.l.map(x, payload.l)".to_owned(),
        "payload.t.join(payload.s)".to_owned(),
        format!("[{}]", vec!["payload"; 200].join(",")),
        format!("{{{}}}", (0..150).map(|n| format!("{n}:payload")).collect::<Vec<_>>().join(",")),
        vec!["(payload.s+payload.s+payload.s+payload.s+payload.s+payload.s+payload.s)"; 20].join("+"),
    ];
    for expression in hostile {
        let began = Instant::now();
        let made = evaluate(&expression, payload.clone());
        assert_eq!(made, Err("takes too long, or makes too much of the hook".into()), "{expression}");
        assert!(began.elapsed() < Duration::from_secs(10), "{expression} took {:?}", began.elapsed());
    }
}
