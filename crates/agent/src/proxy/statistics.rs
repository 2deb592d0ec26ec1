//! What the proxy has done, as numbers for metrics.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment's numbers. Those named `_total` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Statistics {
    /// Connected through to the primary.
    pub open: u64,
    /// Connected through on the port for reading.
    pub open_read_only: u64,
    /// Accepted, and waiting for somewhere to go.
    pub held: u64,
    /// Connected through and answered so far.
    pub served_total: u64,
    /// Cut off because the epoch changed, or the time to drain was over.
    pub killed_total: u64,
    /// Answered that they can't be connected now, or that there are too many.
    pub refused_total: u64,
    /// Gave up while they were held.
    pub left_total: u64,
    /// Attempts to reach a database that came to nothing.
    pub unreachable_total: u64,
    /// Bytes from clients.
    pub received_bytes_total: u64,
    /// Bytes to clients.
    pub sent_bytes_total: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub open: AtomicU64,
    pub open_read_only: AtomicU64,
    pub held: AtomicU64,
    pub served: AtomicU64,
    pub killed: AtomicU64,
    pub refused: AtomicU64,
    pub left: AtomicU64,
    pub unreachable: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> Statistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            open: of(&self.open),
            open_read_only: of(&self.open_read_only),
            held: of(&self.held),
            served_total: of(&self.served),
            killed_total: of(&self.killed),
            refused_total: of(&self.refused),
            left_total: of(&self.left),
            unreachable_total: of(&self.unreachable),
            received_bytes_total: of(&self.received_bytes),
            sent_bytes_total: of(&self.sent_bytes),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts one for as long as it lives.
pub(super) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub fn up(counter: &'a AtomicU64) -> Self {
        count(counter);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
