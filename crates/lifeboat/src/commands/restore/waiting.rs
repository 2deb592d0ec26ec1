//! Waiting until whoever serves a directory has done what it was told, and saying meanwhile what that waits for.

use super::serving::local;
use crate::commands::served::status::{Phase, Status, ask, tell};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, progress};
use lifeboat_mount::control::Command;
use lifeboat_mount::mount::{State, state_of};
use lifeboat_repository::Progress;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often is looked whether it ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is in the way for less than this may be over before anybody has read of it.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// What is still in the way is told again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How the waiting ended.
pub struct Waited {
    /// What was last told.
    pub last: Status,
    /// Whoever waited doesn't want to any more. What was asked for goes on.
    pub is_interrupted: bool,
}

/// Tells it, and waits until it has no mount, and no process, any more.
pub async fn tell_and_wait(path: &Path, before: Status, command: Command, output: &Output) -> Result<Waited, Failure> {
    let mut interrupted = interrupt::signal();
    tell(path, command)?;
    let mut telling = Telling::begin(path, &before, command, output);
    let mut waited = Waited { last: before, is_interrupted: false };
    loop {
        match state_of(path) {
            State::Mounted => {
                if let Ok(status) = ask(path) {
                    telling.look(&status, Instant::now());
                    waited.last = status;
                }
            }
            // It makes an ordinary directory of it, and starts the server again, when nothing is mounted there any more.
            _ if is_alive(waited.last.process_id) => {}
            _ => break,
        }
        tokio::select! {
            _ = interrupted.wait_for(|asked| *asked) => {
                waited.is_interrupted = true;
                break;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    telling.progress.finish();
    Ok(waited)
}

/// Whether the process is there and ours to see. In another container it isn't, and then nothing is waited for.
fn is_alive(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(before, state)| before.ends_with("(lifeboat") && !state.starts_with('Z'))
}

/// Says how it goes.
struct Telling<'a> {
    path: &'a Path,
    command: Command,
    progress: Arc<progress::ForRooms>,
    to_come: u64,
    /// When it was last said that something is in the way, if it is.
    told: Option<Instant>,
    is_start_told: bool,
}

impl<'a> Telling<'a> {
    fn begin(path: &'a Path, before: &Status, command: Command, output: &Output) -> Self {
        let progress = progress::for_rooms(output, &before.workload);
        let to_come = before.bytes_to_come;
        if command == Command::Finish && to_come > 0 {
            output.hint(&format!("when everything is here: {}", before.coming()));
            progress.phase("wait for the rest", Some(to_come));
        }
        Self { path, command, progress, to_come, told: None, is_start_told: false }
    }

    fn look(&mut self, status: &Status, now: Instant) {
        if let Some(came) = self.to_come.checked_sub(status.bytes_to_come).filter(|came| *came > 0) {
            self.progress.advance(came);
            self.to_come = status.bytes_to_come;
        }
        if status.phase == Phase::Starting && self.command == Command::Finish && !self.is_start_told {
            self.progress.warn("its server is being started, or replays: this waits for that, too");
            self.is_start_told = true;
        }
        if let Some(sentence) = self.sentence(status, now) {
            self.progress.warn(&sentence);
        }
    }

    /// What is to be said now, if anything is.
    fn sentence(&mut self, status: &Status, now: Instant) -> Option<String> {
        let Some(problem) = in_the_way(status) else {
            let was_told = self.told.take().is_some();
            return was_told.then(|| format!("it goes on: {}", status.coming()));
        };
        let lasts = status.problem_since.map_or(Duration::ZERO, |since| {
            jiff::Timestamp::now().duration_since(since).try_into().unwrap_or_default()
        });
        let is_due = match self.told {
            None => lasts >= TOLD_AFTER,
            Some(told) => now.duration_since(told) >= TOLD_AGAIN_AFTER,
        };
        if !is_due {
            return None;
        }
        self.told = Some(now);
        let hint = status.problem_hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        Some(format!("{} waits, {}: {problem}{hint}", self.path.display(), status.left()))
    }
}

/// What is in the way, and since when.
pub fn in_the_way(status: &Status) -> Option<String> {
    let problem = status.problem.as_ref()?;
    Some(match status.problem_since {
        Some(since) => format!("{problem} (since {})", local(since)),
        None => problem.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Color;
    use jiff::Timestamp;

    #[test]
    fn what_is_in_the_way_is_said_again_and_again_and_that_it_is_over_once() {
        let output = Output::new(false, true, Color::Never);
        let well = Status::new("shop", Path::new("/srv/shop"), "point", "the latest moment", Timestamp::UNIX_EPOCH);
        let well = Status { phase: Phase::Coming, bytes_to_come: 1 << 20, ..well };
        let (what, hint) = (Some("the disk is full".to_owned()), Some("make room".to_owned()));
        let ill =
            Status { problem: what, problem_since: Some(Timestamp::UNIX_EPOCH), problem_hint: hint, ..well.clone() };
        let now = Instant::now();
        let mut telling = Telling::begin(Path::new("/srv/shop"), &well, Command::Finish, &output);
        assert_eq!(telling.sentence(&well, now), None);
        let just_now = Status { problem_since: Some(Timestamp::now()), ..ill.clone() };
        assert_eq!(telling.sentence(&just_now, now), None, "it may be over in a moment");
        let said = telling.sentence(&ill, now).unwrap();
        assert!(said.starts_with("/srv/shop waits, 1.0 MiB are still to come: the disk is full (since 1970"), "{said}");
        assert!(said.ends_with("\nhint: make room"), "{said}");
        assert_eq!(telling.sentence(&ill, now + TOLD_AGAIN_AFTER / 2), None);
        assert!(telling.sentence(&ill, now + TOLD_AGAIN_AFTER).is_some());
        assert_eq!(telling.sentence(&well, now).unwrap(), "it goes on: 1.0 MiB are still to come");
        assert_eq!(telling.sentence(&well, now), None);
    }
}
