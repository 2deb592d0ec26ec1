//! Recovery before the copy: the directory is there at once, and its tables come when they are read.
//!
//! [`prepare`] writes what PostgreSQL wants at once and makes all else as large as it will be; [`attach`] finds it, now and after any stop,
//! and gives what can be mounted. Until everything has come, the control file is held back: without the mount, the directory can't be started.
//!
//! Not here: mounting (`lifeboat-mount`), starting the server.

mod ahead;
mod first;
mod needed;
mod order;
mod seldom;
mod source;

pub use ahead::{Ahead, Replay};
pub use order::{Order, most_read};
pub use seldom::Seldom;
pub use source::Readers;

use crate::destination::Destination;
use crate::error::{RecoveryError, Result};
use crate::plan::RestorePlan;
use crate::restore::{RestoreDone, RestoreTo, bring, give_to, places};
use jiff::Timestamp;
use lifeboat_mount::overlay::{NewFile, Overlay, OverlayError, create, origin_of};
use lifeboat_mount::source::Source;
use lifeboat_mount::view::View;
use lifeboat_postgres::TimelineId;
use lifeboat_postgres::control::ControlFile;
use lifeboat_postgres::layout::Layout;
use lifeboat_repository::{ChunkReader, Error, Hold, Point, PointId, Progress, TreeEntry, TreeReader};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::restore::{CONTROL_FILE, Leaves, UNFINISHED_MARK, write_small};
use needed::Relations;
use serde::{Deserialize, Serialize};
pub(crate) use source::PointSource;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// How the mount differs from what lies there.
pub fn view() -> View {
    View { held_back: Some(PathBuf::from(CONTROL_FILE)) }
}

/// What must be known to come back to what [`prepare`] made. Kept in the directory itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Whose.
    pub workload: String,
    /// Of which point.
    pub point: PointId,
    /// Where tablespaces went, by oid.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// Which moment, in words.
    pub target: String,
    /// The timeline that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
    /// Whether what happened exactly then is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusive: Option<bool>,
    /// What a server that is started there replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What keeps the point from being given up meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// What [`prepare`] was told, in a directory over which nothing is mounted. None when it isn't such a directory.
pub fn origin(destination: &Path) -> Result<Option<Origin>> {
    let read = origin_of(destination).map_err(|error| RecoveryError::file("read the origin of", destination, error))?;
    let parsed = |bytes: Vec<u8>| serde_json::from_slice(&bytes).map_err(std::io::Error::other);
    let parsed = read.map(parsed).transpose();
    parsed.map_err(|error| RecoveryError::file("read the origin of", destination, error))
}

/// Writes what is wanted at once, and makes the rest. The destination must be missing, empty or unfinished. Call from a thread that may block, within
/// a runtime.
pub fn prepare(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    destination: Destination,
    to: &RestoreTo,
    origin: &Origin,
    progress: &dyn Progress,
) -> Result<RestoreDone> {
    let begun = Instant::now();
    let details = PostgresDetails::of(point)?;
    let layout = Layout::new(details.major, details.catalog_version);
    let mut brought = bring(reader, point, plan, destination, to, Leaves::Relations(layout), progress)?;
    let places = places(&brought.details, to);
    let files: Vec<NewFile> = brought
        .report
        .left
        .iter()
        .map(|(number, entry)| new_file(*number, entry, &brought.details))
        .collect::<Result<_>>()?;
    // Before the rest is called made: from then on it is only found, and never made again.
    let held_back = to.destination.join(view().held_back_name().unwrap_or_default());
    write_small(&held_back, &brought.report.control)?;
    if let Some(owner) = to.owner {
        give_to(owner, &held_back).map_err(|error| RecoveryError::file("give away", &held_back, error))?;
    }
    let kept = serde_json::to_vec(origin).map_err(|error| Error::Internal(error.to_string()))?;
    create(&places, &files, to.owner, &kept)?;
    brought.finish(to, &held_back)?;
    Ok(brought.done(begun))
}

/// What [`attach`] finds.
pub struct Attached {
    /// The files that are still coming, ready to be mounted.
    pub overlay: Overlay,
    /// In which order all of it is to come.
    pub order: Order,
    /// What replay will read of them, if a server is still to replay.
    pub ahead: Option<Ahead>,
    /// How the mount differs from what lies there.
    pub view: View,
    /// Through whom it comes.
    pub readers: Arc<Readers>,
}

/// Every directory that is mounted: the data directory, then each tablespace.
pub fn directories(point: &Point, to: &RestoreTo) -> Result<Vec<PathBuf>> {
    Ok(places(&PostgresDetails::of(point)?, to))
}

/// The control file of what [`prepare`] made, before anything is mounted over it.
pub fn control(destination: &Path) -> Result<ControlFile> {
    let path = destination.join(view().held_back_name().unwrap_or_default());
    let bytes = std::fs::read(&path).map_err(|error| RecoveryError::file("read", &path, error))?;
    ControlFile::parse(&bytes).map_err(|error| RecoveryError::file("read", &path, std::io::Error::other(error)))
}

/// Finds what [`prepare`] made, and what has come since. Call from a thread that may block, within a runtime.
pub fn attach(reader: &Arc<ChunkReader>, point: &Point, to: &RestoreTo, replay: Option<&Replay>) -> Result<Attached> {
    attach_through(reader, point, to, replay, |source| Box::new(source))
}

/// The same, and somebody stands between the repository and who asks.
pub(crate) fn attach_through(
    reader: &Arc<ChunkReader>,
    point: &Point,
    to: &RestoreTo,
    replay: Option<&Replay>,
    through: impl FnOnce(PointSource) -> Box<dyn Source>,
) -> Result<Attached> {
    let details = PostgresDetails::of(point)?;
    // Left by one who ended between making it and saying so.
    match std::fs::remove_file(to.destination.join(UNFINISHED_MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(RecoveryError::file("remove the mark in", &to.destination, error));
        }
        _ => {}
    }
    let handle = Handle::current();
    let tree = handle.block_on(TreeReader::read(reader, &point.tree))?;
    let layout = Layout::new(details.major, details.catalog_version);
    let order = Order::of(&tree, layout);
    let relations = Relations::of(&tree, layout);
    let first = first::first(&tree, layout);
    let source = PointSource::new(reader.clone(), handle, tree);
    let readers = source.readers();
    let overlay = Overlay::open(&places(&details, to), through(source))?;
    // When its end was interrupted, the control file has its name already.
    let is_held_back = view().held_back_name().is_some_and(|name| to.destination.join(name).exists());
    let view = if is_held_back { view() } else { View::default() };
    let left = replay.and_then(|replay| replay.left(&to.destination, &control(&to.destination).ok()?));
    let workload = point.workload.clone();
    let ahead = left.map(|replay| Ahead { first, replay, relations, details, workload });
    Ok(Attached { overlay, order, ahead, view, readers })
}

/// In which directory it lies, and where there. Tablespaces are reached by links, and mounted by themselves.
fn new_file(number: u32, entry: &TreeEntry, details: &PostgresDetails) -> Result<NewFile> {
    let path = Path::new(&entry.path);
    let inside = path.strip_prefix("pg_tblspc").ok().and_then(|path| {
        let mut parts = path.components();
        let oid = parts.next()?.as_os_str().to_str()?.parse::<u32>().ok()?;
        let number = details.tablespaces.iter().position(|tablespace| tablespace.oid == oid)?;
        Some((number + 1, parts.as_path().to_path_buf()))
    });
    if path.starts_with("pg_tblspc") && inside.is_none() {
        return Err(Error::corrupt(&entry.path, "lies in a tablespace that the point doesn't have").into());
    }
    let (root, path) = inside.unwrap_or_else(|| (0, path.to_path_buf()));
    // Never wider than the group may read: that is all PostgreSQL accepts.
    Ok(NewFile { number, root, path, bytes: entry.size, mode: entry.mode & 0o640 | 0o600 })
}

impl From<OverlayError> for RecoveryError {
    fn from(error: OverlayError) -> Self {
        Self::Mount(Box::new(error))
    }
}
