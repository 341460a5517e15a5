//! What an issuer may answer, and what a file may hold: from bytes on a socket, and on a disk.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use reqwest::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const NONE: &str = r#"{"keys":[]}"#;

/// Answers each connection by what its request's path asks for, and closes it.
async fn serve(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1 << 12];
        let length = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = request.split(' ').nth(1).unwrap();
        let answer = match path {
            "/good" => ok("cache-control: max-age=60\r\n", NONE),
            "/garbage" => ok("", "<html>come back later</html>"),
            "/fits" => ok("", &(NONE.to_owned() + &" ".repeat(BYTES_MAX - NONE.len()))),
            "/announced" => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40),
            "/large" => ok("", &" ".repeat(BYTES_MAX + 1)),
            "/endless" => "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &" ".repeat(2 * BYTES_MAX),
            "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into(),
            "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
            "/no-content" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
            "/elsewhere" => moved("/1"),
            "/1" => moved("/2"),
            "/2" => moved("/good"),
            "/for-ever" => moved("/for-ever"),
            "/to-a-file" => moved("file:///etc/hostname"),
            "/not-http" => "SSH-2.0-OpenSSH_9.6\r\n".into(),
            other => panic!("{other}"),
        };
        // What it need not read it may refuse.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[tokio::test]
async fn an_issuers_answer_is_a_key_set_or_an_error_that_says_why_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve(listener)));
    let look = async |path: &str| {
        let mut source = UrlSource::new(url(&format!("http://{address}{path}"))).unwrap();
        source.look(true).await.map(|seen| (seen.keys.is_some(), seen.again_in.as_secs()))
    };
    assert_eq!(look("/good").await.unwrap(), (true, 60));
    assert_eq!(look("/elsewhere").await.unwrap(), (true, 60));
    assert_eq!(look("/fits").await.unwrap(), (true, 300));
    for (path, why) in [
        ("/garbage", "it is no JSON Web Key Set: "),
        ("/announced", "it is larger than 1048576 bytes"),
        ("/large", "it is larger than 1048576 bytes"),
        ("/endless", "it is larger than 1048576 bytes"),
        ("/cut", "it cannot be fetched: "),
        ("/missing", "it was answered 404"),
        ("/no-content", "it was answered 204"),
        ("/for-ever", "it cannot be fetched: "),
        ("/to-a-file", "it was answered 302"),
        ("/not-http", "it cannot be fetched: "),
    ] {
        let message = look(path).await.unwrap_err().to_string();
        assert!(message.starts_with(why) && !message.contains('\n'), "{path}: {message}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut source = UrlSource::new(url(&format!("http://{nobody}/?key=hunter2"))).unwrap();
    let message = source.look(true).await.err().unwrap().to_string();
    assert!(message.contains("refused") && !message.contains("hunter2"), "{message}");
}

#[test]
fn a_redirect_leads_neither_far_nor_from_https_to_http() {
    let (plain, sealed) = (url("http://a.example"), url("https://a.example"));
    let after = |before: &[&Url], next: &Url| {
        let before: Vec<Url> = before.iter().map(|url| (*url).clone()).collect();
        may_follow(&before, next).is_ok()
    };
    assert!(after(&[&plain], &plain) && after(&[&plain], &sealed) && after(&[&sealed], &sealed));
    assert!(!after(&[&sealed], &plain) && !after(&[&plain, &sealed], &plain));
    assert!(after(&[&sealed; 3], &sealed) && !after(&[&sealed; 4], &sealed));
}

#[test]
fn an_issuer_says_within_bounds_how_long_its_keys_hold() {
    for (value, seconds) in [
        (None, 300),
        (Some("max-age=600"), 600),
        (Some("public, Max-Age=\"600\", must-revalidate"), 600),
        (Some("max-age=0"), 30),
        (Some("max-age=86400"), 3_600),
        (Some("max-age=18446744073709551615"), 3_600),
        (Some("max-age=-1"), 300),
        (Some("max-age=soon"), 300),
        (Some("no-store"), 300),
    ] {
        let headers = value.map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
        assert_eq!(again_in(&headers.into_iter().collect()).as_secs(), seconds, "{value:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_is_another_one_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let (path, next) = (folder.path().join("jwks.json"), folder.path().join("next.json"));
    let mut source = FileSource::new(path.clone());
    assert!(source.look(false).await.is_err(), "it is not there");
    std::fs::write(&path, NONE).unwrap();
    let mut is_new =
        async |anew| source.look(anew).await.map(|seen| seen.keys.is_some()).map_err(|e| e.to_string());
    assert_eq!(is_new(false).await, Ok(true));
    assert_eq!(is_new(false).await, Ok(false));
    assert_eq!(is_new(true).await, Ok(true), "whatever its times say");

    // As a secret that is mounted changes: another file under the same name.
    std::fs::write(&next, NONE).unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert_eq!(is_new(false).await, Ok(true));
    std::fs::write(&path, "{").unwrap();
    for _ in 0..2 {
        assert!(is_new(false).await.unwrap_err().starts_with("it is no JSON Web Key Set: "), "each time");
    }
    std::fs::write(&path, " ".repeat(BYTES_MAX + 1)).unwrap();
    assert_eq!(is_new(false).await.unwrap_err(), "it is larger than 1048576 bytes");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(is_new(false).await.unwrap_err(), "it is no regular file");
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(is_new(false).await.unwrap_err(), "it is no regular file", "nobody writes");
}
