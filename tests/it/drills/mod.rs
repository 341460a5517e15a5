//! Drills: under load something terrible happens at a random moment, the service recovers, and then all that is known is
//! compared: the log, the read models, the stream, and what every client was told.
//!
//! `./dev drill` runs twenty rounds of each, the suite two (`ROUNDS`); `RANDOM_SEED` repeats the choices of a run.

mod backend;
mod kill;
mod nodes;
mod postgres;
mod redis;
mod slow_clients;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::histories::front_end::{FrontEnd, Manner};
use crate::histories::user::User;
use crate::histories::{Models, check_claims, check_pages, check_told};
use crate::support::{Count, Door, Seed, Seen, Service, Xorshift, position, run_to_end};
use backend::Backend;

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const BACKENDS: usize = 2;
/// Longer than acknowledgements are gathered for before they are recorded.
const QUIET: Duration = Duration::from_millis(400);

fn rounds() -> usize {
    std::env::var("ROUNDS").map_or(2, |text| text.parse().unwrap())
}

fn users() -> Vec<User> {
    USERS.map(|name| User::new(name.into())).into()
}

/// What a round or a whole drill amounts to.
#[derive(Clone, Copy, Default)]
struct Figures {
    events: i64,
    frames: i64,
    cuts: usize,
    sent_again: usize,
    repeated: usize,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, frames, cuts, sent_again, repeated } = self;
        write!(
            formatter,
            "{events} events, {frames} frames, {cuts} cuts, {sent_again} requests sent again, {repeated} repeated"
        )
    }
}

/// The clients of a drill, and what they were told.
struct Drill<'a> {
    name: &'static str,
    began: Instant,
    random: Xorshift,
    users: &'a [User],
    frames: &'a Count,
    backends: Vec<Backend<'a>>,
    front_ends: Vec<(&'a User, FrontEnd<'a>)>,
    models: Models,
    round: usize,
    before: Figures,
}

impl<'a> Drill<'a> {
    fn new(name: &'static str, seed: &Seed, users: &'a [User], frames: &'a Count) -> Self {
        println!("{name}: {seed}");
        Self {
            name,
            began: Instant::now(),
            random: seed.random(0),
            users,
            frames,
            backends: Vec::new(),
            front_ends: Vec::new(),
            models: Models::new(users),
            round: 0,
            before: Figures::default(),
        }
    }

    /// For every user some who write at these doors, and front ends that live in these manners.
    fn people(mut self, seed: &Seed, doors: &[&'a Door], manners: &[Manner]) -> Self {
        for user in self.users {
            self.add(seed, user, doors, false);
            self.watch(seed, user, doors, manners);
        }
        self
    }

    fn add(&mut self, seed: &Seed, user: &'a User, doors: &[&'a Door], large: bool) {
        for n in 0..BACKENDS {
            let (random, name) = (seed.random(100 + self.backends.len()), format!("{}-{n}", user.name));
            self.backends.push(Backend::new(name, user, doors.to_vec(), random, large));
        }
    }

    fn watch(&mut self, seed: &Seed, user: &'a User, doors: &[&'a Door], manners: &[Manner]) {
        for manner in manners {
            let random = seed.random(200 + self.front_ends.len());
            let front_end = FrontEnd::new(user, doors.to_vec(), random, *manner, self.frames);
            self.front_ends.push((user, front_end));
        }
    }

    /// Lets everybody work while the terrible thing happens, and for some frames after it.
    async fn go_through<T>(&mut self, catastrophe: impl Future<Output = T>) -> T {
        self.round += 1;
        self.users.iter().for_each(User::begin);
        let some_more = 50 + self.random.below(150) as i64;
        let (users, frames) = (self.users, self.frames);
        let happening = async {
            let survivors = catastrophe.await;
            frames.grows_by(some_more).await;
            users.iter().for_each(User::end);
            survivors
        };
        let working = join_all(self.backends.iter_mut().map(Backend::work));
        let watching = join_all(self.front_ends.iter_mut().map(|(_, front_end)| front_end.live()));
        let (survivors, _, _) = tokio::join!(happening, working, watching);
        survivors
    }

    /// Compares everything. `host` has Postgres and Redis, the door is any.
    async fn compare(&mut self, host: &Service, door: &Door, what: &str) {
        let (since, started) = (position_or_zero(&self.models.end), Instant::now());
        self.models.learn(self.users);
        self.models.follow(door, QUIET).await;
        let end = self.models.end.clone();
        *door.done.lock().unwrap() = Some(end.clone());
        for (user, front_end) in &mut self.front_ends {
            front_end.hear_the_rest(position(&end)).await;
            check_told(&user.name, front_end, &self.models.models[&user.name]);
        }
        let mut sql = host.sql().await;
        for user in self.users {
            let model = &self.models.models[&user.name];
            check_claims(user, model);
            let acknowledged: BTreeSet<String> = user.ids.borrow().iter().cloned().collect();
            assert_eq!(acknowledged.len(), user.ids.borrow().len(), "two requests have one notification");
            let recorded: BTreeSet<String> = model.happened.keys().cloned().collect();
            assert_eq!(
                recorded, acknowledged,
                "what was acknowledged to {}, once, and nothing else",
                user.name
            );
            let told: Vec<Seen> = model.frames.iter().map(Seen::of_frame).collect();
            assert_eq!(Seen::all_of(&mut sql, &user.name).await, told, "the changes of {}", user.name);
            check_pages(door, &user.name, model, &mut self.random).await;
        }
        door.audit(&mut sql, &USERS).await;
        self.compare_stream(host, since).await;
        compare_rebuilt(host);
        let figures = self.figures();
        let Figures { events, frames, cuts, sent_again, repeated } = self.before;
        let in_round = Figures {
            events: figures.events - events,
            frames: figures.frames - frames,
            cuts: figures.cuts - cuts,
            sent_again: figures.sent_again - sent_again,
            repeated: figures.repeated - repeated,
        };
        self.before = figures;
        let seconds = self.began.elapsed().as_secs_f64();
        let comparing = started.elapsed().as_secs_f64();
        println!(
            "{} round {:2}, {what}: {in_round}; compared in {comparing:.1} s, at {seconds:.1} s",
            self.name, self.round
        );
    }

    /// The stream holds the events of the round without a hole, each with the frame it made.
    async fn compare_stream(&mut self, host: &Service, since: i64) {
        let log = std::mem::take(&mut self.models.log);
        let entries = host.mirrored_after(&format!("{since}-0"), log.len()).await;
        assert_eq!(entries.len(), log.len(), "entries and events");
        let frames = self.models.models.values().flat_map(|model| &model.frames);
        let frames: HashMap<&str, &Value> =
            frames.map(|frame| (frame["cursor"].as_str().unwrap(), frame)).collect();
        for (entry, event) in entries.iter().zip(&log) {
            let cursor = event["cursor"].as_str().unwrap();
            assert_eq!(entry.id, format!("{}-0", position(cursor)), "no hole and nothing twice");
            let mirrored: Value = serde_json::from_str(&entry.get::<String>("event").unwrap()).unwrap();
            assert_eq!(mirrored, *event);
            let frame = frames.get(cursor);
            let item = entry.get::<String>("item").map(|item| serde_json::from_str::<Value>(&item).unwrap());
            assert_eq!(item.as_ref(), frame.map(|frame| &frame["notification"]), "{event}");
            let counts = [entry.get::<i64>("unread"), entry.get("unseen")];
            assert_eq!(counts, ["unread", "unseen"].map(|name| frame?[name].as_i64()), "{event}");
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            events: position_or_zero(&self.models.end),
            frames: self.frames.get(),
            cuts: self.front_ends.iter().map(|(_, front_end)| front_end.cuts).sum(),
            sent_again: self.backends.iter().map(|backend| backend.sent_again).sum(),
            repeated: self.backends.iter().map(|backend| backend.repeated).sum(),
        }
    }

    fn verdict(self) -> Figures {
        let (figures, seconds) = (self.figures(), self.began.elapsed().as_secs());
        println!(
            "{}: {} rounds in {seconds} s, {figures}: nothing lost, nothing twice, no drift",
            self.name, self.round
        );
        // A drill that did next to nothing would find nothing.
        assert!(figures.events as usize > 100 * self.round && figures.frames as usize > 100 * self.round);
        assert!(figures.repeated > 0);
        figures
    }
}

fn position_or_zero(cursor: &str) -> i64 {
    if cursor.is_empty() { 0 } else { position(cursor) }
}

/// Each read model is what the log says, row by row.
fn compare_rebuilt(host: &Service) {
    let mut command = host.command("rebuild");
    command.args(["inbox", "delivery", "timers", "--diff"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
    assert_eq!(ended.errors.matches(", 0 rows differed").count(), 3, "{}", ended.errors);
}

/// Ends and starts block, so a thread of their own does it while this one serves the clients.
async fn apart(mut service: Service, work: impl AsyncFnOnce(&mut Service) + Send + 'static) -> Service {
    let runtime = tokio::runtime::Handle::current();
    let working = tokio::task::spawn_blocking(move || {
        runtime.block_on(work(&mut service));
        service
    });
    working.await.unwrap()
}
