//! What a member must remember whatever happens: one small file, written before its promise is given.

use lifeboat_failover::{Durable, MemberName};
use lifeboat_postgres::SystemId;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The largest file that is read.
const BYTES_MAX: u64 = 64 * 1024;

/// Why what was promised isn't known. Without it nothing may be promised again.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    #[error("{what} {}", .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another agent looks after {}", .0.display())]
    InUse(PathBuf),
    #[error("{} holds the promises of {found}, not of {ours}", .path.display())]
    AnotherMember { path: PathBuf, ours: String, found: String },
    #[error("{} can't be understood: what this member has promised is not known", .path.display())]
    Damaged { path: PathBuf },
    #[error("{} is gone, and the journal beside it is not: what this member has promised is not known", .path.display())]
    Lost { path: PathBuf },
}

#[derive(Serialize, Deserialize)]
struct Content {
    cluster: String,
    member: MemberName,
    /// A text: JSON's numbers are too small for it elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    system_id: Option<String>,
    durable: Durable,
}

/// See the module. Held by one agent at a time.
#[derive(Debug)]
pub struct PromiseFile {
    directory: PathBuf,
    cluster: String,
    member: MemberName,
    system_id: Option<String>,
    _lock: File,
}

impl PromiseFile {
    /// Keeps every other agent from `data_dir`, whatever its own directory is, as long as the file lives. It lies beside the directory, which may be
    /// exchanged; `None`: nothing may be written there.
    ///
    /// # Errors
    /// [`PromiseError::InUse`].
    pub fn hold(data_dir: &Path) -> Result<Option<File>, PromiseError> {
        let mut name = data_dir.file_name().unwrap_or_default().to_os_string();
        name.push(".lifeboat-agent");
        let path = data_dir.with_file_name(name);
        let Ok(file) = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path) else {
            tracing::warn!(path = %path.display(), "can't be written: nothing keeps a second agent from this data directory");
            return Ok(None);
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PromiseError::InUse(data_dir.to_path_buf())),
            Err(error) => Err(PromiseError::File { what: "lock", path, source: error.into() }),
        }
    }

    /// Opens it, and keeps every other agent out as long as this value lives. Returns what was promised before.
    ///
    /// # Errors
    /// See [`PromiseError`].
    pub fn open(
        directory: &Path,
        cluster: &str,
        member: &MemberName,
        system_id: Option<SystemId>,
    ) -> Result<(Self, Durable), PromiseError> {
        let failed = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| PromiseError::File { what, path, source }
        };
        crate::private::directory(directory).map_err(failed("make", directory))?;
        let path = directory.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(failed("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                return Err(PromiseError::InUse(directory.to_path_buf()));
            }
            Err(error) => return Err(failed("lock", &path)(error.into())),
        }
        let system_id = system_id.map(|id| id.to_string());
        let file = Self {
            directory: directory.to_path_buf(),
            cluster: cluster.to_owned(),
            member: member.clone(),
            system_id,
            _lock: lock,
        };
        let durable = match file.read()? {
            Some(durable) => durable,
            None if directory.join(crate::journal::FILE).exists() => {
                return Err(PromiseError::Lost { path: file.path() });
            }
            None => {
                // From the first start on there is one: that it is gone is seen.
                file.write(&Durable::default()).map_err(failed("write", &file.path()))?;
                Durable::default()
            }
        };
        Ok((file, durable))
    }

    fn path(&self) -> PathBuf {
        self.directory.join("promises.json")
    }

    /// `None`: there is no file.
    fn read(&self) -> Result<Option<Durable>, PromiseError> {
        let path = self.path();
        let failed = |source| PromiseError::File { what: "read", path: path.clone(), source };
        let text = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(data) if data.len() > BYTES_MAX => return Err(PromiseError::Damaged { path }),
            Ok(_) => std::fs::read(&path).map_err(failed)?,
        };
        let content: Content =
            serde_json::from_slice(&text).map_err(|_| PromiseError::Damaged { path: path.clone() })?;
        let whose = |cluster: &str, member: &MemberName, system_id: Option<&String>| match system_id {
            Some(id) => format!("{member} of {cluster} (system {id})"),
            None => format!("{member} of {cluster}"),
        };
        let same_system =
            content.system_id.is_none() || self.system_id.is_none() || content.system_id == self.system_id;
        if content.cluster != self.cluster || content.member != self.member || !same_system {
            let ours = whose(&self.cluster, &self.member, self.system_id.as_ref());
            let found = whose(&content.cluster, &content.member, content.system_id.as_ref());
            return Err(PromiseError::AnotherMember { path, ours, found });
        }
        Ok(Some(content.durable))
    }

    /// Writes it down; durable when this returns. Blocks.
    ///
    /// # Errors
    /// When it isn't durable: nothing may be said as if it were.
    pub fn write(&self, durable: &Durable) -> io::Result<()> {
        let content = Content {
            cluster: self.cluster.clone(),
            member: self.member.clone(),
            system_id: self.system_id.clone(),
            durable: durable.clone(),
        };
        let aside = self.directory.join("promises.json.new");
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(&content)?)?;
        file.sync_all()?;
        std::fs::rename(&aside, self.path())?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_looks_after_a_data_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("data");
        let held = PromiseFile::hold(&data_dir).expect("the first");
        assert!(held.is_some());
        let second = PromiseFile::hold(&data_dir).expect_err("the second");
        assert_eq!(second.to_string(), format!("another agent looks after {}", data_dir.display()));
        drop(held);
        assert!(PromiseFile::hold(&data_dir).expect("the next").is_some());
    }
    use lifeboat_failover::Epoch;

    #[test]
    fn promises_are_kept_and_are_one_members_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ohio");
        let open = |cluster: &str, id: u64| PromiseFile::open(&path, cluster, &"ohio".into(), Some(SystemId(id)));
        let durable =
            Durable { promised: Epoch(7), promised_to: Some("virginia".into()), seen: Epoch(6), maintained: true };
        {
            let (file, before) = open("shop", 1).unwrap();
            assert_eq!(before, Durable::default());
            file.write(&durable).unwrap();
            assert!(matches!(open("shop", 1), Err(PromiseError::InUse(_))));
        }
        assert_eq!(open("shop", 1).unwrap().1, durable);
        let promises = path.join("promises.json");
        std::fs::write(path.join(crate::journal::FILE), b"").unwrap();
        std::fs::rename(&promises, path.join("away")).unwrap();
        assert!(matches!(open("shop", 1), Err(PromiseError::Lost { .. })));
        std::fs::rename(path.join("away"), &promises).unwrap();
        assert!(matches!(open("shop", 2), Err(PromiseError::AnotherMember { .. })));
        assert!(matches!(open("other", 1), Err(PromiseError::AnotherMember { .. })));
        std::fs::write(path.join("promises.json"), b"{\"cluster\"").unwrap();
        assert!(matches!(open("shop", 1), Err(PromiseError::Damaged { .. })));
    }
}
