//! The embedded services: one service per data directory, and nothing left behind.

use crate::support::{Service, is_alive, run_to_end};

#[tokio::test]
async fn a_data_directory_in_use_refuses_a_second_start_with_one_line() {
    let service = Service::start().await;
    let ended = run_to_end(service.command("serve"));
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(ended.errors.contains("in use"), "{}", ended.errors);
    assert!(ended.errors.contains(&service.pid().to_string()), "it names the holder: {}", ended.errors);
    assert!(ended.errors.contains("TIDINGS_DATA_DIR"), "it says what to do: {}", ended.errors);

    // The first one did not notice.
    service.create("alice").await;
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn the_embedded_services_do_not_outlive_a_killed_service() {
    let mut service = Service::start().await;
    let children = service.children().to_vec();
    assert_eq!(children.len(), 2);
    service.kill();
    assert!(children.iter().all(|pid| !is_alive(*pid)), "{children:?}");
}

#[tokio::test]
async fn a_service_whose_database_dies_ends_and_says_why() {
    let mut service = Service::start().await;
    let postgres = nix::unistd::Pid::from_raw(service.children()[0]);
    nix::sys::signal::kill(postgres, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(service.ended_by_itself(), Some(1), "a supervisor sees a failure and starts it anew");
    service.start_again().await;
    service.create("alice").await;
    assert_eq!(service.counts("alice").await, (1, 1));
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TIDINGS_LISTEN".into(), address.clone())];
    let ended = run_to_end(crate::support::tidings("serve", folder.path(), &settings));
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(ended.errors.contains(&address), "{}", ended.errors);
    crate::support::when_free(&folder.path().join("data"));
}
