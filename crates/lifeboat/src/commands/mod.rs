//! One file for each command. A command reads its arguments, calls a room, and prints what the room returned.

mod agent;
mod alarms;
mod backup;
mod check;
mod cluster;
mod completions;
mod copy;
mod demo;
mod drill;
mod incident;
mod init;
mod key;
mod ledger;
mod man;
mod metrics;
mod open;
pub(crate) mod plan;
mod points;
mod proxy;
mod prune;
mod ready;
mod repair;
mod report;
mod rescue;
mod restore;
mod served;
mod standby;
mod sync;
mod verify;
mod wal;
mod when;

use crate::cli::{Cli, Command, Global};
use crate::config::{self, Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use std::path::PathBuf;

/// Runs the command that was typed.
pub fn dispatch(cli: Cli, output: &Output) -> Result<(), Failure> {
    match &cli.command {
        Command::Agent { cluster } => agent::run(&cli.global, cluster.as_deref(), output),
        Command::Proxy { cluster } => proxy::run(&cli.global, cluster.as_deref(), output),
        Command::Cluster(command) => cluster::run(&cli.global, command, output),
        Command::Standby(command) => standby::run(&cli.global, command, output),
        Command::Plan(command) => plan::run(&cli.global, command, output),
        Command::Ready(arguments) => ready::run(&cli.global, arguments, output),
        Command::Drill(command) => drill::run(&cli.global, command, output),
        Command::Ledger(command) => ledger::run(&cli.global, command, output),
        Command::Report(arguments) => report::run(&cli.global, arguments, output),
        Command::Incident(command) => incident::run(&cli.global, command, output),
        Command::DeadMan { deadline, data_dir, watchdog } => {
            lifeboat_agent::keep_watch(deadline, data_dir, watchdog.clone(), std::io::stdin());
            Ok(())
        }
        Command::Init => init::run(&cli.global, output),
        Command::Backup(arguments) => backup::run(&cli.global, arguments, output),
        Command::Copy(arguments) => copy::run(&cli.global, arguments, output),
        Command::Repair(arguments) => repair::run(&cli.global, arguments, output),
        Command::Prune(arguments) => prune::run(&cli.global, arguments, output),
        Command::Demo(arguments) => demo::run(arguments, output),
        Command::Wal(command) => wal::run(&cli.global, command, output),
        Command::Key(command) => key::run(&cli.global, command, output),
        Command::Check(arguments) => check::run(&cli.global, arguments, output),
        Command::Completions { shell } => completions::run(*shell, output),
        Command::Metrics(arguments) => metrics::run(&cli.global, arguments, output),
        Command::Man { to } => man::run(to.as_deref(), output),
        Command::Points(arguments) => points::run(&cli.global, arguments, output),
        Command::Restore(arguments) => restore::run(&cli.global, arguments, output),
        Command::Open(arguments) => open::open(&cli.global, arguments, output),
        Command::Close(arguments) => open::close(arguments, output),
        Command::Rescue(arguments) => rescue::run(&cli.global, arguments, output),
        Command::Sync(arguments) => sync::run(&cli.global, arguments, output),
        Command::When(arguments) => when::run(&cli.global, arguments, output),
        Command::Verify(arguments) => verify::run(&cli.global, arguments, output),
    }
}

/// Reads the configuration for a command. Warnings go to stderr.
pub fn load_config(global: &Global, unknown_keys: UnknownKeys, output: &Output) -> Result<(PathBuf, Config), Failure> {
    let loaded = config::load(global.config.as_deref(), unknown_keys)?;
    for warning in &loaded.parsed.warnings {
        output.warn(&warning.to_string());
    }
    Ok((loaded.path, loaded.parsed.config))
}

/// The thing of that name, or a failure that names the nearest.
pub fn find_named<'a, T>(
    what: &str,
    name: &str,
    all: &'a std::collections::BTreeMap<String, T>,
) -> Result<&'a T, Failure> {
    all.get(name).ok_or_else(|| {
        let failure = Failure::new(FailureKind::NotFound, format!("no {what} is named {name:?} in the configuration"));
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        match config::nearest(name, names.iter().copied()) {
            Some(near) => failure.with_hint(format!("did you mean {near}?")),
            None if names.is_empty() => failure.with_hint(format!("add a section [{what}.{name}]")),
            None => failure.with_hint(format!("there are {}", names.join(", "))),
        }
    })
}
