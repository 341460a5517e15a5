//! A number that grows, for those who wait for more.

use tokio::sync::watch;

use super::PATIENCE;

/// How many there are of something, for those who wait for more.
pub struct Count(watch::Sender<i64>);

impl Count {
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub fn get(&self) -> i64 {
        *self.0.borrow()
    }

    pub fn add(&self, more: i64) {
        self.0.send_modify(|count| *count += more);
    }

    /// Patient for as long as it grows: a busy disk makes everything slow.
    pub async fn reaches(&self, count: i64) {
        let mut counted = self.0.subscribe();
        while *counted.borrow_and_update() < count {
            let grown = tokio::time::timeout(PATIENCE, counted.changed()).await;
            assert!(grown.is_ok(), "{} of {count} came", self.get());
        }
    }

    /// This many more than there are now.
    pub async fn grows_by(&self, more: i64) {
        self.reaches(self.get() + more).await;
    }
}
