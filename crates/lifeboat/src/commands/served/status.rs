//! How a directory that is being served is told of: by whoever serves it, through the mount, to whoever asks there.

use super::problem::{Cause, Problem};
use crate::failure::{Failure, FailureKind};
use crate::output::human;
use jiff::Timestamp;
use lifeboat_mount::control::{Command, Control, send, status_of};
use lifeboat_mount::overlay::Overlay;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Over which time the rate is reckoned.
const RATE_OVER: Duration = Duration::from_secs(15);
/// When nothing came for so long, there is no rate.
const QUIET_AFTER: Duration = Duration::from_secs(5);
/// Who has waited so long, for what he reads or for the rest, has been left waiting.
const WAITED_LONG: Duration = Duration::from_secs(15);

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The server is started, or replays.
    Starting,
    /// The rest comes.
    Coming,
    /// Everything is here.
    Whole,
    /// It was told to end.
    Ending,
}

/// The document that is read through the mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of which workload.
    pub workload: String,
    /// Which directory.
    pub to: PathBuf,
    /// From which recovery point.
    pub point: String,
    /// Which moment, in words.
    pub target: String,
    /// When it was first begun.
    pub begun_at: Timestamp,
    /// What goes on.
    pub phase: Phase,
    /// The process that serves it.
    pub process_id: u32,
    /// From the command to the first answered query. None: not yet, or no server was asked for.
    pub first_query_seconds: Option<f64>,
    /// Files that are still coming.
    pub files_to_come: usize,
    /// Bytes of them that are not here.
    pub bytes_to_come: u64,
    /// Bytes of them that are.
    pub bytes_local: u64,
    /// Bytes that were fetched since it is served.
    pub bytes_fetched: u64,
    /// Of these, what replay would soon have waited for.
    #[serde(default)]
    pub bytes_fetched_ahead: u64,
    /// Of these, what somebody who read or wrote waited for.
    #[serde(default)]
    pub bytes_waited_for: u64,
    /// How often somebody did.
    #[serde(default)]
    pub fetches_waited_for: u64,
    /// How fast they come, over the last seconds. Zero when something is in the way of all of them.
    pub bytes_per_second: u64,
    /// For how long they will come at that rate.
    pub seconds_left: Option<f64>,
    /// For how long nothing came, where something is to come by itself and that is no moment.
    #[serde(default)]
    pub quiet_seconds: Option<f64>,
    /// What was last in the way. Told until something came again.
    pub problem: Option<String>,
    /// Since when it is.
    #[serde(default)]
    pub problem_since: Option<Timestamp>,
    /// What to do about it.
    #[serde(default)]
    pub problem_hint: Option<String>,
    /// What to type to ask the server, where that isn't what one would type anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psql: Option<String>,
}

impl Status {
    /// Of what nobody serves yet.
    pub fn new(workload: &str, to: &Path, point: &str, target: &str, begun_at: Timestamp) -> Self {
        Self {
            workload: workload.to_owned(),
            to: to.to_owned(),
            point: point.to_owned(),
            target: target.to_owned(),
            begun_at,
            // Until whoever serves it knows better.
            phase: Phase::Starting,
            process_id: std::process::id(),
            first_query_seconds: None,
            files_to_come: 0,
            bytes_to_come: 0,
            bytes_local: 0,
            bytes_fetched: 0,
            bytes_fetched_ahead: 0,
            bytes_waited_for: 0,
            fetches_waited_for: 0,
            bytes_per_second: 0,
            seconds_left: None,
            quiet_seconds: None,
            problem: None,
            problem_since: None,
            problem_hint: None,
            psql: None,
        }
    }

    /// How much is still to come.
    pub fn left(&self) -> String {
        match (self.bytes_to_come, self.files_to_come) {
            (0, 0) => "everything is here".to_owned(),
            (0, files) => format!("{} are still to be made durable", human::count(files, "file")),
            (bytes, _) => format!("{} are still to come", human::size(bytes)),
        }
    }

    /// One line: how much is still to come, how fast, and for how long.
    pub fn coming(&self) -> String {
        let spoken = |seconds: f64| Duration::try_from_secs_f64(seconds).ok().map(human::duration);
        let mut line = self.left();
        if self.bytes_per_second > 0 {
            line.push_str(&format!(", {}/s", human::size(self.bytes_per_second)));
        }
        if let Some(left) = self.seconds_left.and_then(spoken) {
            line.push_str(&format!(", {left} left"));
        }
        if let Some(quiet) = self.quiet_seconds.and_then(spoken) {
            line.push_str(&format!(", nothing has come for {quiet}"));
        }
        line
    }
}

impl Status {
    /// How much of the tables was fetched so far.
    pub fn fetched(&self) -> String {
        let all = self.bytes_local + self.bytes_to_come;
        format!("{} of {} fetched", human::size(self.bytes_fetched), human::size(all))
    }
}

/// What changes while it is served, and how one tells the server of it.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
    asked: watch::Sender<Asked>,
}

/// What somebody asked for through the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// When everything is here: stop the server, and start it on an ordinary directory.
    Finish,
    /// The end, now.
    End,
}

#[derive(Debug)]
struct State {
    status: Status,
    overlay: Weak<Overlay>,
    /// All of it is to come by itself.
    comes_by_itself: bool,
    /// What is in the way of the rest.
    in_the_way: Option<Problem>,
    /// How much had been fetched, and since when it is no more.
    fetched: (u64, Instant),
    /// When how much came.
    arrivals: VecDeque<(Instant, u64)>,
}

impl Live {
    /// Of something that nothing is known of but what it is.
    pub fn new(status: Status) -> Arc<Self> {
        let (overlay, arrivals, fetched) = (Weak::new(), VecDeque::new(), (0, Instant::now()));
        let state = State { status, overlay, comes_by_itself: false, in_the_way: None, fetched, arrivals };
        Arc::new(Self { state: Mutex::new(state), asked: watch::Sender::new(Asked::Nothing) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served. It isn't kept by this.
    pub fn of(&self, overlay: &Arc<Overlay>) {
        self.lock().overlay = Arc::downgrade(overlay);
    }

    /// Something else goes on now.
    pub fn phase(&self, phase: Phase) {
        self.lock().status.phase = phase;
    }

    /// The server answered for the first time.
    pub fn answered(&self, seconds: f64) {
        self.lock().status.first_query_seconds = Some(seconds);
    }

    /// How the server is asked.
    pub fn listens(&self, psql: String) {
        self.lock().status.psql = Some(psql);
    }

    /// From now on all of it comes by itself.
    pub fn comes_by_itself(&self) {
        let mut state = self.lock();
        state.comes_by_itself = true;
        state.fetched.1 = Instant::now();
    }

    /// So many bytes came.
    pub fn arrived(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.in_the_way = None;
        let now = Instant::now();
        state.fetched.1 = now;
        state.arrivals.push_back((now, bytes));
        while state.arrivals.front().is_some_and(|(when, _)| when.elapsed() > RATE_OVER) {
            state.arrivals.pop_front();
        }
    }

    /// Something is in the way.
    pub fn hindered(&self, what: String, cause: Cause) {
        let mut state = self.lock();
        let since = state.in_the_way.as_ref().map_or_else(Instant::now, |problem| problem.since);
        state.in_the_way = Some(Problem { what, since, cause });
    }

    /// What has been in the way for so long: of the rest, that nothing came meanwhile; of somebody who reads or writes, that it isn't here
    /// yet. None when all goes on. To be asked again and again.
    pub fn hindered_for(&self, time: Duration) -> Option<Problem> {
        let (problems, quiet) = self.lock().problems(time);
        // Who waits while others are answered is no news for those who are far away.
        let is_news = |problem: &Problem| problem.since.elapsed() >= time;
        problems.into_iter().find(|(problem, is_one)| is_news(problem) && (!is_one || quiet >= time)).map(|(it, _)| it)
    }

    /// What somebody asks for through the mount.
    pub fn asked(&self) -> watch::Receiver<Asked> {
        self.asked.subscribe()
    }

    /// As of now.
    pub fn now(&self) -> Status {
        let mut state = self.lock();
        let mut status = state.status.clone();
        if let Some(overlay) = state.overlay.upgrade() {
            let arrived = overlay.arrived();
            status.files_to_come = arrived.files;
            status.bytes_to_come = arrived.bytes_to_come();
            status.bytes_local = arrived.bytes_local;
            let fetched = overlay.fetched();
            status.bytes_fetched = fetched.bytes();
            status.bytes_fetched_ahead = fetched.ahead_bytes;
            status.bytes_waited_for = fetched.waited_bytes;
            status.fetches_waited_for = fetched.times_waited;
        }
        let (problems, quiet) = state.problems(WAITED_LONG);
        if let Some((problem, _)) = problems.into_iter().next() {
            status.problem_since = Timestamp::now().checked_sub(problem.since.elapsed()).ok();
            status.problem_hint = Some(problem.cause.hint(&status.to));
            status.problem = Some(problem.what);
        }
        let is_to_come = state.comes_by_itself && status.bytes_to_come > 0 && status.phase != Phase::Ending;
        let is_quiet = quiet >= QUIET_AFTER;
        status.quiet_seconds = (is_to_come && is_quiet).then_some(quiet.as_secs_f64());
        if !is_quiet && is_to_come && state.in_the_way.is_none() {
            status.bytes_per_second = state.bytes_per_second();
        }
        if status.bytes_per_second > 0 {
            status.seconds_left = Some(status.bytes_to_come as f64 / status.bytes_per_second as f64);
        }
        status
    }
}

impl State {
    /// All that is in the way: whether the rest, or somebody who waits, is left so long, it tells. The second of each: whether it is in the way of
    /// one who waits and of nobody else. And for how long nothing came.
    fn problems(&mut self, long: Duration) -> (Vec<(Problem, bool)>, Duration) {
        let Some(overlay) = self.overlay.upgrade() else {
            return (self.in_the_way.clone().map(|problem| (problem, false)).into_iter().collect(), Duration::ZERO);
        };
        let fetched = overlay.fetched().bytes();
        if fetched != self.fetched.0 {
            self.fetched = (fetched, Instant::now());
        }
        let (nothing_since, quiet) = (self.fetched.1, self.fetched.1.elapsed());
        let mut all: Vec<(Problem, bool)> =
            self.in_the_way.clone().map(|problem| (problem, false)).into_iter().collect();
        let of_somebody = overlay.refused().into_iter().map(|refusal| {
            let cause = Cause::of(refusal.is_local);
            (Problem { what: refusal.why, since: refusal.since, cause }, false)
        });
        all.extend(of_somebody);
        if let Some(waited) = overlay.waited_for().filter(|waited| *waited >= long) {
            let since = Instant::now().checked_sub(waited).unwrap_or(nothing_since);
            all.push((Problem { what: unanswered(waited), since, cause: Cause::Location }, true));
        }
        let is_left = self.comes_by_itself && self.status.phase == Phase::Coming && quiet >= long;
        if is_left && overlay.arrived().bytes_to_come() > 0 {
            let what = format!("nothing has come for {}, and no location has said why", human::duration(quiet));
            all.push((Problem { what, since: nothing_since, cause: Cause::Location }, false));
        }
        (all, quiet)
    }

    /// How fast the rest has come lately.
    fn bytes_per_second(&self) -> u64 {
        let recent = self.arrivals.iter().filter(|(when, _)| when.elapsed() <= RATE_OVER);
        let (first, bytes) = recent.fold((None, 0), |(first, sum), (when, bytes)| (first.or(Some(*when)), sum + bytes));
        let seconds = first.map_or(0.0, |first: Instant| first.elapsed().as_secs_f64());
        if seconds > 0.1 { (bytes as f64 / seconds) as u64 } else { 0 }
    }
}

fn unanswered(waited: Duration) -> String {
    format!("a location has not answered somebody who reads for {}", human::duration(waited))
}

impl Control for Live {
    fn status(&self) -> Vec<u8> {
        serde_json::to_vec(&self.now()).unwrap_or_default()
    }

    fn told(&self, command: Command) {
        let asked = match command {
            Command::Finish => Asked::Finish,
            Command::End => Asked::End,
        };
        self.asked.send_if_modified(|before| {
            let is_more = *before < asked;
            *before = asked.max(*before);
            is_more
        });
    }
}

/// Asks whoever serves `directory`.
pub fn ask(directory: &Path) -> Result<Status, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::from_error(FailureKind::Unavailable, error)
            .while_doing(format!("ask who serves {}", directory.display()))
            .with_hint("it must be asked by the owner of the directory, or by root")
    };
    let text = status_of(directory).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

/// Tells whoever serves `directory`.
pub fn tell(directory: &Path, command: Command) -> Result<(), Failure> {
    send(directory, command).map_err(|error| {
        Failure::from_error(FailureKind::Unavailable, &error)
            .while_doing(format!("tell who serves {}", directory.display()))
            .with_hint("it must be told by the owner of the directory, or by root")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Arc<Live> {
        Live::new(Status::new(
            "shop",
            Path::new("/srv/shop"),
            "20260101T000000Z-00000000",
            "the latest moment",
            Timestamp::UNIX_EPOCH,
        ))
    }

    #[test]
    fn what_is_in_the_way_is_told_until_something_comes() {
        let live = live();
        live.hindered("the location is away".into(), Cause::Location);
        let told: Status = serde_json::from_slice(&live.status()).unwrap();
        assert_eq!(told.problem.as_deref(), Some("the location is away"));
        assert!(told.problem_since.is_some() && told.problem_hint.unwrap().contains("`lifeboat check`"));
        live.arrived(0);
        assert!(live.hindered_for(Duration::ZERO).is_some(), "what was here before is no news");
        assert_eq!(live.hindered_for(Duration::from_secs(3600)), None);
        live.arrived(8192);
        assert_eq!(live.now().problem, None);
    }

    #[test]
    fn who_asked_for_the_end_is_not_asked_to_finish() {
        let live = live();
        let asked = live.asked();
        live.told(Command::Finish);
        assert_eq!(*asked.borrow(), Asked::Finish);
        live.told(Command::End);
        live.told(Command::Finish);
        assert_eq!(*asked.borrow(), Asked::End);
    }

    #[test]
    fn a_line_says_how_much_and_how_long() {
        let status =
            Status { bytes_to_come: 3 << 30, bytes_per_second: 100 << 20, seconds_left: Some(30.72), ..live().now() };
        assert_eq!(status.coming(), "3.0 GiB are still to come, 100.0 MiB/s, 30.7 s left");
        let quiet = Status { bytes_per_second: 0, seconds_left: None, quiet_seconds: Some(6.0), ..status.clone() };
        assert_eq!(quiet.coming(), "3.0 GiB are still to come, nothing has come for 6.0 s");
        let here = Status { bytes_to_come: 0, bytes_per_second: 0, seconds_left: None, ..status };
        assert_eq!(here.coming(), "everything is here");
        assert_eq!(Status { files_to_come: 2, ..here }.coming(), "2 files are still to be made durable");
    }
}
