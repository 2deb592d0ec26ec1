//! Figures in words, the same everywhere; and commands without what looks like a secret.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_plan::model::{Disruption, Strategy};
use std::time::Duration;

/// `0.8 s`, `12.0 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "no figure".to_owned();
    }
    if value < 60.0 {
        // No nought is made of what isn't.
        return match value {
            0.0 => "0 s".to_owned(),
            small if small < 0.1 => format!("{small:.3} s"),
            _ => format!("{value:.1} s"),
        };
    }
    let whole = value.round() as u64;
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match whole {
        0..3600 => pair(whole / 60, "min", whole % 60, "s"),
        3600..172_800 => pair(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => pair(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// A promise: nought of a loss is "nothing".
pub(crate) fn duration(value: Duration) -> String {
    if value.is_zero() { "0 s".to_owned() } else { seconds(value.as_secs_f64()) }
}

/// `2026-11-03`, in UTC.
pub(crate) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

pub(crate) fn disruption(kind: Disruption) -> &'static str {
    match kind {
        Disruption::Corruption => "data is gone or wrong",
        Disruption::Ransomware => "ransomware",
        Disruption::Instance => "a server is gone",
        Disruption::Site => "a site is gone",
        Disruption::Network => "parts can't reach each other",
        Disruption::Dependency => "a supplier, key or person is missing",
    }
}

pub(crate) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::BackupRestore => "backup and restore",
        Strategy::PointInTime => "point-in-time recovery",
        Strategy::PilotLight => "pilot light",
        Strategy::WarmStandby => "warm standby",
        Strategy::HotStandby => "hot standby",
        Strategy::ActiveActive => "active/active",
    }
}

/// Words that stand before a secret.
const BEFORE_SECRETS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "access-key"];
const HIDDEN: &str = "(left out)";

/// A command for a document: quoted for a shell, and what follows a word for a secret left out.
pub(crate) fn command(words: &[String]) -> String {
    let mut shown = Vec::new();
    let mut hides_next = false;
    for word in words {
        let lower = word.to_ascii_lowercase().replace('_', "-");
        let names_secret = BEFORE_SECRETS.iter().any(|before| lower.contains(before)) || lower.contains("api-key");
        if std::mem::take(&mut hides_next) {
            shown.push(HIDDEN.to_owned());
        } else if names_secret && word.contains(['=', ':']) {
            let end = word.find(['=', ':']).unwrap_or(word.len());
            shown.push(format!("{}{HIDDEN}", &word[..=end]));
        } else {
            hides_next = names_secret && word.starts_with('-');
            shown.push(quoted(&without_user(word)));
        }
    }
    shown.join(" ")
}

/// `https://user:password@host` without what is before the host.
pub(crate) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let shown = match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}@{}", &rest[at + 1..]),
        None => url.to_owned(),
    };
    match shown.split_once('?') {
        // A query holds keys often enough.
        Some((before, _)) => format!("{before}?{HIDDEN}"),
        None => shown,
    }
}

/// As a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let table = [
            (0.0, "0 s"),
            (0.05, "0.050 s"),
            (0.84, "0.8 s"),
            (59.94, "59.9 s"),
            (60.0, "1 min"),
            (250.4, "4 min 10 s"),
            (7500.0, "2 h 5 min"),
            (86_400.0, "24 h"),
            (273_600.0, "3 d 4 h"),
            (f64::NAN, "no figure"),
        ];
        for (value, words) in table {
            assert_eq!(seconds(value), words);
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_left_out() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let table = [
            ("az vm start --name db", "az vm start --name db"),
            ("x --password hunter2 y", "x --password (left out) y"),
            ("x --api_key=hunter2", "x --api_key=(left out)"),
            (
                "curl -H X-Token:hunter2 https://me:hunter2@host/a?k=hunter2",
                "curl -H X-Token:(left out) 'https://(left out)@host/a?(left out)'",
            ),
            ("env PGPASSWORD=hunter2 psql", "env PGPASSWORD=(left out) psql"),
        ];
        for (typed, shown) in table {
            assert_eq!(command(&words(typed)), shown);
        }
    }
}
