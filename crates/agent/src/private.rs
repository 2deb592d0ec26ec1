//! Directories that are their owner's alone.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub fn directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
