//! Read models against a real Postgres: whatever is cut, repeated or run by several at once, they end as the log says;
//! two versions of a fold live side by side.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Executor, PgConnection};
use tidings_projections::inbox::{Folded, Inbox};
use tidings_projections::log::{Reader, Watermark};
use tidings_projections::processor::{Activity, Pace, Processor, Surroundings};
use tidings_projections::read_model::{Batch, ReadModel, UserKey, prepare};
use tidings_projections::rebuild::{Report, Site, read_for, rebuild};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::Appended;
use crate::log::tests::{Bench, fresh_id};

const NOTIFICATIONS: usize = 60;
const EVENTS_EACH: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);

fn reader(bench: &Bench) -> Reader {
    Reader::new(bench.codec.clone())
}

fn follow<M: ReadModel>(bench: &Bench) -> (JoinHandle<()>, Watermark) {
    let checkpoint = Watermark::default();
    let surroundings = Surroundings {
        connect: bench.connect.clone(),
        reader: reader(bench),
        tail: bench.history.tail.clone(),
        head: bench.history.head.clone(),
        checkpoint: checkpoint.clone(),
        activity: watch::Sender::new(Activity::default()),
    };
    // Small batches, so that there is much between them.
    let pace = Pace { batch_events_max: 7, ..Pace::prompt() };
    (tokio::spawn(Processor::<M>::new(surroundings, pace, None).run()), checkpoint)
}

/// Everybody's events, in turn.
async fn write(bench: &Bench) -> i64 {
    let ids: Vec<_> = (0..NOTIFICATIONS).map(|_| fresh_id()).collect();
    let mut last = 0;
    for sequence in 1..=EVENTS_EACH {
        let jobs = ids.iter().map(|id| async move { bench.append(bench.job(*id, sequence).await).await });
        for appended in join_all(jobs).await {
            let Ok(Appended::Stored { position }) = appended else { panic!("{appended:?}") };
            last = last.max(position);
        }
    }
    last
}

async fn reached(checkpoints: &[Watermark], position: i64) {
    for checkpoint in checkpoints {
        tokio::time::timeout(PATIENCE, checkpoint.reached(position)).await.expect("it follows the log");
    }
}

async fn compare<M: ReadModel>(bench: &Bench) -> Report {
    let site = Site { connect: bench.connect.clone(), reader: reader(bench) };
    let pages = read_for(&site, 1).remove(0);
    rebuild::<M>(&site, pages).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rivals_whose_connections_break_at_any_step_fold_each_event_once() {
    let bench = Bench::start().await;
    let (rivals, checkpoints): (Vec<_>, Vec<_>) = (0..3).map(|_| follow::<Inbox>(&bench)).unzip();
    let mut cutter = bench.pool.acquire().await.unwrap();
    let cutting = async {
        loop {
            cut(&mut cutter).await;
            tokio::task::yield_now().await;
        }
    };
    let last = tokio::select! {
        last = write(&bench) => last,
        () = cutting => unreachable!("it has no end"),
    };
    reached(&checkpoints, last).await;
    let Report { events, differences, .. } = compare::<Inbox>(&bench).await;
    assert_eq!((events, differences), (last, Vec::new()));
    rivals.iter().for_each(JoinHandle::abort);
    drop(cutter);
    bench.stop().await;
}

/// Ends whatever folds at this moment, wherever in its transaction it is.
async fn cut(sql: &mut PgConnection) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'tidings inbox' AND state <> 'idle' AND random() < 0.02";
    sql.execute(cut).await.unwrap();
}

/// The fold of a newer binary.
#[derive(Default)]
struct NextInbox(Inbox);

impl ReadModel for NextInbox {
    const NAME: &'static str = Inbox::NAME;
    const VERSION: u32 = Inbox::VERSION + 1;
    type Output = Vec<Folded>;

    async fn apply(
        &mut self,
        connection: &mut PgConnection,
        batch: Batch<'_>,
    ) -> Result<Vec<Folded>, sqlx::Error> {
        self.0.apply(connection, batch).await
    }

    async fn erase(connection: &mut PgConnection, user: &UserKey) -> Result<(), sqlx::Error> {
        Inbox::erase(connection, user).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_fold_version_builds_beside_the_old_one_and_both_go_on() {
    let bench = Bench::start().await;
    let (old, old_checkpoint) = follow::<Inbox>(&bench);
    let middle = write(&bench).await;
    reached(std::slice::from_ref(&old_checkpoint), middle).await;

    // What the migration of a newer binary brings.
    let mut sql = bench.pool.acquire().await.unwrap();
    for function in [
        "CREATE FUNCTION build_inbox_v2() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             PERFORM build_inbox_v1(); UPDATE checkpoint SET generation = 2000000; END $$",
        "CREATE FUNCTION index_inbox_v2() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             PERFORM index_inbox_v1(); END $$",
    ] {
        sql.execute(function).await.unwrap();
    }
    prepare::<NextInbox>(&mut sql).await.unwrap();
    let (new, new_checkpoint) = follow::<NextInbox>(&bench);
    let last = write(&bench).await;
    reached(&[old_checkpoint, new_checkpoint], last).await;

    let versions: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT position, generation, (SELECT count(*) FROM inbox_v1.changes), (SELECT sum(unread) FROM
                inbox_v1.counters)::bigint FROM inbox_v1.checkpoint
          UNION ALL
         SELECT position, generation, (SELECT count(*) FROM inbox_v2.changes), (SELECT sum(unread) FROM
                inbox_v2.counters)::bigint FROM inbox_v2.checkpoint",
    )
    .fetch_all(&mut *sql)
    .await
    .unwrap();
    let unread = 2 * NOTIFICATIONS as i64;
    assert_eq!(versions, [(last, 1_000_000, last, unread), (last, 2_000_000, last, unread)]);
    assert_eq!(compare::<Inbox>(&bench).await.differences, []);
    assert_eq!(compare::<NextInbox>(&bench).await.differences, []);
    old.abort();
    new.abort();
    drop(sql);
    bench.stop().await;
}
