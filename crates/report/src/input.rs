//! What both papers are made from, besides the plan.

use crate::words::{day, seconds};
use jiff::Timestamp;
use lifeboat_document::Text;
use lifeboat_plan::model::Disruption;
use lifeboat_plan::run::{Run, Verdict};
use std::collections::BTreeMap;

/// A run, and the entry of the ledger that proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The entry's name in the chain.
    pub entry: String,
    /// Its number there.
    pub sequence: u64,
    /// What was done.
    pub run: Run,
}

impl Evidence {
    /// Number and the beginning of the name: enough to find it.
    pub(crate) fn source(&self) -> String {
        entry(self.sequence, &self.entry)
    }

    pub(crate) fn day(&self) -> String {
        day(self.run.started_at)
    }

    /// RTA with its source, or that there is none.
    pub(crate) fn rta(&self) -> Text {
        measured(self.run.measured.fault_to_healthy_seconds, self)
    }

    /// RPA with its source and method.
    pub(crate) fn rpa(&self) -> Text {
        measured(self.run.measured.loss_seconds, self)
    }

    pub(crate) fn passed(&self) -> bool {
        self.run.verdict == Verdict::Passed
    }

    /// Whether it brought back the whole group, not only a part of it: only that measures the group. One that mended data that was wrong
    /// brought back a table.
    pub(crate) fn is_of_all(&self, group: &str, workloads: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
        let mut all = workloads.into_iter().peekable();
        let has_all = |name: &str| self.run.workloads.iter().any(|of_run| of_run == name);
        if self.run.disruption == Some(Disruption::Corruption) {
            return false;
        }
        self.run.group.as_deref() == Some(group) || all.peek().is_some() && all.all(|name| has_all(name.as_ref()))
    }

    /// Whether anything of the group took part.
    pub(crate) fn concerns(&self, group: &str, workloads: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
        self.run.group.as_deref() == Some(group)
            || workloads.into_iter().any(|name| self.run.workloads.iter().any(|of_run| of_run == name.as_ref()))
    }
}

fn measured(figure: Option<f64>, evidence: &Evidence) -> Text {
    match figure {
        Some(figure) => Text::from(format!("{} ({}, entry {})", seconds(figure), evidence.day(), evidence.source())),
        None => Text::from("not measured"),
    }
}

/// An entry of the ledger, short.
pub(crate) fn entry(sequence: u64, hash: &str) -> String {
    let short: String = hash.chars().take(8).collect();
    format!("{sequence}-{short}")
}

/// What the configuration says, without any secret: where one is needed there are words that say where it is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Surroundings {
    /// Where the configuration was read.
    pub configuration_file: String,
    /// Of the configuration, secrets left out. BLAKE3, hexadecimal.
    pub configuration_hash: String,
    /// Of the plan in it.
    pub plan_hash: String,
    /// "the file /etc/lifeboat/passphrase".
    pub passphrase: String,
    /// By name.
    pub workloads: BTreeMap<String, WorkloadView>,
    /// By name.
    pub locations: BTreeMap<String, LocationView>,
    /// By name.
    pub clusters: BTreeMap<String, ClusterView>,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkloadView {
    /// Where its data lies, when on a machine of ours.
    pub data_dir: Option<String>,
    /// How it is reached; without a password.
    pub connection: String,
    /// Where it runs.
    pub region: Option<String>,
    /// Where its copies are.
    pub locations: Vec<String>,
    /// Questions that a healthy one answers with true.
    pub checks: Vec<String>,
    /// Commits wait for a receiver that stores them.
    pub is_synchronous: bool,
    /// A receiver keeps what it acknowledged on its own disk first.
    pub has_spool: bool,
}

/// A location.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocationView {
    /// `s3://shop-dr/lifeboat`.
    pub url: String,
    /// For servers that aren't the cloud's own.
    pub endpoint: Option<String>,
    /// Where it is.
    pub region: Option<String>,
    /// `disk`, `object` or `removable`.
    pub media: String,
    /// What is there can't be deleted before its time.
    pub is_immutable: bool,
    /// Where its credentials are: "as the cloud's own tools find them".
    pub credentials: String,
    /// Lines that a minimal configuration needs besides `url`, such as references to credentials.
    pub more_lines: Vec<String>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterView {
    /// By name.
    pub members: BTreeMap<String, MemberView>,
    /// Where the lease lives, in words.
    pub lease: String,
    /// What a commit waits for, in words.
    pub mode: String,
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberView {
    /// Its agent's address.
    pub agent: String,
    /// Its server: host and port; none for a witness.
    pub database: Option<String>,
    /// Where it is.
    pub region: Option<String>,
}

impl Surroundings {
    /// How a location is described where it is to be found again.
    pub(crate) fn is_with(&self, location: &str, region: Option<&str>) -> bool {
        let of_it = self.locations.get(location).and_then(|view| view.region.as_deref());
        matches!((of_it, region), (Some(of_it), Some(region)) if of_it == region)
    }

    /// The locations of a workload, those in another region first: what burns with the primary site helps nobody.
    pub(crate) fn farthest_first<'a>(&'a self, workload: &'a WorkloadView) -> Vec<&'a str> {
        let mut names: Vec<&str> = workload.locations.iter().map(String::as_str).collect();
        names.sort_by_key(|name| self.is_with(name, workload.region.as_deref()));
        names
    }
}

/// The newest run that has this, if any.
pub(crate) fn newest(runs: &[Evidence], wanted: impl Fn(&Evidence) -> bool) -> Option<&Evidence> {
    runs.iter().filter(|evidence| wanted(evidence)).max_by_key(|evidence| (evidence.run.started_at, evidence.sequence))
}

/// The day of a moment, counted for pictures.
pub(crate) fn as_days(at: Timestamp) -> f64 {
    at.as_second() as f64 / 86_400.0
}
