//! Numbers that only depend on the seed.

/// SplitMix64 (Steele, Lea, Flood, 2014): small, fast, and good enough to choose faults with.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `least` up to, not including, `below`.
    pub fn between(&mut self, least: u64, below: u64) -> u64 {
        least + self.next() % (below - least).max(1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_thousand: u64) -> bool {
        self.next() % 1000 < per_thousand
    }

    pub fn index(&mut self, of: usize) -> usize {
        self.between(0, of as u64) as usize
    }

    /// Mostly small, now and then large: as delays are.
    pub fn delay(&mut self, typical: u64, worst: u64) -> u64 {
        if self.chance(20) {
            self.between(typical, worst.max(typical + 1))
        } else {
            self.between(typical / 2, typical * 2 + 2)
        }
    }
}
