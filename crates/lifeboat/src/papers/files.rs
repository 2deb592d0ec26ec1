//! Papers on this machine's disk: for their owner only, whole or not at all.

use crate::failure::{Failure, FailureKind};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is in the beginning or the end of each paper that we wrote; nothing else is replaced.
const OURS: [&str; 3] = ["Recovery runbook", "Recovery report", "/Creator(lifeboat)"];
/// No paper is larger; what is, is none of ours.
const SIZE_MAX_BYTES: u64 = 64 << 20;

/// Writes NAME.ENDING for each form into the directory. Nothing is written when one of them would replace somebody else's file.
pub fn write(directory: &Path, name: &str, forms: &[(&'static str, Vec<u8>)]) -> Result<Vec<PathBuf>, Failure> {
    let paths: Vec<PathBuf> = forms.iter().map(|(ending, _)| directory.join(format!("{name}.{ending}"))).collect();
    for path in &paths {
        if !may_replace(path).map_err(|error| failed(path, &error))? {
            let message = format!("{} is there already, and is not a paper of Lifeboat's", path.display());
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("name another directory with --to DIR, or move the file"));
        }
    }
    for (path, (_, bytes)) in paths.iter().zip(forms) {
        write_whole(path, bytes).map_err(|error| failed(path, &error))?;
    }
    Ok(paths)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::from_error(FailureKind::Usage, error)
        .while_doing(format!("write {}", path.display()))
        .with_hint("name a directory that is there, and that this user may write to: --to DIR")
}

/// Whether nothing is there, or a paper of ours.
fn may_replace(path: &Path) -> io::Result<bool> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    // A link may lead anywhere.
    if !found.is_file() || found.len() > SIZE_MAX_BYTES {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(SIZE_MAX_BYTES).read_to_end(&mut bytes)?;
    let is_ours = |mark: &str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    Ok(OURS.iter().any(|mark| is_ours(mark)))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("that is no name of a file"))?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
