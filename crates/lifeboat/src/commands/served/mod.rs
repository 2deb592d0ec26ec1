//! A directory that is there at once, and what it holds comes when it is read: what `restore --instant` and all who need a server of
//! some moment soon have in common.
//!
//! One process serves a directory until everything is here and no server runs there; then an ordinary directory is left. Interrupted,
//! it goes on where it was when it is run again.

mod ahead;
pub mod begun;
pub mod detach;
mod going;
mod held;
mod past;
mod problem;
mod returning;
mod server;
pub mod status;

pub use going::{Brought, Wish};
pub use past::{Past, Seat, Taken, Wanting};
pub use server::{REPLAY_PATIENCE, Started};

use super::{find_named, wal};
use crate::config::{Config, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, progress};
use crate::rooms;
use ahead::Ahead;
use held::Held;
use jiff::Timestamp;
use lifeboat_mount::mount::{MountError, Mounted, State, mount_controlled, state_of, take_stale_away};
use lifeboat_mount::overlay::Overlay;
use lifeboat_postgres::cluster::{end_at_once, wait_for_the_ended};
use lifeboat_recovery::instant::{self, Attached, Order, Origin, Replay};
use lifeboat_recovery::{
    Destination, Observed, RecoveryError, RestorePlan, RestoreTo, Wanted, observe, owner_when_root, plan,
};
use lifeboat_repository::{ChunkReader, Point, Repository};
use returning::Returning;
use status::{Live, Status};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What is served, and by what means.
pub struct Service<'a> {
    pub config: &'a Config,
    pub workload: &'a str,
    pub to: PathBuf,
    pub output: &'a Output,
    /// When it was asked for.
    pub begun: Instant,
}

/// What is to be had there, found and planned.
pub struct Found {
    pub plan: RestorePlan,
    pub point: Point,
    /// Whether what happened exactly then is kept.
    pub inclusive: bool,
}

/// How all that nobody asks for is to come.
pub struct Rest {
    pub order: Order,
    /// Where it is written what was read most.
    pub repository: Arc<Repository>,
}

/// What is being served.
pub struct Serving {
    pub overlay: Arc<Overlay>,
    /// None: nobody sees it before all of it is here.
    pub mounted: Option<Mounted>,
    pub rest: Arc<Rest>,
    pub live: Arc<Live>,
    /// None: nothing is replayed there.
    pub ahead: Option<Ahead>,
    held: Option<Held>,
    returning: Option<Returning>,
}

impl Serving {
    /// Replay is over: what is read from now on, nobody knows before.
    pub fn replayed(&self) {
        self.ahead.iter().for_each(Ahead::stop);
    }
}

fn failure_of(error: impl std::error::Error) -> Failure {
    Failure::from_error(FailureKind::Unavailable, &error)
}

/// Why nothing can be mounted on this machine, as far as that can be told before it is tried.
pub fn why_no_mounts() -> Option<String> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(match error.kind() {
            std::io::ErrorKind::NotFound => {
                "there is no /dev/fuse: `modprobe fuse`, or give it to the container".into()
            }
            _ => format!("/dev/fuse can't be opened ({error}): run it as root"),
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_helper = std::env::split_paths(&path).any(|directory| directory.join("fusermount3").exists());
    let is_root = rustix::process::geteuid().is_root();
    (!is_root && !has_helper).then(|| "it needs root, or fusermount3: `apt-get install fuse3`".into())
}

/// Whose mounts these are, among all on this machine: of those who share this configuration's state.
pub fn label(config: &Config) -> Result<String, Failure> {
    Ok(rooms::state_dir(config)?.display().to_string())
}

/// Refuses what can't do without a mount where there can be none.
pub fn must_mount() -> Result<(), Failure> {
    let Some(why_not) = why_no_mounts() else { return Ok(()) };
    Err(Failure::new(FailureKind::Unavailable, format!("nothing can be mounted here: {why_not}"))
        .with_hint("`lifeboat restore --to DIR` copies everything, and needs no mount"))
}

impl Service<'_> {
    /// What is configured for the workload.
    pub fn settings(&self) -> Result<&WorkloadConfig, Failure> {
        find_named("workload", self.workload, &self.config.workloads)
    }

    /// What is mounted there must be nobody's.
    pub fn clear(&self, directory: &Path) -> Result<(), Failure> {
        let there = directory.display();
        match state_of(directory) {
            State::Nothing => Ok(()),
            State::Stale => {
                self.output.hint("what a program that ended left mounted there is taken away");
                // What still runs there has lost its files, and keeps others from starting.
                end_at_once(directory).map_err(failure_of)?;
                take_stale_away(directory).map_err(|error| {
                    let hint = format!("stop what uses it, then `umount -l {there}`");
                    failure_of(error).while_doing("take a mount away").with_hint(hint)
                })
            }
            State::Mounted => {
                let message = format!("{there} is served by another process");
                let hint =
                    format!("it goes on by itself: `lifeboat restore status {there}`, `lifeboat restore stop {there}`");
                Err(Failure::new(FailureKind::Locked, message).with_hint(hint))
            }
        }
    }

    /// What was begun there earlier. None when nothing was.
    pub fn earlier(&self) -> Result<Option<Origin>, Failure> {
        let Some(origin) = instant::origin(&self.to)? else { return Ok(None) };
        if origin.workload != self.workload {
            let message = format!("{} is an instant restore of {}", self.to.display(), origin.workload);
            return Err(
                Failure::new(FailureKind::Usage, message).with_hint("give that workload, or another, empty directory")
            );
        }
        Ok(Some(origin))
    }

    /// The repository, in the locations of the workload or in that one.
    pub async fn repository(&self, from: Option<&str>) -> Result<Arc<Repository>, Failure> {
        let locations = wal::locations(self.config, self.workload, from);
        rooms::open_repository(self.config, &locations, self.output).await
    }

    /// Finds from where the moment is reached.
    pub async fn find(&self, repository: &Arc<Repository>, wanted: &Wanted) -> Result<Found, Failure> {
        let progress = progress::for_rooms(self.output, self.workload);
        let Observed { known, mut points, unread, notes } =
            observe(repository, self.workload, Some(wanted), &*progress).await?;
        progress.finish();
        notes.iter().for_each(|note| self.output.warn(note));
        let plan = plan(&known, wanted)
            .map_err(|refusal| super::restore::unless_lost(RecoveryError::from(refusal).into(), &unread))?;
        plan.notes.iter().for_each(|note| self.output.warn(note));
        let gone = || Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point));
        let (point, _) = points.remove(&plan.point).ok_or_else(gone)?;
        Ok(Found { plan, point, inclusive: wanted.inclusive })
    }

    /// Writes what is wanted at once, and makes the rest. The point is held from then on: `why`, in two words.
    pub async fn prepare(
        &self,
        repository: &Arc<Repository>,
        found: &Found,
        tablespaces: BTreeMap<u32, PathBuf>,
        why: &str,
    ) -> Result<Origin, Failure> {
        let Found { plan, point, inclusive } = found;
        let destination = Destination::observe(&self.to, plan.system_id).map_err(RecoveryError::from)?;
        if destination == Destination::SameCluster {
            let message = format!("{} holds a copy of this cluster", self.to.display());
            let hint = "give an empty or new directory; without --instant what is right there is kept";
            return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
        }
        let hold = held::new(self.workload, &plan.point, &self.to, why)?;
        let origin = Origin {
            workload: self.workload.to_owned(),
            point: plan.point.clone(),
            tablespaces,
            begun_at: Timestamp::now(),
            target: plan.target_spoken.clone(),
            timeline: Some(plan.timeline),
            inclusive: Some(*inclusive),
            replay: Some(Replay::of(plan)),
            hold: Some(hold.clone()),
        };
        let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
        let to = self.place_of(&origin)?;
        held::take(repository, &hold, self.output).await?;
        let progress = progress::for_rooms(self.output, self.workload);
        let done = tokio::task::block_in_place(|| {
            instant::prepare(&reader, point, plan, destination, &to, &origin, &*progress)
        });
        progress.finish();
        match done {
            Ok(done) => done.notes.iter().for_each(|note| self.output.warn(note)),
            Err(error) => {
                repository.release(&hold).await;
                return Err(error.into());
            }
        }
        Ok(origin)
    }

    fn place_of(&self, origin: &Origin) -> Result<RestoreTo, Failure> {
        Ok(RestoreTo {
            destination: self.to.clone(),
            tablespaces: origin.tablespaces.clone(),
            workers: rooms::workers(self.settings()?),
            owner: owner_when_root(&self.to, rooms::postgres_account()),
        })
    }

    /// Finds what [`Self::prepare`] made, and mounts it. The second: why that can't be done; then it comes all the same.
    pub async fn serve(
        &self,
        repository: &Arc<Repository>,
        origin: &Origin,
        from: Option<&str>,
    ) -> Result<(Serving, Option<MountError>), Failure> {
        let point = self.point(repository, origin).await?;
        let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
        let to = self.place_of(origin)?;
        for directory in instant::directories(&point, &to)? {
            self.clear(&directory)?;
        }
        // Nothing that isn't whole has a server of its own. One that lost its files with a mount that somebody took away keeps others from starting.
        end_at_once(&self.to).and_then(|_| wait_for_the_ended(&self.to)).map_err(failure_of)?;
        let attached = tokio::task::block_in_place(|| instant::attach(&reader, &point, &to, origin.replay.as_ref()));
        let Attached { overlay, order, ahead, view, readers } = attached?;
        let overlay = Arc::new(overlay);
        let live = Live::new(self.status(origin));
        live.of(&overlay);
        let (mounted, why_not) = match mount_controlled(overlay.clone(), &view, live.clone(), &label(self.config)?) {
            Ok(mounted) => (Some(mounted), None),
            Err(error) => (None, Some(error)),
        };
        let held = origin.hold.clone().map(|hold| Held::keep(readers.clone(), hold));
        let ahead = ahead.filter(|_| mounted.is_some());
        let progress = || progress::for_rooms(self.output, self.workload);
        let ahead = ahead.map(|ahead| Ahead::begin(ahead, repository.clone(), overlay.clone(), progress()));
        let (config, names) = (self.config.clone(), wal::locations(self.config, self.workload, from));
        let hold = origin.hold.clone();
        let returning = Returning::begin(returning::Wanted { config, names, readers, hold, progress: progress() });
        let rest = Arc::new(Rest { order, repository: repository.clone() });
        Ok((Serving { overlay, mounted, rest, live, ahead, held, returning: Some(returning) }, why_not))
    }

    fn status(&self, origin: &Origin) -> Status {
        Status::new(self.workload, &self.to, &origin.point.to_string(), &origin.target, origin.begun_at)
    }

    /// Ends what runs there without being of use to anybody.
    pub fn end_server(&self) {
        if let Err(error) = end_at_once(&self.to) {
            self.output.warn(&error.to_string());
        }
    }

    /// The point from which it comes.
    pub async fn point(&self, repository: &Arc<Repository>, origin: &Origin) -> Result<Point, Failure> {
        let mut notes = Vec::new();
        let point = repository.read_point(&origin.workload, &origin.point, &mut notes).await?;
        notes.iter().for_each(|note| self.output.warn(note));
        Ok(point)
    }
}

/// Why a directory can't be mounted over, for people.
pub fn unmountable(error: MountError) -> Failure {
    let hint = why_no_mounts().unwrap_or_else(|| "in a container it needs the right to mount (CAP_SYS_ADMIN)".into());
    failure_of(error).with_hint(format!("{hint}; `lifeboat restore --or-copy` copies everything, and needs no mount"))
}
