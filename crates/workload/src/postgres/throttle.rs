//! A limit on how fast the data directory is read, shared by all workers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hands out permission to read, at a steady rate.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: Option<u64>,
    /// When everything handed out so far will have been earned.
    earned_at: Mutex<Instant>,
}

impl Throttle {
    /// `None` is no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), earned_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may be read.
    pub fn take(&self, bytes: u64) {
        std::thread::sleep(self.delay(bytes));
    }

    /// How long to wait before `bytes` more are read, for who may not sleep here.
    pub fn delay(&self, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut earned_at = self.earned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Time that nobody used is not saved up: a pause must not be followed by a burst.
        let start = (*earned_at).max(now);
        *earned_at = start + cost;
        start - now
    }
}
