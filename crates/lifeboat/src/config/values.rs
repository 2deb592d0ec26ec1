//! Durations, sizes and names as people write them: `"30s"`, `"64MiB"`, `shop-db`. Pure.

pub use lifeboat_plan::nearest;
use std::time::Duration;

/// The longest text that can be a value here; longer is refused before it is looked at.
const TEXT_LENGTH_MAX: usize = 40;

/// Reads `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`. A number without a unit is refused: seconds and minutes look alike.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

/// Reads `"64MiB"`, `"100MB"`, `"512KiB"`, `"2TB"`, `"100B"`, in bytes. `KB` is 1000 and `KiB` is 1024, as the standard says.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// What [`parse_rate`] takes.
pub const RATE_EXPECTED: &str = "a size per second of at least 1MB, such as \"100MB\"";

/// Reads `"100MB"` or `"100MB/s"`, in bytes per second. Less than a megabyte is a slip of the pen: a backup would take weeks.
pub fn parse_rate(text: &str) -> Option<u64> {
    parse_size(text.strip_suffix("/s").unwrap_or(text)).filter(|bytes| *bytes >= 1_000_000)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    if text.len() > TEXT_LENGTH_MAX {
        return None;
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.strip_prefix(' ').unwrap_or(unit)))
}

/// Whether this can name a location or a workload: it becomes part of object keys and of commands.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    starts_well && text.len() <= 63 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("0s", 0), ("5 m", 300)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for text in ["", "30", "s", "-1s", "1.5h", "1w", "99999999999999999999s", "18446744073709551615d", "5  m", "5M"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64MiB", 64 << 20), ("100MB", 100_000_000), ("1 TiB", 1 << 40), ("7B", 7), ("2kB", 2000)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["64", "64M", "MiB", "-1B", "18446744073709551615KiB", "64mib", "1e3B"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
