//! How long a channel waits between attempts: each edge of the randomness, and what a server may ask for.

use time::Duration;

use crate::notification::{Backoff, Jitter, RetryPolicy};

use super::samples::*;

const LOW: Jitter = Jitter(0);
const HIGH: Jitter = Jitter(u32::MAX);

fn exponential(base_ms: u64, cap_ms: u64) -> RetryPolicy {
    RetryPolicy { attempts_max: u32::MAX, backoff: Backoff::Exponential { base_ms, cap_ms } }
}

/// After the failure of an attempt, in milliseconds.
fn wait_ms(policy: RetryPolicy, attempt: u32, asked_s: Option<u32>, jitter: Jitter) -> i128 {
    (policy.next_at(attempt, NOW, asked_s, jitter).unwrap() - NOW).whole_milliseconds()
}

#[test]
fn an_exponential_wait_is_anything_below_a_doubling_bound() {
    let policy = exponential(1000, 60_000);
    for (attempt, bound_ms) in
        [(1, 1000), (2, 2000), (3, 4000), (6, 32_000), (7, 60_000), (u32::MAX - 1, 60_000)]
    {
        assert_eq!(wait_ms(policy, attempt, None, LOW), 0, "full jitter, {attempt}");
        assert_eq!(wait_ms(policy, attempt, None, Jitter(1 << 31)), bound_ms / 2, "{attempt}");
        assert_eq!(wait_ms(policy, attempt, None, HIGH), bound_ms - 1, "{attempt}");
    }
}

#[test]
fn no_number_of_a_policy_breaks_it() {
    let policy = exponential(u64::MAX, u64::MAX);
    assert!(policy.next_at(u32::MAX - 1, NOW, None, HIGH).unwrap() > NOW, "it ends where the calendar does");
    assert_eq!(wait_ms(exponential(0, 0), 1, None, HIGH), 0);
    assert_eq!(wait_ms(exponential(1000, 0), 1, None, HIGH), 0);
}

#[test]
fn webhooks_wait_as_their_standard_says_a_fifth_more_or_less() {
    let policy = RetryPolicy::STANDARD_WEBHOOKS;
    let waits_s = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
    for (attempt, wait_s) in (1..).zip(waits_s) {
        assert_eq!(wait_ms(policy, attempt, None, LOW), wait_s * 800, "{attempt}");
        assert_eq!(wait_ms(policy, attempt, None, Jitter(1 << 31)), wait_s * 1000, "{attempt}");
        assert_eq!(wait_ms(policy, attempt, None, HIGH), wait_s * 1200 - 1, "{attempt}");
    }
    assert_eq!(policy.next_at(10, NOW, None, LOW), None, "ten attempts, the first at once");
    let longer = RetryPolicy { attempts_max: 50, ..policy };
    assert_eq!(wait_ms(longer, 49, None, Jitter(1 << 31)), 86_400_000, "the last wait goes on");
}

#[test]
fn a_server_that_asks_for_time_gets_it_up_to_a_day() {
    let policy = exponential(1000, 60_000);
    assert_eq!(wait_ms(policy, 1, Some(120), HIGH), 120_000);
    assert_eq!(wait_ms(policy, 1, Some(0), HIGH), 999, "what is asked for shortens nothing");
    assert_eq!(wait_ms(policy, 1, Some(u32::MAX), LOW), 86_400_000);
    assert_eq!(wait_ms(RetryPolicy::STANDARD_WEBHOOKS, 1, Some(60), LOW), 60_000);
}

#[test]
fn the_last_attempt_is_followed_by_none_whatever_a_server_asks() {
    assert_eq!(THREE.next_at(3, NOW, Some(60), LOW), None);
    assert_eq!(THREE.next_at(4, NOW, None, LOW), None, "an attempt that was asked for is the last, too");
    assert!(THREE.has_attempt_after(2) && !THREE.has_attempt_after(3));
    assert_eq!(RetryPolicy { attempts_max: 0, ..THREE }.next_at(1, NOW, None, LOW), None);
}

#[test]
fn an_instant_is_told_in_milliseconds() {
    let now = NOW + Duration::nanoseconds(999_999);
    assert_eq!(THREE.next_at(1, now, None, LOW), Some(NOW));
}
