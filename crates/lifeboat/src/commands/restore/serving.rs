//! `lifeboat restore status | finish | stop`: what is being served on this machine, and telling it what to do.

use super::left::end_what_is_left;
use super::waiting::{Waited, in_the_way, tell_and_wait};
use crate::cli::Global;
use crate::commands::served::begun;
use crate::commands::served::status::{Phase, Status, ask};
use crate::config::{self, LoadError, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone};
use crate::rooms;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_mount::control::Command;
use lifeboat_mount::mount::{State, mounts, state_of};
use lifeboat_postgres::cluster::{RunState, run_state};
use lifeboat_recovery::{instant, spoken};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What is known of a directory.
enum Seen {
    Served(Box<Status>),
    /// Begun, and nobody serves it. The second: whether the mount of a program that is gone is still there.
    Begun(Option<Box<instant::Origin>>, bool),
    Nothing,
}

fn look(directory: &Path) -> Result<Seen, Failure> {
    Ok(match state_of(directory) {
        State::Mounted => Seen::Served(Box::new(ask(directory)?)),
        State::Stale => Seen::Begun(None, true),
        State::Nothing => match instant::origin(directory)? {
            Some(origin) => Seen::Begun(Some(Box::new(origin)), false),
            None => Seen::Nothing,
        },
    })
}

/// Those that are mounted on this machine, and those that were begun with this configuration's state. Without one, as at an emergency, the mounts
/// only.
fn all(global: &Global, output: &Output) -> Vec<PathBuf> {
    let mut all = mounts();
    let begun = match config::load(global.config.as_deref(), UnknownKeys::Warn) {
        Ok(loaded) => begun::noted(&loaded.parsed.config),
        Err(LoadError::Nowhere) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    };
    match begun {
        Ok(begun) => all.extend(begun.into_iter().filter(|path| matches!(instant::origin(path), Ok(Some(_))))),
        Err(failure) => output.warn(&format!("what is not mounted is not told of: {}", failure.sentence())),
    }
    all.sort();
    all.dedup();
    all
}

/// Tells of one directory, or of all that are known on this machine.
pub fn status(global: &Global, directory: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let directories: Vec<PathBuf> = match directory {
        Some(directory) => vec![super::absolute(directory)?],
        None => all(global, output),
    };
    let mut documents = Vec::new();
    let mut is_anything_dead = false;
    for path in &directories {
        // A tablespace is told of with its cluster.
        let seen = match look(path) {
            Err(_) if directory.is_none() => continue,
            seen => seen?,
        };
        is_anything_dead |= matches!(seen, Seen::Begun(..));
        match seen {
            Seen::Nothing => return Err(nothing_there(path)),
            Seen::Served(status) if output.is_json() => documents.push(json!({"state": "served", "status": status})),
            Seen::Served(status) => show(&status, output)?,
            Seen::Begun(origin, is_stale) if output.is_json() => {
                let state = if is_stale { "stale" } else { "begun" };
                documents.push(json!({"state": state, "to": path, "origin": origin}));
            }
            Seen::Begun(origin, is_stale) => show_begun(path, origin.as_deref(), is_stale, output)?,
        }
    }
    if output.is_json() {
        output.document(&json!({ "restores": documents }))?;
    } else if directories.is_empty() {
        output.text("nothing is being served on this machine")?;
    }
    if is_anything_dead {
        let failure = Failure::new(FailureKind::CheckFailed, "nobody serves what was begun")
            .with_hint("run the same `lifeboat restore ... --instant` again: it goes on where it stopped");
        return Err(if output.is_json() { failure.after_its_document() } else { failure });
    }
    Ok(())
}

fn nothing_there(directory: &Path) -> Failure {
    let mut message = format!("{} is not being restored instantly", directory.display());
    if directory.join("global/pg_control").exists() {
        message.push_str(": it is an ordinary data directory, finished if it ever was");
    }
    Failure::new(FailureKind::NotFound, message)
        .with_hint("`lifeboat restore status` lists what is served on this machine")
}

pub fn show(status: &Status, output: &Output) -> Result<(), Failure> {
    let (word, tone) = match status.phase {
        Phase::Starting => ("starting", Tone::Warning),
        Phase::Coming => ("coming", Tone::Good),
        Phase::Whole => ("whole", Tone::Good),
        Phase::Ending => ("ending", Tone::Warning),
    };
    let mut lines = vec![
        format!("{} {}: {}", output.paint(word, tone), status.to.display(), status.coming()),
        format!("  {}: {}, from {}", status.workload, status.target, status.point),
        format!("  begun {}, served by process {}", local(status.begun_at), status.process_id),
    ];
    lines.extend(status.first_query_seconds.map(|seconds| format!("  first query answered after {seconds:.1} s")));
    lines.extend(in_the_way(status).map(|what| format!("  {} {what}", output.paint("in the way:", Tone::Bad))));
    lines.extend(status.problem_hint.iter().map(|hint| format!("  to do: {hint}")));
    output.text(&lines.join("\n"))
}

fn show_begun(path: &Path, origin: Option<&instant::Origin>, is_stale: bool, output: &Output) -> Result<(), Failure> {
    let why = if is_stale {
        "the program that served it is gone, and its mount is left"
    } else {
        "begun, and nobody serves it"
    };
    let mut lines = vec![format!("{} {}: {why}", output.paint("dead", Tone::Bad), path.display())];
    lines.extend(origin.map(|origin| {
        let begun = local(origin.begun_at);
        format!("  {}: {}, from {}, begun {begun}", origin.workload, origin.target, origin.point)
    }));
    output.text(&lines.join("\n"))
}

/// A time as this machine's people say it.
pub fn local(time: Timestamp) -> String {
    spoken(time.round(jiff::Unit::Second).unwrap_or(time), Some(&TimeZone::system()))
}

/// Tells it to end, or to finish; and waits until it did.
pub fn command(directory: &Path, command: Command, output: &Output) -> Result<(), Failure> {
    let path = super::absolute(directory)?;
    let before = match look(&path)? {
        Seen::Served(status) => *status,
        Seen::Begun(..) if command == Command::End => return stop_what_is_left(&path, output),
        Seen::Begun(..) => {
            let message = format!("nobody serves {}", path.display());
            let hint = "run the same `lifeboat restore ... --instant` again, with --finish";
            return Err(Failure::new(FailureKind::NotFound, message).with_hint(hint));
        }
        Seen::Nothing => return Err(nothing_there(&path)),
    };
    let waited = rooms::runtime()?.block_on(tell_and_wait(&path, before, command, output))?;
    let Waited { last, is_interrupted } = waited;
    let is_whole = !is_interrupted && state_of(&path) == State::Nothing && instant::origin(&path)?.is_none();
    let runs = matches!(run_state(&path), Ok(RunState::Running(_)));
    if output.is_json() {
        let problem = (!is_whole).then_some(&last.problem);
        output.document(&json!({
            "to": path,
            "is_whole": is_whole,
            "server_runs": runs,
            "bytes_to_come": last.bytes_to_come,
            "is_interrupted": is_interrupted,
            "problem": problem,
            "problem_since": problem.and(last.problem_since),
            "problem_hint": problem.and(last.problem_hint.as_ref()),
        }))?;
    }
    if is_interrupted {
        return Err(documented(interrupted(&path, &last, command), output));
    }
    if command == Command::Finish && !is_whole {
        let failure =
            Failure::new(FailureKind::Unavailable, format!("it ended before all was done: {}", last.coming()))
                .with_hint("run the same `lifeboat restore ... --instant` again: it goes on where it stopped");
        return Err(documented(failure, output));
    }
    let (word, left) = match (is_whole, command) {
        (true, Command::Finish) if !runs => ("finished", "an ordinary directory, and no server runs there".to_owned()),
        (true, Command::Finish) => {
            ("finished", "an ordinary directory, and the server that ran there runs on it".to_owned())
        }
        (true, Command::End) => ("stopped", "everything is here, and an ordinary directory is left".to_owned()),
        (false, _) => ("stopped", format!("{}; run the same restore again to go on", last.left())),
    };
    output.text(&format!("{} {}: {left}", output.paint(word, Tone::Good), path.display()))
}

fn documented(failure: Failure, output: &Output) -> Failure {
    if output.is_json() { failure.after_its_document() } else { failure }
}

/// Who waited was interrupted; who was told goes on.
fn interrupted(path: &Path, last: &Status, command: Command) -> Failure {
    let does = match command {
        Command::Finish => "it finishes by itself when everything is here",
        Command::End => "it was told to stop, and does so by itself",
    };
    let message = format!("interrupted: {does}; {}", last.coming());
    let failure = Failure::new(FailureKind::Unavailable, message).with_hint(format!(
        "`lifeboat restore status {0}` tells how it goes, `lifeboat restore stop {0}` ends it",
        path.display()
    ));
    Failure { causes: in_the_way(last).into_iter().collect(), ..failure }
}

fn stop_what_is_left(path: &Path, output: &Output) -> Result<(), Failure> {
    let ended = end_what_is_left(path)?;
    if !ended.is_any() {
        let message = format!("nobody serves {}", path.display());
        return Err(Failure::new(FailureKind::NotFound, message).with_hint(
            "nothing is to be stopped; to go on, run the same `lifeboat restore ... --instant` again; to give it up, delete it, and let `prune` have its point: `lifeboat prune --release POINT`",
        ));
    }
    if output.is_json() {
        return output.document(&json!({
            "to": path,
            "is_whole": false,
            "server_runs": false,
            "server_ended": ended.server,
            "mounts_taken_away": ended.mounts,
        }));
    }
    output.text(&format!(
        "{} {}: {}; run the same restore again to go on",
        output.paint("stopped", Tone::Good),
        path.display(),
        ended.spoken()
    ))
}
