//! What must be on this machine before a command can run. Does nothing when it is there.
//!
//! How a real component (PostgreSQL, an object store) is installed is known by `lifeboat-components`, which the tests
//! use too; this file only says which command needs which, and tells the person who waits.

use crate::step;
use anyhow::{Context, Result, bail};
use lifeboat_components::{Component, any_postgres, install};
use std::process::Stdio;

/// `cargo xtask install [NAME]...`: those, or what the tests need.
pub fn run(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return for_tests(false);
    }
    for name in names {
        let Some(component) = Component::from_name(name) else {
            bail!(
                "no component is named {name}; there are postgres-14 to postgres-18, moto, azurite, fake-gcs, garage, etcd, bind, pgbackrest, barman, patroni, pg-auto-failover, haproxy, python-reader, poppler"
            );
        };
        one(component)?;
    }
    Ok(())
}

/// A PostgreSQL, which the demo loses and brings back: one that is there, else one is installed.
pub fn for_demo() -> Result<std::path::PathBuf> {
    step::say("find a PostgreSQL for the demo, or install one");
    let found = any_postgres().context("find or install PostgreSQL")?;
    step::say(&format!("PostgreSQL {} in {}", found.major, found.programs.display()));
    Ok(found.programs)
}

/// What three regions on one machine are made of. A version that isn't one is refused later.
pub fn for_regions(major: &str) -> Result<()> {
    step::say("find PostgreSQL, etcd, ip and nft, or install them");
    let server = Component::from_name(&format!("postgres-{major}")).into_iter();
    server.chain([Component::Etcd, Component::Namespaces]).try_for_each(one)
}

/// Every component that a test starts. `all`: those of the long tests too.
pub fn for_tests(all: bool) -> Result<()> {
    step::say("install what the tests run against (the first time downloads several hundred megabytes)");
    for component in Component::FOR_TESTS {
        one(component)?;
    }
    if all {
        step::say("install Garage (the first time compiles it: some ten minutes)");
        one(Component::Garage)?;
    }
    Ok(())
}

fn one(component: Component) -> Result<()> {
    let place = install(component).with_context(|| format!("install {component:?}"))?;
    step::say(&format!("  {component:?}: {}", place.display()));
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
    let mut command = step::cargo();
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
