//! Nothing is lost by a restart. What `kill -9` does is a drill.

use crate::support::{Service, Socket};

#[tokio::test]
async fn a_restart_keeps_the_inbox_and_goes_on_where_sockets_were() {
    let mut service = Service::start().await;
    let id = service.create("alice").await;
    let before = service.inbox("alice", "").await;
    service.create("alice").await;
    service.mark(&id, "read").await;
    let (page, counts) = (service.inbox("alice", "state=all").await, service.counts("alice").await);
    service.terminate();
    service.start_again().await;
    assert_eq!(service.inbox("alice", "state=all").await, page);
    assert_eq!(service.counts("alice").await, counts);
    let (mut socket, _) = Socket::resumed(&service, "alice", before["cursor"].as_str().unwrap()).await;
    socket.event("notification.created").await;
    socket.event("notification.read").await;
    assert_eq!(socket.frame("sync").await["cursor"], page["cursor"]);
    service.create("alice").await;
    socket.event("notification.created").await;
}
