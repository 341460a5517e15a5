//! The stream: the same frames as Server-Sent Events, resumed by the browser itself.

use crate::support::{Service, Socket, Sse};

#[tokio::test]
async fn a_stream_carries_the_frames_of_a_socket_with_their_cursors_as_ids() {
    let mut service = Service::start().await;
    let mut stream = Sse::of(&service, "alice", &[]).await;
    let (mut socket, _) = Socket::of(&service, "alice").await;
    let welcome = stream.event("welcome").await;
    assert_eq!((&welcome.data["user_id"], &welcome.data["resumed"]), (&"alice".into(), &false.into()));
    assert_eq!(welcome.id.as_deref(), welcome.data["cursor"].as_str());

    let id = service.create("alice").await;
    service.mark(&id, "read").await;
    service.create("bob").await;
    let mut sent = vec![welcome];
    for name in ["notification.created", "notification.read"] {
        let event = stream.event("event").await;
        assert_eq!(event.data, socket.event(name).await);
        assert_eq!(event.id.as_deref(), event.data["cursor"].as_str());
        sent.push(event);
    }

    // What a browser does after a disconnect.
    assert_eq!(service.counts("bob").await, (1, 1));
    let head = service.head().await;
    for (missed, last) in sent.iter().enumerate() {
        let cursor = last.id.as_deref().unwrap();
        let mut resumed = Sse::of(&service, "alice", &[("last-event-id", cursor)]).await;
        let welcome = resumed.event("welcome").await;
        assert_eq!((welcome.id.as_deref(), &welcome.data["resumed"]), (Some(cursor), &true.into()));
        for expected in &sent[missed + 1..] {
            assert_eq!(resumed.event("event").await, *expected);
        }
        let sync = resumed.event("sync").await;
        assert_eq!((sync.id.as_deref(), &sync.data["unread"]), (Some(head.as_str()), &0.into()));
    }

    service.ask_to_end();
    assert_eq!(stream.next().await, None, "the stream ends with the service");
    drop(socket);
    service.ended();
}

#[tokio::test]
async fn a_stream_resumes_from_a_cursor_in_its_address_unless_the_browser_knows_better() {
    let service = Service::start().await;
    let mut first = Sse::of(&service, "alice", &[]).await;
    let start = first.event("welcome").await.id.unwrap();
    service.create("alice").await;
    let created = first.event("event").await;
    let address = format!("/v1/users/alice/inbox/stream?cursor={start}");
    let token = service.token("alice");

    let mut resumed = Sse::open(service.as_user(&token, "GET", &address)).await.unwrap();
    resumed.event("welcome").await;
    assert_eq!(resumed.event("event").await, created);

    // A browser that reconnects repeats the address, old cursor included.
    let last = created.id.unwrap();
    let request = service.as_user(&token, "GET", &address).header("last-event-id", &last);
    let mut resumed = Sse::open(request).await.unwrap();
    assert_eq!(resumed.event("welcome").await.id, Some(last));
    resumed.event("sync").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_stream_is_said_as_a_problem() {
    let service = Service::start().await;
    let address = "/v1/users/alice/inbox/stream";
    let open = async |token: &str, path: &str| match Sse::open(service.as_user(token, "GET", path)).await {
        Ok(_) => panic!("{path} should have been refused"),
        Err(answer) => answer,
    };
    let alice = service.token("alice");
    assert_eq!(open("forged", address).await.problem(401), "unauthorized");
    assert_eq!(open(&service.token("bob"), address).await.problem(403), "forbidden");
    let bad = open(&alice, &format!("{address}?cursor=yesterday")).await;
    assert_eq!((bad.problem(400), bad.pointers()), ("malformed-request".into(), vec!["cursor".into()]));
    let bad = service.as_user(&alice, "GET", address).header("last-event-id", "1.");
    let Err(bad) = Sse::open(bad).await else { panic!("a bad Last-Event-ID should have been refused") };
    assert_eq!(bad.problem(400), "malformed-request");

    // A history that is gone is no mistake of the client: it starts anew.
    let mut lost = Sse::of(&service, "alice", &[("last-event-id", "1.5")]).await;
    let welcome = lost.event("welcome").await;
    let reset = lost.event("reset").await;
    assert_eq!((&reset.data["reason"], reset.id), (&"epoch-lost".into(), welcome.id));
}
