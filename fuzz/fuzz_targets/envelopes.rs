//! `./dev fuzz envelopes`; what is asked of it stands in `src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings::fuzz::envelopes(bytes));
