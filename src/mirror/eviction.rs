//! A Redis that evicts would throw the stream away when its memory is full, and it would be filled again and again. It
//! is said for every connection that finds one, so again after a restart.

use redis::aio::MultiplexedConnection;

const HARMLESS: &str = "noeviction";

/// Warns if Redis may evict. One that does not say is given the benefit of the doubt: some hide it.
pub async fn warn(connection: &mut MultiplexedConnection) {
    let info: Result<String, _> = redis::cmd("INFO").arg("memory").query_async(connection).await;
    if let Some(policy) = info.ok().as_deref().and_then(evicts) {
        tracing::warn!(
            policy,
            "Redis evicts when its memory is full: set its maxmemory-policy to {HARMLESS}"
        );
    }
}

/// The policy by which it evicts. Without a limit of its memory there is no reason to.
fn evicts(info: &str) -> Option<&str> {
    let member = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let is_limited = member("maxmemory").is_some_and(|limit| limit.trim() != "0");
    member("maxmemory_policy").map(str::trim).filter(|policy| is_limited && *policy != HARMLESS)
}

#[cfg(test)]
mod tests {
    //! What Redis says, and what of it is a reason to warn.
    use super::*;

    #[test]
    fn a_limit_with_a_policy_that_evicts_is_a_reason() {
        let said = |limit: &str, policy: &str| {
            format!("# Memory\r\nused_memory:1000\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(evicts(&said("100", "allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(evicts(&said("100", "noeviction")), None);
        assert_eq!(evicts(&said("0", "allkeys-lru")), None);
        assert_eq!(evicts("# Memory\r\n"), None);
    }
}
