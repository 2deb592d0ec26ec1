//! A location that is written to at a limited rate: so that a backup leaves the line to others.
//!
//! An upload waits until those before it have earned their time, so what is handed over at once is no more than one object
//! for each upload under way. Reading is not limited: nothing may slow a restore down.

use crate::{Capabilities, Entry, Location, PutOutcome, Result, SwapOutcome, Version};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Paced {
    location: Arc<dyn Location>,
    bytes_per_second: u64,
    /// When everything that was handed over so far will have been earned.
    earned_at: Mutex<Option<Instant>>,
}

impl Paced {
    /// At most `bytes_per_second`, which is at least one.
    pub fn new(location: Arc<dyn Location>, bytes_per_second: u64) -> Self {
        Self { location, bytes_per_second: bytes_per_second.max(1), earned_at: Mutex::new(None) }
    }

    /// Waits for the turn of an upload of `bytes`, and for the time that it may take.
    async fn turn(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let end = {
            let mut earned_at = self.earned_at.lock().unwrap_or_else(PoisonError::into_inner);
            // Time that nobody used is not saved up: a pause must not be followed by a burst.
            let end = earned_at.unwrap_or_else(Instant::now).max(Instant::now()) + cost;
            *earned_at = Some(end);
            end
        };
        tokio::time::sleep_until(end).await;
    }
}

#[async_trait]
impl Location for Paced {
    fn address(&self) -> String {
        self.location.address()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        self.turn(bytes.len()).await;
        self.location.put_new(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.location.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.location.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.location.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.location.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.location.delete(key).await
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.location.read_register(key).await
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        self.location.compare_and_swap(key, expected, bytes).await
    }

    async fn probe(&self) -> Result<Capabilities> {
        self.location.probe().await
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        self.location.free_space().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[tokio::test(start_paused = true)]
    async fn uploads_take_turns_and_reads_don_t_wait() {
        let paced = Paced::new(Arc::new(Memory::new("paced")), 1000);
        let begin = Instant::now();
        let put = async |key: &str| paced.put_new(key, Bytes::from(vec![0; 2000])).await.unwrap();
        tokio::join!(put("a"), put("b"), put("c"));
        assert_eq!(begin.elapsed().as_secs(), 6);
        tokio::time::advance(Duration::from_secs(60)).await;
        let pause = Instant::now();
        put("d").await;
        assert_eq!(pause.elapsed().as_secs(), 2, "the pause was not saved up");
        let reading = Instant::now();
        assert_eq!(paced.get("a").await.unwrap().len(), 2000);
        assert_eq!(reading.elapsed().as_secs(), 0);
    }
}
