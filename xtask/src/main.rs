//! What the README's commands run: `cargo xtask demo`, `regions`, `test`, `coverage`, `install`, `bench`.
//!
//! Each command is a list of steps; a step says what it does before it starts, and the first failing one ends the run.

mod bench;
mod coverage;
mod demo;
mod install;
mod regions;
mod step;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo [ARGUMENTS]         build Lifeboat and run `lifeboat demo`: the main job, on this machine, nothing configured
  regions [ARGUMENTS]      three regions on this machine, clients that write, and keys that break things: what failover does (as root)
  test [--all] [FILTER]    install what the tests need, then formatting, lints and every test
                           --all adds the tests that take long; FILTER runs only tests whose name contains it
  coverage                 how much of each room its own tests run; fails when a room falls below its floor
  install [NAME]...        install components: those named (postgres-17, moto, garage, ...), or what the tests need
  bench [RACE]             build the release and run the races in bench/ (one, or `all`)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &arguments[..]),
    };
    let outcome = match command {
        "demo" => demo::run(rest),
        "regions" => regions::run(rest),
        "test" => test::run(rest),
        "coverage" => coverage::run(rest),
        "install" => install::run(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
