//! `lifeboat restore --instant`: the directory is there at once, and what it holds comes when it is read, and in the background.
//!
//! This process serves it until everything is here and no server runs there; then an ordinary directory is left. Interrupted, it goes on
//! where it was when it is run again.

use super::{absolute, bring_home, check_oids, unless_lost};
use crate::cli::RestoreArguments;
use crate::commands::wal;
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, rooms};
use jiff::Timestamp;
use lifeboat_mount::hydrate::{Part, Watcher, hydrate};
use lifeboat_mount::lazy::BringError;
use lifeboat_mount::mount::{Mounted, State, mount, state_of, take_stale_away};
use lifeboat_postgres::cluster::{Cluster, PidFile, Programs, RunState, StartOptions, StopMode, WaitFor, run_state};
use lifeboat_postgres::connection::{Secret, Target as Server};
use lifeboat_recovery::instant::{self, Attached, Origin};
use lifeboat_recovery::{
    Action, Destination, Observed, RecoveryError, RestoreTo, Wanted, observe, owner_when_root, plan,
};
use lifeboat_repository::{ChunkReader, Point, Progress, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch::Receiver;

/// How long replay may take until the server is what was asked for.
const REPLAY_PATIENCE: Duration = Duration::from_secs(6 * 3600);
const STOP_PATIENCE: Duration = Duration::from_secs(300);
/// How long is waited before what failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often is looked whether a server still runs there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is served, and by what means.
struct Service<'a> {
    config: &'a Config,
    arguments: &'a RestoreArguments,
    to: PathBuf,
    output: &'a Output,
    begun: Instant,
}

pub async fn run(
    config: &Config,
    arguments: &RestoreArguments,
    wanted: Wanted,
    tablespaces: BTreeMap<u32, PathBuf>,
    output: &Output,
) -> Result<(), Failure> {
    let service = Service { config, arguments, to: absolute(&arguments.to)?, output, begun: Instant::now() };
    let asked = interrupt::signal();
    service.clear(&service.to)?;
    let locations = wal::locations(config, &arguments.workload, arguments.from.as_deref());
    let repository = rooms::open_repository(config, &locations, output).await?;
    let origin = match instant::origin(&service.to)? {
        Some(origin) => service.again(origin)?,
        None => service.prepare(&repository, &wanted, tablespaces).await?,
    };
    let (mut mounted, parts) = service.mount(&repository, &origin).await?;
    let prepared_seconds = service.begun.elapsed().as_secs_f64();
    output.hint(&format!("{} is served since {prepared_seconds:.1} s: {}", service.to.display(), origin.target));
    let server = match arguments.start {
        true => Some(service.start(&repository, &origin, &wanted).await),
        false => None,
    };
    let server = match server.transpose() {
        Ok(server) => server,
        Err(failure) => {
            mounted.unmount().map_err(failure_of)?;
            return Err(failure.with_hint("what came is kept: run it again to go on"));
        }
    };
    let is_whole = service.serve(&mut mounted, parts, asked, server.as_ref()).await?;
    service.end(mounted, is_whole, prepared_seconds, server)
}

fn failure_of(error: impl std::error::Error) -> Failure {
    Failure::from_error(FailureKind::Unavailable, &error)
}

/// A server that was started.
struct Started {
    cluster: Cluster,
    first_query_seconds: f64,
}

impl Service<'_> {
    /// What is mounted there must be nobody's.
    fn clear(&self, directory: &Path) -> Result<(), Failure> {
        let there = directory.display();
        match state_of(directory) {
            State::Nothing => Ok(()),
            State::Stale => {
                self.output.hint("what a program that ended left mounted there is taken away");
                take_stale_away(directory).map_err(|error| {
                    let hint = format!("stop what uses it, then `umount -l {there}`");
                    Failure::from_error(FailureKind::Unavailable, &error)
                        .while_doing("take a mount away")
                        .with_hint(hint)
                })
            }
            State::Mounted => {
                let message = format!("{there} is served by another process");
                Err(Failure::new(FailureKind::Locked, message)
                    .with_hint("it goes on by itself; stop that process first"))
            }
        }
    }

    fn again(&self, origin: Origin) -> Result<Origin, Failure> {
        if origin.workload != self.arguments.workload {
            let message = format!("{} is an instant restore of {}", self.to.display(), origin.workload);
            return Err(Failure::new(FailureKind::Usage, message).with_hint("give that workload, or another directory"));
        }
        let (begun, point) = (lifeboat_recovery::spoken(origin.begun_at, None), &origin.point);
        self.output.hint(&format!("goes on with what was begun on {begun} from {point}: {}", origin.target));
        Ok(origin)
    }

    async fn prepare(
        &self,
        repository: &Arc<Repository>,
        wanted: &Wanted,
        tablespaces: BTreeMap<u32, PathBuf>,
    ) -> Result<Origin, Failure> {
        let workload = &self.arguments.workload;
        bring_home(self.config, workload, repository, self.output).await?;
        let progress = progress::for_rooms(self.output, workload);
        let Observed { known, points, unread, notes } = observe(repository, workload, Some(wanted), &*progress).await?;
        notes.iter().for_each(|note| self.output.warn(note));
        let plan = plan(&known, wanted).map_err(|refusal| unless_lost(RecoveryError::from(refusal).into(), &unread))?;
        let destination = Destination::observe(&self.to, plan.system_id).map_err(RecoveryError::from)?;
        if destination == Destination::SameCluster {
            let message = format!("{} holds a copy of this cluster", self.to.display());
            let hint = "give an empty or new directory; without --instant what is right there is kept";
            return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
        }
        let (point, _) = points
            .get(&plan.point)
            .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point)))?;
        check_oids(&tablespaces, point)?;
        plan.notes.iter().for_each(|note| self.output.warn(note));
        let origin = Origin {
            workload: workload.clone(),
            point: plan.point.clone(),
            tablespaces,
            begun_at: Timestamp::now(),
            target: plan.target_spoken.clone(),
        };
        let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
        let to = self.place(&origin);
        let done = tokio::task::block_in_place(|| {
            instant::prepare(&reader, point, &plan, destination, &to, &origin, &*progress)
        });
        progress.finish();
        done?.notes.iter().for_each(|note| self.output.warn(note));
        Ok(origin)
    }

    fn place(&self, origin: &Origin) -> RestoreTo {
        RestoreTo {
            destination: self.to.clone(),
            tablespaces: origin.tablespaces.clone(),
            workers: rooms::workers(&self.config.workloads[&self.arguments.workload]),
            owner: owner_when_root(&self.to, rooms::postgres_account()),
        }
    }

    async fn mount(&self, repository: &Arc<Repository>, origin: &Origin) -> Result<(Mounted, Vec<Part>), Failure> {
        let point = self.point(repository, origin).await?;
        let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
        let to = self.place(origin);
        for directory in instant::directories(&point, &to)? {
            self.clear(&directory)?;
        }
        let attached = tokio::task::block_in_place(|| instant::attach(&reader, &point, &to));
        let Attached { overlay, parts, view } = attached?;
        let mounted = mount(Arc::new(overlay), &view).map_err(|error| {
            let hint =
                "it needs /dev/fuse, and root or fusermount3 (`apt-get install fuse3`); without --instant it is copied";
            failure_of(error).with_hint(hint)
        })?;
        Ok((mounted, parts))
    }

    async fn point(&self, repository: &Arc<Repository>, origin: &Origin) -> Result<Point, Failure> {
        let mut notes = Vec::new();
        let point = repository.read_point(&origin.workload, &origin.point, &mut notes).await?;
        notes.iter().for_each(|note| self.output.warn(note));
        Ok(point)
    }

    /// Starts the server, waits until it is what was asked for, and asks it something.
    async fn start(&self, repository: &Arc<Repository>, origin: &Origin, wanted: &Wanted) -> Result<Started, Failure> {
        let details = PostgresDetails::of(&self.point(repository, origin).await?)?;
        let workload = &self.config.workloads[&self.arguments.workload];
        let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let programs = Programs::find(details.major, workload.bin_dir.as_deref(), &search)?;
        let cluster = Cluster::open(&self.to, programs)?;
        let (user, database) = rooms::user_and_database(workload);
        let wait_for = match wanted.action {
            Action::Promote => WaitFor::Primary,
            Action::Pause => WaitFor::RecoveryEndOrPause,
            Action::Shutdown => WaitFor::Nothing,
        };
        let log_file = self.to.join("lifeboat-start.log");
        let mut options = StartOptions::new(log_file)
            // Or it would open every file before it begins, to sync it.
            .setting("recovery_init_sync_method", "syncfs")
            .wait_for(wait_for, REPLAY_PATIENCE);
        options.user.clone_from(&user);
        let file = cluster.start(&options).await?;
        if wanted.action != Action::Shutdown {
            ask(&file, &user, &database).await?;
        }
        let first_query_seconds = self.begun.elapsed().as_secs_f64();
        self.output.text(&format!(
            "{} {}: the first query was answered after {first_query_seconds:.1} s",
            self.output.paint("started", Tone::Good),
            self.to.display()
        ))?;
        Ok(Started { cluster, first_query_seconds })
    }

    /// Serves until everything is here and nobody needs the mount, or until somebody asks for the end. Returns whether everything is here.
    async fn serve(
        &self,
        mounted: &mut Mounted,
        parts: Vec<Part>,
        mut asked: Receiver<bool>,
        server: Option<&Started>,
    ) -> Result<bool, Failure> {
        let arrived = mounted.overlay().arrived();
        let progress = progress::for_rooms(self.output, &self.arguments.workload);
        progress.phase("bring the rest", Some(arrived.bytes - arrived.bytes_local));
        let telling = Arc::new(Telling { progress, is_to_end: AtomicBool::new(false) });
        let threads = rooms::workers(&self.config.workloads[&self.arguments.workload]);
        let (overlay, watcher) = (mounted.overlay().clone(), telling.clone());
        let bring = move || loop {
            if hydrate(&overlay, parts.clone(), threads, &*watcher) {
                return true;
            }
            if watcher.is_to_end() {
                return false;
            }
            // Something could not be settled: a disk that is full, mostly.
            std::thread::sleep(AFTER_FAILURE);
        };
        let mut bringing = tokio::task::spawn_blocking(bring);
        let (mut is_whole, mut is_ended) = (false, false);
        loop {
            tokio::select! {
                done = &mut bringing, if !is_ended => {
                    (is_whole, is_ended) = (done.unwrap_or(false), true);
                    telling.progress.finish();
                    match is_whole {
                        true => self.output.hint("everything is here; when the server stops, an ordinary directory is left"),
                        false => self.output.warn("the rest does not come by itself any more; what is read still comes"),
                    }
                }
                _ = asked.wait_for(|asked| *asked) => break,
                () = tokio::time::sleep(LOOK_EVERY), if is_whole => {
                    if !matches!(run_state(&self.to), Ok(RunState::Running(_))) {
                        break;
                    }
                }
            }
        }
        telling.is_to_end.store(true, Ordering::Relaxed);
        if !is_ended {
            is_whole = bringing.await.unwrap_or(false);
            telling.progress.finish();
        }
        if let Some(server) = server.filter(|_| matches!(run_state(&self.to), Ok(RunState::Running(_)))) {
            server.cluster.stop(StopMode::Fast, STOP_PATIENCE).await?;
        }
        self.take_away(mounted).await?;
        Ok(is_whole)
    }

    /// Whoever still uses it would be left with nothing: this waits, and says for what.
    async fn take_away(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let mut is_told = false;
        while let Err(error) = mounted.unmount() {
            if error.source.kind() != std::io::ErrorKind::ResourceBusy {
                return Err(failure_of(error));
            }
            if !is_told {
                let path = self.to.display();
                self.output.warn(&format!(
                    "{path} is in use: stop the server first (pg_ctl stop -D {path}); this waits for it"
                ));
                is_told = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn end(
        &self,
        mounted: Mounted,
        is_whole: bool,
        prepared_seconds: f64,
        server: Option<Started>,
    ) -> Result<(), Failure> {
        let overlay = mounted.overlay().clone();
        drop(mounted);
        let arrived = overlay.arrived();
        if is_whole {
            let overlay =
                Arc::into_inner(overlay).ok_or_else(|| Failure::new(FailureKind::Internal, "files are still open"))?;
            overlay.finish(&instant::view()).map_err(failure_of)?;
        }
        if self.output.is_json() {
            return self.output.document(&json!({
                "workload": self.arguments.workload,
                "to": self.to,
                "is_whole": is_whole,
                "files_to_come": arrived.files,
                "bytes_to_come": arrived.bytes - arrived.bytes_local,
                "served_after_seconds": prepared_seconds,
                "first_query_seconds": server.map(|server| server.first_query_seconds),
                "seconds": self.begun.elapsed().as_secs_f64(),
            }));
        }
        if !is_whole {
            let left = human::size(arrived.bytes - arrived.bytes_local);
            return Err(Failure::new(FailureKind::Unavailable, format!("interrupted: {left} are still to come"))
                .with_hint("run it again: it goes on where it stopped; until then no server can start there"));
        }
        self.output.text(&format!(
            "{} {}: everything is here, {:.1} s",
            self.output.paint("restored", Tone::Good),
            self.to.display(),
            self.begun.elapsed().as_secs_f64()
        ))
    }
}

async fn ask(file: &PidFile, user: &str, database: &str) -> Result<(), Failure> {
    let socket =
        file.socket_dir.as_deref().map_or_else(|| "localhost".into(), |path: &Path| path.display().to_string());
    let text = format!("host='{socket}' port={} user='{user}' dbname='{database}'", file.port);
    let client = Server::parse(&text, &Secret::None)?.connect().await?;
    client.query_one("select count(*) from pg_class", &[]).await.map_err(failure_of)?;
    Ok(())
}

/// Tells of what comes.
struct Telling {
    progress: Arc<progress::ForRooms>,
    is_to_end: AtomicBool,
}

impl Watcher for Telling {
    fn arrived(&self, _part: &Part, bytes: u64) {
        self.progress.advance(bytes);
    }

    fn failed(&self, part: &Part, error: &BringError) {
        self.progress.warn(&format!("a part of file {} can't be had yet: {error}", part.number));
    }

    fn is_to_end(&self) -> bool {
        self.is_to_end.load(Ordering::Relaxed)
    }
}
