//! How long nobody could write, per fault.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub struct Figures {
    silences: BTreeMap<&'static str, Vec<Duration>>,
    acknowledged: usize,
}

impl Figures {
    pub fn note(&mut self, fault: &'static str, silence: Duration, acknowledged: usize) {
        self.silences.entry(fault).or_default().push(silence);
        self.acknowledged += acknowledged;
    }

    pub fn add(&mut self, other: Self) {
        for (fault, silences) in other.silences {
            self.silences.entry(fault).or_default().extend(silences);
        }
        self.acknowledged += other.acknowledged;
    }

    pub fn runs(&self) -> usize {
        self.silences.values().map(Vec::len).sum()
    }
}

/// The smallest that so many of a hundred don't exceed.
fn percentile(sorted: &[Duration], of_hundred: usize) -> Duration {
    let place = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults, {} acknowledged writes; seconds without a write:", self.runs(), self.acknowledged)?;
        writeln!(f, "{:<42} {:>5} {:>7} {:>7} {:>7} {:>7}", "fault", "runs", "least", "median", "90 %", "most")?;
        for (fault, silences) in &self.silences {
            let mut sorted = silences.clone();
            sorted.sort();
            let at = |of_hundred| percentile(&sorted, of_hundred).as_secs_f64();
            let (least, median, most) = (at(1), at(50), at(100));
            let ninety = at(90);
            writeln!(f, "{fault:<42} {:>5} {least:>7.2} {median:>7.2} {ninety:>7.2} {most:>7.2}", sorted.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let seconds: Vec<Duration> = (1..=10).map(Duration::from_secs).collect();
        for (of_hundred, expected) in [(1, 1), (50, 5), (90, 9), (100, 10)] {
            assert_eq!(percentile(&seconds, of_hundred), Duration::from_secs(expected), "{of_hundred}");
        }
        assert_eq!(percentile(&seconds[..1], 90), Duration::from_secs(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
