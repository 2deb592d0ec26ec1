//! Is this the cluster we think it is, and can it be backed up?

use super::{BackupRequest, BackupType, previous};
use crate::postgres::BackupError;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::control::{self, ControlFile};
use lifeboat_postgres::inspection::{Means, ServerFacts, observe as observe_server, refusals};
use lifeboat_postgres::layout::Layout;
use lifeboat_repository::{Point, Repository};
use std::path::Path;
use std::sync::Arc;

/// What was seen before anything was done.
#[derive(Debug)]
pub struct Observed {
    pub facts: ServerFacts,
    pub control: ControlFile,
    pub major: MajorVersion,
    /// The point to compare with.
    pub previous: Option<Point>,
    pub notes: Vec<String>,
}

impl Observed {
    /// The rules for this version.
    pub fn layout(&self) -> Layout {
        Layout::new(self.major, self.control.catalog_version)
    }

    /// An incremental backup without anything to compare with is a full one.
    pub fn effective_type(&self, wanted: BackupType) -> BackupType {
        if self.previous.is_none() { BackupType::Full } else { wanted }
    }
}

/// Looks at directory, server and repository; refuses what can't work, with what to do about it.
pub async fn observe(
    repository: &Arc<Repository>,
    request: &BackupRequest,
    directory: &Path,
) -> Result<Observed, BackupError> {
    let control = read_control(directory)?;
    let client = request.connection.connect().await.map_err(BackupError::server)?;
    let facts = observe_server(&client).await.map_err(BackupError::server)?;
    refuse(&facts, Means::Files)?;
    same_cluster(directory, &control, &facts)?;
    keeps_wal(&facts, &request.workload)?;
    let major = MajorVersion::from_server_version_num(facts.version_number)
        .map_err(|error| BackupError::refused(error.to_string(), "upgrade PostgreSQL, or Lifeboat"))?;
    let mut notes = Vec::new();
    let previous = previous::find(repository, request, control.system_id, &mut notes).await?;
    Ok(Observed { facts, control, major, previous, notes })
}

/// Refuses what the server's facts rule out.
pub(super) fn refuse(facts: &ServerFacts, means: Means) -> Result<(), BackupError> {
    let refusals = refusals(facts, means);
    let Some(first) = refusals.first() else { return Ok(()) };
    let more = refusals.len() - 1;
    let rest = if more == 0 { String::new() } else { format!(" (and {more} more: `lifeboat check` lists them)") };
    Err(BackupError::refused(format!("{}{rest}", first.what), first.hint.clone()))
}

fn read_control(data_dir: &Path) -> Result<ControlFile, BackupError> {
    if !data_dir.is_dir() {
        return Err(BackupError::refused(
            format!("the data directory {} does not exist", data_dir.display()),
            "correct data_dir; `show data_directory` in psql tells it",
        ));
    }
    match std::fs::metadata(data_dir.join("PG_VERSION")) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(BackupError::read(crate::postgres::scan::with_path(error, data_dir)));
        }
        Err(_) => {
            return Err(BackupError::refused(
                format!("{} is not a PostgreSQL data directory: it has no PG_VERSION", data_dir.display()),
                "correct data_dir; `show data_directory` in psql tells it",
            ));
        }
    }
    control::read(data_dir).map_err(BackupError::control)
}

fn same_cluster(data_dir: &Path, control: &ControlFile, facts: &ServerFacts) -> Result<(), BackupError> {
    if control.system_id != facts.system_id {
        return Err(BackupError::refused(
            format!(
                "{} belongs to cluster {}, but the connection leads to cluster {}",
                data_dir.display(),
                control.system_id,
                facts.system_id
            ),
            "make data_dir and connection name the same server",
        ));
    }
    // A standby on the same machine has the same system identifier: the paths must agree too.
    let served = facts.data_directory.as_ref().and_then(|path| path.canonicalize().ok());
    let wanted = data_dir.canonicalize().ok();
    match (served, wanted) {
        (Some(served), Some(wanted)) if served != wanted => Err(BackupError::refused(
            format!("the connection leads to the server of {}, not of {}", served.display(), wanted.display()),
            "make data_dir and connection name the same server",
        )),
        _ => Ok(()),
    }
}

/// Without WAL a copy of a running cluster can't be made consistent. A standby's own settings say nothing about it: its
/// primary archives, and whether that arrives is seen at the end of the backup.
pub(super) fn keeps_wal(facts: &ServerFacts, workload: &str) -> Result<(), BackupError> {
    if facts.hands_on_log() || facts.in_recovery {
        return Ok(());
    }
    // A slot that waits is a receiver that is being restarted, or has died: what it missed is still there.
    if let Some(slot) = facts.slots.iter().find(|slot| slot.is_physical) {
        return Err(BackupError::LogAway {
            what: format!("nothing keeps the write-ahead log now: no receiver is connected to slot {}", slot.name),
            hint: format!("start `lifeboat wal receive {workload}` again, and run this again"),
        });
    }
    Err(BackupError::refused(
        "nothing keeps the write-ahead log: archive_mode is off or archive_command is empty, and no receiver is connected",
        format!(
            "set archive_mode = on and archive_command = 'lifeboat wal push %p --workload {workload}', or run `lifeboat wal receive {workload}`"
        ),
    ))
}
