//! How the files of a copy come to its place: all of them before it starts, or each part when it is read.
//!
//! Read so, and given up again, a cluster of any size needs room for little more than what is written to it. Such a mount is thrown away with
//! the rest of the copy, and nothing ever comes back to it.

use super::given::{Given, Watched};
use super::helped::Helped;
use super::room::Room;
use super::{BootReport, BootRequest};
use crate::destination::Destination;
use crate::error::{RecoveryError, Result};
use crate::instant::{self, Attached, Order, Origin, Replay};
use crate::plan::RestorePlan;
use crate::restore::{RestoreDone, RestoreTo, apply};
use jiff::Timestamp;
use lifeboat_mount::mount::{MountError, Mounted, mount};
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::StartOptions;
use lifeboat_postgres::control::{self, ControlFile};
use lifeboat_repository::{ChunkReader, MostRead, Point, Progress};
use lifeboat_workload::postgres::PostgresDetails;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of what only came, no more lies in the place of the copy: enough that an index and its table are mostly not fetched twice while they are
/// compared, and little beside any database that doesn't fit.
const CAME_BYTES_MAX: u64 = 1 << 30;
/// Where less is free than twice that, half of it is used; but never less than this.
const CAME_BYTES_MIN: u64 = 64 << 20;

/// How long a server is waited for that begins without a part of its files: it may not need it to start.
const WITHOUT_PATIENCE: Duration = Duration::from_secs(10);

/// How the files are to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// All of them are written before the copy is started.
    Copy {
        /// Why, for people.
        because: String,
    },
    /// They are shown by a mount, and come when they are read. Where nothing can be mounted, all are written.
    Mount {
        /// Of what only came, so many bytes are kept.
        came_bytes_max: u64,
    },
}

impl Way {
    /// By a mount, with as much room as is fit for the disk where `directory` is.
    pub fn mount(directory: &Path) -> Self {
        let free = rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Self::Mount { came_bytes_max: CAME_BYTES_MAX.min(free / 2).max(CAME_BYTES_MIN) }
    }
}

/// How the files came, as it is kept with the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "way")]
pub enum Came {
    /// All of them were written before the copy was started.
    Copy {
        /// Why it was done so.
        because: String,
    },
    /// They came when they were read.
    Mount {
        /// What the repository gave, in bytes; what was given up and read again more than once.
        bytes_fetched: u64,
        /// The most that lay here at once of what only came, in bytes.
        bytes_kept_max: u64,
        /// What the server wrote to blocks of the point, in bytes.
        bytes_changed: u64,
    },
}

/// A copy that can be started.
pub struct Files {
    pub done: RestoreDone,
    pub control: ControlFile,
    came: Came,
    served: Option<Served>,
}

/// What is mounted.
struct Served {
    ahead: Option<Helped>,
    mounted: Mounted,
    given: Arc<Given>,
    order: Order,
}

/// Brings them to a room of their own, in the way that is wanted or the one that can be had.
pub fn bring(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    request: &BootRequest,
    progress: &dyn Progress,
) -> Result<(Room, Files)> {
    let because = match &request.way {
        Way::Copy { because } => because.clone(),
        Way::Mount { came_bytes_max } => {
            let (room, to) = room(point, request)?;
            match serve(reader, point, plan, &to, *came_bytes_max, progress)? {
                Ok(files) => return Ok((room, files)),
                Err(error) => {
                    room.remove()?;
                    format!("nothing can be mounted here ({error}: {})", error.source)
                }
            }
        }
    };
    let (room, to) = room(point, request)?;
    let done = apply(reader, point, plan, Destination::Missing, &to, progress)?;
    let control = control::read(&to.destination)
        .map_err(|error| RecoveryError::file("read control file of", &to.destination, std::io::Error::other(error)))?;
    Ok((room, Files { done, control, came: Came::Copy { because }, served: None }))
}

fn room(point: &Point, request: &BootRequest) -> Result<(Room, RestoreTo)> {
    let details = PostgresDetails::of(point)?;
    let room = Room::make(&request.scratch_dir, request.owner)?;
    let tablespaces = details.tablespaces.iter().map(|space| (space.oid, room.tablespace(space.oid))).collect();
    let to = RestoreTo { destination: room.data_dir(), tablespaces, workers: request.workers, owner: request.owner };
    Ok((room, to))
}

/// Writes what is wanted at once, and mounts it.
fn serve(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    to: &RestoreTo,
    came_bytes_max: u64,
    progress: &dyn Progress,
) -> Result<std::result::Result<Files, MountError>> {
    let begun = Instant::now();
    let origin = Origin {
        workload: point.workload.clone(),
        point: point.id.clone(),
        tablespaces: to.tablespaces.clone(),
        begun_at: Timestamp::now(),
        target: plan.target_spoken.clone(),
        timeline: Some(plan.timeline),
        inclusive: None,
        replay: None,
        hold: None,
    };
    let mut done = instant::prepare(reader, point, plan, Destination::Missing, to, &origin, progress)?;
    let control = instant::control(&to.destination)?;
    let given = Arc::new(Given::default());
    let with = given.clone();
    let replay = Replay::of(plan);
    let Attached { overlay, order, ahead, view, .. } =
        instant::attach_through(reader, point, to, Some(&replay), |source| Box::new(Watched::new(source, with)))?;
    let mounted = match mount(Arc::new(overlay.limited(came_bytes_max).noting_reads()), &view) {
        Ok(mounted) => mounted,
        Err(error) => return Ok(Err(error)),
    };
    let ahead = ahead.map(|ahead| Helped::begin(ahead, reader.repository().clone(), mounted.overlay().clone()));
    done.seconds = begun.elapsed().as_secs_f64();
    let came = Came::Mount { bytes_fetched: 0, bytes_kept_max: 0, bytes_changed: 0 };
    Ok(Ok(Files { done, control, came, served: Some(Served { ahead, mounted, given, order }) }))
}

impl Files {
    /// How they came so far.
    pub fn came(&self) -> Came {
        let Some(served) = &self.served else { return self.came.clone() };
        let overlay = served.mounted.overlay();
        let kept = overlay.kept().unwrap_or_default();
        Came::Mount {
            bytes_fetched: overlay.fetched().bytes(),
            bytes_kept_max: kept.came_bytes_max,
            bytes_changed: kept.written_bytes,
        }
    }

    /// What a server over them must be told.
    pub fn start_options(&self, options: StartOptions, major: MajorVersion) -> StartOptions {
        if self.served.is_none() {
            return options;
        }
        // Or it would open every file before it begins, to sync it.
        let options = options.setting("recovery_init_sync_method", "syncfs");
        if major < MajorVersion::V15 {
            return options;
        }
        // It asks ahead also for pages of which a whole image comes just before.
        options.setting("recovery_prefetch", "off")
    }

    /// Returns when a server over them isn't to be waited for: it would be asked until its time is over, and could never answer.
    pub async fn hopeless(&self) {
        match &self.served {
            None => std::future::pending().await,
            Some(served) => served.given.hopeless(WITHOUT_PATIENCE).await,
        }
    }

    /// Replay is over. What is read from now on, whoever asks the copy reads; what replay wanted, the next one wants of another log.
    pub fn replayed(&self) {
        let Some(served) = &self.served else { return };
        served.ahead.iter().for_each(Helped::stop);
        served.mounted.overlay().forget_reads();
    }

    /// What was read most since.
    pub fn most_read(&self) -> MostRead {
        let read = |served: &Served| served.order.most_read(served.mounted.overlay().reads());
        self.served.as_ref().map(read).unwrap_or_default()
    }

    /// Reads what of the point nobody has read: all of it must be there, whatever the server wanted of it. What is lost or damaged
    /// is in the report, and so is that this may be why something else failed.
    ///
    /// # Errors
    /// Something could not be had of which nobody knows whether it is there: nothing is known of the point either.
    pub fn read_the_rest(&self, workers: usize, report: &mut BootReport, progress: &dyn Progress) -> Result<()> {
        let Some(served) = &self.served else { return Ok(()) };
        served.ahead.iter().for_each(Helped::stop);
        let source = served.mounted.overlay().source();
        served.given.read_the_rest(&source, &served.order.parts(None), workers, progress);
        report.came = self.came();
        if let Some(error) = served.given.take_trouble() {
            return Err(error);
        }
        if let Some(damage) = served.given.damage() {
            report.failure = Some(match report.failure.take() {
                Some(failure) => format!("{damage}; {failure}"),
                None => damage,
            });
        }
        Ok(())
    }

    /// Takes the mount away. Ends what still runs on it.
    pub fn end(self, room: &Room) -> Result<()> {
        let Some(mut served) = self.served else { return Ok(()) };
        drop(served.ahead.take());
        room.end_server()?;
        served.mounted.unmount().map_err(|MountError { path, source }| RecoveryError::file("unmount", &path, source))
    }
}
