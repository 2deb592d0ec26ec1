//! From arguments to an exit code, whatever happens in between.

use crate::cli::Cli;
use crate::commands;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Runs the command line and says how it ended.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let exit_codes = ExitCodes::of(&arguments);
    guarded(as_json, exit_codes, || parse_and_run(arguments))
}

/// How exit codes are read by whoever started us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitCodes {
    /// As documented.
    Plain,
    /// By PostgreSQL's recovery, to which 1 to 125 mean "no such file": all but that get 128 added.
    RestoreCommand,
}

impl ExitCodes {
    fn of(arguments: &[OsString]) -> Self {
        let fetches = arguments.windows(2).any(|pair| pair[0] == "wal" && pair[1] == "fetch");
        // A standby that follows never ends recovery by itself, and would end as a whole by these.
        let follows = arguments.iter().any(|argument| argument == "--follows");
        if fetches && !follows { Self::RestoreCommand } else { Self::Plain }
    }

    fn code(self, kind: FailureKind) -> ExitCode {
        match self {
            Self::RestoreCommand if kind != FailureKind::NotFound => ExitCode::from(128 + kind.exit_code()),
            _ => ExitCode::from(kind.exit_code()),
        }
    }
}

/// Runs a command to its exit code. A panic becomes one sentence and exit code 1.
fn guarded(as_json: bool, exit_codes: ExitCodes, command: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no message");
        let text = text.lines().collect::<Vec<_>>().join(" ");
        internal(format!("internal error at {place}: {text}")).tell(as_json);
    }));
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            failure.tell(as_json);
            exit_codes.code(failure.kind)
        }
        Err(_) => exit_codes.code(FailureKind::Internal),
    }
}

fn internal(message: String) -> Failure {
    Failure::new(FailureKind::Internal, message)
        .with_hint("this is a defect of Lifeboat; please report it with the command that led to it")
}

fn parse_and_run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // As with every other output: a reader that has gone away is not an error.
            let _ = error.print();
            return Ok(());
        }
        Err(error) => return Err(usage(&error, &command_typed(&arguments))),
    };
    start_logging(&cli);
    let output = Output::new(cli.global.json, cli.global.quiet, cli.global.color);
    commands::dispatch(cli, &output)
}

/// Clap's finding in our form: one sentence, and a hint. `command` is what was typed, as far as it makes sense.
fn usage(error: &clap::Error, command: &str) -> Failure {
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        let message = format!("`{command}` needs a command after it");
        return Failure::new(FailureKind::Usage, message).with_hint(format!("`{command} --help` lists them"));
    }
    let rendered = error.render().to_string();
    let sentence = rendered.split("\n\n").next().unwrap_or_default();
    let sentence = sentence.strip_prefix("error: ").unwrap_or(sentence);
    let message = sentence.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tips = rendered.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    // How to pass a mistyped option as a value helps nobody.
    let mut hints: Vec<String> = tips.filter(|tip| !tip.starts_with("to pass ")).map(str::to_owned).collect();
    if hints.is_empty() {
        hints.push(match error.get(ContextKind::Usage) {
            Some(ContextValue::StyledStr(usage)) if error.kind() == ErrorKind::MissingRequiredArgument => {
                let usage = usage.to_string();
                format!("{}; `{command} --help` tells more", usage.trim().replace("Usage: ", "usage: "))
            }
            _ => format!("`{command} --help` tells more"),
        });
    }
    Failure::new(FailureKind::Usage, message).with_hint(hints.join("; "))
}

/// The command as far as it was typed right: `lifeboat wal`.
fn command_typed(arguments: &[OsString]) -> String {
    let root = Cli::command();
    let mut command = &root;
    let mut typed = vec![command.get_name()];
    let words = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    for word in words.filter(|word| !word.starts_with('-')) {
        let Some(next) = command.find_subcommand(word) else { break };
        typed.push(next.get_name());
        command = next;
    }
    typed.join(" ")
}

/// Of everybody else. What the mount's library complains of when a mount was taken away before it could is no news.
const OTHERS: &str = "warn,fuser=error";

/// Logs are for people and go to stderr: warnings, and more with each `-v`. `LIFEBOAT_LOG` says it finer.
fn start_logging(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error".to_owned(),
        (false, 0) => OTHERS.to_owned(),
        (false, 1) => ours("info"),
        (false, 2) => ours("debug"),
        (false, _) => "trace".to_owned(),
    };
    let filter = match std::env::var("LIFEBOAT_LOG") {
        Ok(wanted) => tracing_subscriber::EnvFilter::new(wanted),
        Err(_) => tracing_subscriber::EnvFilter::new(level),
    };
    let colored = cli.global.color.wants(std::io::stderr().is_terminal());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colored)
        .with_target(cli.global.verbose > 1)
        .with_writer(std::io::stderr);
    // Only a second start in the same process fails, and then the first one serves.
    let _ = subscriber.try_init();
}

/// That level for our own crates, and warnings of everybody else.
fn ours(level: &str) -> String {
    let rooms = ["cli", "location", "repository", "postgres", "workload", "mount", "recovery", "agent"];
    let rooms = rooms.map(|room| format!("lifeboat_{room}={level}")).join(",");
    format!("{OTHERS},{rooms}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_sentence_and_exit_code_1() {
        let code = guarded(false, ExitCodes::Plain, || panic!("two\nlines"));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn recovery_never_takes_a_failure_for_the_end_of_the_log() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let fetch = ExitCodes::of(&words("lifeboat --config x wal fetch 000000010000000000000001 y"));
        let text = |code: ExitCode| format!("{code:?}");
        assert_eq!(text(fetch.code(FailureKind::NotFound)), text(ExitCode::from(3)));
        for kind in [FailureKind::Internal, FailureKind::Usage, FailureKind::Unavailable, FailureKind::Corrupt] {
            assert_eq!(text(fetch.code(kind)), text(ExitCode::from(128 + kind.exit_code())));
        }
        let standby = ExitCodes::of(&words("lifeboat wal fetch 000000010000000000000001 y --follows 3"));
        assert_eq!(
            text(standby.code(FailureKind::Unavailable)),
            text(ExitCode::from(5)),
            "a standby ends by 126 and more"
        );
        assert_eq!(
            text(ExitCodes::of(&words("lifeboat wal push x")).code(FailureKind::Usage)),
            text(ExitCode::from(2))
        );
    }
}
