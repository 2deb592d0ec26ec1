//! A proof, and what makes it worthless: time, and change. What was proven of another configuration, or by another program, isn't proven
//! of this one.

use super::{Figure, Limit, Opinion};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What something was proven with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Of the configuration, the plan in it. None: it wasn't noted.
    pub configuration_hash: Option<String>,
    /// Of the program. None: it wasn't noted.
    pub version: Option<String>,
}

/// The last time that something was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// When it last passed. None: never.
    pub passed_at: Option<Timestamp>,
    /// With what.
    pub passed_with: Stamp,
    /// Whether the newest try passed.
    pub newest_passed: bool,
    /// When that was.
    pub newest_at: Timestamp,
}

/// Why a proof holds no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expired {
    /// Plan or configuration are others now.
    Configuration,
    /// Another version of the program does it now.
    Version,
    /// It wasn't noted what it was proven with, so nobody can tell.
    NotNoted,
}

impl Stamp {
    /// Whether what was proven with this holds for what there is now.
    pub fn expired(&self, now: &Self) -> Option<Expired> {
        let (Some(hash), Some(version)) = (&self.configuration_hash, &self.version) else {
            return Some(Expired::NotNoted);
        };
        if now.version.as_ref() != Some(version) {
            return Some(Expired::Version);
        }
        (now.configuration_hash.as_ref() != Some(hash)).then_some(Expired::Configuration)
    }
}

impl Proof {
    /// An opinion: age against the limit, and whether it still holds at all. `what`: `a test restore`.
    pub fn opinion(&self, what: &str, limit: &Limit, now: Timestamp, stamp: &Stamp) -> Opinion {
        let never = |why: String| Figure::never(limit.seconds, &*limit.basis, why);
        if !self.newest_passed {
            return never(format!("the newest {what}, {}, did not pass", ago(self.newest_at, now)));
        }
        let Some(passed_at) = self.passed_at else { return never(format!("no {what} has passed yet")) };
        let age = age_seconds(passed_at, now);
        let told = format!("{what} passed {}", ago(passed_at, now));
        match self.passed_with.expired(stamp) {
            None => Figure::of(age, limit.seconds, &*limit.basis, told),
            Some(Expired::Configuration) => never(format!("{told}, and plan or configuration changed since")),
            Some(Expired::Version) => {
                let version = self.passed_with.version.as_deref().unwrap_or_default();
                never(format!("{told} with version {version}, and another one runs now"))
            }
            Some(Expired::NotNoted) => {
                Opinion::Unknown(format!("{told}, and it wasn't noted with which configuration and version"))
            }
        }
    }
}

/// How far a clock may be ahead before what it says of ages counts for nothing.
const AHEAD_SECONDS_MAX: f64 = 300.0;

/// Seconds since then. What lies a little ahead, by another machine's clock, is as recent as can be; what lies further ahead was made
/// under a wrong clock, and has no age that any threshold allows.
pub fn age_seconds(at: Timestamp, now: Timestamp) -> f64 {
    let age = now.duration_since(at).as_secs_f64();
    if age < -AHEAD_SECONDS_MAX { f64::INFINITY } else { age.max(0.0) }
}

/// A span in words, in the largest unit of which there are at least two.
pub fn spoken(seconds: f64) -> String {
    let units = [("d", 86_400.0), ("h", 3600.0), ("min", 60.0)];
    let unit = units.iter().find(|(_, size)| seconds >= 2.0 * size);
    match unit {
        _ if !seconds.is_finite() => "an unknown time".to_owned(),
        Some((word, size)) => format!("{:.0} {word}", (seconds / size).floor()),
        None => format!("{seconds:.0} s"),
    }
}

/// When, in words.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    match age_seconds(at, now) {
        age if age.is_finite() => format!("{} ago", spoken(age)),
        _ => "in the future by a wrong clock".to_owned(),
    }
}
