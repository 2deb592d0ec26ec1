//! Money, exactly: sums of prices far below a cent must not drift.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

/// Millionths in one unit of the currency.
const MICROS: i128 = 1_000_000;

/// An amount, in millionths of the plan's currency. Which currency that is, the plan says; there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths.
    pub const fn from_micros(micros: i128) -> Self {
        Self(micros)
    }

    /// So many whole units.
    pub const fn from_units(units: i64) -> Self {
        Self(units as i128 * MICROS)
    }

    /// The nearest amount; `None` for what is no number, or beyond a billion billions.
    pub fn from_float(units: f64) -> Option<Self> {
        (units.is_finite() && units.abs() <= 1e18).then(|| Self((units * MICROS as f64).round() as i128))
    }

    /// In millionths.
    pub const fn micros(self) -> i128 {
        self.0
    }

    /// In units, for pictures and ratios; exact up to some nine billion.
    pub fn as_units(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// So many times, to the nearest millionth. What is no number counts as nought; what is too much stops at the most there is.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as i128)
    }

    /// So many times, exactly.
    #[must_use]
    pub const fn times_whole(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    /// `1,000.08`; `{:.0}` leaves the cents away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2).min(6) as u32;
        let step = 10_i128.pow(6 - digits);
        let rounded = (self.0.unsigned_abs() + step.unsigned_abs() / 2) / step.unsigned_abs();
        let one = 10_u128.pow(digits);
        let whole = (rounded / one).to_string();
        let mut text = String::new();
        for (number, digit) in whole.chars().enumerate() {
            if number > 0 && (whole.len() - number).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if digits > 0 {
            text.push_str(&format!(".{:0width$}", rounded % one, width = digits as usize));
        }
        f.pad_integral(self.0 >= 0 || rounded == 0, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        for (micros, expected) in [
            (0, "0.00"),
            (1_000_080_000, "1,000.08"),
            (-1_234_567_890_000, "-1,234,567.89"),
            (4_999, "0.00"),
            (5_000, "0.01"),
            (999_995_000, "1,000.00"),
            (-1, "0.00"),
        ] {
            assert_eq!(Money::from_micros(micros).to_string(), expected, "{micros}");
        }
        assert_eq!(format!("{:.0}", Money::from_units(4_000_000)), "4,000,000");
        assert_eq!(format!("{:>8.0}|", Money::from_units(12)), "      12|");
    }

    #[test]
    fn sums_of_the_smallest_prices_are_exact() {
        let price = Money::from_float(0.01).unwrap();
        assert_eq!(Money::from_units(1000) + price.times_whole(8), Money::from_micros(1_000_080_000));
        assert_eq!(Money::from_float(f64::NAN), None);
        assert_eq!((0..1_000_000).map(|_| Money::from_micros(1)).sum::<Money>(), Money::from_units(1));
    }
}
