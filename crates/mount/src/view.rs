//! What is seen through the mount, and what lies there.

use crate::root::PRIVATE_DIRECTORY;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".held-back";

/// How names differ between what is seen and what lies in the directory.
///
/// One file can be held back: it is called otherwise until everything is here, so that without the mount the directory is not what it
/// seems to be, and nobody takes it for whole.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The file that is held back, as it is seen.
    pub held_back: Option<PathBuf>,
}

impl View {
    /// Where that lies which is seen at `path`. None for what nobody is to see.
    pub fn stored(&self, path: PathBuf) -> Option<PathBuf> {
        if path.starts_with(PRIVATE_DIRECTORY) || self.held_back_name().is_some_and(|name| name == path) {
            return None;
        }
        match &self.held_back {
            Some(held_back) if *held_back == path => self.held_back_name(),
            _ => Some(path),
        }
    }

    /// How that is seen which lies in `directory` under `name`. None for what nobody is to see.
    pub fn seen(&self, directory: &Path, name: &OsStr) -> Option<OsString> {
        let path = if directory == Path::new(".") { PathBuf::from(name) } else { directory.join(name) };
        if path == Path::new(PRIVATE_DIRECTORY) {
            return None;
        }
        match &self.held_back {
            Some(held_back) if self.held_back_name().as_ref() == Some(&path) => {
                held_back.file_name().map(OsStr::to_os_string)
            }
            _ => Some(name.to_os_string()),
        }
    }

    /// How the file is called that is held back.
    pub fn held_back_name(&self) -> Option<PathBuf> {
        let mut name = self.held_back.clone()?.into_os_string();
        name.push(SUFFIX);
        Some(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_back_and_seen_all_the_same() {
        let view = View { held_back: Some("global/pg_control".into()) };
        let stored = |path: &str| view.stored(path.into());
        assert_eq!(stored("global/pg_control"), Some("global/pg_control.held-back".into()));
        assert_eq!(stored("global/pg_control.held-back"), None);
        assert_eq!(stored("global/1262"), Some("global/1262".into()));
        assert_eq!((stored(".lifeboat-mount"), stored(".lifeboat-mount/files/1")), (None, None));
        let seen = |directory: &str, name: &str| view.seen(Path::new(directory), OsStr::new(name));
        assert_eq!(seen("global", "pg_control.held-back"), Some("pg_control".into()));
        assert_eq!(seen(".", ".lifeboat-mount"), None);
        assert_eq!(seen(".", "base"), Some("base".into()));
        assert_eq!(seen("base", "pg_control.held-back"), Some("pg_control.held-back".into()));
        let plain = View::default();
        assert_eq!(plain.stored("global/pg_control".into()), Some("global/pg_control".into()));
    }
}
