//! Runs a program to its end; a failure carries the last lines it said.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// How much of a failed program's output an error repeats.
const LINES_KEPT: usize = 20;

/// Runs it and returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} failed ({}):\n{}", output.status, last_lines(&format!("{text}\n{errors}")));
    }
    Ok(text)
}

/// The end of a log, for an error.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_KEPT)..].join("\n")
}

/// The program's path, looked up in `PATH`.
pub(crate) fn in_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}
