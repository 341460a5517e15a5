//! Keys of services, made by the root key.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Answer, Service, Socket};

/// A key, and what shows it.
pub struct ApiKey {
    pub id: String,
    pub secret: String,
}

impl Service {
    /// A key of `default` with these scopes.
    pub async fn key(&self, scopes: &[&str]) -> ApiKey {
        self.key_with(json!({"name": "a test", "scopes": scopes})).await
    }

    pub async fn key_with(&self, body: Value) -> ApiKey {
        let made = self.post("/v1/keys", &body).await.expect(201);
        ApiKey { id: made.text("id"), secret: made.text("key") }
    }

    pub async fn revoke(&self, key: &ApiKey) -> Answer {
        let request = self.request("DELETE", &format!("/v1/keys/{}", key.id));
        self.send(request.header("x-api-key", self.root_key())).await.expect(200)
    }

    /// A request of the service that has the key.
    pub fn by(&self, key: &ApiKey, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).header("x-api-key", &key.secret)
    }

    /// A user's socket, opened with the key and greeted.
    pub async fn socket_by(&self, key: &ApiKey, user: &str) -> Socket {
        let query = format!("user_id={user}");
        let mut socket = Socket::open(self, &query, &[("x-api-key", &key.secret)]).await.unwrap();
        socket.frame("welcome").await;
        socket
    }
}
