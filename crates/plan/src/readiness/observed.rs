//! What was observed, at one moment, of everything that a recovery would need.
//!
//! Promise: each thing is known, unknown or absent by itself ([`Seen`]); lists of troubles are empty only where somebody looked.

use super::{Limits, Proof, Seen, Stamp};
use crate::copies::Judgement;
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// When.
    pub at: Timestamp,
    /// The day, where the people are.
    pub today: Date,
    /// What there is now: proofs of something else hold no more.
    pub stamp: Stamp,
    /// Each workload.
    pub workloads: Vec<Workload>,
    /// Each workload in each of its locations.
    pub copies: Vec<Copied>,
    /// Each location.
    pub locations: Vec<Place>,
    /// Each cluster.
    pub clusters: Vec<Cluster>,
    /// Each group of the plan.
    pub groups: Vec<GroupSeen>,
    /// What there is one of.
    pub governance: Governance,
}

/// A workload, its server and the machine that a restore would run on (this one).
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// What is promised.
    pub limits: Limits,
    /// By the configuration.
    pub backup_within: Option<Duration>,
    /// By the configuration, by level.
    pub verify_within: BTreeMap<String, Duration>,
    /// Why its server doesn't answer, or isn't the one that was protected.
    pub reachable: Seen<Vec<String>>,
    /// The server.
    pub server: Seen<Server>,
    /// How its log goes away.
    pub archiving: Seen<Archiving>,
    /// Programs of its major version that aren't here.
    pub programs: Seen<Vec<String>>,
    /// Files of extensions and libraries that aren't here.
    pub extensions: Seen<Vec<String>>,
    /// Where a restore would write.
    pub room: Seen<Room>,
    /// Its points in any location, newest first.
    pub points: Seen<Vec<Point>>,
    /// The last verifications, by level.
    pub proofs: Seen<BTreeMap<String, Proof>>,
    /// 3-2-1.
    pub rule: Seen<Judgement>,
    /// Standbys and slots.
    pub followers: Seen<Followers>,
    /// What a standby would stumble over if it were promoted.
    pub promotion: Seen<Vec<String>>,
    /// Whether somebody is told when something goes wrong: what is missing.
    pub alarms: Seen<Vec<String>>,
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Such as 170004.
    pub version_number: u32,
    /// What is wrong with its settings for archiving.
    pub settings: Vec<String>,
    /// Whether pages carry checksums.
    pub has_checksums: bool,
    /// The role that we come as.
    pub role: String,
    /// What that role may do without needing it.
    pub excess: Vec<String>,
    /// Its clock minus ours.
    pub clock_ahead_seconds: f64,
}

/// How the log leaves the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Archiving {
    /// `archive_command`, `wal receive`.
    pub way: String,
    /// How old what hasn't left may be. None: nothing ever left.
    pub age_seconds: Option<f64>,
    /// How that is known.
    pub told: String,
    /// Failures since something last left.
    pub failures: u64,
    /// What failed last.
    pub failed: Option<String>,
}

/// A place that a restore would fill.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// Where.
    pub directory: String,
    /// What the newest point writes.
    pub needed_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

/// A recovery point, in short.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its name.
    pub id: String,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// What it restores to.
    pub bytes: u64,
    /// Pages that were damaged when they were read.
    pub pages_bad: u64,
}

/// What a location has of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Copied {
    /// Of which.
    pub workload: String,
    /// Where.
    pub location: String,
    /// What is promised.
    pub limits: Limits,
    /// By the configuration.
    pub backup_within: Option<Duration>,
    /// Every moment of so long a time shall stay reachable there.
    pub window: Option<Duration>,
    /// When the newest complete point was finished.
    pub newest_point: Seen<Option<Timestamp>>,
    /// The log.
    pub log: Seen<Log>,
    /// What the last restore from there took.
    pub restored: Seen<Option<Restored>>,
}

/// The stored log of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Holes.
    pub gaps: u64,
    /// The oldest and the newest moment that can be reached.
    pub reach: Option<(Timestamp, Timestamp)>,
    /// It has all that left the server, so that what is missing is only as old as what hasn't left.
    pub unsent_seconds: Option<f64>,
}

/// A restore that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// When.
    pub at: Timestamp,
    /// What it took, to the first answer.
    pub seconds: f64,
    /// `copy`, `mount`, `drill`.
    pub way: String,
}

/// A location.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Why it can't be written, read and listed.
    pub reachable: Seen<Vec<String>>,
    /// Why the repository in it doesn't open with the passphrase.
    pub opens: Seen<Vec<String>>,
    /// Its clock minus ours, in seconds.
    pub clock_ahead_seconds: Seen<f64>,
    /// How much fits.
    pub space: Seen<Space>,
    /// What speaks against its being immutable, where it is said to be.
    pub immutable: Seen<Vec<String>>,
    /// What is known to be damaged.
    pub damage: Seen<Vec<String>>,
    /// How fresh a removable disk is.
    pub disk: Seen<Disk>,
}

/// Free space, and how fast it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// What is free.
    pub free_bytes: u64,
    /// How fast it goes. None: there is no point to tell it from.
    pub growth_bytes_per_day: Option<f64>,
    /// There are too few points yet: as if a whole one came each day, which is more than will.
    pub is_assumed: bool,
}

/// A removable disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// When it was last brought up to date.
    pub synced_at: Option<Timestamp>,
    /// Points made since.
    pub behind: u64,
    /// By the configuration.
    pub max_age: Option<Duration>,
}

/// Who follows a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Followers {
    /// Those who do.
    pub standbys: Vec<Follower>,
    /// Those who should and don't.
    pub missing: Vec<String>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// Whether commits wait for somebody who is there.
    pub waits: Vec<String>,
}

/// A standby.
#[derive(Debug, Clone, PartialEq)]
pub struct Follower {
    /// Its name.
    pub name: String,
    /// How late it replays. None: can't be seen.
    pub lag_seconds: Option<f64>,
    /// How much log it lacks.
    pub behind_bytes: Option<u64>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub state: Option<String>,
    /// What may still be written until it is lost. None: not bounded.
    pub safe_bytes: Option<i64>,
    /// What slots may keep. None: not bounded.
    pub keep_bytes: Option<u64>,
}

/// A cluster, as its agents tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What is promised of it.
    pub limits: Limits,
    /// Its members.
    pub members: Seen<Members>,
    /// Why the lease is not to be relied on.
    pub lease: Seen<Vec<String>>,
    /// The last rehearsed loss of its primary.
    pub tested: Seen<Option<Proof>>,
    /// How long clients may remember an address, by route, in seconds.
    pub routes: Seen<BTreeMap<String, f64>>,
    /// Days until each certificate ends, by file.
    pub certificates: Seen<BTreeMap<String, f64>>,
}

/// Members of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    /// The one that may write.
    pub primary: Option<String>,
    /// Standbys of it that could take over.
    pub able: Vec<String>,
    /// Those that don't answer or don't follow, and why.
    pub unable: Vec<String>,
    /// Nobody takes over.
    pub is_paused: bool,
}

/// A group of the plan, and its rehearsals.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSeen {
    /// A group, or a drill of the plan.
    pub name: String,
    /// What is promised.
    pub limits: Limits,
    /// Its runs, newest first.
    pub runs: Seen<Vec<Rehearsed>>,
}

/// A run, in short.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// Its name.
    pub id: String,
    /// When it ended.
    pub at: Timestamp,
    /// Whether it passed.
    pub passed: bool,
    /// With what.
    pub stamp: Stamp,
    /// RTA.
    pub rta_seconds: Option<f64>,
    /// RPA.
    pub rpa_seconds: Option<f64>,
    /// Whether the alarm came. None: none was expected.
    pub alert_seen: Option<bool>,
}

/// What there is one of.
#[derive(Debug, Clone, PartialEq)]
pub struct Governance {
    /// The last time that a repository was opened with the key from the safe.
    pub escrow: Seen<Option<Proof>>,
    /// What contradicts itself in the plan.
    pub contradictions: Seen<Vec<String>>,
    /// When each process and risk was last looked at.
    pub reviews: Seen<BTreeMap<String, Option<Date>>>,
    /// How long a review is good, by the plan.
    pub review_within: Option<Duration>,
    /// When each person last answered a page.
    pub contacts: Seen<BTreeMap<String, Option<Timestamp>>>,
    /// Findings that are open.
    pub findings: Seen<Vec<OpenFinding>>,
    /// How the published runbook differs from the configuration.
    pub runbook: Seen<Vec<String>>,
    /// What doesn't verify in the ledger.
    pub ledger: Seen<Vec<String>>,
    /// The newest run of which an alarm was expected, and whether it came.
    pub alarm: Seen<Option<(Timestamp, bool)>>,
}

/// Something learnt that nobody has mended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFinding {
    /// In one sentence.
    pub what: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Until when.
    pub due: Option<Date>,
}
