//! `synchronous = { .. }` and `alarm = { .. }` of a workload: what commits wait for, and who hears when they wait.

use super::section::{Findings, Section, texts_of};
use std::path::PathBuf;
use std::time::Duration;

/// How long commits may wait before somebody hears of it, when nothing is said.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// What is enough to acknowledge a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncKeeping {
    /// So many locations.
    Count(usize),
    /// Each of these locations.
    Named(Vec<String>),
    /// The receiver's own disk, below this directory.
    Spool(PathBuf),
}

/// What commits wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynchronousConfig {
    pub keeping: SyncKeeping,
    pub patience: Duration,
}

impl Default for SynchronousConfig {
    fn default() -> Self {
        Self { keeping: SyncKeeping::Count(1), patience: PATIENCE }
    }
}

impl SynchronousConfig {
    /// The spool, if that is what keeps.
    pub fn spool(&self) -> Option<&PathBuf> {
        match &self.keeping {
            SyncKeeping::Spool(path) => Some(path),
            _ => None,
        }
    }
}

/// The table, with the locations that the workload has.
pub(super) fn read(section: &mut Section, findings: &mut Findings, locations: &[String]) -> Option<SynchronousConfig> {
    const EXPECTED: &str = "a table: { locations = 1 }, { locations = [\"a\", \"b\"] } or { spool = \"/path\" }";
    let name = format!("`synchronous` in {}", section.name());
    let value = section.value("synchronous")?;
    let Some(table) = value.get_ref().as_table() else {
        section.read(findings, "synchronous", EXPECTED, |_| None::<()>);
        return None;
    };
    let before = findings.problems.len();
    let mut inner = Section::new(name.clone(), table, value.span());
    let known = locations.join(", ");
    let expected = format!("how many of the workload's locations ({known}), or a list of some of them");
    let kept = inner.read(findings, "locations", &expected, |value| match value.as_integer() {
        Some(number) => {
            let count = usize::from_str_radix(number.as_str(), number.radix()).ok();
            count.filter(|count| (1..=locations.len()).contains(count)).map(SyncKeeping::Count)
        }
        None => {
            let named = texts_of(value).filter(|named| !named.is_empty())?;
            let is_sound = |(place, name): (usize, &String)| locations.contains(name) && !named[..place].contains(name);
            named.iter().enumerate().all(is_sound).then(|| SyncKeeping::Named(named.clone()))
        }
    });
    let spool = inner.absolute_path(findings, "spool").map(SyncKeeping::Spool);
    let patience = inner.duration(findings, "patience", PATIENCE_BOUNDS, "a duration of \"1s\" to \"1h\"");
    inner.finish(findings);
    if kept.is_some() && spool.is_some() {
        findings.problem(&value.span(), format!("{name} has `locations` and `spool`; a commit waits for one of them"));
    }
    if findings.problems.len() > before {
        return None;
    }
    let keeping = kept.or(spool).unwrap_or(SyncKeeping::Count(1));
    Some(SynchronousConfig { keeping, patience: patience.unwrap_or(PATIENCE) })
}

/// The command that tells somebody.
pub(super) fn read_alarm(section: &mut Section, findings: &mut Findings) -> Option<Vec<String>> {
    const EXPECTED: &str = "{ command = [\"/path/to/program\", \"argument\"] }";
    let name = format!("`alarm` in {}", section.name());
    let value = section.value("alarm")?;
    let Some(table) = value.get_ref().as_table() else {
        section.read(findings, "alarm", EXPECTED, |_| None::<()>);
        return None;
    };
    let mut inner = Section::new(name, table, value.span());
    let command = inner.require(findings, "command", "a list: program and arguments", |value| {
        texts_of(value).filter(|words| !words.is_empty())
    });
    inner.finish(findings);
    command
}
