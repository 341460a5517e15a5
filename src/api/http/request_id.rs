//! The id of a request: the caller's own where it is sane, else a fresh one. Every answer carries it, the events
//! that the request causes do, and so does the log line of what went wrong with it.

use std::sync::Arc;

use poem::http::{HeaderName, HeaderValue};
use poem::{Endpoint, Request, Response};
use tracing::{Instrument, Span};

use crate::clock;

pub const NAME: HeaderName = HeaderName::from_static("x-request-id");
const CHARS_MAX: usize = 128;

tokio::task_local! {
    /// Always visible ASCII.
    static CURRENT: HeaderValue;
}

/// The id of the request that this task serves; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(|id| id.to_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// Runs what no HTTP request began, such as a command of a socket, under this id, which must be visible ASCII.
pub async fn scope<F: Future>(id: &str, future: F) -> F::Output {
    let id = HeaderValue::from_str(id).unwrap_or_else(|_| fresh());
    let span = span(&id);
    CURRENT.scope(id, future).instrument(span).await
}

/// Serves a request under its id, and gives the answer the same.
pub async fn identify<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let id = given(&request).unwrap_or_else(fresh);
    // Boxed: it holds all that is below, and each step here would copy it.
    let serve = Box::pin(next.call(request));
    let mut response = CURRENT.scope(id.clone(), serve).instrument(span(&id)).await?;
    response.headers_mut().insert(NAME, id);
    Ok(response)
}

/// What every line of the request carries, whatever level is logged.
fn span(id: &HeaderValue) -> Span {
    tracing::error_span!("request", request_id = id.to_str().unwrap_or_default())
}

fn given(request: &Request) -> Option<HeaderValue> {
    let id = request.headers().get(NAME)?;
    let sane = (1..=CHARS_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    sane.then(|| id.clone())
}

fn fresh() -> HeaderValue {
    let id = clock::new_uuid().to_string();
    HeaderValue::from_str(&id).expect("a UUID is visible ASCII")
}

#[cfg(test)]
mod tests {
    //! The answer and the log line of a fault name the same id.
    use std::io::Write;
    use std::sync::Mutex;

    use poem::endpoint::make_sync;
    use poem::{EndpointExt, IntoResponse};

    use super::*;
    use crate::api::Problem;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_fault_is_logged_under_the_id_that_its_answer_carries() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);

        let fail = || Problem::internal(&std::io::Error::other("a secret of the house")).into_response();
        let endpoint = make_sync(move |_| fail()).around(identify);
        let answer = endpoint.get_response(Request::default()).await;
        let id = answer.headers()[NAME].to_str().expect("is text").to_owned();
        assert_eq!((answer.status().as_u16(), id.len()), (500, 36));
        let body = answer.into_body().into_string().await.expect("is text");
        assert!(!body.contains("secret"), "{body}");

        let logged = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("is text");
        assert!(logged.contains(&id) && logged.contains("a secret of the house"), "{logged}");
    }

    #[tokio::test]
    async fn outside_of_a_request_there_is_no_id() {
        assert_eq!(current(), "");
    }
}
