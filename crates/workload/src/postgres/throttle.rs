//! Reading the data directory so that the database hardly notices: a limit on the rate, shared by all workers, and word
//! to the kernel that what is read is read once.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells the kernel that this file is read once: since Linux 6.3 what is read this way is the first to leave the page cache
/// again, and what the database uses stays. (Dropping the pages after reading would drop the database's too.) Where the
/// kernel doesn't know the advice nothing is lost.
pub fn read_once(file: &File) {
    let _ = fadvise(file, 0, None, Advice::NoReuse);
}

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
