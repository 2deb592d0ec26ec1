//! From arguments to an exit code, whatever happens in between.

use crate::cli::Cli;
use crate::commands;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Runs the command line and says how it ended. A panic becomes one sentence and exit code 1.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let as_json = arguments.iter().any(|argument| argument == "--json");
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no message");
        let text = text.lines().collect::<Vec<_>>().join(" ");
        internal(format!("internal error at {place}: {text}")).tell(as_json);
    }));
    match catch_unwind(AssertUnwindSafe(|| parse_and_run(arguments))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            failure.tell(as_json);
            ExitCode::from(failure.kind.exit_code())
        }
        Err(_) => ExitCode::from(FailureKind::Internal.exit_code()),
    }
}

fn internal(message: String) -> Failure {
    Failure::new(FailureKind::Internal, message)
        .with_hint("this is a defect of Lifeboat; please report it with the command that led to it")
}

fn parse_and_run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // As with every other output: a reader that has gone away is not an error.
            let _ = error.print();
            return Ok(());
        }
        Err(error) => return Err(usage(&error)),
    };
    start_logging(&cli);
    let output = Output::new(cli.global.json, cli.global.quiet, cli.global.color);
    commands::dispatch(cli, &output)
}

/// Clap's finding in our form: one sentence, and a hint.
fn usage(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(FailureKind::Usage, "no command given").with_hint("`lifeboat --help` lists the commands");
    }
    let rendered = error.render().to_string();
    let sentence = rendered.split("\n\n").next().unwrap_or_default();
    let sentence = sentence.strip_prefix("error: ").unwrap_or(sentence);
    let message = sentence.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tips = rendered.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let mut hints: Vec<String> = tips.map(str::to_owned).collect();
    if hints.is_empty() {
        hints.push(match error.get(ContextKind::Usage) {
            Some(ContextValue::StyledStr(usage)) => {
                let usage = usage.to_string();
                let line = usage.lines().next().unwrap_or_default();
                format!("{}; `--help` tells more", line.replace("Usage: ", "usage: "))
            }
            _ => "`lifeboat --help` lists the commands and `lifeboat help COMMAND` their options".to_owned(),
        });
    }
    Failure::new(FailureKind::Usage, message).with_hint(hints.join("; "))
}

/// Logs are for people and go to stderr: warnings, and more with each `-v`. `LIFEBOAT_LOG` says it finer.
fn start_logging(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,lifeboat=info,lifeboat_cli=info",
        (false, 2) => "info,lifeboat=debug,lifeboat_cli=debug",
        (false, _) => "trace",
    };
    let level = match cli.global.verbose {
        1 | 2 if !cli.global.quiet => with_rooms(level),
        _ => level.to_owned(),
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
    let _ = std::io::stderr().flush();
}

/// The level of the program's own crates, said for each room.
fn with_rooms(level: &str) -> String {
    let wanted = level.rsplit('=').next().unwrap_or("info");
    let rooms = ["location", "repository", "postgres", "workload", "recovery"];
    let rooms = rooms.map(|room| format!("lifeboat_{room}={wanted}")).join(",");
    format!("{level},{rooms}")
}
