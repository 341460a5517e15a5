//! What a bucket gives, how it fills again, and that Redis counts as we do.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use redis::aio::MultiplexedConnection;

use super::*;

const SECOND: u64 = 1_000_000;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second, burst }
}

#[test]
fn a_burst_is_there_at_once_and_comes_back_at_its_rate() {
    let rate = rate(3, 5);
    let mut bucket = Bucket::full(rate, 0);
    let mut take = |now_us| bucket.take(rate, now_us).admitted;
    assert_eq!((0..7).filter(|_| take(0)).count(), 5);
    // A third of a second and not a microsecond less.
    assert!(!take(333_333));
    assert!(take(333_334));
    assert!(!take(666_666));
    assert!(take(666_667));
    assert_eq!((1..=1_000).filter(|step| take(SECOND + step * 10_000)).count(), 31, "ten seconds and a bit");
    assert_eq!(
        (0..10).filter(|_| take(3_600 * SECOND)).count(),
        5,
        "rest does not save up more than a burst"
    );
    assert_eq!(
        (0..10).filter(|_| take(1_000 * SECOND)).count(),
        0,
        "a clock that was set back brings nothing"
    );
    assert_eq!((0..10).filter(|_| take(1_001 * SECOND)).count(), 3, "and goes on from there");
    assert_eq!((0..10).filter(|_| take(u64::MAX)).count(), 5);
}

#[test]
fn the_largest_and_the_smallest_limits_are_exact() {
    let most = rate(1_000_000, 1_000_000);
    let mut bucket = Bucket::full(most, 0);
    assert!((0..1_000_000).all(|_| bucket.take(most, 0).admitted));
    assert!(!bucket.take(most, 0).admitted);
    assert!(bucket.take(most, 1).admitted && !bucket.take(most, 1).admitted);

    let least = rate(1, 1);
    let mut bucket = Bucket::full(least, 0);
    assert!(bucket.take(least, 0).admitted && !bucket.take(least, SECOND - 1).admitted);
    assert!(bucket.take(least, SECOND).admitted);
}

#[test]
fn who_waits_exactly_as_long_as_told_is_admitted() {
    for per_second in [1, 3, 7, 1_000] {
        let rate = rate(per_second, 1);
        let mut bucket = Bucket::full(rate, 0);
        assert!(bucket.take(rate, 0).admitted);
        let wait = bucket.take(rate, 100).retry_after().as_micros() as u64;
        assert!(wait <= SECOND / u64::from(per_second), "{wait} us at {per_second}/s");
        assert!(bucket.take(rate, 100 + wait).admitted, "{per_second}/s");
    }
}

#[test]
fn headers_say_what_is_left_and_when_there_is_more() {
    let told = |rate: Rate, taken: usize, now_us| {
        let mut bucket = Bucket::full(rate, 0);
        let last = (0..taken).map(|_| bucket.take(rate, now_us)).last().unwrap();
        (last.policy(), last.to_string(), last.retry_after_seconds())
    };
    let all = |policy: &str, standing: &str, seconds| (policy.to_owned(), standing.to_owned(), seconds);
    assert_eq!(told(rate(10, 50), 1, 0), all("\"key\";q=50;w=5", "\"key\";r=49;t=1", 1));
    assert_eq!(told(rate(10, 50), 50, 0), all("\"key\";q=50;w=5", "\"key\";r=0;t=5", 1));
    assert_eq!(told(rate(3, 5), 6, 0), all("\"key\";q=5;w=2", "\"key\";r=0;t=2", 1));
    assert_eq!(told(rate(1_000, 10), 11, 0), all("\"key\";q=10;w=1", "\"key\";r=0;t=1", 1));
}

/// A Redis of its own; ends with the test.
struct Redis {
    process: std::process::Child,
    folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = |program| {
            let mut command = std::process::Command::new(program);
            command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
            command.current_dir(folder.path()).stdout(std::process::Stdio::null()).spawn().ok()
        };
        let process = ["redis-server", "valkey-server"].into_iter().find_map(start).unwrap();
        Self { process, folder }
    }

    fn client(&self) -> Client {
        let socket = self.folder.path().join("redis.sock");
        Client::open(format!("redis+unix://{}", socket.display())).unwrap()
    }

    /// Waits until it has made its socket, and answers.
    async fn connect(&self) -> MultiplexedConnection {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.client().get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A busy machine may need more than one try: a connection must show that it is fast.
async fn connected(connector: &Connector) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !connector.connect().await {
        assert!(Instant::now() < deadline);
    }
}

/// Marsaglia's xorshift64 (2003).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[tokio::test]
async fn redis_counts_as_the_local_bucket_does() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let script = Script::new(include_str!("take.lua"));
    let mut state = 0x5eed;
    for round in 0..40 {
        let any = |state: &mut u64| [1, 2, 3, 7, 10, 999, 65_537, 1_000_000][random(state) as usize % 8];
        let rate = rate(any(&mut state), any(&mut state));
        let mut now_us = 1_795_000_000 * SECOND + random(&mut state) % SECOND;
        let mut bucket = Bucket::full(rate, now_us);
        let key = format!("tidings:{{limit}}:{round}");
        for step in 0..100 {
            let mut call = script.key(&key);
            call.arg(rate.per_second).arg(rate.burst).arg(now_us);
            let theirs: (bool, u64) = call.invoke_async(&mut connection).await.unwrap();
            let ours = bucket.take(rate, now_us);
            assert_eq!(theirs, (ours.admitted, ours.level), "{rate:?}, round {round}, step {step}");
            now_us = match random(&mut state) % 8 {
                0 => now_us + random(&mut state) % (3 * SECOND),
                1 => now_us - random(&mut state) % SECOND,
                2 => now_us + 10_000_000 * SECOND,
                3..=5 => now_us + random(&mut state) % (SECOND / u64::from(rate.per_second) + 1),
                _ => now_us,
            };
        }
    }
}

#[tokio::test]
async fn a_bucket_in_redis_is_forgotten_when_it_would_be_full() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let (limits, connector) = RateLimits::new(redis.client());
    connected(&connector).await;
    let mut session = limits.link.session().unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        limits.take_shared(&mut session, "key_1", rate(2, 20)).await.unwrap();
    }
    let lives_ms: u64 =
        redis::cmd("PTTL").arg("tidings:{limit}:key_1").query_async(&mut connection).await.unwrap();
    let passed_ms = began.elapsed().as_millis() as u64 + 2;
    assert!((2_500 - passed_ms.min(2_500)..=2_500).contains(&lives_ms), "{lives_ms} {passed_ms}");
}

#[tokio::test(start_paused = true)]
async fn without_redis_the_node_counts_alone_from_where_redis_left_off() {
    let (limits, _connector) = RateLimits::new(Client::open("redis://127.0.0.1:1").unwrap());
    let limit = Limit::new(rate(2, 10));
    limit.follow(&Standing { rate: limit.rate, admitted: true, level: 3 * SECOND });
    let mut admitted = 0;
    while limits.take("key_1", &limit).await.admitted {
        admitted += 1;
    }
    assert_eq!(admitted, 3);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(limits.take("key_1", &limit).await.admitted && limits.take("key_1", &limit).await.admitted);
    assert!(!limits.take("key_1", &limit).await.admitted);
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_short_wait() {
    // It accepts, and says nothing to what is asked after the first answers.
    let redis = Redis::start();
    redis.connect().await;
    let (limits, connector) = RateLimits::new(redis.client());
    connected(&connector).await;
    let pid = nix::unistd::Pid::from_raw(redis.process.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let limit = Limit::new(rate(1, 1_000));
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(limits.take("key_1", &limit).await.admitted);
    }
    let waited = began.elapsed();
    assert!((PATIENCE..PATIENCE * 10).contains(&waited), "{waited:?}");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
}

#[tokio::test]
async fn a_redis_that_is_full_is_none_until_it_has_room() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let mut memory = async |bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg(&["SET", "maxmemory"]).arg(bytes).exec_async(&mut connection).await.unwrap();
    };
    let (limits, connector) = RateLimits::new(redis.client());
    connected(&connector).await;
    let limit = Limit::new(rate(1, 10));
    memory(1).await;
    assert!(limits.take("key_1", &limit).await.admitted);
    assert!(limits.link.session().is_none(), "it took nothing");
    assert!(!connector.connect().await, "it answers, and is of no use");
    memory(0).await;
    connected(&connector).await;
    let mut session = limits.link.session().unwrap();
    assert!(limits.take_shared(&mut session, "key_1", rate(1, 10)).await.unwrap().admitted);
}

#[tokio::test]
async fn a_redis_that_is_too_slow_is_none_until_it_is_faster() {
    let redis = Redis::start();
    let mut connection = redis.connect().await;
    let (limits, connector) = RateLimits::new(redis.client());
    connected(&connector).await;
    // Two seconds of patience would be enough for it.
    let mut pause = redis::cmd("CLIENT");
    pause.arg(&["PAUSE", "1500", "WRITE"]).exec_async(&mut connection).await.unwrap();
    let limit = Limit::new(rate(1, 10));
    assert!(limits.take("key_1", &limit).await.admitted);
    assert!(limits.link.session().is_none(), "nobody waits for it");
    assert!(!connector.connect().await, "and it is no better now");
    redis::cmd("CLIENT").arg("UNPAUSE").exec_async(&mut connection).await.unwrap();
    connected(&connector).await;
}
