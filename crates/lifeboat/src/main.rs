//! Entry of the program. Everything is in the library, where tests and fuzzers reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat_cli::run::main(std::env::args_os().collect())
}
