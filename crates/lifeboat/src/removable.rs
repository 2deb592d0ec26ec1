//! Removable locations: is the disk there? A mount point without its disk is an empty directory, and nothing may be written there.
//!
//! What tells the disk from the empty directory is the repository on it. An error on the way to it (a disk that is dying) is no
//! absence: then the location is asked, and says what is wrong.

use crate::config::{Config, LocationConfig, Media, SyncKeeping, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::{MarkedPoint, SyncRecord};
use std::io::ErrorKind;
use std::path::Path;

/// What shows that a repository is here, or was.
const SIGNS: [&str; 4] = ["lifeboat.json", "keys", "packs", "points"];

/// Whether this is a removable location whose disk isn't there.
pub fn is_absent(location: &LocationConfig) -> bool {
    let Some(directory) = location.url.directory().filter(|_| location.media == Media::Removable) else { return false };
    SIGNS.iter().all(|sign| is_missing(&directory.join(sign)))
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Names of locations that can be used, and of removable ones that are absent.
pub fn attached(config: &Config, names: &[String]) -> (Vec<String>, Vec<String>) {
    let is_here = |name: &&String| !config.locations.get(*name).is_some_and(is_absent);
    names.iter().cloned().partition(|name| is_here(&name))
}

/// The failure of a command that needs the disk.
pub fn not_attached(config: &Config, name: &str) -> Failure {
    let directory = config.locations.get(name).and_then(|location| location.url.directory());
    let directory = directory.unwrap_or(Path::new("")).display();
    let message = format!("location {name} is not attached: {directory} holds no repository");
    Failure::new(FailureKind::NotFound, message)
        .with_hint(format!("mount the disk and run it again; for a new disk: `lifeboat sync {name} --init-new`"))
}

/// How far behind a removable location is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Currency {
    Never,
    Synced {
        at: Timestamp,
        /// Points of today that it lacked then.
        behind: usize,
    },
}

/// From the newest record of a location and the points that there are.
pub fn currency<'a>(record: Option<&SyncRecord>, points: impl Iterator<Item = &'a MarkedPoint>) -> Currency {
    match record {
        None => Currency::Never,
        Some(record) => {
            let behind = points.filter(|point| !record.points.contains(point)).count();
            Currency::Synced { at: record.synced_at, behind }
        }
    }
}

/// Whether a copy of this age is too old. Without a `max_age` none is.
pub fn is_too_old(location: &LocationConfig, currency: &Currency, now: Timestamp) -> bool {
    let Some(max_age) = location.removable.max_age.and_then(|age| SignedDuration::try_from(age).ok()) else {
        return false;
    };
    match currency {
        Currency::Never => true,
        Currency::Synced { at, .. } => now.duration_since(*at) > max_age,
    }
}

/// Those of the locations that are always there: ages and figures are judged of them, of disks `check` judges by `max_age`.
pub fn standing(config: &Config, names: &[String]) -> Vec<String> {
    let is_disk = |name: &String| config.locations.get(name).is_some_and(|place| place.media == Media::Removable);
    names.iter().filter(|name| !is_disk(name)).cloned().collect()
}

/// Where the log of a workload goes as it is written: to disks only when nothing else is configured, or when commits wait for them.
/// What is on a disk alone leaves with it; the next backup and `sync` bring a disk the rest.
pub fn for_the_log(config: &Config, workload: &WorkloadConfig) -> Vec<String> {
    let standing = standing(config, &workload.locations);
    let enough = match workload.synchronous.as_ref().map(|synchronous| &synchronous.keeping) {
        Some(SyncKeeping::Count(count)) => standing.len() >= *count,
        Some(SyncKeeping::Named(named)) => named.iter().all(|name| standing.contains(name)),
        Some(SyncKeeping::Spool(_)) | None => true,
    };
    if standing.is_empty() || !enough { workload.locations.clone() } else { standing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{UnknownKeys, parse};
    use lifeboat_repository::PointId;

    fn location(directory: &Path, media: &str) -> LocationConfig {
        let more = if media == "removable" { "max_age = \"7d\"" } else { "" };
        let text = format!(
            "[location.a]\nurl = \"file://{}\"\nmedia = \"{media}\"\n{more}\n[encryption]\npassphrase = {{ env = \"X\" }}",
            directory.display()
        );
        parse("x", &text, UnknownKeys::Refuse).unwrap().config.locations.remove("a").unwrap()
    }

    #[test]
    fn an_empty_mount_point_is_no_disk_and_a_damaged_disk_is_one() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("mnt");
        assert!(is_absent(&location(&empty, "removable")), "not even a directory");
        std::fs::create_dir(&empty).unwrap();
        assert!(is_absent(&location(&empty, "removable")));
        assert!(!is_absent(&location(&empty, "disk")), "such a disk must be there");
        std::fs::create_dir(empty.join("packs")).unwrap();
        assert!(!is_absent(&location(&empty, "removable")), "lifeboat.json is lost, and that must be told");
    }

    #[test]
    fn age_and_what_is_behind() {
        let point = |id: &str| MarkedPoint { workload: "shop".into(), point: PointId(id.into()) };
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let record = |days: i64| SyncRecord {
            location: "a".into(),
            synced_at: now - SignedDuration::from_hours(days * 24),
            verified: "structure".into(),
            points: vec![point("1"), point("2")],
        };
        let points = [point("2"), point("3")];
        let disk = location(Path::new("/mnt/a"), "removable");
        for (age, too_old) in [(6, false), (8, true)] {
            let currency = currency(Some(&record(age)), points.iter());
            assert!(matches!(currency, Currency::Synced { behind: 1, .. }), "{currency:?}");
            assert_eq!(is_too_old(&disk, &currency, now), too_old, "{age}");
        }
        assert!(is_too_old(&disk, &currency(None, points.iter()), now));
    }
}
