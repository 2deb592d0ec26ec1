//! How far a copy came, and how much was missing to what had been acknowledged: the measured recovery point.

use crate::plan::RestorePlan;
use crate::target::Target;
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use serde::Serialize;

/// What the copy is compared with, and how it compares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reached {
    /// When the repository was looked at.
    pub measured_at: Timestamp,
    /// The end of the log that was stored then: of the last record that is whole.
    pub log_end: Option<Lsn>,
    /// The latest moment that was stored then.
    pub log_until: Timestamp,
    /// Stored, and not replayed, in bytes. Zero, or the log can't be used to its end.
    pub bytes_short: Option<u64>,
    /// How far the original's own log had been flushed just before, when it could be asked.
    pub server_lsn: Option<Lsn>,
    /// Flushed there and not in the copy, in bytes: what would have been lost with the server and its disks. Bytes of log,
    /// not of rows: an idle server writes a little, too.
    pub bytes_behind: Option<u64>,
    /// From the last transaction in the copy, or from when the recovery point is known to have all of them, to `measured_at`, in seconds. No more than
    /// that was lost; less when the original was idle.
    pub seconds_behind: f64,
}

impl Reached {
    /// Before anything is replayed.
    pub fn before(plan: &RestorePlan, measured_at: Timestamp, server_lsn: Option<Lsn>) -> Self {
        let log_end = plan.wal.last().map(|leg| leg.to);
        let log_until = plan.archived_to;
        let seconds_behind = seconds_between(point_complete_to(plan), measured_at);
        Self { measured_at, log_end, log_until, bytes_short: None, server_lsn, bytes_behind: None, seconds_behind }
    }

    /// With what the copy said of itself.
    pub fn replayed(&mut self, plan: &RestorePlan, to: Option<Lsn>, until: Option<Timestamp>) {
        let missing = |end: Option<Lsn>| Some(end?.0.saturating_sub(to?.0));
        self.bytes_short = missing(self.log_end);
        self.bytes_behind = missing(self.server_lsn);
        let last = until.map_or(point_complete_to(plan), |until| until.max(point_complete_to(plan)));
        self.seconds_behind = seconds_between(last, self.measured_at);
    }

    /// Why this is not all that was asked for.
    pub fn shortfall(&self, plan: &RestorePlan) -> Option<String> {
        let short = self.bytes_short.filter(|bytes| *bytes > 0 && plan.target == Target::Latest)?;
        let end = self.log_end?;
        Some(format!("replay ended {short} bytes before {end}, where the stored log ends"))
    }
}

fn point_complete_to(plan: &RestorePlan) -> Timestamp {
    plan.point_complete_to.unwrap_or(plan.point_stopped_at)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
