//! Which file is the configuration: `--config`, `LIFEBOAT_CONFIG`, `./lifeboat.toml`, `/etc/lifeboat/lifeboat.toml`.

use super::{Clusters, Parsed, Problems, UnknownKeys, parse_clusters, parse_including, plan};
use std::io::Read;
use std::path::{Path, PathBuf};

/// More than a thousand workloads need; a wrong path to a large file stops here.
const FILE_SIZE_MAX_BYTES: u64 = 4 << 20;

const IN_THIS_DIRECTORY: &str = "lifeboat.toml";
const ON_THIS_MACHINE: &str = "/etc/lifeboat/lifeboat.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("no configuration: neither ./{IN_THIS_DIRECTORY} nor {ON_THIS_MACHINE} exists")]
    Nowhere,
    #[error("read configuration {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration {path} is larger than 4 MiB")]
    TooLarge { path: PathBuf },
    #[error("configuration {path} is not UTF-8 text")]
    NotText { path: PathBuf },
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub path: PathBuf,
    pub parsed: Parsed,
}

/// The file to read. One that was named (by option or environment) is not looked for elsewhere when it is missing.
pub fn search(named: Option<&Path>) -> Result<PathBuf, LoadError> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let usual = [IN_THIS_DIRECTORY, ON_THIS_MACHINE].into_iter().map(PathBuf::from);
    usual.into_iter().find(|path| path.symlink_metadata().is_ok()).ok_or(LoadError::Nowhere)
}

/// Finds and reads the configuration.
pub fn load(named: Option<&Path>, unknown_keys: UnknownKeys) -> Result<Loaded, LoadError> {
    let (path, text) = read_text(named)?;
    let included = |pattern: &str| plan::fetch(&path, pattern);
    let parsed = parse_including(&path.to_string_lossy(), &text, unknown_keys, &included)?;
    Ok(Loaded { path, parsed })
}

/// The same, only what concerns clusters.
pub fn load_clusters(named: Option<&Path>) -> Result<(PathBuf, Clusters), LoadError> {
    let (path, text) = read_text(named)?;
    let clusters = parse_clusters(&path.to_string_lossy(), &text)?;
    Ok((path, clusters))
}

fn read_text(named: Option<&Path>) -> Result<(PathBuf, String), LoadError> {
    let path = search(named)?;
    let text = read_file(&path)?;
    Ok((path, text))
}

/// The text of a file of the configuration.
pub(super) fn read_file(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_SIZE_MAX_BYTES {
        return Err(LoadError::TooLarge { path: path.to_path_buf() });
    }
    String::from_utf8(bytes).map_err(|_| LoadError::NotText { path: path.to_path_buf() })
}
