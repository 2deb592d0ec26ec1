//! PostgreSQL refuses to run as root, and so does its demo: as root everything is done by an account without rights.

use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use lifeboat_postgres::cluster::Programs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the demo again as `postgres` or `nobody` when we are root; the result is that run's. `None`: we aren't root.
pub fn run_as_somebody_else(
    programs: &Programs,
    keep: bool,
    output: &Output,
) -> Result<Option<Result<(), Failure>>, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let failed =
        |what: &str, error: &std::io::Error| Failure::from_error(FailureKind::Unavailable, error).while_doing(what);
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|error| failed("read /etc/passwd", &error))?;
    let (name, uid, gid) = ["postgres", "nobody"].iter().find_map(|name| find(&passwd, name)).ok_or_else(|| {
        Failure::new(FailureKind::NotFound, "PostgreSQL does not run as root, and there is no user postgres or nobody")
            .with_hint("run the demo as another user")
    })?;
    output.hint(&format!("running as {name}, because PostgreSQL does not run as root"));
    // Our own program may lie where that account can't reach it.
    let program = copy_of_ourselves().map_err(|error| failed("copy this program for another account", &error))?;
    let mut command = Command::new(&program);
    command.arg("demo").arg("--bin-dir").arg(programs.directory());
    if keep {
        command.arg("--keep");
    }
    if output.is_json() {
        command.arg("--json");
    }
    if output.is_quiet() {
        command.arg("--quiet");
    }
    let status = command.uid(uid).gid(gid).current_dir("/").env("HOME", "/nonexistent").status();
    let _ = program.parent().map(std::fs::remove_dir_all);
    let status = status.map_err(|error| failed("run the demo as another account", &error))?;
    // It has told its failure itself.
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(Some(Ok(())))
}

fn find(passwd: &str, name: &str) -> Option<(String, u32, u32)> {
    let fields: Vec<&str> = passwd.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
    Some((name.to_owned(), fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn copy_of_ourselves() -> std::io::Result<PathBuf> {
    let directory = super::stage::make_directory(&std::env::temp_dir(), "lifeboat-demo-program")?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
    let program = directory.join("lifeboat");
    std::fs::copy(std::env::current_exe()?, &program)?;
    std::fs::set_permissions(Path::new(&program), std::fs::Permissions::from_mode(0o755))?;
    Ok(program)
}
