//! Digests: what a category collects comes as one notification per window, with every item in it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::hooks::{configure, github, send};
use crate::schedules::{self, ten_ticks};
use crate::support::{Answer, PATIENCE, Seen, Service, Socket, note, run_to_end};

const COMMENTS: &str = "/v1/categories/comments";

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    let request = service.request("PUT", path).header("x-api-key", service.root_key());
    service.send(request.json(body)).await
}

/// Says how the category is collected.
async fn collect(service: &Service, digest: Value) {
    put(service, COMMENTS, &json!({ "digest": digest })).await.expect(200);
}

fn comment(user: &str, title: &str) -> Value {
    json!({"user_id": user, "content": {"title": title, "body": "Hm."}, "category": "comments"})
}

fn with(mut body: Value, members: Value) -> Value {
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// Asks for a comment that is collected; gives the digest's id.
async fn collected(service: &Service, body: &Value) -> String {
    let answer = service.post("/v1/notifications", body).await.expect(201);
    assert_eq!(answer.json()["collected"], true, "{answer:?}");
    answer.text("id")
}

async fn shown(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/notifications/{id}")).await.expect(200).json()
}

/// The titles of what a digest was told, as its story has them.
async fn story(service: &Service, id: &str) -> Vec<String> {
    let story = service.get(&format!("/v1/notifications/{id}/events")).await.expect(200).json();
    let events = story["events"].as_array().unwrap().iter();
    let items = events.filter(|event| event["type"] == "notification.collected");
    items.map(|event| event["data"]["content"]["title"].as_str().unwrap().to_owned()).collect()
}

/// The titles that an inbox shows of a digest.
fn titles(item: &Value) -> Vec<String> {
    let items = item["data"]["items"].as_array().unwrap_or_else(|| panic!("{item}")).iter();
    items.map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

async fn released(socket: &mut Socket) -> Value {
    socket.event("notification.released").await["notification"].clone()
}

#[tokio::test]
async fn of_many_at_once_on_two_nodes_one_digest_holds_each_once_and_the_next_window_has_its_own() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let (mut socket, _) = Socket::of(&second, "alice").await;
    collect(&first, json!({"window": "6s"})).await;
    let bodies: Vec<Value> = (0..50).map(|n| comment("alice", &format!("Comment {n}"))).collect();
    let posts = bodies.iter().zip([&first, &second].into_iter().cycle());
    let posts = join_all(posts.map(|(body, node)| collected(node, body))).await;
    let ids: BTreeSet<String> = posts.into_iter().collect();
    let id = ids.first().unwrap().clone();
    assert_eq!(ids.len(), 1, "one digest per window");
    assert_eq!(first.inbox("alice", "state=all").await["items"], json!([]));
    let waiting = shown(&first, &id).await;
    assert_eq!((&waiting["status"], &waiting["collected"]), (&"scheduled".into(), &50.into()));

    let item = released(&mut socket).await;
    let (told, expected) = (titles(&item), (0..50).map(|n| format!("Comment {n}")).collect::<BTreeSet<_>>());
    assert_eq!((told.len(), told.iter().cloned().collect()), (50, expected));
    assert_eq!(told, story(&first, &id).await);
    assert_eq!((&item["id"], item["body"].as_str().unwrap()), (&json!(id), told.join("\n").as_str()));
    assert_eq!((&item["title"], first.counts("alice").await), (&json!(told[49]), (1, 1)));
    assert_eq!(first.events("type=digest.opened").await.len(), 1);
    let delivered = shown(&first, &id).await;
    assert_eq!((&delivered["status"], &delivered["data"]), (&"active".into(), &item["data"]));

    let next = collected(&second, &comment("alice", "One more")).await;
    assert_ne!(next, id, "what comes after the window opens the next");
    service_is_sound(&first, &["alice"]).await;
}

/// Counts, replays and a read model that is built anew agree with what is shown.
async fn service_is_sound(service: &Service, users: &[&str]) {
    let mut sql = service.sql().await;
    for user in users {
        let page = service.inbox(user, "state=all&limit=100").await;
        let cursor = page["cursor"].as_str().unwrap();
        let replayed = service.get(&format!("/v1/users/{user}/inbox?state=all&limit=100&at={cursor}")).await;
        assert_eq!(replayed.expect(200).json()["items"], page["items"], "{user}");
    }
    service.audit(&mut sql, users).await;
    let mut command = service.command("rebuild");
    command.args(["inbox", "--diff"]);
    let rebuilt = tokio::task::spawn_blocking(|| run_to_end(command)).await.unwrap();
    assert_eq!((rebuilt.code, rebuilt.output.as_str()), (Some(0), ""), "{}", rebuilt.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_that_race_with_creations_lose_nothing_and_tell_nothing_twice() {
    let first = Service::start().await;
    let second = first.another_node().await;
    let (mut socket, _) = Socket::of(&first, "alice").await;
    collect(&first, json!({"window": "1s", "max_items": 1000})).await;
    let end = Instant::now() + Duration::from_millis(3_300);
    let writing = join_all((0..4).map(|writer| {
        let node = [&first, &second][writer % 2];
        async move {
            let mut asked = BTreeMap::new();
            while Instant::now() < end {
                let title = format!("{writer}-{}", asked.len());
                asked.insert(title.clone(), collected(node, &comment("alice", &title)).await);
            }
            asked
        }
    }));
    let asked: BTreeMap<String, String> = writing.await.into_iter().flatten().collect();
    let digests: BTreeSet<&String> = asked.values().collect();
    assert!(digests.len() >= 3, "{} windows", digests.len());
    let mut told = BTreeMap::new();
    for _ in &digests {
        let item = released(&mut socket).await;
        let id = item["id"].as_str().unwrap().to_owned();
        // What came alone is told as it is.
        let of_one = || vec![item["title"].as_str().unwrap().to_owned()];
        let titles = if item["data"].is_null() { of_one() } else { titles(&item) };
        for title in titles {
            assert_eq!(told.insert(title, id.clone()), None, "told once");
        }
    }
    assert_eq!(told, asked, "each in the digest that its answer named");
    let windows = first.events("type=digest.opened").await.len();
    assert_eq!((first.counts("alice").await.0, windows), (digests.len() as i64, digests.len()));
    let mut sql = first.sql().await;
    first.audit(&mut sql, &["alice"]).await;
    assert_eq!(Seen::all_of(&mut sql, "alice").await.len(), digests.len(), "one frame for each");
}

#[tokio::test]
async fn a_repetition_adds_nothing_and_a_cancelled_digest_makes_room_for_the_next() {
    let mut service = Service::start().await;
    collect(&service, json!({"window": "1h", "max_items": 3})).await;
    let one = service.post_keyed("/v1/notifications", &comment("alice", "a"), "one").await.expect(201);
    let id = one.text("id");
    let batch = json!({"notifications": [comment("alice", "b"), comment("bob", "c")]});
    let many = service.post_keyed("/v1/notifications/batch", &batch, "many").await.expect(200);
    let results = &many.json()["results"];
    assert_eq!((&results[0]["id"], &results[0]["collected"]), (&json!(id), &json!(true)));
    // Neither a restart in between nor the end of a digest changes what a repetition is told.
    service.kill();
    service.start_again().await;
    for _ in 0..2 {
        let again = service.post_keyed("/v1/notifications", &comment("alice", "a"), "one").await.expect(201);
        assert_eq!((again.json(), again.header("idempotent-replayed")), (one.json(), Some("true")));
        let again = service.post_keyed("/v1/notifications/batch", &batch, "many").await.expect(200);
        assert_eq!(again.json(), many.json());
        if shown(&service, &id).await["status"] == "scheduled" {
            assert_eq!(story(&service, &id).await, ["a", "b"]);
            service.mark(&id, "cancel").await;
        }
    }
    assert_eq!(shown(&service, &id).await["status"], "cancelled");
    let next = collected(&service, &comment("alice", "d")).await;
    assert_ne!(next, id);
    for title in ["e", "f"] {
        assert_eq!(collected(&service, &comment("alice", title)).await, next);
    }
    // It is full, so the next begins though its window has not ended.
    let after = collected(&service, &comment("alice", "g")).await;
    assert_ne!(after, next);
    let large = with(comment("alice", "h"), json!({"data": {"x": "y".repeat(128 << 10)}}));
    assert_ne!(collected(&service, &large).await, after, "no digest of several is that large");
    assert_eq!(
        (story(&service, &next).await, story(&service, &after).await.len()),
        (vec!["d".into(), "e".into(), "f".into()], 1)
    );
    assert_eq!(service.counts("alice").await, (0, 0));
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE event_type = 'notification.collected'")
            .fetch_all(&mut service.sql().await)
            .await
            .unwrap();
    assert!(
        stored.iter().all(|payload| payload.contains("sealed") && !payload.contains("Hm.")),
        "{stored:?}"
    );
}

#[tokio::test]
async fn keys_are_apart_and_what_will_not_wait_is_not_collected() {
    let service = Service::start().await;
    collect(&service, json!({"window": "1h", "key": "data.thread.id"})).await;
    let of = |user, data: Value| with(comment(user, "a"), json!({ "data": data }));
    let mut digests = BTreeSet::new();
    for data in [json!({"thread": {"id": "t-1"}}), json!({"thread": {"id": 2}}), json!({"thread": "t-1"})] {
        let id = collected(&service, &of("alice", data.clone())).await;
        assert_eq!(collected(&service, &of("alice", data)).await, id);
        digests.insert(id);
    }
    // What has no key there has the empty one.
    assert!(digests.contains(&collected(&service, &comment("alice", "a")).await));
    digests.insert(collected(&service, &of("bob", json!({"thread": {"id": "t-1"}}))).await);
    assert_eq!(digests.len(), 4);
    assert_eq!(service.counts("alice").await, (0, 0));
    let far = "2999-12-31T23:59:59Z";
    for members in [
        json!({"priority": "urgent"}),
        json!({"deliver_at": far}),
        json!({"expires_at": far}),
        json!({"category": "other"}),
    ] {
        let answer =
            service.post("/v1/notifications", &with(comment("alice", "b"), members)).await.expect(201);
        assert_eq!(answer.json().get("collected"), None);
        assert!(!digests.contains(&answer.text("id")));
    }
    assert_eq!(service.counts("alice").await, (3, 3), "one of the four is scheduled");
    let opened = service.events("type=digest.opened").await;
    let ids = opened.iter().map(|event| event["aggregate_id"].as_str().unwrap());
    assert!(ids.into_iter().all(|id| !id.contains("t-1")), "a key may be personal: {opened:?}");
    // The category says no more of it: what waits is still delivered, and what comes is not collected.
    put(&service, COMMENTS, &json!({})).await.expect(200);
    let answer = service.post("/v1/notifications", &comment("alice", "c")).await.expect(201);
    assert_eq!(answer.json().get("collected"), None);
}

#[tokio::test]
async fn a_digest_is_told_by_its_template_in_the_language_of_its_reader() {
    let service = Service::start().await;
    let template = json!({
        "default_locale": "en",
        "arguments": {"count": "number", "others": "number", "items": "string", "last": "string"},
        "sources": {
            "en": "title = { $count ->\n    [one] One comment\n   *[other] { $count } comments\n }\nbody = { $last } and { $others } before:\n { $items }\n",
            "de": "title = { $count ->\n    [one] Ein Kommentar\n   *[other] { $count } Kommentare\n }\nbody = { $last } und { $others } davor\n",
        },
    });
    put(&service, "/v1/templates/comments-digest", &template).await.expect(200);
    let of_item = json!({
        "default_locale": "en", "arguments": {"who": "string"},
        "sources": {"en": "title = { $who } commented", "de": "title = { $who } kommentiert"},
    });
    put(&service, "/v1/templates/comment", &of_item).await.expect(200);
    put(&service, "/v1/users/greta", &json!({"locale": "de-AT"})).await.expect(200);
    collect(&service, json!({"window": "1s", "template": "comments-digest"})).await;
    let by = |user: &str, who: &str| json!({"user_id": user, "template": {"key": "comment", "args": {"who": who}}, "category": "comments"});
    let (mut alice, _) = Socket::of(&service, "alice").await;
    let (mut greta, _) = Socket::of(&service, "greta").await;
    let batch = json!({"notifications": [by("greta", "Ada"), by("greta", "Bob"), by("alice", "Ada")]});
    let results = service.post("/v1/notifications/batch", &batch).await.expect(200).json()["results"].clone();
    assert!(results.as_array().unwrap().iter().all(|result| result["collected"] == true), "{results}");
    let (one, two) = (released(&mut alice).await, released(&mut greta).await);
    assert_eq!(
        (&one["title"], &one["data"]["items"][0]["title"]),
        (&json!("One comment"), &json!("Ada commented"))
    );
    assert_eq!(
        (&two["title"], titles(&two)),
        (&json!("2 Kommentare"), vec!["Ada kommentiert".into(), "Bob kommentiert".into()])
    );
    assert_eq!(two["body"], "Bob kommentiert und 1 davor");
    let told = shown(&service, two["id"].as_str().unwrap()).await;
    assert_eq!(
        (&told["template"]["key"], &told["title"]),
        (&json!("comments-digest"), &json!("2 Kommentare"))
    );
    // A version that asks for more does not hold up what is collected.
    let mut other = template;
    other["arguments"]["who"] = "string".into();
    put(&service, "/v1/templates/comments-digest", &other).await.expect(200);
    collected(&service, &comment("alice", "As it is")).await;
    assert_eq!(released(&mut alice).await["title"], "As it is");
    service_is_sound(&service, &["alice", "greta"]).await;
}

#[tokio::test]
async fn hooks_and_broadcasts_are_collected_and_a_throttle_counts_digests() {
    let service = Service::start().await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let digest = json!({"window": "4s", "max_items": 4});
    let says = json!({"digest": digest, "throttle": {"max": 1, "window": "1h"}});
    put(&service, COMMENTS, &says).await.expect(200);
    let mapping = json!({"user_id": "payload.names", "title": "'b'", "body": "''", "category": "'comments'"});
    configure(&service, "repo", &json!({ "mapping": mapping })).await.expect(200);
    let id = collected(&service, &comment("alice", "a")).await;
    let hook = github(&json!({"names": ["alice", "bob"]}).to_string());
    let took = send(&service, "/v1/hooks/repo", hook).await.expect(201).json();
    assert_eq!(took["notifications"][0]["id"], json!(id));
    let of_bob = took["notifications"][1]["id"].as_str().unwrap();
    let broadcast =
        json!({"user_ids": ["alice", "bob"], "content": {"title": "c", "body": ""}, "category": "comments"});
    let path =
        format!("/v1/broadcasts/{}", service.post("/v1/broadcasts", &broadcast).await.expect(201).text("id"));
    while service.get(&path).await.expect(200).text("status") != "completed" {
        service.head().await;
    }
    assert_eq!(story(&service, &id).await, ["a", "b", "c"]);
    assert_eq!(story(&service, of_bob).await, ["b", "c"]);
    assert_eq!(collected(&service, &comment("alice", "d")).await, id);
    // It is full, and the throttle lets nobody see the next.
    let next = collected(&service, &comment("alice", "e")).await;
    assert_eq!(titles(&released(&mut socket).await), ["a", "b", "c", "d"]);
    assert_eq!(shown(&service, &next).await["deliveries"][0]["skipped"], "throttled");
    assert_eq!(service.events("type=admission.granted&user_id=alice").await.len(), 1);
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn what_is_kept_of_a_digest_is_shown_and_what_could_not_be_is_refused_by_its_name() {
    let service = Service::start().await;
    collect(&service, json!({"window": "600s", "key": "data.thread_id"})).await;
    let kept = service.get(COMMENTS).await.expect(200).json();
    assert_eq!(kept["digest"], json!({"window": "10m", "key": "data.thread_id", "max_items": 100}));
    let template = json!({"default_locale": "en", "arguments": {"who": "string"}, "sources": {"en": "title = { $who }"}});
    put(&service, "/v1/templates/other", &template).await.expect(200);
    let head = service.head().await;
    for (digest, pointer) in [
        (json!({}), "/digest/window"),
        (json!("10m"), "/digest"),
        (json!({"window": 600}), "/digest/window"),
        (json!({"window": "0s"}), "/digest/window"),
        (json!({"window": "25h"}), "/digest/window"),
        (json!({"window": "1500ms"}), "/digest/window"),
        (json!({"window": "soon"}), "/digest/window"),
        (json!({"window": "1m", "key": ""}), "/digest/key"),
        (json!({"window": "1m", "key": "thread_id"}), "/digest/key"),
        (json!({"window": "1m", "key": "data."}), "/digest/key"),
        (json!({"window": "1m", "key": 7}), "/digest/key"),
        (json!({"window": "1m", "key": format!("data.{}", "x".repeat(124))}), "/digest/key"),
        (json!({"window": "1m", "max_items": 1}), "/digest/max_items"),
        (json!({"window": "1m", "max_items": 1001}), "/digest/max_items"),
        (json!({"window": "1m", "max_items": -1}), "/digest/max_items"),
        (json!({"window": "1m", "template": "No"}), "/digest/template"),
        (json!({"window": "1m", "template": "absent"}), "/digest/template"),
        (json!({"window": "1m", "template": "other"}), "/digest/template"),
        (json!({"window": "1m", "per": "user"}), "/digest/per"),
    ] {
        let answer = put(&service, COMMENTS, &json!({ "digest": digest })).await;
        let refused = (answer.problem(422), answer.pointers());
        assert_eq!(refused, ("invalid-request".into(), vec![pointer.into()]), "{digest}");
    }
    assert_eq!((service.head().await, service.get(COMMENTS).await.json()), (head, kept), "nothing was done");
    // A repetition is told what was done, though the template has changed since.
    let fits = json!({"default_locale": "en", "arguments": {"count": "number"}, "sources": {"en": "title = { $count }"}});
    put(&service, "/v1/templates/other", &fits).await.expect(200);
    let says = json!({"digest": {"window": "1m", "template": "other"}});
    let keyed = || {
        let request = service.request("PUT", COMMENTS).header("x-api-key", service.root_key());
        service.send(request.header("idempotency-key", "once").json(&says))
    };
    let done = keyed().await.expect(200);
    put(&service, "/v1/templates/other", &template).await.expect(200);
    let again = keyed().await.expect(200);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (done.json(), Some("true")));
    service.create_with(&note("alice")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_comes_to_its_end_while_all_it_reaches_are_told_of_something_else() {
    const USERS: usize = 400;
    let service = Service::start().await;
    collect(&service, json!({"window": "1h"})).await;
    let users: Vec<String> = (0..USERS).map(|n| format!("u{n}")).collect();
    for some in users.chunks(100) {
        join_all(some.iter().map(async |user| collected(&service, &comment(user, "First")).await)).await;
    }
    let news = json!({"user_ids": users, "content": {"title": "News", "body": ""}, "category": "comments"});
    let path =
        format!("/v1/broadcasts/{}", service.post("/v1/broadcasts", &news).await.expect(201).text("id"));
    let is_done = AtomicBool::new(false);
    let writing = join_all((0..4).map(|writer| {
        let (users, service, is_done) = (&users, &service, &is_done);
        async move {
            for user in users.iter().cycle().skip(writer * USERS / 4).step_by(7) {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                collected(service, &comment(user, "Another")).await;
            }
        }
    }));
    let reading = async {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = service.get(&path).await.expect(200).json();
            if shown["status"] == "completed" {
                break is_done.store(true, Ordering::Relaxed);
            }
            assert!(Instant::now() < deadline, "{shown}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(writing, reading);
    let mut sql = service.sql().await;
    let told: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT recipient) FROM events
          WHERE event_type = 'notification.collected' AND metadata ->> 'causation_id' LIKE 'brd_%'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(told, (USERS as i64, USERS as i64), "each once");
}

#[tokio::test]
async fn what_schedules_make_is_collected_too() {
    let service = Service::start().await;
    collect(&service, json!({"window": "10m"})).await;
    let schedule = with(ten_ticks(), json!({"notification": comment("alice", "Tick")}));
    schedules::put(&service, "ticks", &schedule).await.expect(200);
    let ended = schedules::ended(&service, "ticks").await;
    let digest = &ended["ticks"][0]["created"][0];
    for tick in ended["ticks"].as_array().unwrap() {
        assert_eq!((&tick["outcome"], &tick["created"]), (&json!("created"), &json!([digest])), "{ended}");
    }
    let digest = digest.as_str().unwrap();
    assert_eq!(story(&service, digest).await, ["Tick"; 10]);
    assert_eq!(shown(&service, digest).await["collected"], 10);
}
