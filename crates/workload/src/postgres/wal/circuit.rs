//! Locations that failed a moment ago, so that the next of PostgreSQL's short-lived commands doesn't wait for them.
//!
//! Each `archive_command` is a process of its own and would meet a dead location's time limit again. One that failed
//! rests for a minute. What it missed comes to it later, when the repository is healed.

use super::error::Result;
use super::spool::{Spool, read_document, write_document};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a location is left alone after it failed.
pub const REST: Duration = Duration::from_secs(60);

/// Name of the location → end of its rest, in seconds since 1970.
type Resting = BTreeMap<String, u64>;

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn path(spool: &Spool) -> PathBuf {
    spool.path("resting.json")
}

/// Which of the `configured` locations to use now. All of them when all rest: somebody must take the data.
pub fn locations_to_use(spool: &Spool, configured: &[String], now: SystemTime) -> Vec<String> {
    let resting: Resting = read_document(&path(spool)).unwrap_or_default();
    awake(&resting, configured, seconds(now))
}

fn awake(resting: &Resting, configured: &[String], now: u64) -> Vec<String> {
    // A rest that ends later than any rest can was noted by a clock that was wrong.
    let rests = |name: &&String| resting.get(*name).is_some_and(|end| (now..=now + REST.as_secs()).contains(end));
    let awake: Vec<String> = configured.iter().filter(|name| !rests(name)).cloned().collect();
    if awake.is_empty() { configured.to_vec() } else { awake }
}

/// Notes which locations failed, and which work again.
pub fn note(spool: &Spool, failures: &[(String, String)], stored_in: &[String], now: SystemTime) -> Result<()> {
    let before: Resting = read_document(&path(spool)).unwrap_or_default();
    let mut after = before.clone();
    after.retain(|name, end| *end >= seconds(now) && !stored_in.contains(name));
    after.extend(failures.iter().map(|(name, _)| (name.clone(), seconds(now + REST))));
    if after == before {
        return Ok(());
    }
    spool.room("")?;
    write_document(&path(spool), &after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_location_rests_unless_it_is_the_last() {
        let (a, b) = ("a".to_string(), "b".to_string());
        let both = [a.clone(), b.clone()];
        let resting = |end| Resting::from([(a.clone(), end)]);
        assert_eq!(awake(&resting(1000), &both, 990), std::slice::from_ref(&b));
        assert_eq!(awake(&resting(1000), &both, 1001), both);
        assert_eq!(awake(&resting(9000), &both, 990), both, "a clock that was wrong silences nobody");
        assert_eq!(awake(&Resting::from([(a.clone(), 1000), (b.clone(), 1000)]), &both, 990), both);
    }
}
