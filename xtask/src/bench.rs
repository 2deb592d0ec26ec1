//! `cargo xtask bench`: the races against peers. Each is one script in `bench/` that keeps its raw results beside it.

use crate::step;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

pub fn run(arguments: &[String]) -> Result<()> {
    let scripts = scripts()?;
    let wanted: Vec<PathBuf> = match arguments {
        [] => scripts,
        [race] => {
            scripts.into_iter().filter(|path| path.file_stem().is_some_and(|stem| stem == race.as_str())).collect()
        }
        _ => bail!("bench takes at most one race"),
    };
    if wanted.is_empty() {
        bail!("no such race in bench/ (a race is bench/<name>.sh)");
    }
    step::run("build the release", step::cargo().args(["build", "--locked", "--release", "--package", "lifeboat"]))?;
    for script in wanted {
        step::run(&format!("race {}", script.display()), Command::new("bash").arg(&script).current_dir(step::root()))?;
    }
    Ok(())
}

fn scripts() -> Result<Vec<PathBuf>> {
    let directory = step::root().join("bench");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}
