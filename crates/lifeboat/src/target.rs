//! Which moment to bring back, from what was typed. Pure: the clock and the machine's zone are given.
//!
//! A time without a zone is refused. At three in the morning two people mean two moments by "14:03", and the wrong one
//! brings the dropped table back dropped.

use crate::cli::TargetArguments;
use crate::failure::{Failure, FailureKind};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_recovery::Target;

/// A longer text is no time; it is refused before it is looked at.
const TEXT_LENGTH_MAX: usize = 100;

/// The longest name that PostgreSQL gives a restore point, in bytes.
const NAME_LENGTH_MAX: usize = 63;

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("\"{0}\" has no time zone")]
    NoZone(String, DateTime),
    #[error("\"{text}\" names an unknown time zone, {zone}")]
    UnknownZone { text: String, zone: String },
    #[error("\"{text}\" does not exist in {zone}: the clocks skipped it")]
    Skipped { text: String, zone: String },
    #[error("\"{text}\" happened twice in {zone}: the clocks went back")]
    Twice { text: String, zone: String, first: String, second: String },
    #[error("\"{0}\" has no time of day")]
    NoTimeOfDay(String),
    #[error("\"{0}\" is not a time")]
    NotATime(String),
}

impl TimeError {
    /// What to type instead; `machine` is this machine's zone.
    pub fn hint(&self, machine: &TimeZone) -> String {
        match self {
            Self::NoZone(_, civil) => {
                let civil = civil.strftime("%F %T");
                let utc = format!("--at \"{civil} UTC\"");
                match machine.iana_name().filter(|name| !matches!(*name, "UTC" | "Etc/UTC" | "Etc/Unknown")) {
                    Some(name) => format!("write {utc}, or --at \"{civil} {name}\" for this machine's zone"),
                    None => format!("write {utc}, which is this machine's zone too, or another such as \"{civil} +01:00\""),
                }
            }
            Self::UnknownZone { .. } => "write the offset instead, such as +01:00, or UTC".to_owned(),
            Self::Skipped { .. } => "write an offset such as +01:00 instead of the zone's name".to_owned(),
            Self::Twice { first, second, .. } => format!("write --at \"{first}\" for the first or --at \"{second}\" for the second"),
            Self::NoTimeOfDay(_) | Self::NotATime(_) => {
                "write --at \"2026-11-21 14:03:05 Europe/Berlin\", --at 2026-11-21T14:03:05+01:00 or --at \"5 minutes ago\"".to_owned()
            }
        }
    }
}

/// `--exclusive` means something only where there is a target to stop before.
pub fn stops_before(exclusive: bool, target: &Target) -> Result<bool, Failure> {
    let word = match target {
        Target::Latest => "the latest moment",
        Target::Immediate => "--immediate",
        Target::Name(_) => "--name",
        Target::Time(_) | Target::Lsn(_) | Target::Xid(_) => return Ok(exclusive),
    };
    if !exclusive {
        return Ok(false);
    }
    Err(Failure::new(FailureKind::Usage, format!("--exclusive has no meaning with {word}"))
        .with_hint("give the moment to stop before: --at, --lsn or --xid"))
}

/// The moment that the options name.
pub fn resolve(wanted: &TargetArguments, now: Timestamp, machine: &TimeZone) -> Result<Target, Failure> {
    if let Some(text) = &wanted.at {
        return parse_time(text, now)
            .map(Target::Time)
            .map_err(|error| Failure::new(FailureKind::Usage, format!("--at {error}")).with_hint(error.hint(machine)));
    }
    if let Some(lsn) = wanted.lsn {
        return Ok(Target::Lsn(lsn));
    }
    if let Some(xid) = wanted.xid {
        return Ok(Target::Xid(xid));
    }
    if let Some(name) = &wanted.name {
        if name.is_empty() || name.len() > NAME_LENGTH_MAX {
            let message =
                format!("--name is {} bytes long; PostgreSQL's restore points have 1 to {NAME_LENGTH_MAX}", name.len());
            return Err(Failure::new(FailureKind::Usage, message));
        }
        return Ok(Target::Name(name.clone()));
    }
    Ok(if wanted.immediate { Target::Immediate } else { Target::Latest })
}

/// The time given with an option such as `--since`.
pub fn time_of(option: &str, text: &str, now: Timestamp, machine: &TimeZone) -> Result<Timestamp, Failure> {
    parse_time(text, now).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("{option} {error}"))
            .with_hint(error.hint(machine).replace("--at", option))
    })
}

/// Reads a time with its zone said aloud, or one relative to `now`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, TimeError> {
    let shown: String = text.chars().take(TEXT_LENGTH_MAX).collect();
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_LENGTH_MAX {
        return Err(TimeError::NotATime(shown));
    }
    if let Some(amount) = text.strip_suffix(" ago") {
        let ago = relative(amount).ok_or(TimeError::NotATime(shown.clone()))?;
        return now.checked_sub(ago).map_err(|_| TimeError::NotATime(shown));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return if text.contains(':') { Ok(timestamp) } else { Err(TimeError::NoTimeOfDay(shown)) };
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return Err(if text.contains(':') { TimeError::NoZone(shown, civil) } else { TimeError::NoTimeOfDay(shown) });
    }
    let (civil, zone) = text.rsplit_once(' ').ok_or(TimeError::NotATime(shown.clone()))?;
    let civil = civil.trim_end();
    // `2026-11-21 14:03:05 +01:00`: an offset with a space before it.
    if let Ok(timestamp) = format!("{civil}{zone}").parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let time = civil.parse::<DateTime>().map_err(|_| TimeError::NotATime(shown.clone()))?;
    if !civil.contains(':') {
        return Err(TimeError::NoTimeOfDay(shown));
    }
    in_zone(shown, time, zone)
}

fn in_zone(text: String, time: DateTime, zone: &str) -> Result<Timestamp, TimeError> {
    use jiff::tz::AmbiguousOffset;
    let found = match zone {
        "UTC" | "utc" | "GMT" => TimeZone::UTC,
        name => {
            TimeZone::get(name).map_err(|_| TimeError::UnknownZone { text: text.clone(), zone: name.to_owned() })?
        }
    };
    let moment = found.to_ambiguous_timestamp(time);
    match moment.offset() {
        AmbiguousOffset::Unambiguous { .. } => moment.unambiguous().map_err(|_| TimeError::NotATime(text)),
        AmbiguousOffset::Gap { .. } => Err(TimeError::Skipped { text, zone: zone.to_owned() }),
        AmbiguousOffset::Fold { before, after } => {
            let time = time.strftime("%F %T");
            let (first, second) = (format!("{time} {before}"), format!("{time} {after}"));
            Err(TimeError::Twice { text, zone: zone.to_owned(), first, second })
        }
    }
}

/// `5 minutes`, `1 hour`, `2h`: how long before now.
fn relative(amount: &str) -> Option<SignedDuration> {
    let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = amount.split_at(digits);
    let seconds: i64 = match unit.trim() {
        "s" | "second" | "seconds" => 1,
        "m" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    Some(SignedDuration::from_secs(number.parse::<i64>().ok()?.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, TimeError> {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        parse_time(text, now).map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn a_time_with_its_zone_said_aloud_is_one_moment() {
        for (text, moment) in [
            ("2026-11-21T14:03:05+01:00", "2026-11-21T13:03:05Z"),
            ("2026-11-21 14:03:05 Europe/Berlin", "2026-11-21T13:03:05Z"),
            ("2026-11-21 14:03:05 +01:00", "2026-11-21T13:03:05Z"),
            ("2026-11-21 14:03:05.25+01", "2026-11-21T13:03:05.25Z"),
            ("2026-11-21 14:03 UTC", "2026-11-21T14:03:00Z"),
            ("2026-11-21T14:03:05Z", "2026-11-21T14:03:05Z"),
            ("2026-07-01 14:03:05 America/New_York", "2026-07-01T18:03:05Z"),
            ("2026-10-25 02:30:00 +02", "2026-10-25T00:30:00Z"),
            ("2026-10-25 02:30:00 +01", "2026-10-25T01:30:00Z"),
            ("5 minutes ago", "2026-11-21T11:55:00Z"),
            ("1 day ago", "2026-11-20T12:00:00Z"),
            (" 90s ago ", "2026-11-21T11:58:30Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(moment), "{text}");
        }
    }

    #[test]
    fn what_could_be_two_moments_is_refused() {
        assert!(matches!(parsed("2026-11-21 14:03:05"), Err(TimeError::NoZone(..))));
        assert!(matches!(parsed("2026-11-21T14:03:05"), Err(TimeError::NoZone(..))));
        assert!(matches!(parsed("2026-11-21"), Err(TimeError::NoTimeOfDay(..))));
        assert!(matches!(parsed("2026-11-21 Europe/Berlin"), Err(TimeError::NoTimeOfDay(..))));
        assert!(matches!(parsed("2026-10-25 02:30:00 Europe/Berlin"), Err(TimeError::Twice { .. })));
        assert!(matches!(parsed("2026-03-29 02:30:00 Europe/Berlin"), Err(TimeError::Skipped { .. })));
        assert!(matches!(parsed("2026-11-21 14:03:05 Nowhere"), Err(TimeError::UnknownZone { .. })));
        for text in ["", "now", "14:03", "ago", "x ago", "9223372036854775807 weeks ago", "-5 minutes ago"] {
            assert!(matches!(parsed(text), Err(TimeError::NotATime(_))), "{text}: {:?}", parsed(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            let _ = parsed(&text);
        }

        #[test]
        fn what_looks_like_a_time_never_panics(text in "[0-9]{1,5}-[0-9]{2}-[0-9]{2}[ T][0-9:.]{1,12}( ?[+-]?[0-9:]{0,6}| [A-Z/a-z]{1,12}| ago)") {
            let _ = parsed(&text);
        }
    }
}
