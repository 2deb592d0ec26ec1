//! The plan of a restore: a value that can be read before anything happens, kept, and compared.

use crate::path::Leg;
use crate::settings::Setting;
use crate::target::{Target, spoken};
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::PointId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where PostgreSQL is told to stop. Not always the target itself: at the end of the log there may be no later record
/// to stop at, and PostgreSQL, which needs one, would refuse to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Stop {
    /// Wherever the log ends by then.
    EndOfLog,
    /// As soon as it is consistent.
    Consistent,
    /// At the first transaction that ended later; `inclusive`: than exactly then.
    Time {
        /// The moment, in whole microseconds.
        time: Timestamp,
        /// Whether transactions that ended exactly then are kept.
        inclusive: bool,
    },
    /// At the first record that begins there or later.
    Lsn {
        /// The position.
        lsn: Lsn,
        /// Whether that record is kept.
        inclusive: bool,
    },
    /// At the end of that transaction.
    Xid {
        /// The transaction.
        xid: u32,
        /// Whether it is kept.
        inclusive: bool,
    },
    /// At the first restore point of that name.
    Name {
        /// The name.
        name: String,
    },
}

/// What is written for `recovery_target_timeline`. Never PostgreSQL's default, which follows whatever has the highest
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineSetting {
    /// The timeline of the point, for which no history file is needed.
    Current,
    /// This one.
    Number(TimelineId),
}

/// How one state is brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// What is restored.
    pub workload: String,
    /// Which cluster it is a copy of.
    pub system_id: SystemId,
    /// The point whose files are written.
    pub point: PointId,
    /// When that point ended.
    pub point_stopped_at: Timestamp,
    /// Up to when all transactions are in it; where that isn't known, its end stands for it.
    #[serde(default)]
    pub point_complete_to: Option<Timestamp>,
    /// Where it is consistent.
    pub point_lsn_stop: Lsn,
    /// What was asked for.
    pub target: Target,
    /// The same, aloud.
    pub target_spoken: String,
    /// Where PostgreSQL is told to stop.
    pub stop: Stop,
    /// The timeline that is followed.
    pub timeline: TimelineId,
    /// How PostgreSQL is told so.
    pub timeline_setting: TimelineSetting,
    /// The location whose copy is read first.
    pub location: String,
    /// What is written, in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// The log that is replayed, timeline by timeline, to the furthest that it can be needed.
    pub wal: Vec<Leg>,
    /// The latest moment that is archived on this way.
    pub archived_to: Timestamp,
    /// Settings that are written.
    pub settings: Vec<Setting>,
    /// What a person should know before it begins.
    pub notes: Vec<String>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfLog => f.write_str("at the end of the log"),
            Self::Consistent => f.write_str("as soon as the recovery point is consistent"),
            Self::Time { time, inclusive: true } => {
                write!(f, "before the first transaction that ended after {}", spoken(*time, None))
            }
            Self::Time { time, inclusive: false } => {
                write!(f, "before the first transaction that ended at {} or after", spoken(*time, None))
            }
            Self::Lsn { lsn, inclusive } => {
                write!(f, "{} the first record at {lsn} or later", after_or_before(*inclusive))
            }
            Self::Xid { xid, inclusive } => {
                write!(f, "{} the end of transaction {xid}", after_or_before(*inclusive))
            }
            Self::Name { name } => write!(f, "at the restore point {name:?}"),
        }
    }
}

fn after_or_before(inclusive: bool) -> &'static str {
    if inclusive { "after" } else { "before" }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore {} to {}", self.workload, self.target_spoken)?;
        writeln!(f)?;
        let ended = spoken(self.point_stopped_at, None);
        writeln!(f, "  point      {}, ended {ended} at {}", self.point, self.point_lsn_stop)?;
        writeln!(f, "  from       {} ({} files, {} bytes)", self.location, self.files, self.bytes)?;
        for (index, leg) in self.wal.iter().enumerate() {
            let label = if index == 0 { "log" } else { "" };
            writeln!(f, "  {label:<10} timeline {}, {} to {}", leg.timeline, leg.from, leg.to)?;
        }
        writeln!(f, "  archived   to {}", spoken(self.archived_to, None))?;
        writeln!(f, "  stop       {}", self.stop)?;
        writeln!(f, "  timeline   {}", self.timeline)?;
        if !self.settings.is_empty() {
            writeln!(f, "\nsettings")?;
        }
        for setting in &self.settings {
            writeln!(f, "  {setting}")?;
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
