//! A moment of a workload in a server that nobody else sees, over files that come when they are read; thrown away at the end.
//!
//! Each has a seat of its own below one directory of this account: while its process lives it holds a lock there, and what the dead
//! left is cleared by whoever comes next.

use super::held;
use super::status::{Asked, Live, Phase};
use super::{Found, REPLAY_PATIENCE, Service, Serving, Started, unmountable};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, shell};
use crate::rooms;
use lifeboat_mount::control::{Command, Control};
use lifeboat_mount::mount::{State, state_of, take_stale_away};
use lifeboat_postgres::cluster::{RunState, WaitFor, end_at_once, run_state};
use lifeboat_postgres::connection::{Secret, Target as Server};
use lifeboat_recovery::{Action, PrivatePlace, Target, TimelineChoice, Wanted, instant, owner_when_root};
use lifeboat_repository::PointId;
use lifeboat_workload::postgres::PostgresDetails;
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch::Receiver;

/// A place below which one past lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// How it is called.
    pub name: String,
    directory: PathBuf,
}

/// Held by whoever lives there. Let go when it is dropped, or its process ends however. The file is this account's alone; in it is with which
/// configuration whoever lived there last did.
#[derive(Debug)]
pub struct Taken {
    locked: File,
}

impl Taken {
    /// Notes it, for whoever clears up behind this process.
    fn note(&self, configuration: &Path) -> io::Result<()> {
        let path = std::path::absolute(configuration)?;
        self.locked.set_len(0)?;
        self.locked.write_all_at(path.as_os_str().as_bytes(), 0)
    }

    /// What was noted. None when nobody got so far.
    fn noted(&self) -> io::Result<Option<PathBuf>> {
        let mut path = vec![0; self.locked.metadata()?.len().min(64 * 1024) as usize];
        self.locked.read_exact_at(&mut path, 0)?;
        Ok((!path.is_empty()).then(|| OsString::from_vec(path).into()))
    }
}

impl Seat {
    /// The directory of all of this account's seats: ours alone, and no link that somebody planted.
    fn all_in() -> Result<PathBuf, Failure> {
        let account = rustix::process::geteuid().as_raw();
        let path = PathBuf::from(format!("/var/tmp/lifeboat-{account}"));
        let failed = |why: String| {
            Failure::new(FailureKind::Unavailable, format!("{} can't be used: {why}", path.display())).with_hint(
                "it must be a directory of this account's that nobody else may write to; remove what is there",
            )
        };
        // Others may pass: below, each place belongs to the account of its server.
        match std::fs::DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error.to_string())),
            _ => {}
        }
        let data = std::fs::symlink_metadata(&path).map_err(|error| failed(error.to_string()))?;
        if !data.is_dir() || data.uid() != account || data.mode() & 0o022 != 0 {
            return Err(failed("it is somebody else's, or others may write to it".into()));
        }
        Ok(path)
    }

    /// The one of this name, whoever lives there.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 40 || name.starts_with('.') || !name.bytes().all(is_plain) {
            let message = format!("{name:?} is no name for it");
            let hint = "up to 40 letters, digits, `-`, `_` and `.`, not beginning with `.`";
            return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
        }
        Ok(Self { name: name.to_owned(), directory: Self::all_in()?.join(name) })
    }

    /// A free one for a workload, taken.
    pub fn free(workload: &str) -> Result<(Self, Taken), Failure> {
        let short: String = workload.chars().filter(char::is_ascii).take(30).collect();
        for number in 1..1000 {
            let seat = Self::named(&format!("{short}-{number}"))?;
            if seat.directory.exists() {
                continue;
            }
            if let Some(taken) = seat.take()? {
                return Ok((seat, taken));
            }
        }
        Err(Failure::new(FailureKind::Unavailable, "a thousand are open already")
            .with_hint("`lifeboat close --all` closes them"))
    }

    /// All that are there.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let failed = |error: io::Error| Failure::from_error(FailureKind::Unavailable, &error);
        let mut seats = Vec::new();
        for entry in std::fs::read_dir(Self::all_in()?).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir()
                && let Some(name) = entry.file_name().to_str()
            {
                seats.push(Self { name: name.to_owned(), directory: entry.path() });
            }
        }
        seats.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(seats)
    }

    /// Where its server's files are.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Whether something is there.
    pub fn exists(&self) -> bool {
        self.directory.exists()
    }

    fn lock(&self) -> PathBuf {
        let mut path = self.directory.clone().into_os_string();
        path.push(".lock");
        path.into()
    }

    /// Takes it. None when somebody lives there.
    pub fn take(&self) -> Result<Option<Taken>, Failure> {
        let path = self.lock();
        let failed = |error: io::Error| {
            Failure::from_error(FailureKind::Unavailable, &error).while_doing(format!("lock {}", path.display()))
        };
        let file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Whoever lived there may have removed it meanwhile, and then it locks nobody out.
            Ok(()) if !is_at(&file, &path) => self.take(),
            Ok(()) => Ok(Some(Taken { locked: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Removes what is there: its server, its mounts, its files. For whoever has taken it.
    pub fn clear(&self, _taken: &Taken) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::from_error(FailureKind::Unavailable, &error)
                .while_doing(format!("clear {}", self.directory.display()))
                .with_hint(format!("`lifeboat close {}` tries again", self.name))
        };
        // It would write where nobody answers any more.
        end_at_once(&self.data_dir()).map_err(failed)?;
        let below = std::fs::read_dir(self.directory.join("tablespaces")).into_iter().flatten();
        let tablespaces = below.filter_map(|entry| Some(entry.ok()?.path()));
        for path in std::iter::once(self.data_dir()).chain(tablespaces) {
            if state_of(&path) != State::Nothing {
                take_stale_away(&path).map_err(failed)?;
            }
        }
        match std::fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // Last: from now on, somebody else may live there.
        let _ = std::fs::remove_file(self.lock());
        Ok(())
    }

    /// As [`Self::clear`], of what a process left that is gone: the point that it held is let go of, too. Where that can't be, it is told.
    pub async fn clear_left(&self, taken: &Taken, output: &Output) -> Result<(), Failure> {
        if self.exists()
            && let Err(failure) = held::release_left(taken.noted(), &self.data_dir(), output).await
        {
            output.warn(&format!(
                "{} may hold its point against `prune` for another month: {}; `lifeboat points` tells, `lifeboat prune --release POINT` lets go of it",
                self.name,
                failure.sentence()
            ));
        }
        self.clear(taken)
    }

    /// Removes locks of places where nothing is and nobody lives.
    fn clear_locks() -> Result<(), Failure> {
        let names = std::fs::read_dir(Self::all_in()?).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for name in names.filter_map(|name| name.to_str()?.strip_suffix(".lock").map(str::to_owned)) {
            let Ok(seat) = Self::named(&name) else { continue };
            if seat.exists() {
                continue;
            }
            if let Some(_taken) = seat.take()?
                && !seat.exists()
            {
                let _ = std::fs::remove_file(seat.lock());
            }
        }
        Ok(())
    }

    /// Clears what the dead left.
    pub async fn clear_dead(output: &Output) -> Result<(), Failure> {
        Self::clear_locks()?;
        for seat in Self::all()? {
            if let Some(taken) = seat.take()? {
                // One that can't be cleared is in nobody's way.
                if let Err(failure) = seat.clear_left(&taken, output).await {
                    output.warn(&failure.sentence());
                    continue;
                }
                output.hint(&format!("{} was left by a process that is gone, and is removed", seat.name));
            }
        }
        Ok(())
    }
}

/// Whether the open file is the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(one), Ok(other)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Which moment, and what for.
#[derive(Debug, Clone)]
pub struct Wanting {
    pub target: Target,
    pub inclusive: bool,
    pub timeline: TimelineChoice,
    pub point: Option<PointId>,
    pub location: Option<String>,
    /// Whether sessions may write unless they say otherwise. It is thrown away in any case.
    pub writable: bool,
    /// Where nothing can be mounted, everything is copied first.
    pub or_copy: bool,
}

/// The server of a moment.
pub struct Past<'a> {
    service: Service<'a>,
    place: PrivatePlace,
    serving: Serving,
    server: Option<Started>,
    seat: Seat,
    taken: Taken,
    /// Which moment, in words.
    pub target: String,
    /// PostgreSQL's programs for it.
    pub programs: PathBuf,
    user: String,
    database: String,
}

impl<'a> Past<'a> {
    /// Makes it, starts it, and asks it something. What fails leaves nothing behind, nor does who is interrupted or told to close it while it
    /// still replays.
    pub async fn open(
        config: &'a Config,
        config_path: &Path,
        workload: &'a str,
        wanting: Wanting,
        (seat, taken): (Seat, Taken),
        (output, mut interrupted): (&'a Output, Receiver<bool>),
    ) -> Result<Self, Failure> {
        let service = Service { config, workload, to: seat.data_dir(), output, begun: Instant::now() };
        taken.note(config_path).map_err(super::failure_of)?;
        let made = Self::prepare(service, config_path, &wanting, &seat).await;
        let (service, place, serving, found) = match made {
            Ok(made) => made,
            Err(failure) => {
                let _ = seat.clear(&taken);
                return Err(failure);
            }
        };
        let (user, database) = rooms::user_and_database(service.settings()?);
        let programs = service.programs(&found.point)?.directory().to_path_buf();
        let target = found.plan.target_spoken.clone();
        let mut past = Self { service, place, serving, server: None, seat, taken, target, programs, user, database };
        let mut asked = past.serving.live.asked();
        let ended = || Err(Failure::new(FailureKind::Unavailable, "interrupted before it answered"));
        let started = tokio::select! {
            started = past.start(&found, wanting.writable) => started,
            _ = interrupted.wait_for(|asked| *asked) => ended(),
            _ = asked.wait_for(|asked| *asked == Asked::End) => ended(),
        };
        match started {
            Ok(server) => past.server = Some(server),
            Err(failure) => {
                if let Err(second) = past.close().await {
                    output.warn(&second.sentence());
                }
                return Err(failure);
            }
        }
        Ok(past)
    }

    async fn prepare(
        service: Service<'a>,
        config_path: &Path,
        wanting: &Wanting,
        seat: &Seat,
    ) -> Result<(Service<'a>, PrivatePlace, Serving, Found), Failure> {
        let repository = service.repository(wanting.location.as_deref()).await?;
        let wanted = Wanted {
            target: wanting.target.clone(),
            inclusive: wanting.inclusive,
            timeline: wanting.timeline,
            point: wanting.point.clone(),
            location: wanting.location.clone(),
            zone: Some(jiff::tz::TimeZone::system()),
            restore_command: crate::commands::restore::restore_command(config_path, service.workload)?,
            action: Action::Promote,
            archives: false,
        };
        let found = service.find(&repository, &wanted).await?;
        // Before anything is made.
        service.programs(&found.point)?;
        let details = PostgresDetails::of(&found.point)?;
        let owner = owner_when_root(&seat.directory, rooms::postgres_account());
        let place = PrivatePlace::new(seat.directory.clone(), owner);
        place.make()?;
        let tablespaces = details.tablespaces.iter().map(|space| (space.oid, place.tablespace(space.oid))).collect();
        let origin = service.prepare(&repository, &found, tablespaces, "a look at the past").await?;
        let written = instant::control(&service.to)
            .and_then(|control| place.write_configuration(&control, &found.plan.settings, details.major));
        let served = match written {
            Ok(()) => service.serve(&repository, &origin, wanting.location.as_deref()).await,
            Err(error) => Err(error.into()),
        };
        let (mut serving, why_not) = match served {
            Ok(served) => served,
            Err(failure) => {
                if let Some(hold) = &origin.hold {
                    repository.release(hold).await;
                }
                return Err(failure);
            }
        };
        let lacking = match why_not {
            None => None,
            Some(error) if !wanting.or_copy => Some(unmountable(error)),
            Some(error) => {
                service.output.warn(&format!("{}: everything is copied first", unmountable(error).sentence()));
                service.bring_all(&serving).await.err()
            }
        };
        if let Some(failure) = lacking {
            if let Some(held) = serving.held.take() {
                held.release().await;
            }
            return Err(failure);
        }
        Ok((service, place, serving, found))
    }

    async fn start(&self, found: &Found, writable: bool) -> Result<Started, Failure> {
        self.serving.live.phase(Phase::Starting);
        let read_only = if writable { "off" } else { "on" };
        let options = self
            .place
            .start_options()
            .setting("default_transaction_read_only", read_only)
            .wait_for(WaitFor::Primary, REPLAY_PATIENCE);
        let server = self.service.start(&found.point, options, true).await?;
        self.serving.replayed();
        self.serving.live.listens(self.psql(&self.database));
        self.serving.live.phase(Phase::Coming);
        if let Some(seconds) = server.first_query_seconds {
            self.serving.live.answered(seconds);
        }
        Ok(server)
    }

    /// What asks and tells of it.
    pub fn live(&self) -> &Arc<Live> {
        &self.serving.live
    }

    /// How it is reached, as libpq writes it.
    pub fn connection(&self, database: &str) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        let socket = self.place.socket_dir().display().to_string();
        format!("host={} port={} user={} dbname={}", quoted(&socket), self.port(), quoted(&self.user), quoted(database))
    }

    fn port(&self) -> u16 {
        match run_state(&self.service.to) {
            Ok(RunState::Running(file)) => file.port,
            _ => 5432,
        }
    }

    /// What a person types to ask it.
    fn psql(&self, database: &str) -> String {
        let (socket, port) = (self.place.socket_dir(), self.port());
        let socket = socket.display().to_string();
        shell::line(["psql", "-h", &socket, "-p", &port.to_string(), "-U", &self.user, database])
    }

    /// A session.
    pub async fn session(&self, database: &str) -> Result<lifeboat_postgres::connection::Client, Failure> {
        Ok(Server::parse(&self.connection(database), &Secret::None)?.connect().await?)
    }

    /// From the command to the first answer.
    pub fn first_query_seconds(&self) -> f64 {
        self.server.as_ref().and_then(|server| server.first_query_seconds).unwrap_or_default()
    }

    /// Since it was asked for.
    pub fn elapsed_seconds(&self) -> f64 {
        self.service.begun.elapsed().as_secs_f64()
    }

    /// Bytes of its tables that were fetched, and bytes that there are.
    pub fn fetched(&self) -> (u64, u64) {
        let arrived = self.serving.overlay.arrived();
        (self.serving.overlay.fetched().bytes(), arrived.bytes)
    }

    /// Whether its server runs.
    pub fn is_running(&self) -> bool {
        matches!(run_state(&self.service.to), Ok(RunState::Running(_)))
    }

    /// Ends it, and removes every trace.
    pub async fn close(self) -> Result<(), Failure> {
        let Self { service, mut serving, server, seat, taken, .. } = self;
        serving.live.phase(Phase::Ending);
        serving.live.told(Command::End);
        serving.replayed();
        match server {
            Some(server) if matches!(run_state(&service.to), Ok(RunState::Running(_))) => {
                // What is left of it is ended below.
                let _ = server.drop_it().await;
            }
            _ => {}
        }
        end_at_once(&service.to).map_err(super::failure_of)?;
        if let Some(mounted) = &mut serving.mounted {
            service.take_away(mounted, &serving.live).await?;
        }
        if let Some(held) = serving.held.take() {
            held.release().await;
        }
        // It writes below.
        if let Some(ahead) = serving.ahead.take() {
            ahead.end().await;
        }
        drop(serving);
        seat.clear(&taken)
    }
}
