//! What is asked for: the moment to bring back, and the line of history it lies on.
//!
//! The same kinds of target as PostgreSQL has. Not here: parsing what a user typed.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_postgres::{Lsn, TimelineId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The moment to bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "value")]
pub enum Target {
    /// All that is archived.
    Latest,
    /// The end of the recovery point, as soon as it is consistent.
    Immediate,
    /// Every transaction that had ended by then, by the server's clock.
    Time(Timestamp),
    /// A position in the log.
    Lsn(Lsn),
    /// The end of that transaction.
    Xid(u32),
    /// What was named with `pg_create_restore_point`.
    Name(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Immediate => f.write_str("immediate (the end of the recovery point)"),
            Self::Time(at) => f.write_str(&spoken(*at, None)),
            Self::Lsn(lsn) => write!(f, "position {lsn}"),
            Self::Xid(xid) => write!(f, "transaction {xid}"),
            Self::Name(name) => write!(f, "restore point {name:?}"),
        }
    }
}

impl Target {
    /// The same as `Display`, with a time told in the user's zone, too.
    pub fn spoken(&self, zone: Option<&TimeZone>) -> String {
        match self {
            Self::Time(at) => spoken(*at, zone),
            other => other.to_string(),
        }
    }
}

/// Which line of history to follow where a promotion made it branch.
///
/// PostgreSQL's own default is `latest`: the highest number wins, so a test server that was promoted by accident and
/// archived one segment takes over every later restore. Ours stays on the main line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimelineChoice {
    /// The line of the newest recovery point, and on to a child only where the parent has ended: nothing was done on
    /// it after the child's first transactions.
    #[default]
    MainLine,
    /// The timeline with the highest number, as PostgreSQL does.
    Latest,
    /// This one, over its ancestors.
    Exactly(TimelineId),
}

/// A time aloud: in UTC, and in the user's zone where that differs.
pub fn spoken(at: Timestamp, zone: Option<&TimeZone>) -> String {
    let utc = at.to_string().replace('T', " ");
    let Some(zone) = zone
        .filter(|zone| **zone != TimeZone::UTC && !matches!(zone.iana_name(), Some("UTC" | "Etc/UTC" | "Etc/Unknown")))
    else {
        return utc;
    };
    let there = at.to_zoned(zone.clone());
    let name = zone.iana_name().map(|name| format!(" {name}")).unwrap_or_default();
    let fraction = utc.split_once('.').map(|(_, rest)| format!(".{}", rest.trim_end_matches('Z'))).unwrap_or_default();
    format!("{utc} ({}{fraction}{}{name})", there.strftime("%Y-%m-%d %H:%M:%S"), there.strftime("%:z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_with_their_zones() {
        let at: Timestamp = "2026-07-01T10:00:00.25Z".parse().unwrap();
        let rome = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(spoken(at, None), "2026-07-01 10:00:00.25Z");
        assert_eq!(spoken(at, Some(&TimeZone::UTC)), "2026-07-01 10:00:00.25Z");
        assert_eq!(spoken(at, Some(&rome)), "2026-07-01 10:00:00.25Z (2026-07-01 12:00:00.25+02:00)");
        assert_eq!(Target::Time(at).spoken(Some(&rome)), spoken(at, Some(&rome)));
    }
}
