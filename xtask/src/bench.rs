//! `cargo xtask bench`: the races against peers. Each is one script in `bench/` that keeps its raw results in
//! `bench/results/`. What it races is installed first.

use crate::step;
use anyhow::{Context, Result, bail};
use lifeboat_components::{Component, install};
use std::path::PathBuf;
use std::process::Command;

/// What the races need beside Lifeboat.
const PEERS: [Component; 9] = [
    Component::Postgres(15),
    Component::PgBackRest,
    Component::Barman,
    Component::Moto,
    Component::Namespaces,
    Component::Etcd,
    Component::Patroni,
    Component::PgAutoFailover,
    Component::HaProxy,
];

/// The first argument names a race; what follows goes to its script.
pub fn run(arguments: &[String]) -> Result<()> {
    let scripts = scripts()?;
    let (wanted, rest): (Vec<PathBuf>, &[String]) = match arguments {
        [] => (scripts, &[]),
        [all, rest @ ..] if all == "all" => (scripts, rest),
        [race, rest @ ..] => {
            let named = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == race.as_str());
            (scripts.into_iter().filter(named).collect(), rest)
        }
    };
    if wanted.is_empty() {
        bail!("no such race in bench/ (a race is bench/<name>.py)");
    }
    for peer in PEERS {
        install(peer).with_context(|| format!("install {peer:?}"))?;
    }
    step::run("build the release", step::cargo().args(["build", "--locked", "--release", "--package", "lifeboat"]))?;
    for script in wanted {
        let mut race = Command::new("python3");
        race.arg(&script).args(rest).current_dir(step::root());
        step::run(&format!("race {}", script.display()), &mut race)?;
    }
    Ok(())
}

fn scripts() -> Result<Vec<PathBuf>> {
    let directory = step::root().join("bench");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}
