//! Tokens whose keys are not known, and which of them a look has refused.
//!
//! The invariant: a token is refused only if a look that ended well began after it was first shown. What does not fit in is put
//! off once more, so whoever makes up tokens can have neither one of another refused nor more than this remembered.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Of each kind, at eight bytes.
const TOKENS_MAX: usize = 4_096;

/// They are remembered by a hash that nobody outside can aim at.
#[derive(Default)]
pub struct Unknown {
    hashes: RandomState,
    /// Since the last look began.
    shown: HashSet<u64>,
    /// Before the look that is under way.
    looked_for: HashSet<u64>,
    refused: HashSet<u64>,
}

impl Unknown {
    pub fn show(&mut self, token: &str) {
        if self.shown.len() < TOKENS_MAX {
            self.shown.insert(self.hashes.hash_one(token));
        }
    }

    pub fn begin_look(&mut self) {
        self.looked_for = std::mem::take(&mut self.shown);
    }

    /// It went well. Those whose keys it found are not asked about here any more.
    pub fn end_look(&mut self) {
        if self.refused.len() + self.looked_for.len() > TOKENS_MAX {
            self.refused.clear();
        }
        self.refused.extend(self.looked_for.drain());
    }

    pub fn is_refused(&self, token: &str) -> bool {
        self.refused.contains(&self.hashes.hash_one(token))
    }
}
