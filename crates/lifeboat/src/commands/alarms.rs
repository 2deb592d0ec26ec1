//! Telling somebody: a line on stderr always, and the configured command.

use crate::failure::Failure;
use crate::output::Output;
use lifeboat_workload::postgres::wal::{Alarm, AlarmKind};
use std::process::{Command, Stdio};

/// Whom to tell.
pub struct Alarms<'a> {
    pub output: &'a Output,
    pub workload: &'a str,
    /// Program and arguments; what is wrong is added as the last one.
    pub command: Option<&'a [String]>,
}

impl Alarms<'_> {
    /// Somebody must look.
    pub fn raise(&self, alarm: &Alarm) {
        self.raise_of(alarm.kind.word(), &alarm.what, &alarm.hint);
    }

    /// The same, of a kind that is no receiver's.
    pub fn raise_of(&self, kind: &str, what: &str, hint: &str) {
        self.output.warn(&format!("ALARM {}: {what}\nhint: {hint}", self.workload));
        self.call("raised", kind, what);
    }

    /// What was wrong is right again.
    pub fn over(&self, kind: AlarmKind) {
        self.over_of(kind.word());
    }

    /// The same, of a kind that is no receiver's.
    pub fn over_of(&self, kind: &str) {
        let text = format!("alarm over: {kind}");
        self.output.warn(&format!("{}: {text}", self.workload));
        self.call("over", kind, &text);
    }

    /// The receiver ends, and it wasn't told to.
    pub fn ended(&self, failure: &Failure) {
        let what = format!("the receiver ended, and commits that wait for it go on waiting: {}", failure.message);
        self.output.warn(&format!("ALARM {}: {what}", self.workload));
        self.call("raised", AlarmKind::Ended.word(), &what);
    }

    /// Starts the command and doesn't wait for it: what it says goes where we say things.
    fn call(&self, state: &str, kind: &str, text: &str) {
        let Some((program, arguments)) = self.command.and_then(|words| words.split_first()) else { return };
        let mut command = Command::new(program);
        command.args(arguments).arg(text).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("LIFEBOAT_ALARM", state).env("LIFEBOAT_ALARM_KIND", kind);
        command.env("LIFEBOAT_WORKLOAD", self.workload);
        match command.spawn() {
            // Somebody must take note of its end.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(error) => self.output.warn(&format!("run alarm command `{program}`: {error}")),
        }
    }
}
