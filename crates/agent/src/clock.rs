//! The clock of this machine that never goes back and doesn't stop while it sleeps.

use lifeboat_failover::Moment;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now, by `CLOCK_BOOTTIME`.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Moment(Duration::new(seconds, nanoseconds))
}

/// The time of day, in seconds of Unix: only to be shown and compared, never to decide by.
pub fn time_of_day_seconds() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
