//! Serving without whoever asked for it: a process of its own, of which is told what the first one would have told.

use super::status::{Status, ask};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, progress, shell};
use crate::{interrupt, rooms};
use lifeboat_mount::mount::{State, state_of};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The flag of whoever serves on its own.
pub const DETACHED: &str = "--detached";
const DETACH: &str = "--detach";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How it went.
pub enum Outcome {
    /// It serves, and is as far as it should be.
    Serving(Box<Status>),
    /// It had nothing to serve any more.
    Ended,
}

/// What becomes of the other one when nobody waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// It ends, and clears up what it made.
    Ends,
    /// It goes on.
    GoesOn,
}

/// Where what serves `to` tells of itself.
pub fn log_file(config: &Config, to: &Path) -> Result<PathBuf, Failure> {
    let name = to.to_string_lossy().trim_start_matches('/').replace('-', "--").replace('/', "-");
    Ok(rooms::state_dir(config)?.join("served").join(format!("{name}.log")))
}

/// Lets go of the terminal and of whoever started us.
pub fn let_go() {
    // It fails only for whoever leads a group already, and then there is nothing to let go of.
    let _ = rustix::process::setsid();
}

/// Does what this process was told, and `more`, in another one; returns when that is so far that `is_enough`, or ended.
pub fn detach(
    config: &Config,
    to: &Path,
    more: Vec<OsString>,
    output: &Output,
    then: Interrupted,
    is_enough: impl Fn(&Status) -> bool,
) -> Result<Outcome, Failure> {
    let runtime = rooms::runtime()?;
    let interrupted = {
        let _entered = runtime.enter();
        interrupt::signal()
    };
    let log = log_file(config, to)?;
    let said_before = std::fs::metadata(&log).map_or(0, |data| data.len());
    let mut child = spawn(&log, std::env::args_os().skip(1).chain(more)).map_err(|error| not_started(&log, &error))?;
    output.hint(&format!("it goes on without this terminal, and tells of itself in {}", log.display()));
    let progress = progress::start(output.is_quiet());
    let _shown = Shown(&*progress);
    progress.begin("start and replay", None);
    loop {
        let ended = child.try_wait().map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        match ended {
            Some(status) if status.success() => return Ok(Outcome::Ended),
            Some(status) => return Err(failed(&log, said_before, status)),
            None => {}
        }
        if state_of(to) == State::Mounted
            && let Ok(status) = ask(to)
            && status.process_id == child.id()
            && is_enough(&status)
        {
            return Ok(Outcome::Serving(Box::new(status)));
        }
        if *interrupted.borrow() {
            return Err(no_longer_waited_for(&mut child, to, then));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn no_longer_waited_for(child: &mut Child, to: &Path, then: Interrupted) -> Failure {
    let failure = |message: &str| Failure::new(FailureKind::Unavailable, message);
    match then {
        Interrupted::Ends => {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            let _ = child.wait();
            failure("interrupted before it answered").with_hint("nothing is left of it")
        }
        Interrupted::GoesOn => failure("interrupted; it goes on without this terminal").with_hint(format!(
            "`lifeboat restore status {0}` tells how it goes, `lifeboat restore stop {0}` ends it",
            shell::word(&to.display().to_string())
        )),
    }
}

fn not_started(log: &Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied => FailureKind::Locked,
        _ => FailureKind::Unavailable,
    };
    Failure::from_error(kind, error)
        .while_doing(format!("start a process that logs to {}", log.display()))
        .with_hint("this account must be able to write there: set HOME to its own, or state_dir in the configuration")
}

/// Ends what is shown, however it ends.
struct Shown<'a>(&'a dyn progress::Progress);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn spawn(log: &Path, arguments: impl Iterator<Item = OsString>) -> std::io::Result<Child> {
    if let Some(directory) = log.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    // Added to: another one may be serving there, and tell of itself in the same file.
    let said = File::options().create(true).append(true).mode(0o600).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    // What it says is read as text.
    command.args(arguments.filter(|argument| argument != DETACH && argument != "--json")).arg(DETACHED);
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn()
}

/// The other one's failure, as this one's.
fn failed(log: &Path, said_before: u64, status: ExitStatus) -> Failure {
    let said = std::fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(said.get(said_before as usize..).unwrap_or_default()).into_owned();
    let kind = status.code().and_then(|code| u8::try_from(code).ok()).and_then(FailureKind::of_exit_code);
    let (message, hint) = last_failure(&said);
    let message = message.unwrap_or_else(|| format!("it ended ({status}) before it served"));
    Failure::new(kind.unwrap_or(FailureKind::Internal), message)
        .with_hint(hint.unwrap_or_else(|| format!("{} has all that it said", log.display())))
}

/// The last failure that a log tells of, with all its lines, and its hint.
fn last_failure(said: &str) -> (Option<String>, Option<String>) {
    let lines: Vec<&str> = said.lines().collect();
    let Some(begin) = lines.iter().rposition(|line| line.starts_with("error: ")) else { return (None, None) };
    let end = lines[begin..].iter().position(|line| line.starts_with("hint: ")).map_or(lines.len(), |end| begin + end);
    let message = lines[begin..end].join("\n").replacen("error: ", "", 1);
    let hint = lines.get(end).and_then(|line| line.strip_prefix("hint: ")).map(str::to_owned);
    (Some(message), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_log_is_told_where_to_say_so() {
        let log = Path::new("/var/cache/lifeboat/served/srv-shop.log");
        for (kind, code) in [(ErrorKind::PermissionDenied, 7), (ErrorKind::StorageFull, 5)] {
            let failure = not_started(log, &kind.into());
            assert_eq!(failure.kind.exit_code(), code);
            let said = failure.to_string();
            assert!(
                said.contains("logs to /var/cache") && said.contains("set HOME") && said.contains("state_dir"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_failure_is_told_with_all_its_lines() {
        let said = "hint: it goes on\nerror: first\nwarning: more\nerror: the server ended; its log ends:\n  FATAL: no\nhint: look\n";
        let (message, hint) = last_failure(said);
        assert_eq!(message.as_deref(), Some("the server ended; its log ends:\n  FATAL: no"));
        assert_eq!(hint.as_deref(), Some("look"));
        assert_eq!(last_failure("killed"), (None, None));
    }
}
