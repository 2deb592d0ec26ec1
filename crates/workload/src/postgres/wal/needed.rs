//! The WAL that a backup can't do without: everything from its start to its stop, stored before the point is written.

use super::push::claim_anew;
use super::{ClusterIdentity, PushOptions, Span, Spool, WalArchive, observe_span, push};
use crate::postgres::BackupError;
use lifeboat_postgres::wal_file::{Segment, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::Repository;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often we ask: soon at first, because the last segment is there in a moment; then more and more seldom.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(10);
const POLL_INTERVAL_MAX: Duration = Duration::from_millis(400);

/// What is needed.
#[derive(Debug, Clone)]
pub struct NeededWal {
    /// Name of the workload.
    pub workload: String,
    /// Its cluster.
    pub system_id: SystemId,
    /// The timeline of the backup.
    pub timeline: TimelineId,
    /// From here ...
    pub from: Lsn,
    /// ... to here.
    pub to: Lsn,
    /// Segment size of the cluster.
    pub segment_size: SegmentSize,
    /// Where `pg_wal` is, if this machine can read it.
    pub data_dir: Option<PathBuf>,
    /// Marks of this machine.
    pub spool: Spool,
    /// A standby can't switch to a new segment by itself.
    pub on_standby: bool,
}

impl NeededWal {
    /// The file in which the server notes the backup in its log.
    fn history_name(&self) -> String {
        let segment = Segment::containing(self.timeline, self.from, self.segment_size).name(self.segment_size);
        let offset = u32::try_from(self.segment_size.offset_of(self.from)).unwrap_or_default();
        WalFileName::Backup { segment, offset }.to_string()
    }

    fn segments(&self) -> Vec<Segment> {
        let last = Segment::ending_at(self.timeline, self.to, self.segment_size);
        let mut segment = Segment::containing(self.timeline, self.from, self.segment_size);
        let mut all = vec![segment];
        while segment.number < last.number {
            segment = segment.next();
            all.push(segment);
        }
        all
    }
}

/// Waits until the needed WAL is stored without a gap. What the archiver or the receiver hasn't stored yet is taken from
/// `pg_wal` at once, where a finished segment stays at least until it is archived: storing it twice does no harm, and who
/// waits for the archiver waits for a program to be started.
///
/// On a standby nothing is taken: its newest segment looks whole and isn't. There the archive alone is trusted.
pub async fn ensure(repository: &Arc<Repository>, needed: &NeededWal, time_limit: Duration) -> Result<(), BackupError> {
    let cluster = ClusterIdentity { system_id: needed.system_id, segment_size: needed.segment_size };
    let archive = WalArchive::new(repository.clone(), needed.workload.clone(), cluster);
    let span = Span { from: needed.from, to: needed.to };
    let begun = Instant::now();
    let (mut failure, mut is_claimed) = (None, false);
    let mut pause = POLL_INTERVAL_MIN;
    loop {
        if !is_claimed {
            // Asked at each backup: when the record of whose log it is was lost, it is written again.
            failure = claim_anew(&archive, &needed.spool).await.map_err(BackupError::wal).err();
            is_claimed = failure.is_none();
        }
        let inventory = observe_span(&archive, needed.timeline, span).await.map_err(BackupError::wal)?;
        let covered = inventory.covered(needed.timeline, needed.from);
        if covered >= needed.to && is_claimed {
            if !needed.on_standby {
                // Nobody needs it to recover; but who verifies now would find it in one location and not yet in another.
                let _ = take_from_server(&archive, needed, &needed.history_name()).await;
            }
            return Ok(());
        }
        if begun.elapsed() > time_limit {
            return Err(failure.unwrap_or_else(|| missing(needed, covered)));
        }
        if !needed.on_standby {
            for segment in needed.segments() {
                let name = segment.name(needed.segment_size);
                if inventory.segment(name).is_none() {
                    failure = take_from_server(&archive, needed, &name.to_string()).await.err().or(failure);
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_INTERVAL_MAX);
    }
}

async fn take_from_server(archive: &WalArchive, needed: &NeededWal, name: &str) -> Result<(), BackupError> {
    let Some(path) = needed.data_dir.as_ref().map(|directory| directory.join("pg_wal").join(name)) else {
        return Ok(());
    };
    if !path.exists() {
        // Archived and recycled a moment ago: the next look into the archive will find it.
        return Ok(());
    }
    let only_this = PushOptions { ahead_files_max: 0, ..PushOptions::default() };
    push(archive.repository.clone(), &needed.workload, &path, &needed.spool, only_this)
        .await
        .map_err(BackupError::wal)?;
    Ok(())
}

fn missing(needed: &NeededWal, covered: Lsn) -> BackupError {
    let received = format!(
        "`lifeboat wal receive {}` has to run where nothing archives; `lifeboat check` tries it",
        needed.workload
    );
    let hint = if needed.on_standby {
        "a standby can't close its newest segment: name its primary with primary = \"host=..\", run `select pg_switch_wal()` on it, or run `lifeboat wal receive`"
    } else if needed.data_dir.is_none() {
        &received
    } else {
        "look for archive command failures in the server's log; `lifeboat check` tries the archive"
    };
    BackupError::LogAway {
        what: format!("the WAL of the backup is stored only up to {covered}, and it is needed up to {}", needed.to),
        hint: hint.into(),
    }
}
