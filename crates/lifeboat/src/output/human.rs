//! Sizes, durations and ages for people. Pure. Figures keep three digits: more is noise, less hides a change.

use std::time::Duration;

/// `0 B`, `999 B`, `1.5 KiB`, `64.0 MiB`, `1.82 TiB`: binary units, as memory and files are counted.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would be shown as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1 object`, `2 objects`.
pub fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// `250 ms`, `4.2 s`, `1 m 5 s`, `2 h 3 m`, `5 d 4 h`: the two largest units.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", (duration.as_secs_f64() * 10.0).floor() / 10.0),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// How long ago: `just now`, `5 m ago`, `3 d ago`; `in 5 m` for what lies ahead.
pub fn age(of: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let apart = now.duration_since(of);
    let seconds = apart.unsigned_abs().as_secs();
    let rough = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3600 => format!("{} m", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    };
    if apart.is_negative() { format!("in {rough}") } else { format!("{rough} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB"), (u64::MAX, "16.0 EiB")];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size((1 << 30) - 1), "1.0 GiB");
    }

    #[test]
    fn durations() {
        let table = [(0, "0 ms"), (250, "250 ms"), (4_280, "4.2 s"), (59_990, "59.9 s"), (65_000, "1 m 5 s")];
        let long = [(3_600_000, "1 h"), (7_380_000, "2 h 3 m"), (446_400_000, "5 d 4 h")];
        for (milliseconds, text) in table.into_iter().chain(long) {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn ages() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let table = [(0, "just now"), (-30, "30 s ago"), (-7200, "2 h ago"), (-200_000, "2 d ago"), (300, "in 5 m")];
        for (offset, text) in table {
            assert_eq!(age(jiff::Timestamp::from_second(1_000_000 + offset).unwrap(), now), text);
        }
    }
}
