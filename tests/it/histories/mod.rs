//! Random histories of many users, written by several hands at two nodes while front ends come and go, and compared
//! with a plain model of the log: what every page, count and frame showed at its cursor.

pub mod front_end;
pub mod model;
pub mod user;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Count, Door, PATIENCE, Seed, Service, Xorshift, position};
use front_end::{FrontEnd, Manner};
use model::Model;
use user::{Actor, Claim, Look, User, some_filter};

const HISTORIES: usize = 200;
/// Histories that are written at the same time.
const GROUP: usize = 25;
const ACTORS: usize = 3;
/// Operations of each actor; what front ends do comes on top.
const OPERATIONS: usize = 7;
const FRONT_ENDS: usize = 2;
/// Pages that are looked at when all is over.
const FINAL_PAGES: usize = 5;

type Nodes<'a> = [&'a Service; 2];

/// One after the other, so that each hand has choices of its own.
struct Hands(Seed, usize);

impl Hands {
    fn next(&mut self) -> Xorshift {
        self.1 += 1;
        self.0.random(self.1)
    }
}

async fn write_history(user: &User, actors: Vec<Actor<'_>>, front_ends: &mut [FrontEnd<'_>]) {
    let working = async {
        join_all(actors.into_iter().map(|actor| actor.work(OPERATIONS))).await;
        user.end();
    };
    tokio::join!(working, join_all(front_ends.iter_mut().map(FrontEnd::live)));
}

/// The log from one line on, as far as it is now: its events and its end.
async fn export(node: &Door, after: &str) -> (Vec<Value>, String) {
    let after = if after.is_empty() { String::new() } else { format!("?after={after}") };
    let request = node.request("GET", &format!("/v1/events{after}")).header("x-api-key", node.root_key());
    let answer = node.send(request.header("accept", "application/x-ndjson")).await.expect(200);
    let mut lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.pop().unwrap();
    assert_eq!(end["end"], true, "{end}");
    (lines, end["cursor"].as_str().unwrap().to_owned())
}

/// The models of all users, each compared on the way with what was looked at.
#[derive(Default)]
pub struct Models {
    pub models: HashMap<String, Model>,
    looks: HashMap<String, std::iter::Peekable<std::vec::IntoIter<Look>>>,
    /// What was read of the log, and not taken from here.
    pub log: Vec<Value>,
    pub end: String,
}

impl Models {
    pub fn new(users: &[User]) -> Self {
        let mut models = Self::default();
        for user in users {
            models.models.insert(user.name.clone(), Model::default());
        }
        models.learn(users);
        models
    }

    /// Takes what the users looked at meanwhile.
    pub fn learn(&mut self, users: &[User]) {
        for user in users {
            let mut looks = user.looks.take();
            looks.sort_by_key(|look| look.at);
            self.looks.insert(user.name.clone(), looks.into_iter().peekable());
        }
    }

    /// Compares what was looked at before this position.
    fn look(&mut self, user: &str, before: i64) {
        let (model, looks) = (&self.models[user], self.looks.get_mut(user).unwrap());
        while let Some(look) = looks.next_if(|look| look.at < before) {
            look.check(model);
        }
    }

    /// Reads the log until no timer is left that is due, and nothing comes for so long.
    pub async fn follow(&mut self, node: &Door, quiet: Duration) {
        let mut since = Instant::now();
        loop {
            let (events, end) = export(node, &self.end).await;
            if !events.is_empty() {
                since = Instant::now();
            }
            for event in &events {
                let user = event["user_id"].as_str().unwrap();
                self.look(user, position(event["cursor"].as_str().unwrap()));
                self.models.get_mut(user).unwrap().fold(event);
            }
            self.log.extend(events);
            self.end = end;
            let due: Vec<_> = self.models.values().filter_map(Model::last_due).collect();
            if due.is_empty() && since.elapsed() >= quiet {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{} timers do not fire: {due:?}", due.len());
        }
        for user in self.models.keys().cloned().collect::<Vec<_>>() {
            self.look(&user, i64::MAX);
        }
    }
}

pub fn check_claims(user: &User, model: &Model) {
    let happened = |id: &str, any_of: &[&str]| {
        let names = model.happened.get(id);
        assert!(
            names.is_some_and(|names| any_of.iter().any(|name| names.contains(*name))),
            "{id} of {} was answered as one of {any_of:?}: {names:?}",
            user.name
        );
    };
    for claim in user.claims.take() {
        match claim {
            Claim::Happened { id, any_of } => happened(&id, any_of),
            Claim::HappenedToAll { up_to, category, any_of } => {
                model.listed_up_to(up_to, category).into_iter().for_each(|id| happened(id, any_of));
            }
        }
    }
}

/// What a front end was told is the sequence of changes after its first cursor, with the counts at every cursor.
pub fn check_told(user: &str, front_end: &FrontEnd<'_>, model: &Model) {
    let at = |frame: &Value| position(frame["cursor"].as_str().unwrap());
    let after: Vec<&Value> = model.frames.iter().filter(|frame| at(frame) > front_end.first).collect();
    for (told, expected) in front_end.events.iter().zip(&after) {
        assert_eq!(told, *expected, "a frame of {user}");
    }
    assert_eq!(front_end.events.len(), after.len(), "frames of {user} after {}", front_end.first);
    for (position, counts) in &front_end.told {
        let up_to = model.frames.partition_point(|frame| at(frame) <= *position);
        let then = up_to.checked_sub(1).map_or((0, 0), |last| user::counts_in(&model.frames[last]));
        assert_eq!(*counts, then, "the counts {user} was told at {position}");
    }
}

pub async fn check_pages(node: &Door, user: &str, model: &Model, random: &mut Xorshift) {
    for _ in 0..FINAL_PAGES {
        let (filter, limit) = (some_filter(random), 1 + random.below(8));
        let (mut items, mut before) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/users/{user}/inbox?{}&limit={limit}{before}", filter.query());
            let page = node.read(&path).await.expect(200).json();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(items, model.list(&filter), "{user}: {filter:?} by {limit}");
    }
}

async fn check_history(
    user: &User,
    front_ends: &mut [FrontEnd<'_>],
    models: &Models,
    (node, mut random): (&Service, Xorshift),
) {
    let model = &models.models[&user.name];
    for front_end in front_ends {
        front_end.hear_the_rest(position(&models.end)).await;
        check_told(&user.name, front_end, model);
    }
    check_claims(user, model);
    check_pages(node, &user.name, model, &mut random).await;
}

/// A run that did next to nothing would agree with any model.
fn summarise(models: &Models, front_ends: &[Vec<FrontEnd<'_>>]) {
    let events = position(&models.end);
    let mut late: Vec<i128> = models.models.values().flat_map(|model| model.late_ms.clone()).collect();
    late.sort_unstable();
    let connections: usize = front_ends.iter().flatten().map(|front_end| front_end.connections).sum();
    let frames: usize = front_ends.iter().flatten().map(|front_end| front_end.events.len()).sum();
    let (median, most) = (late[late.len() / 2], late[late.len() - 1]);
    println!("{events} events, {frames} frames in {connections} connections");
    println!("{} timers fired, {median} ms late in the middle and {most} at most", late.len());
    assert!(events as usize > HISTORIES * 15 && connections > HISTORIES * FRONT_ENDS * 2);
    assert!(frames > HISTORIES * 20 && late.len() > HISTORIES * 2);
}

#[tokio::test]
async fn two_hundred_random_histories_agree_with_a_plain_model() {
    let mut hands = Hands(Seed::draw(), 0);
    // A place for each front end and no more: who comes back takes his own.
    let settings = [("TIDINGS_CONNECTIONS_PER_USER", "2")];
    let first = Service::start_with(&settings).await;
    let second = first.another_node_with(&settings).await;
    let nodes: Nodes<'_> = [&first, &second];
    let frames = Count::new();
    let users: Vec<User> = (0..HISTORIES).map(|n| User::new(format!("user-{n}"))).collect();
    let mut front_ends: Vec<Vec<FrontEnd<'_>>> = users
        .iter()
        .map(|user| {
            (0..FRONT_ENDS)
                .map(|_| FrontEnd::new(user, vec![&first, &second], hands.next(), Manner::Restless, &frames))
                .collect()
        })
        .collect();

    let began = Instant::now();
    for (users, front_ends) in users.chunks(GROUP).zip(front_ends.chunks_mut(GROUP)) {
        let histories = users.iter().zip(front_ends).map(|(user, front_ends)| {
            let actors = (0..ACTORS).map(|_| Actor { user, nodes, random: hands.next() }).collect::<Vec<_>>();
            write_history(user, actors, front_ends)
        });
        join_all(histories.collect::<Vec<_>>()).await;
    }
    let written = began.elapsed();
    let mut models = Models::new(&users);
    models.follow(&first, Duration::ZERO).await;

    for node in nodes {
        *node.done.lock().unwrap() = Some(models.end.clone());
        node.counts("user-0").await;
    }
    for (users, front_ends) in users.chunks(GROUP).zip(front_ends.chunks_mut(GROUP)) {
        let checks = users.iter().zip(front_ends).enumerate().map(|(n, (user, front_ends))| {
            check_history(user, front_ends, &models, (nodes[n % 2], hands.next()))
        });
        join_all(checks.collect::<Vec<_>>()).await;
    }
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    first.audit(&mut first.sql().await, &names).await;
    summarise(&models, &front_ends);
    println!("written in {written:?}, checked after {:?}", began.elapsed());
    let put_off: usize = users.iter().map(|user| user.put_off.get()).sum();
    assert!(put_off * 20 < HISTORIES * ACTORS * OPERATIONS, "{put_off} requests were put off");
}
