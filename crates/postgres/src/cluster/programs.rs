//! PostgreSQL's programs on this machine, and the account they run as.

use super::{ClusterError, Result, is_executable_file};
use crate::MajorVersion;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory with `initdb`, `pg_ctl`, `postgres`, and what major version they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    major: MajorVersion,
}

impl Programs {
    /// The programs for `major`: in `explicit` if given and nowhere else; otherwise in the directories of
    /// `search_path` (the caller's `PATH`), then where Debian, Red Hat and PostgreSQL's own installer put them.
    ///
    /// # Errors
    /// [`ClusterError::NoPrograms`] says where it looked. [`ClusterError::WrongVersion`] only for `explicit`:
    /// elsewhere other versions are passed by.
    pub fn find(major: MajorVersion, explicit: Option<&Path>, search_path: &[PathBuf]) -> Result<Self> {
        if let Some(directory) = explicit {
            let found = Self::in_directory(directory)?;
            if found.major == major {
                return Ok(found);
            }
            let (found, wanted) = (found.major.to_string(), major.to_string());
            return Err(ClusterError::WrongVersion { directory: directory.to_path_buf(), found, wanted });
        }
        let mut looked_in = search_path.to_vec();
        looked_in.push(format!("/usr/lib/postgresql/{major}/bin").into());
        looked_in.push(format!("/usr/pgsql-{major}/bin").into());
        looked_in.push("/usr/local/pgsql/bin".into());
        let found = looked_in.iter().filter_map(|directory| Self::in_directory(directory).ok());
        found.into_iter().find(|found| found.major == major).ok_or(ClusterError::NoPrograms { looked_in })
    }

    /// The programs in this directory, whatever supported version they are: `postgres` is asked.
    ///
    /// # Errors
    /// When one of the three is missing, or doesn't run, or is of a version that isn't supported.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        let missing = || ClusterError::NoPrograms { looked_in: vec![directory.to_path_buf()] };
        let has_all = |directory: &Path| {
            ["initdb", "pg_ctl", "postgres"].iter().all(|name| is_executable_file(&directory.join(name)))
        };
        if !has_all(directory) {
            return Err(missing());
        }
        // A directory of links to some of the programs: the others lie where the links lead.
        let real = std::fs::canonicalize(directory.join("postgres")).ok();
        let real = real.as_deref().and_then(Path::parent).filter(|real| has_all(real));
        let directory = real.unwrap_or(directory);
        let program = directory.join("postgres");
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ClusterError::Run { program, source })?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout)).ok_or_else(missing)?;
        Ok(Self { directory: directory.to_path_buf(), major })
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What they are.
    pub fn major(&self) -> MajorVersion {
        self.major
    }

    /// The path of one of them, such as `pg_waldump`; packages with the server alone lack most.
    ///
    /// # Errors
    /// [`ClusterError::ProgramMissing`].
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if is_executable_file(&path) {
            return Ok(path);
        }
        Err(ClusterError::ProgramMissing { program: name.to_owned(), directory: self.directory.clone() })
    }
}

/// From `postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)`.
fn major_of(version: &str) -> Option<MajorVersion> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u16>().ok()?.try_into().ok()
}

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The owner of `path` when we are root; `None`, ourselves, otherwise.
    ///
    /// # Errors
    /// When `path` can't be looked at.
    pub fn owner_when_root(path: &Path) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let data = std::fs::metadata(path).map_err(|source| ClusterError::File {
            what: "look at",
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Some(Self { uid: data.uid(), gid: data.gid() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)\n", Some(MajorVersion::V15)),
            ("postgres (PostgreSQL) 18beta1", Some(MajorVersion::V18)),
            ("postgres (PostgreSQL) 9.6.24", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), major, "{text}");
        }
    }
}
