//! An amount that may not be wholly known. Null is not nought.

use crate::money::Money;
use std::collections::BTreeSet;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// What is known of a sum, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amount {
    /// The sum of what is known: all, or a least value while something is missing (costs aren't negative).
    pub known: Money,
    /// What nobody said, in words.
    pub missing: BTreeSet<String>,
}

impl Amount {
    /// Nothing, and that is known.
    pub const ZERO: Self = Self { known: Money::ZERO, missing: BTreeSet::new() };

    /// All of it is known.
    pub const fn known(money: Money) -> Self {
        Self { known: money, missing: BTreeSet::new() }
    }

    /// Nothing is known.
    pub fn missing(what: impl Into<String>) -> Self {
        Self { known: Money::ZERO, missing: [what.into()].into() }
    }

    /// What was said, or that it wasn't.
    pub fn of(said: Option<Money>, what: impl Into<String>) -> Self {
        said.map_or_else(|| Self::missing(what), Self::known)
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// The sum, if nothing is missing.
    pub fn whole(&self) -> Option<Money> {
        self.is_whole().then_some(self.known)
    }

    /// So many times. Nothing of something unknown is nothing.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        if factor == 0.0 { Self::ZERO } else { Self { known: self.known.times(factor), missing: self.missing } }
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.known += other.known;
        self.missing.extend(other.missing);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Amount {
    /// `1,000.08`, `at least 1,000.08`, `not given`; `{:.0}` leaves the cents away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let text = match (self.is_whole(), self.known == Money::ZERO) {
            (true, _) => format!("{:.digits$}", self.known),
            (false, true) => "not given".to_owned(),
            (false, false) => format!("at least {:.digits$}", self.known),
        };
        f.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stays_missing() {
        let some = Amount::known(Money::from_units(5));
        assert_eq!(some.to_string(), "5.00");
        let sum = some + Amount::missing("licences") + Amount::missing("licences");
        assert_eq!((sum.to_string().as_str(), sum.whole(), sum.missing.len()), ("at least 5.00", None, 1));
        assert_eq!(Amount::missing("x").to_string(), "not given");
        assert_eq!(Amount::missing("x").times(0.0), Amount::ZERO);
        assert_eq!(format!("{:.0}", Amount::ZERO), "0");
    }
}
