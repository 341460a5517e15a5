//! What an append decides: winners, losers, repeats, and what the database will not take.

use super::*;

#[tokio::test]
async fn of_sixty_four_racers_on_one_id_exactly_one_wins() {
    let bench = Bench::start().await;
    let id = fresh_id();
    let mut jobs = Vec::new();
    for _ in 0..64 {
        jobs.push(bench.job(id, 1).await);
    }
    let results = bench.append_all(jobs).await;
    assert_eq!(results.iter().filter(|r| is_stored(r)).count(), 1);
    assert_eq!(results.iter().filter(|r| **r == Err(AppendError::Conflict)).count(), 63);
    assert_eq!(bench.positions().await, 1);
    bench.stop().await;
}

#[tokio::test]
async fn one_job_with_bad_data_in_a_full_batch_fails_alone() {
    let bench = Bench::start().await;
    let mut jobs = Vec::new();
    for n in 0..200 {
        // The table refuses such a tenant; the API never lets one through.
        let tenant = if n == 77 { "NOT A TENANT" } else { "default" };
        jobs.push(bench.job_for(tenant, fresh_id(), 1).await);
    }
    let results = bench.append_all(jobs).await;
    for (n, result) in results.iter().enumerate() {
        match n {
            77 => assert!(matches!(result, Err(AppendError::Refused(_))), "{result:?}"),
            _ => assert!(is_stored(result), "{n}: {result:?}"),
        }
    }
    assert_eq!(bench.positions().await, 199);
    bench.stop().await;
}

#[tokio::test]
async fn an_event_whose_predecessor_is_missing_or_whose_place_is_taken_is_a_conflict() {
    let bench = Bench::start().await;
    let id = fresh_id();
    assert_eq!(bench.append(bench.job(id, 2).await).await, Err(AppendError::Conflict));
    assert_eq!(bench.append(bench.job(id, 1).await).await, Ok(Appended::Stored { position: 1 }));
    assert_eq!(bench.append(bench.job(id, 1).await).await, Err(AppendError::Conflict));
    assert_eq!(bench.append(bench.job(id, 3).await).await, Err(AppendError::Conflict));
    assert_eq!(bench.append(bench.job(id, 2).await).await, Ok(Appended::Stored { position: 2 }));
    bench.stop().await;
}

#[tokio::test]
async fn a_job_is_all_or_nothing() {
    let bench = Bench::start().await;
    let (taken, free) = (fresh_id(), fresh_id());
    bench.append(bench.job(taken, 1).await).await.unwrap();
    let mut both = bench.job(free, 1).await;
    both.events.extend(bench.job(taken, 1).await.events);
    assert_eq!(bench.append(both).await, Err(AppendError::Conflict));
    assert_eq!(bench.positions().await, 1, "the event of the free aggregate is not there either");
    bench.stop().await;
}

#[tokio::test]
async fn of_thirty_two_jobs_with_one_key_one_is_stored_and_the_others_get_its_answer() {
    let bench = Bench::start().await;
    let mut jobs = Vec::new();
    for _ in 0..32 {
        let mut job = bench.job(fresh_id(), 1).await;
        job.record = Some(record("k"));
        jobs.push(job);
    }
    let results = bench.append_all(jobs).await;
    assert_eq!(results.iter().filter(|r| is_stored(r)).count(), 1);
    for result in results.iter().filter(|r| !is_stored(r)) {
        let Ok(Appended::Replayed(answer)) = result else { panic!("{result:?}") };
        assert_eq!((answer.status, answer.position), (201, 1));
        assert_eq!(answer.result, json!({"id": "k"}));
        assert_eq!(answer.request_hash, [1; 32]);
    }
    assert_eq!(bench.positions().await, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_key_whose_job_lost_a_conflict_is_not_consumed() {
    let bench = Bench::start().await;
    let id = fresh_id();
    bench.append(bench.job(id, 1).await).await.unwrap();
    let mut loser = bench.job(id, 1).await;
    loser.record = Some(record("k"));
    assert_eq!(bench.append(loser).await, Err(AppendError::Conflict));
    let mut later = bench.job(fresh_id(), 1).await;
    later.record = Some(record("k"));
    assert_eq!(bench.append(later).await, Ok(Appended::Stored { position: 2 }));
    bench.stop().await;
}

#[tokio::test]
async fn a_job_without_events_answers_the_head_and_keeps_its_record() {
    let bench = Bench::start().await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    let empty = || Job {
        command_id: clock::new_uuid(),
        epoch: bench.log.epoch(),
        events: Vec::new(),
        record: Some(record("noop")),
        deadline: in_seconds(5),
    };
    assert_eq!(bench.append(empty()).await, Ok(Appended::Stored { position: 1 }));
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    let Ok(Appended::Replayed(answer)) = bench.append(empty()).await else { panic!("not replayed") };
    assert_eq!(answer.position, 1, "the answer of the first time");
    bench.stop().await;
}

#[tokio::test]
async fn both_lanes_fill_one_log_without_a_hole() {
    let bench = Bench::start().await;
    let mut jobs = Vec::new();
    for n in 0..1_200 {
        let lane = if n % 3 == 0 { Lane::Single } else { Lane::Bulk };
        jobs.push((bench.job(fresh_id(), 1).await, lane));
    }
    let results = join_all(jobs.into_iter().map(|(job, lane)| bench.log.append(job, lane))).await;
    assert!(results.iter().all(is_stored));
    assert_eq!(bench.positions().await, 1_200);
    bench.stop().await;
}

#[tokio::test]
async fn recorded_at_never_goes_back() {
    let bench = Bench::start().await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    sqlx::query("UPDATE log_head SET last_recorded_at = now() + interval '1 hour'")
        .execute(&bench.pool)
        .await
        .unwrap();
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    let ahead: bool =
        sqlx::query_scalar("SELECT recorded_at > now() + interval '59 min' FROM events WHERE position = 2")
            .fetch_one(&bench.pool)
            .await
            .unwrap();
    assert!(ahead, "the clock of the database went back by an hour, the log did not");
    bench.stop().await;
}

#[tokio::test]
async fn the_database_refuses_to_change_or_remove_events() {
    let bench = Bench::start().await;
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    for statement in ["UPDATE events SET tenant = 'x'", "DELETE FROM events", "TRUNCATE events"] {
        let error = sqlx::query(statement).execute(&bench.pool).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    assert_eq!(bench.positions().await, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_job_made_in_another_epoch_is_not_appended_in_this_one() {
    let bench = Bench::start().await;
    let (first, late) = (bench.job(fresh_id(), 1).await, bench.job(fresh_id(), 1).await);
    bench.append(first).await.unwrap();
    let epoch: i64 =
        sqlx::query_scalar("SELECT log_start_epoch(log_incarnation())").fetch_one(&bench.pool).await.unwrap();
    bench.history.adopt(&bench.pool, epoch).await.unwrap();
    assert_eq!(bench.append(late).await, Err(AppendError::Conflict), "its key may be gone");
    bench.append(bench.job(fresh_id(), 1).await).await.unwrap();
    assert_eq!(bench.positions().await, 2);
    bench.stop().await;
}
