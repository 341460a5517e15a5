//! Tokens that are signed by an issuer's keys: the issuer may rotate them, be down, be slow, or talk nonsense.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::issuer::{Issuer, Says, Signer, jwks};
use crate::support::{Answer, LONG_AGO, NEVER, PATIENCE, Service, Socket, Sse, run_to_end, signed, tidings};

const INBOX: &str = "/v1/users/alice/inbox";
const SECRET: &str = "a secret of at least thirty-two bytes";
const GOING_AWAY: u16 = 4001;
const UNAUTHORIZED: u16 = 4500;
/// For so long after a question no token makes the service ask another: ten seconds, less the two that a token waits and one
/// for a slow machine.
const LEFT_ALONE: Duration = Duration::from_secs(7);

async fn service_of(issuer: &Issuer) -> Service {
    Service::start_with(&[("TIDINGS_JWKS", &issuer.url()), ("TIDINGS_JWT_SECRET", SECRET)]).await
}

async fn with_token(service: &Service, token: &str) -> Answer {
    service.send(service.as_user(token, "GET", INBOX)).await
}

/// Comes back for as long as it is put off: the issuer has answered, and the service is about to read it.
async fn insist(service: &Service, token: &str) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = with_token(service, token).await;
        if answer.status != 503 {
            return answer;
        }
        assert!(Instant::now() < deadline, "it is put off for ever: {answer:?}");
        // As clients do, if not for as long as `Retry-After` asks them to.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A socket that shows the token as a browser does.
async fn socket(service: &Service, token: &str) -> Socket {
    let protocols = format!("tidings.v1, bearer.{token}");
    Socket::open(service, "", &[("sec-websocket-protocol", &protocols)]).await.unwrap()
}

#[tokio::test]
async fn tokens_of_the_issuers_keys_and_of_the_secret_open_the_inbox_in_every_way() {
    let signers = [Signer::Rsa, Signer::P256, Signer::Ed25519];
    let issuer = Issuer::with(&signers).await;
    let service = service_of(&issuer).await;
    let by_secret = signed(SECRET, &json!({"sub": "alice", "exp": NEVER}));
    for token in signers.map(|signer| signer.token("alice")).into_iter().chain([by_secret]) {
        with_token(&service, &token).await.expect(200);
        assert_eq!(socket(&service, &token).await.frame("welcome").await["user_id"], "alice");
        let mut introduced = Socket::open(&service, "", &[]).await.unwrap();
        introduced.send(json!({"type": "auth", "token": token}).to_string()).await;
        introduced.frame("welcome").await;
        let request = service.as_user(&token, "GET", &format!("{INBOX}/stream"));
        Sse::open(request).await.unwrap().event("welcome").await;
    }
    assert_eq!(issuer.asked(), 1, "the keys are kept");

    // Claims count as they do with a secret, and the tenant is the token's.
    let of = |claims: Value| Signer::P256.sign("P256", &claims);
    for (why, token) in [
        ("expired", of(json!({"sub": "alice", "exp": LONG_AGO}))),
        ("no exp", of(json!({"sub": "alice"}))),
        ("no sub", of(json!({"exp": NEVER}))),
        ("another's key", Signer::P256Next.sign("P256", &json!({"sub": "alice", "exp": NEVER}))),
        ("a key of another kind", Signer::P256.sign("Rsa", &json!({"sub": "alice", "exp": NEVER}))),
        ("the set as the secret", signed(&jwks(&signers), &json!({"sub": "alice", "exp": NEVER}))),
    ] {
        assert_eq!(with_token(&service, &token).await.problem(401), "unauthorized", "{why}");
    }
    service.create("alice").await;
    let acme = of(json!({"sub": "alice", "exp": NEVER, "tenant": "acme"}));
    assert_eq!(with_token(&service, &acme).await.expect(200).json()["unread"], 0);
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_rotated_key_works_at_its_first_try_and_random_ones_do_not_bother_the_issuer() {
    let issuer = Issuer::with(&[Signer::P256]).await;
    let service = service_of(&issuer).await;
    let (old, new) = (Signer::P256.token("alice"), Signer::P256Next.token("alice"));
    with_token(&service, &old).await.expect(200);
    let mut open = socket(&service, &old).await;
    open.frame("welcome").await;

    issuer.publish(&[Signer::P256Next]);
    let answers = join_all((0..32).map(|_| with_token(&service, &new))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(issuer.asked(), 2, "one question for all of them");
    let asked_at = issuer.asked_at();
    open.sync().await;
    open.send(json!({"type": "auth", "token": new, "ref": "1"}).to_string()).await;
    assert_eq!(open.frame("reply").await["ref"], "1");

    let random =
        (0..64).map(|n| Signer::P256.sign(&format!("random {n}"), &json!({"sub": "alice", "exp": NEVER})));
    let answers = join_all(random.map(async |token| with_token(&service, &token).await)).await;
    if asked_at.elapsed() < LEFT_ALONE {
        // One might be of a key that was published a moment ago.
        assert!(answers.iter().all(|answer| answer.problem(503) == "unavailable"));
        assert_eq!(issuer.asked(), 2);
    }
    with_token(&service, &new).await.expect(200);
}

#[tokio::test]
async fn after_a_made_up_key_a_token_of_a_new_one_is_put_off_and_not_refused() {
    let issuer = Issuer::with(&[Signer::P256]).await;
    let service = service_of(&issuer).await;
    let (old, new) = (Signer::P256.token("alice"), Signer::P256Next.token("alice"));
    with_token(&service, &old).await.expect(200);
    let made_up = Signer::P256.sign("made up", &json!({"sub": "alice", "exp": NEVER}));
    assert_eq!(with_token(&service, &made_up).await.problem(401), "unauthorized");
    assert_eq!(issuer.asked(), 2, "that was the question of these ten seconds");

    let asked_at = issuer.asked_at();
    issuer.publish(&[Signer::P256Next]);
    let put_off = with_token(&service, &new).await;
    if asked_at.elapsed() < LEFT_ALONE {
        assert_eq!(put_off.problem(503), "unavailable");
        assert!(put_off.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1));
    }
    let mut turned_away = socket(&service, &new).await;
    let frame = turned_away.next_frame().await;
    if asked_at.elapsed() < LEFT_ALONE {
        assert_eq!(frame["type"], "closing");
        turned_away.expect_close(GOING_AWAY).await;
    }
    insist(&service, &new).await.expect(200);
    assert_eq!(issuer.asked(), 3);
    let asked_at = issuer.asked_at();
    socket(&service, &new).await.frame("welcome").await;

    // So is one whose key is gone, until the issuer was asked about it.
    let put_off = with_token(&service, &old).await;
    if asked_at.elapsed() < LEFT_ALONE {
        assert_eq!(put_off.problem(503), "unavailable");
    }
    assert_eq!(insist(&service, &old).await.problem(401), "unauthorized");
    assert_eq!(socket(&service, &old).await.end().await, Ok(UNAUTHORIZED));
    assert_eq!(issuer.asked(), 4);
}

#[tokio::test]
async fn while_there_are_no_keys_yet_tokens_are_put_off_and_keys_and_secrets_work() {
    let issuer = Issuer::start(Says::Status(500)).await;
    let service = service_of(&issuer).await;
    let token = Signer::P256.token("alice");
    let put_off = with_token(&service, &token).await;
    assert_eq!(put_off.problem(503), "unavailable");
    assert!(put_off.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1));
    let mut turned_away = socket(&service, &token).await;
    turned_away.frame("closing").await;
    turned_away.expect_close(GOING_AWAY).await;
    let mut introduced = Socket::open(&service, "", &[]).await.unwrap();
    introduced.send(json!({"type": "auth", "token": token}).to_string()).await;
    introduced.frame("closing").await;
    introduced.expect_close(GOING_AWAY).await;
    service.create("alice").await;
    with_token(&service, &signed(SECRET, &json!({"sub": "alice", "exp": NEVER}))).await.expect(200);

    // A question that is never answered is given up, and asked again.
    let asked = issuer.asked();
    issuer.say(Says::Nothing);
    issuer.asked_times(asked + 1).await;
    issuer.publish(&[Signer::P256]);
    issuer.asked_times(asked + 2).await;
    insist(&service, &token).await.expect(200);
}

#[tokio::test]
async fn an_issuer_that_goes_bad_changes_nothing_for_the_keys_that_are_known() {
    let issuer = Issuer::with(&[Signer::P256]).await;
    let service = service_of(&issuer).await;
    let (known, unknown) = (Signer::P256.token("alice"), Signer::P256Next.token("alice"));
    with_token(&service, &known).await.expect(200);
    for (asked, says) in [
        (2, Says::Text("<html>we are moving house</html>".into())),
        (3, Says::Text(jwks(&[Signer::P256Next]) + &" ".repeat(1 << 20))),
    ] {
        issuer.say(says);
        let put_off = with_token(&service, &unknown).await;
        assert_eq!(put_off.problem(503), "unavailable", "it may be good");
        // The first time the token asks, after that it is tried again by itself.
        issuer.asked_times(asked).await;
        with_token(&service, &known).await.expect(200);
    }
    issuer.publish(&[Signer::P256Next]);
    issuer.asked_times(4).await;
    insist(&service, &unknown).await.expect(200);
    assert_eq!(insist(&service, &known).await.problem(401), "unauthorized", "its key is gone");
}

#[tokio::test]
async fn a_file_is_read_again_when_a_token_names_a_key_that_it_did_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, jwks(&[Signer::Rsa])).unwrap();
    let service = Service::start_with(&[("TIDINGS_JWKS", path.to_str().unwrap())]).await;
    with_token(&service, &Signer::Rsa.token("alice")).await.expect(200);
    std::fs::write(&path, jwks(&[Signer::Ed25519])).unwrap();
    with_token(&service, &Signer::Ed25519.token("alice")).await.expect(200);
    assert_eq!(with_token(&service, &Signer::Rsa.token("alice")).await.problem(401), "unauthorized");

    // No secret was made up beside it, so there is nothing to make or to forge a token with.
    assert!(!service.data_dir().join("secrets/jwt_secret").exists());
    let by_secret = signed("", &json!({"sub": "alice", "exp": NEVER}));
    assert_eq!(with_token(&service, &by_secret).await.problem(401), "unauthorized");
    let mut command = service.command("token");
    command.args(["--user", "alice"]);
    let ended = run_to_end(command);
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    for name in ["TIDINGS_JWKS", "TIDINGS_JWT_SECRET"] {
        assert!(ended.errors.contains(name), "{}", ended.errors);
    }
}

#[tokio::test]
async fn audience_and_issuer_are_checked_of_an_issuers_tokens_too() {
    let issuer = Issuer::with(&[Signer::P256]).await;
    let settings = [
        ("TIDINGS_JWKS", &*issuer.url()),
        ("TIDINGS_JWT_AUDIENCE", "tidings"),
        ("TIDINGS_JWT_ISSUER", "idp"),
    ];
    let service = Service::start_with(&settings).await;
    let token = |aud: &str, iss: &str| {
        Signer::P256.sign("P256", &json!({"sub": "alice", "exp": NEVER, "aud": aud, "iss": iss}))
    };
    with_token(&service, &token("tidings", "idp")).await.expect(200);
    for bad in [token("elsewhere", "idp"), token("tidings", "somebody"), Signer::P256.token("alice")] {
        assert_eq!(with_token(&service, &bad).await.problem(401), "unauthorized");
    }
}

#[tokio::test]
async fn a_file_that_holds_no_keys_stops_the_start_with_one_line_that_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let symmetric = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}]}"#;
    for (path, why) in [
        ("/nowhere/jwks.json".to_owned(), "cannot be read"),
        (folder.path().to_str().unwrap().into(), "no regular file"),
        (fifo.to_str().unwrap().into(), "no regular file"),
        ("/dev/zero".into(), "no regular file"),
        (file("empty", ""), "no JSON Web Key Set"),
        (file("garbage", "keys"), "no JSON Web Key Set"),
        (file("huge", &" ".repeat(2 << 20)), "larger than"),
        (file("none", r#"{"keys":[]}"#), "none of its keys"),
        (file("symmetric", symmetric), "none of its keys"),
    ] {
        let started = tempfile::tempdir().unwrap();
        let ended = run_to_end(tidings("serve", started.path(), &[("TIDINGS_JWKS".into(), path.clone())]));
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{path}");
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        for word in ["TIDINGS_JWKS", &path, why] {
            assert!(ended.errors.contains(word), "{}", ended.errors);
        }
        assert_eq!(std::fs::read_dir(started.path()).unwrap().count(), 0, "nothing is touched");
    }
}
