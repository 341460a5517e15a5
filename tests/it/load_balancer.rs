//! Two nodes behind the load balancer of `deploy/`: requests, sockets and streams go through it, and a node that is killed
//! costs its sockets a reconnect.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Door, PATIENCE, Service, Socket, Sse, lines_of, skipped};

const SOCKETS: usize = 6;

/// HAProxy with the configuration that is deployed, but for its addresses.
struct Balancer {
    _folder: TempDir,
    process: Child,
    door: Door,
    inside: Door,
}

impl Balancer {
    /// `None` where HAProxy is not installed.
    async fn before(nodes: [&Service; 2]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        let deployed = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy.cfg");
        // Both are held until they are written down, or they might be one.
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [listen, inside] = held.each_ref().map(|it| it.local_addr().unwrap().to_string());
        let address = |node: &Service| node.url("").replace("http://", "");
        let configuration = std::fs::read_to_string(deployed)
            .unwrap()
            .replace("bind :8080", &format!("bind {listen}"))
            .replace("bind :8081", &format!("bind {inside}"))
            .replace("tidings-1:8080", &address(nodes[0]))
            .replace("tidings-2:8080", &address(nodes[1]));
        std::fs::write(&path, configuration).unwrap();
        drop(held);
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&path).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        // What it says there is not looked at, and must go somewhere.
        drop(lines_of(process.stdout.take().unwrap()));
        let door = |address| Door::to(format!("http://{address}"), nodes[0].root_key());
        let (door, inside) = (door(listen), door(inside));
        let opening = async { while door.request("GET", "/health/ready").send().await.is_err() {} };
        tokio::time::timeout(PATIENCE, opening).await.expect("it listens");
        Some(Self { _folder: folder, process, door, inside })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn a_node_killed_behind_the_load_balancer_costs_its_sockets_a_reconnect() {
    let host = Service::start().await;
    let (mut first, second) = (host.another_node().await, host.another_node().await);
    let Some(balancer) = Balancer::before([&first, &second]).await else {
        return skipped("haproxy is not installed");
    };
    let door = &balancer.door;
    for path in [
        "/metrics",
        "/v1/keys",
        "/v1/keys/",
        "/v1/%6beys",
        "/v1//keys",
        "/v1/projections",
        "/v1/users/../keys",
    ] {
        assert_eq!(door.get(path).await.status, 404, "{path} is for those inside");
    }
    for path in ["/metrics", "/v1/keys", "/v1/projections", "/v1/events"] {
        balancer.inside.get(path).await.expect(200);
    }
    let mut stream =
        Sse::open(door.request("GET", "/v1/users/alice/inbox/stream").header("x-api-key", door.root_key()))
            .await
            .unwrap();
    stream.event("welcome").await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let (socket, welcome) = Socket::of(door, "alice").await;
        sockets.push((socket, welcome["cursor"].clone()));
    }
    let id = door.create("alice").await;
    assert_eq!(stream.event("event").await.data["notification"]["id"], id);
    for (socket, cursor) in &mut sockets {
        *cursor = socket.event("notification.created").await["cursor"].clone();
    }

    first.kill();
    // A request that meets the dead node is answered 502 at most until it is found out; its key makes it safe to repeat.
    let insisting = async {
        loop {
            let body = json!({"user_id": "alice", "content": {"title": "After", "body": "the kill"}});
            let request = door.posting("/v1/notifications", &body).header("idempotency-key", "after");
            // Or is cut off, where the connection to the dead node was an old one.
            let Ok(answer) = door.try_send(request).await else { continue };
            if answer.status == 201 {
                return answer.text("id");
            }
            assert!([502, 503].contains(&answer.status), "{answer:?}");
        }
    };
    let id = tokio::time::timeout(PATIENCE, insisting).await.expect("the other node takes it");
    let ended = join_all(sockets.into_iter().map(async |(mut socket, cursor)| {
        // Half of them were at the node that lives.
        if let Some(frame) = socket.frame_or_gone().await {
            assert_eq!(frame["notification"]["id"], id);
            return 0;
        }
        let (mut socket, _) = Socket::resumed(door, "alice", cursor.as_str().unwrap()).await;
        let mut frame = socket.next_frame().await;
        if frame["type"] == "sync" {
            frame = socket.next_frame().await;
        }
        assert_eq!(frame["notification"]["id"], id);
        1
    }));
    let reconnected: usize = ended.await.into_iter().sum();
    assert!(
        (1..SOCKETS).contains(&reconnected),
        "{reconnected} of {SOCKETS} were at the node that was killed"
    );
    drop(balancer);
    // Before its database.
    drop((first, second));
}
