//! PostgreSQL refuses to run as root, and so does its demo: as root everything is done by an account without rights.

use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use lifeboat_postgres::cluster::Programs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const COPY_PREFIX: &str = "lifeboat-demo-program";

/// Becomes `postgres` or `nobody`, with the same demo, when we are root; then it doesn't return. Otherwise does nothing.
pub fn become_somebody_else(programs: &Programs, keep: bool, output: &Output) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let failed =
        |what: &str, error: &std::io::Error| Failure::from_error(FailureKind::Unavailable, error).while_doing(what);
    let known = ["postgres", "nobody"].into_iter().find_map(|name| rooms::account(name).map(|ids| (name, ids)));
    let (name, (uid, gid)) = known.ok_or_else(|| {
        Failure::new(FailureKind::NotFound, "PostgreSQL does not run as root, and there is no user postgres or nobody")
            .with_hint("run the demo as another user")
    })?;
    output.hint(&format!("running as {name}, because PostgreSQL does not run as root"));
    // Our own program may lie where that account can't reach it.
    let program = copy_for(uid, gid).map_err(|error| failed("copy this program for another account", &error))?;
    let mut command = Command::new(&program);
    command.arg("demo").arg("--bin-dir").arg(programs.directory());
    let options = [(keep, "--keep"), (output.is_json(), "--json"), (output.is_quiet(), "--quiet")];
    command.args(options.iter().filter(|(wanted, _)| *wanted).map(|(_, option)| option));
    let error = command.uid(uid).gid(gid).current_dir("/").env("HOME", "/nonexistent").exec();
    Err(failed("run the demo as another account", &error))
}

/// Removes the copy that we are, if we are one.
pub fn remove_copy() {
    let Ok(program) = std::env::current_exe() else { return };
    let Some(directory) = program.parent() else { return };
    if directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(COPY_PREFIX)) {
        // At worst a file is left in the temporary directory.
        let _ = std::fs::remove_dir_all(directory);
    }
}

fn copy_for(uid: u32, gid: u32) -> std::io::Result<PathBuf> {
    let directory = super::stage::make_directory(&std::env::temp_dir(), COPY_PREFIX)?;
    let program = directory.join("lifeboat");
    std::fs::copy(std::env::current_exe()?, &program)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::chown(&program, Some(uid), Some(gid))?;
    std::os::unix::fs::chown(&directory, Some(uid), Some(gid))?;
    Ok(program)
}
