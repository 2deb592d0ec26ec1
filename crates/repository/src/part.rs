//! Parts of log files: what is durable of a file that isn't whole yet, for somebody who waits for it.
//!
//! A part is named `<file>.<from>.<to>`, two offsets of eight hexadecimal digits, and stored as every file of a log is. Storing
//! one costs a single request: no look before and after, because two writers never cut a file alike, so a look at one
//! name finds nobody. Whoever lays parts together compares them, and sees two writers there.
//!
//! The one thing in a repository that its own writer removes, at once and without a mark: in a location that holds
//! the whole file, or a longer part in its place.

use crate::error::{Error, Result};
use crate::log::{SealedLog, Target, prefix_of};
use crate::open::Repository;
use lifeboat_location::{ErrorKind, PutOutcome};

/// A part that is durable in every location of the repository it was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPut {
    key: String,
}

impl Repository {
    /// Stores a part in all locations of this repository. Meant for one: [`Repository::only`].
    ///
    /// # Errors
    /// When one location hasn't got it durably.
    pub async fn put_part(&self, workload: &str, group: &str, name: &str, bytes: &[u8]) -> Result<PartPut> {
        let SealedLog { content_id, sealed } = self.seal_log(bytes, &[])?;
        let target = Target { prefix: format!("{}/{name}-", prefix_of(workload, group)), content_id };
        for replica in self.replicas() {
            match replica.location.put_new(&target.key(), sealed.bytes.clone()).await? {
                PutOutcome::Created => {}
                PutOutcome::AlreadyExists => self.compare(replica, &target).await?,
            }
        }
        Ok(PartPut { key: target.key() })
    }

    /// Removes a part that this process stored. The caller knows that every location here has what takes its place.
    ///
    /// # Errors
    /// When a location refuses or doesn't answer; a part that is gone already is a success.
    pub async fn remove_part(&self, part: &PartPut) -> Result<()> {
        for replica in self.replicas() {
            replica.location.delete(&part.key).await?;
        }
        Ok(())
    }
}

/// The stem that all that belongs to the file has (`wal/shop/7/1/0/000000010000000000000003`), and the two offsets.
fn span_of(key: &str) -> Option<(&str, u32, u32)> {
    let offset = |digits: &str| (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok()).flatten();
    let (named, _) = key.strip_prefix("wal/").and(key.rsplit_once('-'))?;
    let (rest, to) = named.rsplit_once('.')?;
    let (stem, from) = rest.rsplit_once('.')?;
    let (from, to) = (offset(from)?, offset(to)?);
    (from < to).then_some((stem, from, to))
}

/// Whether `key` is a part that tells nothing to whoever has the keys that `beginning` gives: the whole file, or parts that
/// cover it.
pub(crate) fn is_needless<'a>(key: &str, beginning: impl Fn(&str) -> Vec<&'a str>) -> bool {
    let Some((stem, from, to)) = span_of(key) else { return false };
    if !beginning(&format!("{stem}-")).is_empty() {
        return true;
    }
    let parts = beginning(&format!("{stem}."));
    let mut spans: Vec<(u32, u32)> =
        parts.into_iter().filter(|part| *part != key).filter_map(span_of).map(|(_, from, to)| (from, to)).collect();
    spans.sort_unstable();
    let reached =
        spans.iter().fold(from, |reached, span| if span.0 <= reached { reached.max(span.1) } else { reached });
    reached >= to
}

/// Whether `key` is a part, and the error says that it isn't there any more.
pub(crate) fn is_gone(key: &str, error: &Error) -> bool {
    matches!(error, Error::Location(error) if error.kind() == ErrorKind::NotFound) && span_of(key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_needless_beside_what_covers_it() {
        let id = "0123456789abcdef0123456789abcdef";
        let key = |name: &str| format!("wal/shop/7/1/0/{name}-{id}");
        let part = key("000000010000000000000003.00000010.00000020");
        for (there, expected) in [
            (&[][..], false),
            (&["000000010000000000000003"], true),
            (&["000000010000000000000004"], false),
            (&["000000010000000000000003.00000000.00000020"], true),
            (&["000000010000000000000003.00000010.00000018", "000000010000000000000003.00000018.00000021"], true),
            (&["000000010000000000000003.00000010.00000018", "000000010000000000000003.00000019.00000021"], false),
            (&["000000010000000000000003.00000010.00000020"], false),
        ] {
            let mut keys: Vec<String> = there.iter().map(|name| key(name)).collect();
            keys.sort();
            let beginning =
                |start: &str| keys.iter().filter(|key| key.starts_with(start)).map(String::as_str).collect();
            assert_eq!(is_needless(&part, beginning), expected, "{there:?}");
        }
        let all = |_: &str| vec!["anything"];
        for other in ["000000010000000000000003", "000000010000000000000003.00000028.backup", "identity"] {
            assert!(!is_needless(&key(other), all), "{other} is no part");
        }
        assert!(!is_needless("packs/00/a.00000001.00000002-00", all));
    }
}
