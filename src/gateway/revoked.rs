//! The end of a key: whoever came in with it, or with a ticket made by it, is closed.
//!
//! A key is marked before this hears of it, and a connection that opens looks at the mark after its tap is registered,
//! so none slips in between.

use super::hub::Hub;
use crate::auth::Keys;

/// Closes what revoked keys have opened, until the task is aborted.
pub async fn close_revoked(keys: Keys, hub: Hub) {
    let mut endings = keys.endings();
    while endings.changed().await.is_ok() {
        hub.close_revoked();
    }
}
