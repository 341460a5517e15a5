//! A browser that takes pushes for a recipient.

use serde::{Deserialize, Serialize};

/// As the browser's own `PushSubscription` says it (W3C Push API). Personal, and with its endpoint anybody could call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// Where its push service is called for it. No two have the same.
    pub endpoint: String,
    /// What it is encrypted for (RFC 8291): a point of P-256, uncompressed, in base64url.
    pub p256dh: String,
    /// The secret that goes with it (RFC 8291, 3.2): 16 bytes in base64url.
    pub auth: String,
}

impl PushSubscription {
    pub const ENDPOINT_CHARS_MAX: usize = 2_048;
    /// Of one recipient; one more takes the place of the oldest.
    pub const COUNT_MAX: usize = 10;
}
