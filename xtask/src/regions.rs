//! `cargo xtask regions`: from a fresh clone to three regions on this machine that can be broken, in one command.

use crate::{install, step};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;

pub fn run(arguments: &[String]) -> Result<()> {
    // Before minutes are spent on building.
    let wants_help = arguments.iter().any(|argument| ["--help", "-h", "help"].contains(&argument.as_str()));
    if !wants_help && !step::is_root() {
        bail!("regions as network namespaces need root\nhint: sudo -E env PATH=\"$PATH\" cargo xtask regions");
    }
    if !wants_help {
        install::for_regions(major(arguments))?;
    }
    // As the tests build it: agents decide as soon, and it is there sooner, often at once.
    let mut build = step::cargo();
    build.args(["build", "--locked", "--package", "lifeboat", "--package", "lifeboat-example"]);
    step::run("build Lifeboat (the first time compiles its dependencies: some minutes on two cores)", &mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), Into::into);
    let program = target.join("debug/lifeboat-regions");
    // It takes our place: signals and the terminal are its own.
    let error = std::process::Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}

/// Which PostgreSQL is asked for; what isn't understood is refused by the program itself.
fn major(arguments: &[String]) -> &str {
    let mut words = arguments.iter().flat_map(|argument| argument.split('='));
    words.find(|word| *word == "--postgres").and_then(|_| words.next()).unwrap_or("15")
}
