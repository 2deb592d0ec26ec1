//! Secrets: where they are kept, and a value that doesn't show itself.
//!
//! The configuration holds only references, so that it can be copied, printed and kept beside the backups.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Larger than any key or passphrase; a wrong path to a large file stops here.
const SECRET_SIZE_MAX_BYTES: u64 = 64 << 10;

/// A secret in memory. It doesn't print itself, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The content of a file, without its last line break.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// What a program prints, without its last line break. Program and arguments; no shell.
    Command(Vec<String>),
}

/// The secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("read secret file {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("environment variable {0} is not set")]
    NotSet(String),
    #[error("run secret command `{program}`")]
    Start { program: String, source: std::io::Error },
    #[error("secret command `{program}` ended with {status}")]
    Command { program: String, status: std::process::ExitStatus },
    #[error("the secret in {0} is empty")]
    Empty(String),
    #[error("the secret in {0} is larger than 64 KiB")]
    TooLarge(String),
    #[error("the secret in {0} is not UTF-8 text")]
    NotText(String),
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Command(words) => write!(f, "command `{}`", words.first().map_or("", |program| program)),
        }
    }
}

impl SecretSource {
    /// Its file, if others than its owner may read that.
    pub fn is_open_to_others(&self) -> Option<&Path> {
        let Self::File(path) = self else { return None };
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o077 != 0).then_some(path)
    }

    /// Fetches the secret. An empty one is an error: it is a mistake more often than a wish.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let mut bytes = match self {
            Self::File(path) => read_file(path)?,
            Self::Environment(name) => {
                let value = std::env::var_os(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value))
            }
            Self::Command(words) => run(words)?,
        };
        if bytes.len() as u64 > SECRET_SIZE_MAX_BYTES {
            return Err(SecretError::TooLarge(self.to_string()));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText(self.to_string()))?;
        if text.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(Secret::new(text))
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::File { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(SECRET_SIZE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The command may ask on the terminal (a password manager does), so input and stderr are ours, and there is no time limit.
fn run(words: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (program, arguments) = words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments).stderr(Stdio::inherit()).stdin(Stdio::inherit());
    let output = command.output().map_err(|source| SecretError::Start { program: program.to_owned(), source })?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(SecretError::Command { program: program.to_owned(), status: output.status });
    }
    Ok(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn each_source_gives_its_secret_without_the_last_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        std::fs::write(&path, "correct horse \n").unwrap();
        assert_eq!(SecretSource::File(path.clone()).resolve().unwrap().expose(), "correct horse ");
        for (mode, is_open) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(SecretSource::File(path.clone()).is_open_to_others().is_some(), is_open, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let printf = SecretSource::Command(vec!["printf".into(), "battery\\r\\n".into()]);
        assert_eq!(printf.resolve().unwrap().expose(), "battery");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(SecretSource::File(path.clone()).resolve(), Err(SecretError::Empty(_))));
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(matches!(SecretSource::File(path).resolve(), Err(SecretError::TooLarge(_))));
        assert!(matches!(SecretSource::Command(vec!["false".into()]).resolve(), Err(SecretError::Command { .. })));
        let unset = SecretSource::Environment("LIFEBOAT_TEST_NEVER_SET".into());
        assert!(matches!(unset.resolve(), Err(SecretError::NotSet(_))));
    }
}
