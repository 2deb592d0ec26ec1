//! `cargo xtask demo`: from a fresh clone to `lifeboat demo` in one command.

use crate::{install, step};
use anyhow::Result;

pub fn run(arguments: &[String]) -> Result<()> {
    let programs = install::for_demo()?;
    step::run(
        "build Lifeboat (the first time compiles its dependencies: some minutes on two cores)",
        step::cargo().args(["build", "--locked", "--profile", "demo", "--package", "lifeboat"]),
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), Into::into);
    let binary = target.join("demo/lifeboat");
    step::run(
        "lifeboat demo",
        std::process::Command::new(binary).arg("demo").arg("--bin-dir").arg(programs).args(arguments),
    )
}
