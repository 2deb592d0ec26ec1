//! What must be on this machine before a command can run. Does nothing when it is there.
//!
//! How a real component (PostgreSQL, an object store) is installed is known by `lifeboat-components`, which the tests
//! use too; this file only says which command needs which.

use crate::step;
use anyhow::Result;
use std::process::{Command, Stdio};

/// A PostgreSQL, which the demo loses and brings back.
pub fn for_demo() -> Result<()> {
    Ok(())
}

/// Every component that a test starts. `all`: those of the long tests too.
pub fn for_tests(_all: bool) -> Result<()> {
    Ok(())
}

/// Whether `cargo nextest` can be used; installs it where that is possible.
pub fn nextest() -> bool {
    if nextest_works() {
        return true;
    }
    let installed = step::run(
        "install cargo-nextest, the test runner (once; it compiles for some minutes)",
        step::cargo().args(["install", "--locked", "cargo-nextest"]),
    );
    match installed {
        Ok(()) => nextest_works(),
        Err(error) => {
            step::say(&format!("{error:#}: the tests run by `cargo test` instead"));
            false
        }
    }
}

fn nextest_works() -> bool {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
