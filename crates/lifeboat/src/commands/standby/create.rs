//! `lifeboat standby create`: look at everything, refuse what can't work, make the slot, write the files, start it if that is wanted.

use super::intent::{self, Intent};
use super::slot::SlotHold;
use super::start::{self, Streaming};
use crate::cli::{Global, StandbyCreateArguments, StandbySource};
use crate::commands::{restore, wal};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, rooms};
use lifeboat_postgres::cluster::{ClusterError, Programs};
use lifeboat_postgres::replication::{BaseBackupRequest, ReplicationClient, ServerCompression};
use lifeboat_postgres::standbys::upstream::{self, Upstream};
use lifeboat_recovery::standby::{
    ClusterCopy, Following, StandbyRefusal, apply_standby, copy_steps, plan_standby, standby_settings, stray_timeline,
};
use lifeboat_recovery::{
    Destination, DestinationError, Observed, RecoveryError, RestoreDone, RestorePlan, RestoreTo, observe,
    owner_when_root, steps,
};
use lifeboat_repository::{ChunkReader, Point, Repository};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Where the files come from, found.
enum Source {
    Point { repository: Arc<Repository>, point: Box<Point>, plan: Box<RestorePlan> },
    Primary,
}

/// All that is decided before anything is done.
struct Work<'a> {
    intent: &'a Intent,
    server: Upstream,
    source: Source,
    following: Following,
    destination: Destination,
    place: RestoreTo,
    output: &'a Output,
}

pub async fn run(global: &Global, arguments: &StandbyCreateArguments, output: &Output) -> Result<(), Failure> {
    let held: Arc<Mutex<Option<SlotHold>>> = Arc::default();
    let (slot, told) = (Arc::clone(&held), output.clone());
    let _ = interrupt::ends(output, "run it again", move || {
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(slot) = slot {
            Handle::current().block_on(slot.give_up(&told));
        }
    });
    let intent = intent::read(global, arguments, output).await?;
    let mut client = upstream::connect(&intent.primary).await?;
    let server = upstream::observe(&mut client).await?;
    let programs = refuse(&intent, &server, arguments.start, output).await?;
    let work = Work::decide(&intent, server, output).await?;
    if arguments.dry_run {
        return work.show();
    }
    work.tell_first();
    let slot = match &intent.slot {
        Some(name) => Some(SlotHold::take(&mut client, &intent.primary, name).await?),
        None => None,
    };
    slot.clone_into(&mut held.lock().unwrap_or_else(PoisonError::into_inner));
    work.tell_slot(slot.as_ref());
    let done = match work.make(client).await {
        Ok(done) => done,
        Err(failure) => {
            if let Some(slot) = &slot {
                slot.give_up(output).await;
            }
            return Err(failure);
        }
    };
    if let Some(slot) = &slot {
        slot.keep();
    }
    let streaming = match programs.filter(|_| arguments.start) {
        Some(programs) => Some(start::start(&intent, programs, output).await?),
        None => None,
    };
    work.tell(&done, slot.as_ref(), streaming.as_ref())
}

/// What can't work is said before the first byte. The programs of the server's version, where this machine has them.
async fn refuse(
    intent: &Intent,
    server: &Upstream,
    starts: bool,
    output: &Output,
) -> Result<Option<Programs>, Failure> {
    // A standby's role may have no right but to replicate: what it can't ask is refused later, by the server itself.
    let session = match intent.primary.connect().await {
        Ok(session) => Some(session),
        Err(_) => intent.primary.clone().with_database("postgres").connect().await.ok(),
    };
    if let Some(session) = session
        && let Ok(usage) = upstream::usage(&session, intent.slot.as_deref()).await
        && let Some((what, hint)) = upstream::obstacle(&usage, &intent.name, intent.slot.as_deref())
    {
        return Err(Failure::new(FailureKind::Locked, what).with_hint(hint));
    }
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    match Programs::find(server.major, intent.bin_dir.as_deref(), &search) {
        Ok(programs) => Ok(Some(programs)),
        Err(error) if starts || matches!(error, ClusterError::WrongVersion { .. }) => {
            let why = format!("{} is PostgreSQL {}, and so must be its standby", intent.primary, server.major);
            let hint = format!("install PostgreSQL {}, or name its programs: bin_dir", server.major);
            Err(Failure { kind: FailureKind::Usage, ..Failure::from(error) }.while_doing(why).with_hint(hint))
        }
        Err(_) => {
            output.warn(&format!(
                "no programs of PostgreSQL {} are on this machine: it can't be started here",
                server.major
            ));
            Ok(None)
        }
    }
}

impl<'a> Work<'a> {
    async fn decide(intent: &'a Intent, server: Upstream, output: &'a Output) -> Result<Self, Failure> {
        let destination = Destination::observe(&intent.to, server.system_id).map_err(RecoveryError::from)?;
        if destination == Destination::SameCluster {
            let what = "an older copy of the same cluster: a standby is made in an empty place".to_owned();
            return Err(RecoveryError::from(DestinationError::Taken { path: intent.to.clone(), what }).into());
        }
        let mut following = Following {
            conninfo: intent.conninfo.clone(),
            slot: intent.slot.clone(),
            restore_command: intent.restore_command.clone(),
            limits: server.limits,
        };
        let source = find_source(intent, &server, &mut following, output).await?;
        let workers = intent.archive.as_ref().map_or(2, |archive| rooms::workers(archive.settings()));
        let place = RestoreTo {
            destination: intent.to.clone(),
            tablespaces: intent.tablespaces.clone(),
            workers,
            owner: owner_when_root(&intent.to, rooms::postgres_account()),
        };
        if let Source::Point { point, .. } = &source {
            restore::check_oids(&place.tablespaces, point)?;
            restore::space_note(&intent.to, point.bytes).into_iter().for_each(|note| output.warn(&note));
        }
        Ok(Self { intent, server, source, following, destination, place, output })
    }

    /// Before anything is done.
    fn tell_first(&self) {
        let Intent { primary, name, .. } = self.intent;
        if self.server.is_standby {
            self.output.warn(&format!("{primary} is a standby itself: {name} will follow it in a cascade"));
        }
        match &self.source {
            Source::Point { plan, .. } => self.output.hint(&format!("from {} in {}", plan.point, plan.location)),
            Source::Primary => self.output.hint(&format!("{primary} sends its files")),
        }
    }

    fn tell_slot(&self, slot: Option<&SlotHold>) {
        match slot {
            Some(SlotHold { name, is_new: true, .. }) => {
                self.output.tell(&format!("slot {name} was made on {}: it keeps the log from now on", self.intent.primary));
            }
            Some(SlotHold { name, .. }) => self.output.tell(&format!("slot {name} was there already, and is used")),
            None => self.output.warn(
                "nothing on the primary keeps the log for it: started too late, it finds what it needs in the archive or nowhere",
            ),
        }
    }

    async fn make(&self, client: ReplicationClient) -> Result<RestoreDone, Failure> {
        let progress = progress::for_rooms(self.output, &self.intent.of);
        let made = match &self.source {
            Source::Point { repository, point, plan } => {
                client.close().await;
                let reader = Arc::new(ChunkReader::open(Arc::clone(repository)).await?);
                tokio::task::block_in_place(|| {
                    let limits = self.server.limits;
                    apply_standby(&reader, point, plan, limits, self.destination, &self.place, &*progress)
                })
            }
            Source::Primary => {
                let request = BaseBackupRequest {
                    label: "lifeboat standby",
                    fast_checkpoint: true,
                    max_rate_bytes_per_second: None,
                    compression: ServerCompression::None,
                };
                let copy = ClusterCopy {
                    backup: client.base_backup(&request).await?,
                    system_id: self.server.system_id,
                    settings: &standby_settings(&self.following),
                    destination: self.destination,
                    to: &self.place,
                    progress: &*progress,
                };
                tokio::task::block_in_place(|| copy.run())
            }
        };
        progress.finish();
        let done = made?;
        done.notes.iter().for_each(|note| self.output.warn(note));
        Ok(done)
    }

    fn show(&self) -> Result<(), Failure> {
        let Intent { of, name, primary, .. } = self.intent;
        let mut steps = match &self.source {
            Source::Point { point, plan, .. } => steps(plan, point, self.destination, &self.place)?,
            Source::Primary => copy_steps(self.destination, &self.place),
        };
        for step in &mut steps {
            *step = step.replace("recovery.signal", "standby.signal");
        }
        if let Some(slot) = &self.intent.slot {
            steps.insert(0, format!("make slot {slot} on {primary}, unless it is there"));
        }
        let settings = standby_settings(&self.following);
        let point = match &self.source {
            Source::Point { plan, .. } => Some(&plan.point),
            Source::Primary => None,
        };
        if self.output.is_json() {
            let document = json!({
                "dry_run": true, "of": of, "name": name, "to": self.intent.to, "primary": primary.to_string(),
                "cascading": self.server.is_standby, "point": point, "settings": settings, "steps": steps,
            });
            return self.output.document(&document);
        }
        let from = point.map_or_else(|| "a copy of it".to_owned(), |point| format!("from recovery point {point}"));
        let cascade = if self.server.is_standby { ", itself a standby" } else { "" };
        self.output.text(&format!("standby {name} of {of}, following {primary}{cascade}; {from}\n\nsettings"))?;
        settings.iter().try_for_each(|setting| self.output.text(&format!("  {setting}")))?;
        self.output.text("\nsteps")?;
        for (number, step) in steps.iter().enumerate() {
            self.output.text(&format!("  {}. {step}", number + 1))?;
        }
        self.output.hint("nothing was done; leave out --dry-run to do it");
        Ok(())
    }

    fn tell(&self, done: &RestoreDone, slot: Option<&SlotHold>, streaming: Option<&Streaming>) -> Result<(), Failure> {
        let Intent { of, name, to, primary, is_member, .. } = self.intent;
        let point = match &self.source {
            Source::Point { plan, .. } => Some(plan.point.to_string()),
            Source::Primary => None,
        };
        if self.output.is_json() {
            return self.output.document(&json!({
                "of": of,
                "name": name,
                "to": to,
                "from": if point.is_some() { "repository" } else { "primary" },
                "point": point,
                "primary": primary.to_string(),
                "cascading": self.server.is_standby,
                "slot": slot.map(|slot| json!({ "name": slot.name, "created": slot.is_new })),
                "reads_archive": self.following.restore_command.is_some(),
                "bytes_written": done.bytes_written,
                "files": done.files,
                "seconds": done.seconds,
                "notes": done.notes,
                "started": streaming,
            }));
        }
        let from = point.map_or_else(|| primary.to_string(), |point| format!("recovery point {point}"));
        let made = self.output.paint("made", Tone::Good);
        let (size, there) = (human::size(done.bytes_written), to.display());
        self.output.text(&format!(
            "{made} {there}: standby {name} from {from}; {} files, {size}, {:.1} s",
            done.files, done.seconds
        ))?;
        match streaming {
            Some(streaming) => self.output.text(&streaming.to_string()),
            None if *is_member => {
                self.output.hint(&format!("`lifeboat agent {of}` starts it"));
                Ok(())
            }
            None => {
                self.output.hint(&format!(
                    "start it with `pg_ctl start -D {there}`; `lifeboat standby status {of}` shows it then"
                ));
                Ok(())
            }
        }
    }
}

/// The newest point that fits, or the server itself. Says in `following` where older log comes from.
async fn find_source(
    intent: &Intent,
    server: &Upstream,
    following: &mut Following,
    output: &Output,
) -> Result<Source, Failure> {
    let Some(archive) = &intent.archive else {
        return match intent.source {
            Some(StandbySource::Repository) => {
                let message = format!("no workload is named {:?}: there is no recovery point to take", intent.of);
                Err(Failure::new(FailureKind::NotFound, message).with_hint("leave out --from repository"))
            }
            _ => Ok(Source::Primary),
        };
    };
    let locations = wal::locations(&archive.config, &archive.workload, intent.location.as_deref());
    let progress = progress::for_rooms(output, &archive.workload);
    let seen = async {
        let repository = rooms::open_repository(&archive.config, &locations, output).await?;
        let observed = observe(&repository, &archive.workload, None, &*progress).await?;
        Ok::<_, Failure>((repository, observed))
    };
    let seen = seen.await;
    progress.finish();
    let command =
        following.restore_command.take().unwrap_or_else(|| archive.command.for_standby(intent.location.as_deref()));
    if intent.source == Some(StandbySource::Primary) {
        match seen.map(|(_, observed)| stray_timeline(&observed.known, server)) {
            Ok(None) => following.restore_command = Some(command),
            Ok(Some(stray)) => output.warn(&format!(
                "the standby doesn't read the archive: that has timeline {stray}, which the primary has never been on"
            )),
            Err(failure) => output.warn(&format!("the standby doesn't read the archive: {}", failure.sentence())),
        }
        return Ok(Source::Primary);
    }
    following.restore_command = Some(command);
    let (repository, observed) =
        seen.map_err(|failure| failure.with_more_hint("--from primary copies the primary instead"))?;
    let Observed { known, mut points, unread, notes } = observed;
    notes.iter().for_each(|note| output.warn(note));
    let plan = match plan_standby(&known, intent.location.as_deref(), server, following) {
        Ok(plan) => plan,
        Err(StandbyRefusal::NoPoints { .. }) if intent.source.is_none() && unread.is_empty() => {
            output.warn("there is no recovery point yet: the primary sends its files");
            return Ok(Source::Primary);
        }
        Err(refusal) => return Err(restore::unless_lost(refusal.into(), &unread)),
    };
    let (point, details) = points
        .remove(&plan.point)
        .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point)))?;
    if details.major != server.major {
        let message = format!(
            "recovery point {} is of PostgreSQL {}, and {} is PostgreSQL {}",
            plan.point, details.major, intent.primary, server.major
        );
        return Err(Failure::new(FailureKind::Usage, message).with_hint("--from primary"));
    }
    Ok(Source::Point { repository, point: Box::new(point), plan: Box::new(plan) })
}
