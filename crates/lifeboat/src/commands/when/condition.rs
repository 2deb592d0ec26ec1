//! Which transaction changed the answer to an SQL condition: found by asking servers of moments of the past.
//!
//! First both ends are asked, then the middle of what is left, by position in the log, because times are in no order. When little log
//! is left, its commits are listed, and the search goes on from commit to commit. Each server is thrown away before the next one.
//!
//! Not here: the bisection itself, the question to one server, telling what was found.

use super::super::served::status::Asked;
use super::super::served::{Past, Seat, Wanting, must_mount};
use super::super::wal;
use super::answers::{self, Change, Told};
use super::question::{self, Answer, Seen};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, progress};
use crate::{interrupt, rooms};
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_recovery::when::{Bisection, Commit, Line};
use lifeboat_recovery::{Target, TimelineChoice, Wanted};
use std::collections::BTreeSet;
use std::path::Path;
use tokio::sync::watch::Receiver;

/// When so much log is left, in bytes, its commits are listed: reading it takes less than asking one more server.
const LISTED_BYTES_MAX: u64 = 64 << 20;
/// A guess of how much log a transaction writes, in bytes, to say how many steps are to come.
const COMMIT_BYTES: u64 = 1024;
/// A longer condition is a mistake.
const CONDITION_BYTES_MAX: usize = 100_000;

/// What was asked for.
pub struct Wish<'a> {
    pub workload: &'a str,
    pub condition: &'a str,
    /// None: the one that the workload's connection names.
    pub database: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Which line of history.
    pub line: Wanted,
}

/// One moment that was asked.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Every record that begins before it is replayed.
    pub position: Lsn,
    pub seen: Seen,
}

/// A text that could be a condition.
pub fn checked(condition: &str) -> Result<&str, Failure> {
    let refused = |message: &str| {
        Failure::new(FailureKind::Usage, message)
            .with_hint("for example --sql \"(select count(*) from orders) > 1000\"")
    };
    match condition.trim() {
        "" => Err(refused("--sql is empty")),
        text if text.len() > CONDITION_BYTES_MAX || text.contains('\0') => Err(refused("--sql is no condition")),
        text => Ok(text),
    }
}

pub fn run(config: &Config, config_path: &Path, wish: Wish<'_>, output: &Output) -> Result<(), Failure> {
    must_mount()?;
    rooms::runtime()?.block_on(async {
        let mut interrupted = interrupt::signal();
        Seat::clear_dead(output).await?;
        let looking = async {
            let locations = wal::locations(config, wish.workload, wish.line.location.as_deref());
            let repository = rooms::open_repository(config, &locations, output).await?;
            let progress = progress::for_rooms(output, wish.workload);
            let line = Line::find(&repository, wish.workload, &wish.line, &*progress).await;
            progress.finish();
            line.map_err(Failure::from)
        };
        let line = tokio::select! {
            line = looking => line?,
            _ = interrupted.wait_for(|asked| *asked) => return Err(interruption()),
        };
        for time in [wish.since, wish.until].into_iter().flatten() {
            line.check(Target::Time(time), &wish.line)?;
        }
        let default_database = rooms::user_and_database(&config.workloads[wish.workload]).1;
        let database = wish.database.as_deref().unwrap_or(&default_database);
        let parts = output.for_parts();
        line.notes.iter().for_each(|note| parts.warn(note));
        let seeker = Seeker {
            config,
            config_path,
            wish: &wish,
            database,
            default_database: &default_database,
            line: &line,
            output,
            parts: &parts,
            interrupted,
            probes: Vec::new(),
            steps: 0,
        };
        seeker.seek().await
    })
}

fn interruption() -> Failure {
    Failure::new(FailureKind::Unavailable, "interrupted").with_hint("nothing was changed, and nothing is left")
}

/// Goes from moment to moment.
struct Seeker<'a> {
    config: &'a Config,
    config_path: &'a Path,
    wish: &'a Wish<'a>,
    database: &'a str,
    default_database: &'a str,
    line: &'a Line,
    output: &'a Output,
    /// For the single moments.
    parts: &'a Output,
    interrupted: Receiver<bool>,
    /// In the order in which they were asked.
    probes: Vec<Probe>,
    /// How many there will be, as far as that can be told.
    steps: u32,
}

impl Seeker<'_> {
    async fn seek(mut self) -> Result<(), Failure> {
        let (first, last) = self.line.reachable.ends().ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("no moment of {} can be reached", self.wish.workload))
        })?;
        self.expect(first, last);
        let low = self.probe(self.wish.since.map_or(Target::Lsn(first), Target::Time)).await?;
        let high = self.probe(self.wish.until.map_or(Target::Lsn(last), Target::Time)).await?;
        if low.seen.answer.is_like(&high.seen.answer) {
            return Err(answers::same(&low, &high, self.wish, self.database));
        }
        let found = match self.narrow(low.clone(), high.clone()).await {
            Ok(change) => change,
            Err(failure) => return Err(self.with_what_is_known(failure, &low, &high)),
        };
        let known: BTreeSet<&str> = self.probes.iter().map(|probe| probe.seen.answer.spoken()).collect();
        let told = Told {
            wish: self.wish,
            database: self.database,
            default_database: self.default_database,
            change: &found,
            probes: &self.probes,
            is_one_of_several: known.len() > 2,
        };
        answers::tell(&told, self.output)
    }

    /// How many steps it takes between two positions.
    fn expect(&mut self, first: Lsn, last: Lsn) {
        let left = self.line.reachable.between(first, last);
        let bytes = left.ends().map_or(0, |(_, last)| left.number_of(last));
        let commits = bytes.min(LISTED_BYTES_MAX) / COMMIT_BYTES;
        let asked = u32::try_from(self.probes.len().max(2)).unwrap_or(u32::MAX);
        self.steps =
            asked + Bisection::new(0, bytes).steps(LISTED_BYTES_MAX) + Bisection::new(0, 2 * commits + 1).steps(1);
    }

    /// From the ends, which answer differently, to what lies on both sides of the change.
    async fn narrow(&mut self, low: Probe, high: Probe) -> Result<Change, Failure> {
        self.expect(low.position, high.position);
        let is_old = judge(&low.seen.answer, &high.seen.answer);
        let (low, high) = self.by_position(low, high, &is_old).await?;
        let commits = self.commits(low.position, high.position).await?;
        self.by_commit(low, high, commits, &is_old).await
    }

    /// Until little log is left.
    async fn by_position(
        &mut self,
        mut low: Probe,
        mut high: Probe,
        is_old: &impl Fn(&Answer) -> bool,
    ) -> Result<(Probe, Probe), Failure> {
        let reachable = self.line.reachable.between(low.position, high.position);
        let mut left = Bisection::new(reachable.number_of(low.position), reachable.number_of(high.position));
        while let Some(middle) = left.middle(LISTED_BYTES_MAX) {
            let probe = self.probe(Target::Lsn(reachable.position(middle))).await?;
            let reached = probe.seen.reached.map_or(middle, |reached| reachable.number_of(reached));
            let is_low = is_old(&probe.seen.answer);
            left.learn(middle, reached, is_low);
            if is_low {
                low = Probe { position: reachable.position(left.ends().0), ..probe };
            } else {
                high = Probe { position: reachable.position(left.ends().1), ..probe };
            }
        }
        Ok((low, high))
    }

    /// What committed in the log that is left, where it can be replayed.
    async fn commits(&mut self, from: Lsn, to: Lsn) -> Result<Vec<Commit>, Failure> {
        let progress = progress::for_rooms(self.output, self.wish.workload);
        let mut interrupted = self.interrupted.clone();
        let listing = async {
            let mut commits = Vec::new();
            for (from, to) in self.line.reachable.between(from, to).stretches() {
                commits.extend(self.line.commits(*from, *to, &*progress).await?);
            }
            Ok(commits)
        };
        let listed = tokio::select! {
            listed = listing => listed,
            _ = interrupted.wait_for(|asked| *asked) => Err(interruption()),
        };
        progress.finish();
        listed
    }

    /// Until two moments are left between which no more than one transaction committed.
    async fn by_commit(
        &mut self,
        mut low: Probe,
        mut high: Probe,
        commits: Vec<Commit>,
        is_old: &impl Fn(&Answer) -> bool,
    ) -> Result<Change, Failure> {
        let edges = self.line.reachable.between(low.position, high.position);
        let positions = moments(low.position, high.position, &commits, edges.stretches());
        let mut left = Bisection::new(0, positions.len() as u64 - 1);
        self.steps = u32::try_from(self.probes.len()).unwrap_or(u32::MAX) + left.steps(1);
        while let Some(middle) = left.middle(1) {
            let position = positions[middle as usize];
            let probe = self.probe(Target::Lsn(position)).await?;
            let is_low = is_old(&probe.seen.answer);
            left.learn(middle, middle, is_low);
            *(if is_low { &mut low } else { &mut high }) = Probe { position, ..probe };
        }
        let commit = commits.into_iter().find(|commit| (commit.start, commit.end) == (low.position, high.position));
        let is_in_hole =
            edges.stretches().windows(2).any(|pair| pair[0].1 >= low.position && pair[1].0 <= high.position);
        Ok(Change { before: low, after: high, commit, is_in_hole })
    }

    /// Asks one moment, in a server of its own.
    async fn probe(&mut self, target: Target) -> Result<Probe, Failure> {
        let wanting = Wanting {
            inclusive: matches!(target, Target::Time(_)),
            target: target.clone(),
            timeline: TimelineChoice::Exactly(self.line.timeline),
            point: None,
            location: self.wish.line.location.clone(),
            writable: false,
            or_copy: false,
        };
        let seat = Seat::free(self.wish.workload)?;
        let watched = (self.parts, self.interrupted.clone());
        let past = Past::open(self.config, self.config_path, self.wish.workload, wanting, seat, watched).await?;
        let (mut asked, mut interrupted) = (past.live().asked(), self.interrupted.clone());
        let seen = tokio::select! {
            seen = question::ask(&past, self.wish.condition, self.database) => seen,
            _ = interrupted.wait_for(|asked| *asked) => Err(interruption()),
            _ = asked.wait_for(|asked| *asked == Asked::End) => {
                Err(Failure::new(FailureKind::Unavailable, "the server was closed before it answered"))
            }
        };
        let closed = past.close().await;
        let seen = seen?;
        closed?;
        let position = match (&target, seen.reached) {
            (Target::Lsn(lsn), _) => *lsn,
            (_, Some(reached)) => reached,
            _ => self.line.reachable.ends().map_or(Lsn(0), |(first, _)| first),
        };
        let probe = Probe { position, seen };
        self.probes.push(probe.clone());
        let (step, steps) = (self.probes.len(), self.steps.max(u32::try_from(self.probes.len()).unwrap_or(u32::MAX)));
        self.output.tell(&format!("step {step} of about {steps}: {}", answers::moment_and_answer(&probe, self.wish)));
        Ok(probe)
    }

    /// A search that fails half-way has found something out.
    fn with_what_is_known(&self, failure: Failure, low: &Probe, high: &Probe) -> Failure {
        let is_old = judge(&low.seen.answer, &high.seen.answer);
        let (old, new): (Vec<&Probe>, Vec<&Probe>) = self.probes.iter().partition(|probe| is_old(&probe.seen.answer));
        let low = old.into_iter().max_by_key(|probe| probe.position).unwrap_or(low);
        let high = new.into_iter().min_by_key(|probe| probe.position).unwrap_or(high);
        failure.with_more_hint(format!("known so far: it changed between {} and {}", low.position, high.position))
    }
}

/// Which answers count as the old one. Where a condition holds at one end only, it is asked when it began or ceased to hold; else when it was
/// no longer what it was.
fn judge(low: &Answer, high: &Answer) -> impl Fn(&Answer) -> bool + use<> {
    let (low, high) = (low.clone(), high.clone());
    move |answer| match (&low, &high) {
        (Answer::True, _) => *answer == Answer::True,
        (_, Answer::True) => *answer != Answer::True,
        (low, _) => answer.is_like(low),
    }
}

/// The moments between which something can be told apart: just before and just after each commit, and where what can be reached ends.
fn moments(low: Lsn, high: Lsn, commits: &[Commit], stretches: &[(Lsn, Lsn)]) -> Vec<Lsn> {
    let of_commits = commits.iter().flat_map(|commit| [commit.start, commit.end]);
    let of_stretches = stretches.iter().flat_map(|(from, to)| [*from, *to]);
    let between = of_commits.chain(of_stretches).filter(|position| low < *position && *position < high);
    let all: BTreeSet<Lsn> = between.chain([low, high]).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::TimelineId;

    #[test]
    fn a_condition_that_holds_at_one_end_is_asked_when_it_began_or_ceased_to_hold() {
        let none = || Answer::Nothing("no table".into());
        let all = [Answer::True, Answer::False, Answer::Null, none()];
        for (low, high, old) in [
            (Answer::True, Answer::False, vec![Answer::True]),
            (Answer::True, none(), vec![Answer::True]),
            (Answer::False, Answer::True, vec![Answer::False, Answer::Null, none()]),
            (none(), Answer::True, vec![Answer::False, Answer::Null, none()]),
            (none(), Answer::False, vec![none()]),
            (Answer::Null, none(), vec![Answer::Null]),
        ] {
            let is_old = judge(&low, &high);
            let counted: Vec<Answer> = all.iter().filter(|answer| is_old(answer)).cloned().collect();
            assert_eq!(counted, old, "{low:?} to {high:?}");
        }
        assert!(judge(&none(), &Answer::False)(&Answer::Nothing("no column".into())));
    }

    #[test]
    fn it_is_asked_before_and_after_each_commit_and_where_a_hole_begins_and_ends() {
        let commit =
            |start, end| Commit { xid: Some(7), at: None, start: Lsn(start), end: Lsn(end), timeline: TimelineId(1) };
        let commits = [commit(10, 14), commit(14, 18), commit(50, 52), commit(90, 110)];
        let found = moments(Lsn(10), Lsn(100), &commits, &[(Lsn(10), Lsn(30)), (Lsn(45), Lsn(100))]);
        assert_eq!(found, [10, 14, 18, 30, 45, 50, 52, 90, 100].map(Lsn));
    }
}
