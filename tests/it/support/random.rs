//! Random choices that can be repeated: a test that fails says where they came from.

use std::fmt;

/// Marsaglia's xorshift64 (2003).
pub struct Xorshift(u64);

impl Xorshift {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// Where the random choices of a run come from.
pub struct Seed(u64);

impl Seed {
    const VARIABLE: &str = "RANDOM_SEED";

    /// Another one for every run, unless one is to be repeated.
    pub fn draw() -> Self {
        let repeated = std::env::var(Self::VARIABLE).ok().map(|text| text.parse().unwrap());
        Self(repeated.unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64))
    }

    pub fn random(&self, stream: usize) -> Xorshift {
        // The golden ratio: neighbouring streams begin far apart.
        Xorshift((self.0 ^ (stream as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", Self::VARIABLE, self.0)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the random choices of this run: {self}");
        }
    }
}
