//! `lifeboat.json`: what makes a place a repository, and says which.
//!
//! It is the same in every location, and every key record carries it: lost or damaged, it is known all the same, and a repository
//! without it can be read.

use crate::error::{Error, Result};
use crate::open::{Replica, RepositoryId, check_key_record, copy_of_keys, parse_key_record};
use bytes::Bytes;
use lifeboat_location::{ErrorKind, PutOutcome};
use serde::{Deserialize, Serialize};

/// Its key.
pub(crate) const ROOT_KEY: &str = "lifeboat.json";
const FORMAT: u16 = 1;

/// `lifeboat.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Root {
    format: u16,
    pub(crate) repository: RepositoryId,
    created_at: jiff::Timestamp,
    about: String,
    /// BLAKE3 over the other fields, so that a flipped bit in here is found too.
    checksum: String,
}

impl Root {
    /// Of a repository that begins now.
    pub(crate) fn new(repository: RepositoryId) -> Self {
        let mut root = Self {
            checksum: String::new(),
            format: FORMAT,
            repository,
            created_at: jiff::Timestamp::now(),
            about: "a Lifeboat repository; docs/format/ of the project says how to read it without Lifeboat".into(),
        };
        root.checksum = root.sum();
        root
    }

    fn sum(&self) -> String {
        let text = format!("{}\n{}\n{}\n{}", self.format, self.repository, self.created_at, self.about);
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The one text this document has: another one was changed.
    pub(crate) fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::Internal(error.to_string()))
    }

    fn parse(object: &str, bytes: &[u8]) -> Result<Self> {
        let root: Self = serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error.to_string()))?;
        if root.format != FORMAT {
            return Err(Error::NewerFormat { object: object.into(), found: root.format, known: FORMAT });
        }
        root.repository.bytes()?;
        if root.checksum != root.sum() || root.text()? != bytes {
            return Err(Error::corrupt(object, "changed since it was written"));
        }
        Ok(root)
    }
}

/// Checks `lifeboat.json` of an open repository.
pub(crate) fn check_root(bytes: &[u8], id: &RepositoryId) -> Result<()> {
    let root = Root::parse(ROOT_KEY, bytes)?;
    (&root.repository == id).then_some(()).ok_or_else(|| Error::corrupt(ROOT_KEY, "names another repository"))
}

/// Reads `lifeboat.json`, for those who only want to know whether it can be read.
pub fn parse_root(object: &str, bytes: &[u8]) -> Result<RepositoryId> {
    Root::parse(object, bytes).map(|root| root.repository)
}

/// Whether something of a repository is stored there.
async fn has_data(replica: &Replica) -> Result<bool> {
    for prefix in ["points/", "wal/", "packs/"] {
        if !replica.location.list(prefix).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the key records of a place say about its lost `lifeboat.json`.
pub(crate) async fn root_in_keys(replica: &Replica) -> Result<Option<Root>> {
    for (key, bytes) in copy_of_keys(replica).await? {
        let Ok(record) = check_key_record(&key, &bytes).and_then(|()| parse_key_record(&key, &bytes)) else { continue };
        if let Some(root) = record.root.filter(|root| root.format == FORMAT && root.checksum == root.sum()) {
            return Ok(Some(root));
        }
    }
    Ok(None)
}

pub(crate) async fn read_root(replica: &Replica) -> Result<Root> {
    let address = replica.location.address();
    let bytes = match replica.location.get(ROOT_KEY).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound && has_data(replica).await? => {
            return Err(Error::RootLost { address });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NotARepository { address }),
        Err(error) => return Err(error.into()),
    };
    let object = format!("{address}/{ROOT_KEY}");
    Root::parse(&object, &bytes)
}

/// The document as it is there, or as the keys beside it know it; with what is wrong with it.
///
/// # Errors
/// When neither tells, when the place is none of a repository, when a newer version wrote it.
pub(crate) async fn find_root(replica: &Replica) -> Result<(Root, Option<Error>)> {
    match read_root(replica).await {
        Ok(root) => Ok((root, None)),
        Err(error @ (Error::RootLost { .. } | Error::Corrupt { .. })) => match root_in_keys(replica).await? {
            Some(root) => Ok((root, Some(error))),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Refuses a place that holds another repository than the first one.
pub(crate) fn same_repository(replica: &Replica, root: &Root, other: &Replica, expected: &Root) -> Result<()> {
    if root.repository == expected.repository {
        return Ok(());
    }
    Err(Error::OtherRepository {
        address: replica.location.address(),
        found: root.repository.to_string(),
        other: other.location.address(),
        expected: expected.repository.to_string(),
    })
}

/// Keys first, `lifeboat.json` last: it is what makes the place a repository.
pub(crate) async fn write_root(replica: &Replica, root: &Root, records: &[(String, Bytes)]) -> Result<()> {
    for (key, bytes) in records {
        replica.location.put_new(key, bytes.clone()).await?;
    }
    match replica.location.put_new(ROOT_KEY, root.text()?.into()).await? {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => {
            Err(Error::Conflict { name: format!("{}/{ROOT_KEY}", replica.location.address()) })
        }
    }
}
