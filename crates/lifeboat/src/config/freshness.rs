//! `backup_within` and `verify_within` of a workload: how old the newest recovery point, and the last proof, may be.

use super::section::{Findings, Section};
use super::values::parse_duration;
use std::time::Duration;

/// From a minute, for who rehearses the alarm, to ten years.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3660 * 24 * 3600));

/// How long ago a verification of each level may have passed. None: nobody asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyWithin {
    pub structure: Option<Duration>,
    pub data: Option<Duration>,
    pub boot: Option<Duration>,
}

impl VerifyWithin {
    /// The levels that are asked for, by name.
    pub fn levels(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let levels = [("structure", self.structure), ("data", self.data), ("boot", self.boot)];
        levels.into_iter().filter_map(|(level, within)| Some((level, within?)))
    }
}

pub(super) fn read_backup_within(section: &mut Section, findings: &mut Findings) -> Option<Duration> {
    section.duration(findings, "backup_within", BOUNDS, "a time of 1 minute to 10 years, such as \"26h\"")
}

/// A time alone is meant for `boot`: only that proves a recovery.
pub(super) fn read_verify_within(section: &mut Section, findings: &mut Findings) -> VerifyWithin {
    const EXPECTED: &str = "a time such as \"7d\", or by level { boot = \"7d\", data = \"30d\" }";
    let Some(value) = section.value("verify_within") else { return VerifyWithin::default() };
    let Some(table) = value.get_ref().as_table() else {
        let boot = section.read(findings, "verify_within", EXPECTED, |value| {
            parse_duration(value.as_str()?).filter(|time| (BOUNDS.0..=BOUNDS.1).contains(time))
        });
        return VerifyWithin { boot, ..VerifyWithin::default() };
    };
    let before = findings.problems.len();
    let name = format!("`verify_within` in {}", section.name());
    let mut inner = Section::new(name.clone(), table, value.span());
    let mut time = |level| inner.duration(findings, level, BOUNDS, "a time of 1 minute to 10 years, such as \"7d\"");
    let within = VerifyWithin { structure: time("structure"), data: time("data"), boot: time("boot") };
    inner.finish(findings);
    if within == VerifyWithin::default() && findings.problems.len() == before {
        findings.problem(&value.span(), format!("{name} names no level; expected {EXPECTED}"));
    }
    within
}
