//! Serving: until everything is here and nobody needs the mount, or until somebody asks for the end.

use super::ahead::Ahead;
use super::problem::Cause;
use super::status::{Asked, Live, Phase};
use super::{Rest, Service, Serving, Started, failure_of};
use crate::commands::alarms::Alarms;
use crate::failure::{Failure, FailureKind};
use crate::output::progress;
use crate::rooms;
use futures::future::OptionFuture;
use lifeboat_mount::hydrate::{Part, Watcher, hydrate};
use lifeboat_mount::lazy::BringError;
use lifeboat_mount::mount::Mounted;
use lifeboat_mount::overlay::Overlay;
use lifeboat_postgres::cluster::{RunState, run_state};
use lifeboat_recovery::instant;
use lifeboat_repository::Progress;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch::{self, Receiver};

/// How long is waited before what failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often is looked whether a server still runs there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One decodes while the other waits for the disk.
const THREADS_PER_WORKER: usize = 2;
/// How long nothing may come before somebody must know.
const ALARM_AFTER: Duration = Duration::from_secs(60);
const ALARM_KIND: &str = "instant_restore";

/// The server's first seconds are its own.
const HYDRATE_AFTER: Duration = Duration::from_secs(5);

/// What is to be done when everything is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Serve on until the server stops.
    Serve,
    /// Stop the server, and start it on an ordinary directory.
    Finish,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brought {
    /// Everything is here, and the directory is an ordinary one.
    pub is_whole: bool,
    /// Files that are still to come.
    pub files_to_come: usize,
    /// Bytes that are still to come.
    pub bytes_to_come: u64,
    /// How long the server was away, when it was moved to the ordinary directory.
    pub away_seconds: Option<f64>,
}

impl Service<'_> {
    /// Serves, with the server that `starting` starts meanwhile, if there is one; one that somebody else started is respected.
    pub async fn go_on(
        &self,
        serving: Serving,
        wish: Wish,
        mut interrupted: Receiver<bool>,
        starting: Option<impl Future<Output = Result<Started, Failure>>>,
    ) -> Result<(Brought, Option<Started>), Failure> {
        let Serving { overlay, mounted, rest, live, ahead, held, returning } = serving;
        let telling = Arc::new(self.telling(&overlay, &live));
        let (mut asked, wishes) = (live.asked(), live.asked());
        if wish == Wish::Finish {
            lifeboat_mount::control::Control::told(&*live, lifeboat_mount::control::Command::Finish);
        }
        let (begin, begun) = watch::channel(starting.is_none());
        live.phase(if starting.is_some() { Phase::Starting } else { Phase::Coming });
        let mut is_started = starting.is_none();
        let mut starting = Box::pin(OptionFuture::from(starting));
        let mut bringing = pin!(self.bring(overlay.clone(), rest.clone(), telling.clone(), begun));
        let (mut is_whole, mut is_ended) = (false, false);
        let (mut server, mut failure) = (None, None);
        let command = self.settings()?.alarm.as_deref();
        let alarms = Alarms { output: self.output, workload: self.workload, command };
        let mut alarm = Alarm { alarms, to: &self.to, is_raised: false };
        loop {
            let is_done = mounted.is_none() || *asked.borrow() == Asked::Finish || !is_running(&self.to);
            if failure.is_some() || is_whole && is_started && is_done {
                break;
            }
            tokio::select! {
                started = &mut starting, if !is_started => {
                    is_started = true;
                    (server, failure) = told_apart(started.transpose());
                    if server.as_ref().is_some_and(Started::has_replayed) {
                        ahead.iter().for_each(Ahead::stop);
                    }
                    live.phase(phase_after(failure.as_ref(), is_whole));
                    let _ = begin.send(true);
                }
                done = &mut bringing, if !is_ended => {
                    (is_whole, is_ended) = (done, true);
                    telling.progress.finish();
                    self.tell_how_it_came(is_whole, is_started, &live, *wishes.borrow());
                }
                _ = interrupted.wait_for(|asked| *asked) => break,
                _ = asked.wait_for(|asked| *asked == Asked::End) => break,
                () = tokio::time::sleep(LOOK_EVERY) => alarm.look(&live),
            }
        }
        live.phase(Phase::Ending);
        telling.is_to_end.store(true, Ordering::Relaxed);
        let _ = begin.send(true);
        // Broken off, it would still have the server's log open, below the mount.
        drop(starting);
        if server.is_none() && (failure.is_some() || !is_started) {
            // At once: what follows may have to wait for it.
            failure.iter().for_each(|failure: &Failure| self.output.warn(&failure.sentence()));
            self.end_server();
        }
        if !is_ended {
            is_whole = bringing.await;
            telling.progress.finish();
        }
        let moves = is_whole && *asked.borrow() == Asked::Finish;
        let serving = Serving { overlay, mounted, rest, live, ahead, held, returning };
        let brought = self.leave(serving, is_whole, moves, server.as_ref()).await?;
        match failure {
            Some(failure) => Err(failure.with_more_hint(self.then(brought.is_whole))),
            None => Ok((brought, server)),
        }
    }

    /// Brings everything to a directory that nothing is mounted over, and leaves an ordinary one.
    pub async fn bring_all(&self, serving: &Serving) -> Result<(), Failure> {
        let telling = Arc::new(self.telling(&serving.overlay, &serving.live));
        let (_begin, begun) = watch::channel(true);
        let is_whole = self.bring(serving.overlay.clone(), serving.rest.clone(), telling.clone(), begun).await;
        telling.progress.finish();
        if !is_whole {
            return Err(Failure::new(FailureKind::Unavailable, "not all of it could be copied"));
        }
        serving.overlay.finish(&instant::view()).map_err(failure_of)
    }

    /// What to type where no server started.
    fn then(&self, is_whole: bool) -> String {
        match is_whole {
            true => format!("everything is here: `pg_ctl start -D {}` starts it", self.to.display()),
            false => "what came is kept: run it again to go on".to_owned(),
        }
    }

    fn telling(&self, overlay: &Arc<Overlay>, live: &Arc<Live>) -> Telling {
        let arrived = overlay.arrived();
        let progress = progress::for_rooms(self.output, self.workload);
        progress.phase("bring the rest", Some(arrived.bytes_to_come()));
        live.comes_by_itself();
        let (overlay, live) = (Arc::downgrade(overlay), live.clone());
        Telling { progress, overlay, live, is_to_end: AtomicBool::new(false), told: instant::Seldom::default() }
    }

    /// Stops what was started here, takes the mount away, and leaves an ordinary directory if everything is here; with the server on it
    /// if it `moves` there.
    async fn leave(
        &self,
        serving: Serving,
        is_whole: bool,
        moves: bool,
        server: Option<&Started>,
    ) -> Result<Brought, Failure> {
        let Serving { overlay, mut mounted, live, ahead, held, .. } = serving;
        if let Some(ahead) = ahead {
            ahead.end().await;
        }
        let stopped = Instant::now();
        let runs = server.filter(|_| is_running(&self.to));
        if let Some(server) = runs
            && let Err(failure) = server.stop().await
            && is_running(&self.to)
        {
            // It must not lose its files: the mount is only taken away when nobody uses it.
            self.output.warn(&failure.sentence());
        }
        if let Some(mounted) = &mut mounted {
            self.take_away(mounted, &live).await?;
        }
        drop(mounted);
        let arrived = overlay.arrived();
        if is_whole {
            let open = || Failure::new(FailureKind::Internal, "files are still open");
            let overlay = Arc::into_inner(overlay).ok_or_else(open)?;
            overlay.finish(&instant::view()).map_err(failure_of)?;
            if let Some(held) = held {
                held.release().await;
            }
        }
        let mut away_seconds = None;
        // One that somebody stopped meanwhile stays stopped.
        if let Some(server) = runs.filter(|_| moves) {
            server.start_again().await?;
            away_seconds = Some(stopped.elapsed().as_secs_f64());
        }
        let bytes_to_come = arrived.bytes_to_come();
        Ok(Brought { is_whole, files_to_come: arrived.files, bytes_to_come, away_seconds })
    }

    fn tell_how_it_came(&self, is_whole: bool, is_started: bool, live: &Live, asked: Asked) {
        if !is_whole {
            return self.output.warn("the rest does not come by itself any more; what is read still comes");
        }
        if is_started {
            live.phase(Phase::Whole);
        }
        if asked != Asked::Finish && is_running(&self.to) {
            self.output.hint(&format!(
                "everything is here; an ordinary directory is left when the server stops, or now: `lifeboat restore finish {}`",
                self.to.display()
            ));
        }
    }

    /// Brings the rest, elsewhere, and whether all of it came; from when it may begin, or after a while all the same: a long replay
    /// needs more and more of it.
    async fn bring(
        &self,
        overlay: Arc<Overlay>,
        rest: Arc<Rest>,
        watcher: Arc<Telling>,
        mut may_begin: Receiver<bool>,
    ) -> bool {
        // What it gives is a lock, and who says that it may begin would wait for it for as long as it is kept here.
        let begun = async { drop(may_begin.wait_for(|may| *may).await) };
        let begun = tokio::time::timeout(HYDRATE_AFTER, begun);
        let (_, (most_read, notes)) = futures::join!(begun, instant::most_read(&rest.repository, self.workload));
        notes.iter().for_each(|note| watcher.progress.warn(note));
        let parts = rest.order.parts(most_read.as_ref());
        let threads = self.settings().map_or(1, rooms::workers) * THREADS_PER_WORKER;
        let bring = move || loop {
            if hydrate(&overlay, parts.clone(), threads, &*watcher) {
                return true;
            }
            // Something could not be settled: a disk that is full, mostly.
            let deadline = Instant::now() + AFTER_FAILURE;
            while Instant::now() < deadline {
                if watcher.is_to_end() {
                    return false;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        tokio::task::spawn_blocking(bring).await.unwrap_or(false)
    }

    /// Whoever still uses it would be left with nothing: this waits, and says for what.
    pub async fn take_away(&self, mounted: &mut Mounted, live: &Live) -> Result<(), Failure> {
        let mut is_told = false;
        while let Err(error) = mounted.unmount() {
            if error.source.kind() != std::io::ErrorKind::ResourceBusy {
                return Err(failure_of(error));
            }
            if !is_told {
                let path = self.to.display();
                live.hindered(format!("{path} is in use"), Cause::Use);
                self.output.warn(&format!(
                    "{path} is in use: stop the server first (pg_ctl stop -D {path}); this waits for it"
                ));
                is_told = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Somebody must know that what is still to come can't be had.
struct Alarm<'a> {
    alarms: Alarms<'a>,
    to: &'a Path,
    is_raised: bool,
}

impl Alarm<'_> {
    fn look(&mut self, live: &Live) {
        match live.hindered_for(ALARM_AFTER) {
            Some(problem) if !self.is_raised => {
                let what = format!("{}: {}", problem.cause.meaning(self.to), problem.what);
                self.alarms.raise_of(ALARM_KIND, &what, &problem.cause.hint(self.to));
                self.is_raised = true;
            }
            None if self.is_raised => {
                self.alarms.over_of(ALARM_KIND);
                self.is_raised = false;
            }
            _ => {}
        }
    }
}

fn told_apart<T>(result: Result<Option<T>, Failure>) -> (Option<T>, Option<Failure>) {
    match result {
        Ok(done) => (done, None),
        Err(failure) => (None, Some(failure)),
    }
}

/// Once it was tried to start the server.
fn phase_after(failure: Option<&Failure>, is_whole: bool) -> Phase {
    match failure {
        Some(_) => Phase::Ending,
        None if is_whole => Phase::Whole,
        None => Phase::Coming,
    }
}

fn is_running(data_dir: &Path) -> bool {
    matches!(run_state(data_dir), Ok(RunState::Running(_)))
}

/// Tells of what comes.
struct Telling {
    progress: Arc<progress::ForRooms>,
    /// Not kept by this.
    overlay: Weak<Overlay>,
    live: Arc<Live>,
    is_to_end: AtomicBool,
    /// What failed was told of.
    told: instant::Seldom,
}

impl Telling {
    fn hindered(&self, what: &str, why: String, cause: Cause) {
        match self.told.is_due() {
            Some(0) => self.progress.warn(&format!("{what}: {why}")),
            Some(unsaid) => {
                self.progress.warn(&format!("{what}, as {unsaid} others since this was last said: {why}"));
            }
            None => {}
        }
        self.live.hindered(why, cause);
    }
}

impl Watcher for Telling {
    fn arrived(&self, _part: &Part, bytes: u64) {
        self.live.arrived(bytes);
        self.progress.advance(bytes);
    }

    fn failed(&self, part: &Part, error: &BringError) {
        let named = |overlay: Arc<Overlay>| overlay.in_words(part.number, error);
        let sentence = self.overlay.upgrade().map_or_else(|| error.in_words(), named);
        self.hindered("a part of a file can't be had yet", sentence, Cause::of(error.is_local()));
    }

    fn unsettled(&self, error: &io::Error) {
        self.hindered("what came is not durable yet", error.to_string(), Cause::Disk);
    }

    fn is_to_end(&self) -> bool {
        self.is_to_end.load(Ordering::Relaxed)
    }
}
