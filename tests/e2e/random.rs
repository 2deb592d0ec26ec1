//! Choices that can be repeated: a small generator whose seed is printed.
//!
//! The same seed makes the same choices. What is chosen from, such as the span of a load that has run, is each run's own.

use std::time::SystemTime;

/// Repeats a run.
const VARIABLE: &str = "LIFEBOAT_SEED";

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From the seed in the environment, or a new one. Printed: the test's output is shown when it fails.
    pub fn new() -> Self {
        let given = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let seed = given.unwrap_or_else(|| u64::try_from(now % u128::from(u64::MAX)).unwrap_or_default());
        eprintln!("seed {seed}; repeat with {VARIABLE}={seed}");
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` on, below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "no number between {low} and {high}");
        low + self.next() % (high - low)
    }
}
