//! Amounts, quantities and times as people type them into the two files. Refused: what is negative, endless, or finer than a millionth.

use crate::money::Money;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// More than anybody pays; keeps sums far from the end of numbers.
const UNITS_MAX: f64 = 1e12;

/// A whole number or a fraction.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, such as 80 or 0.5")]
enum Number {
    Whole(i64),
    Fraction(f64),
}

impl Number {
    fn value(&self) -> f64 {
        match self {
            Self::Whole(number) => *number as f64,
            Self::Fraction(number) => *number,
        }
    }
}

fn within<E: Error>(value: f64) -> Result<f64, E> {
    if (0.0..=UNITS_MAX).contains(&value) {
        Ok(value)
    } else {
        Err(E::custom(format!("{value} is not a number from 0 to 1,000,000,000,000")))
    }
}

/// An amount of money.
pub(super) fn price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Money>, D::Error> {
    let units = within::<D::Error>(Number::deserialize(from)?.value())?;
    let money = Money::from_float(units).ok_or_else(|| D::Error::custom("not an amount"))?;
    let told = units * 1_000_000.0;
    if (told - told.round()).abs() > 1e-3 && units < 1_000_000.0 {
        return Err(D::Error::custom(format!("{units} is finer than a millionth; give the price of more at once")));
    }
    Ok(Some(money))
}

/// A quantity.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within(Number::deserialize(from)?.value()).map(Some)
}

/// `"30s"`, `"15m"`, `"4h"`, `"2d"`.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let parsed = parse(&text);
    parsed.map(Some).ok_or_else(|| {
        D::Error::custom(format!("{text:?} is not a time such as \"30s\", \"15m\", \"4h\" or \"2d\", up to ten years"))
    })
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    (time <= Duration::from_secs(3660 * 86_400)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [("30s", Some(30)), ("15m", Some(900)), ("2d", Some(172_800)), ("1 h", Some(3600))] {
            assert_eq!(parse(text).map(|time| time.as_secs()), seconds, "{text}");
        }
        for text in ["", "4", "-1s", "1.5h", "99999999999999999999d", "9999d", "h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
