//! Lost connections, lost answers, lost time: what the caller is told, and what is in the log then.

use super::proxy::{Scissors, through};
use super::*;

async fn bench_with_scissors() -> (Bench, Scissors, tempfile::TempDir) {
    let (wire, scissors) = (tempfile::tempdir().unwrap(), Scissors::default());
    let (folder, cutter) = (wire.path().to_owned(), scissors.clone());
    let bench = Bench::start_through(move |options| through(&folder, &options, cutter)).await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    (bench, scissors, wire)
}

/// Holds the head's lock until it is dropped.
async fn hold_the_head(bench: &Bench) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut holder = bench.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    holder
}

/// Returns once a backend waits for the head.
async fn until_an_append_waits(bench: &Bench) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%log_append%'";
    let deadline = in_seconds(10);
    while Instant::now() < deadline {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&bench.pool).await.unwrap();
        if count > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no append waits for the head");
}

#[tokio::test]
async fn a_connection_cut_between_commit_and_answer_costs_no_event_and_makes_none_twice() {
    let (bench, scissors, _wire) = bench_with_scissors().await;
    for round in 0..5 {
        scissors.swallow_next_answer();
        let mut jobs = Vec::new();
        for n in 0..20 {
            let mut job = bench.job(fresh_id(), 1).await;
            job.record = (n % 2 == 0).then(|| record(&format!("{round}-{n}")));
            jobs.push(job);
        }
        let results = bench.append_all(jobs).await;
        assert!(results.iter().all(is_stored), "{results:?}");
        assert_eq!(bench.positions().await, 1 + 20 * (round + 1));
    }
    bench.stop().await;
}

#[tokio::test]
async fn an_orphaned_backend_that_commits_later_is_waited_for() {
    let (bench, scissors, _wire) = bench_with_scissors().await;
    let holder = hold_the_head(&bench).await;
    let job = bench.job(fresh_id(), 1).await;
    let append = bench.append(job);
    let meanwhile = async {
        until_an_append_waits(&bench).await;
        scissors.cut();
        holder.rollback().await.unwrap();
    };
    let (result, ()) = tokio::join!(append, meanwhile);
    assert_eq!(result, Ok(Appended::Stored { position: 2 }));
    assert_eq!(bench.positions().await, 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_job_that_could_not_be_sent_before_its_deadline_was_certainly_not_done() {
    let bench = Bench::start().await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    let holder = hold_the_head(&bench).await;
    let mut first = bench.job(fresh_id(), 1).await;
    let mut second = bench.job(fresh_id(), 1).await;
    first.deadline = in_seconds(1);
    second.deadline = in_seconds(1);
    let blocked = bench.append(first);
    let waiting = async {
        until_an_append_waits(&bench).await;
        bench.append(second).await
    };
    let (blocked, waiting) = tokio::join!(blocked, waiting);
    assert_eq!(blocked, Err(AppendError::OutcomeUnknown), "it was on its way");
    assert_eq!(waiting, Err(AppendError::Expired), "it never left");
    holder.rollback().await.unwrap();
    let third = bench.append(bench.job(fresh_id(), 1).await).await;
    assert!(is_stored(&third), "{third:?}");
    assert!(bench.positions().await <= 3, "the waiting job was dropped unsent");
    bench.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let bench = Bench::start().await;
    let holder = hold_the_head(&bench).await;
    let mut jobs = Vec::new();
    for _ in 0..22_000 {
        let job = Job {
            command_id: clock::new_uuid(),
            epoch: bench.log.epoch(),
            events: vec![],
            record: None,
            deadline: in_seconds(2),
        };
        jobs.push(job);
    }
    let results = bench.append_all(jobs).await;
    assert!(results.contains(&Err(AppendError::Busy)));
    assert!(!results.iter().any(is_stored));
    holder.rollback().await.unwrap();
    assert!(is_stored(&bench.append(bench.job(fresh_id(), 1).await).await), "and it recovers");
    bench.stop().await;
}

#[tokio::test]
async fn a_crash_of_postgres_loses_nothing_that_was_acknowledged() {
    let bench = Bench::start().await;
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut jobs = Vec::new();
        for _ in 0..300 {
            jobs.push(bench.job(fresh_id(), 1).await);
        }
        let crash = async {
            tokio::time::sleep(Duration::from_millis(3 * round)).await;
            // Every backend dies as if killed; the server recovers from its log.
            let pids: Vec<i32> =
                sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE application_name = 'tidings log'")
                    .fetch_all(&bench.pool)
                    .await
                    .unwrap();
            for pid in pids {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
        };
        let (results, ()) = tokio::join!(bench.append_all(jobs), crash);
        acknowledged += results.iter().filter(|r| is_stored(r)).count();
        let unknown = results.iter().filter(|r| **r == Err(AppendError::OutcomeUnknown)).count();
        let stored = bench.positions().await;
        assert!((acknowledged..=acknowledged + unknown).contains(&stored), "{acknowledged} of {stored}");
        acknowledged = stored;
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_database_of_another_cluster_begins_a_new_epoch_before_anything_is_added() {
    begins_an_epoch("UPDATE log_head SET incarnation = 'another cluster'").await;
}

#[tokio::test]
async fn a_dump_that_is_restored_where_it_came_from_begins_a_new_epoch() {
    begins_an_epoch(
        "CREATE TABLE restored (LIKE log_head INCLUDING ALL);
         INSERT INTO restored SELECT * FROM log_head;
         DROP TABLE log_head;
         ALTER TABLE restored RENAME TO log_head",
    )
    .await;
}

async fn begins_an_epoch(restore: &'static str) {
    let bench = Bench::start().await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    let first = bench.history.epochs().current();
    sqlx::raw_sql(restore).execute(&bench.pool).await.unwrap();
    // A restart: the next writer opens the log anew.
    let keys = bench.codec.keys().clone();
    let history = History::load(&bench.pool, keys).await.unwrap();
    let (log, writer) = Writer::new(bench.connect.clone(), history.clone(), Metrics::default().log);
    tokio::spawn(writer.run());
    let refused = log.append(bench.job(fresh_id(), 1).await, Lane::Single).await;
    assert_eq!(refused, Err(AppendError::Conflict), "it was made before");
    let again = Job { epoch: log.epoch(), ..bench.job(fresh_id(), 1).await };
    assert_eq!(log.append(again, Lane::Single).await, Ok(Appended::Stored { position: 2 }));
    let second = history.epochs().current();
    assert!(second.number > first.number);
    assert_eq!(second.first_position, 2);
    let before = history.epochs().cursor(1);
    assert_eq!((before.epoch, history.epochs().resolve(before, 2)), (first.number, Ok(1)));

    // The first writer is on an old connection, and learns of the epoch with its next append.
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    assert_eq!(bench.history.epochs().current(), second);
    bench.stop().await;
}
