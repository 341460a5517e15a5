//! A name that resolves to something else the next time: it is judged each time anew, so that nothing private is called.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::channel_calls::{OK, SECRET, Server, test, webhook};
use crate::support::{Service, skipped};

const HOSTS: &str = "/etc/hosts";

/// From here on this thread, and whatever it starts, resolves names by this file. Fails without the right to mount.
fn resolve_by(hosts: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(hosts), HOSTS, none, MsFlags::MS_BIND, none)
}

#[tokio::test]
async fn a_name_that_becomes_private_is_called_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let points_to = |address: &str| {
        fs::write(&hosts, format!("127.0.0.1 localhost\n{address} hooks.example\n")).unwrap();
    };
    points_to("127.0.0.2");
    if resolve_by(&hosts).is_err() {
        return skipped("there is no right to mount other names of hosts");
    }
    let service = Service::start_with(&[("TIDINGS_OUTGOING_ALLOW_PRIVATE", "127.0.0.2/32")]).await;
    let mut server = Server::at("127.0.0.2:0", vec![OK.to_owned()]).await;
    let url = server.url.replace("127.0.0.2", "hooks.example");
    // The same port of an address that nobody allowed.
    let private = server.url.replace("http://127.0.0.2", "127.0.0.1").replace("/in", "");
    let private = TcpListener::bind(private).await.unwrap();
    webhook(&service, &url, json!({"secret": SECRET})).await;
    assert_eq!(test(&service, "webhook", &Value::Null).await, json!({"outcome": "delivered"}));
    server.request().await;

    points_to("127.0.0.1");
    let refused =
        json!({"class": "permanent", "detail": "its address is private; the operator may allow it"});
    let told = test(&service, "webhook", &Value::Null).await;
    assert_eq!(told, json!({"outcome": "failed", "error": refused}));

    points_to("127.0.0.2");
    assert_eq!(test(&service, "webhook", &Value::Null).await, json!({"outcome": "delivered"}));
    server.request().await;
    let called = tokio::time::timeout(Duration::ZERO, private.accept()).await;
    assert!(called.is_err(), "{called:?}");
}
