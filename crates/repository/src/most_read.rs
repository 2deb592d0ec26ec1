//! What of a point's files was read most: where whoever brings them bit by bit should begin.
//!
//! It is a help and no more: it lies in the `details` of a result, as `read`, and whoever can't use it does without. Files are named by
//! their paths, so that it helps with other points too.
//!
//! Not here: who reads, and why.

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::newest::name_of;
use crate::open::Repository;
use crate::verification::Verification;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// The unit of what is listed, in bytes. Smaller ones would make a longer list, and cost more requests than bytes are saved.
pub const MOST_READ_UNIT_BYTES: u64 = 1 << 20;
/// The longest list, as it is written: some 1500 runs of files with short names.
const LIST_BYTES_MAX: usize = 64 << 10;
/// The shortest list, as it is written.
const EMPTY_BYTES: usize = r#"{"unit":1048576,"parts":[]}"#.len();
/// So many results of a location are read to find one with a list.
const RESULTS_READ_MAX: usize = 8;
/// A result is some pages of text and the list: what is larger is none.
const RESULT_BYTES_MAX: u64 = 4 << 20;

/// Units of one file that follow each other, and were read about as much: its path, the first one, how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRun(pub String, pub u32, pub u32);

impl ReadRun {
    /// Which bytes of the file. It may end before.
    pub fn bytes(&self) -> Range<u64> {
        let first = u64::from(self.1);
        first * MOST_READ_UNIT_BYTES..(first + u64::from(self.2)) * MOST_READ_UNIT_BYTES
    }
}

/// What was read, the most of it first. No part of a file is in it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MostRead {
    unit: u64,
    parts: Vec<ReadRun>,
}

impl Default for MostRead {
    fn default() -> Self {
        Self { unit: MOST_READ_UNIT_BYTES, parts: Vec::new() }
    }
}

impl MostRead {
    /// Of how much was read of each unit of some files, each named once. Read about as much (up to twice) counts as the same: so units that
    /// follow each other stay together. What doesn't fit in the list is what was read least.
    pub fn of(files: impl IntoIterator<Item = (String, Vec<u32>)>) -> Self {
        let mut by_amount: BTreeMap<u32, Vec<ReadRun>> = BTreeMap::new();
        for (path, amounts) in files {
            let mut from = 0;
            for alike in amounts.chunk_by(|one, other| doublings(*one) == doublings(*other)) {
                let (first, count) = (from, alike.len() as u32);
                from += count;
                if let Some(amount) = doublings(alike[0]) {
                    by_amount.entry(amount).or_default().push(ReadRun(path.clone(), first, count));
                }
            }
        }
        let mut room = LIST_BYTES_MAX - EMPTY_BYTES;
        let mut fits = |run: &ReadRun| {
            let needed = serde_json::to_string(run).map_or(usize::MAX, |text| text.len() + 1);
            let left = room.checked_sub(needed);
            room = left.unwrap_or(0);
            left.is_some()
        };
        let parts = by_amount.into_values().rev().flatten().take_while(|run| fits(run)).collect();
        Self { parts, ..Self::default() }
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[ReadRun] {
        &self.parts
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// None: nothing was read.
fn doublings(amount: u32) -> Option<u32> {
    amount.checked_ilog2()
}

/// Reads the text of a list.
pub fn parse(object: &str, json: &[u8]) -> Result<MostRead> {
    let corrupt = |what: String| Error::corrupt(object, what);
    if json.len() > LIST_BYTES_MAX {
        return Err(corrupt(format!("a list of {} bytes, and there can be {LIST_BYTES_MAX} at most", json.len())));
    }
    let list: MostRead = serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?;
    if list.unit != MOST_READ_UNIT_BYTES {
        return Err(corrupt(format!("a unit of {} bytes isn't known", list.unit)));
    }
    let mut by_path: HashMap<&str, Vec<Range<u64>>> = HashMap::new();
    for run in &list.parts {
        if run.2 == 0 {
            return Err(corrupt("a run without units".into()));
        }
        by_path.entry(&run.0).or_default().push(run.bytes());
    }
    for runs in by_path.values_mut() {
        runs.sort_unstable_by_key(|run| run.start);
        if runs.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(corrupt("a part of a file is in it twice".into()));
        }
    }
    Ok(list)
}

impl Repository {
    /// The list of the newest test restore of a workload that has one, of whatever point. What can't be used is told, and an older one is
    /// looked for; a location that doesn't answer is passed over.
    pub async fn most_read(&self, workload: &str, notes: &mut Vec<String>) -> Option<MostRead> {
        let prefix = format!("verifications/{workload}/");
        for replica in &self.replicas {
            let Ok(mut entries) = replica.location.list(&prefix).await else { continue };
            entries.retain(|entry| entry.size <= RESULT_BYTES_MAX && name_of(entry).ends_with("-boot"));
            entries.sort_by(|one, other| name_of(other).cmp(name_of(one)));
            for entry in entries.iter().take(RESULTS_READ_MAX) {
                let Ok(bytes) = replica.location.get(&entry.key).await else { continue };
                let Ok(json) = self.unseal(ContainerKind::Document, &entry.key, &bytes) else { continue };
                let Ok(result) = serde_json::from_slice::<Verification>(&json) else { continue };
                let Some(list) = result.details.get("read").filter(|_| result.workload == workload) else { continue };
                match parse(&entry.key, list.to_string().as_bytes()) {
                    Ok(list) if list.is_empty() => {}
                    Ok(list) => return Some(list),
                    Err(error) => notes.push(format!("what was read most is not known: {error}")),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(list: &MostRead) -> Vec<u8> {
        serde_json::to_vec(list).unwrap()
    }

    #[test]
    fn what_was_read_most_comes_first_and_neighbours_stay_together() {
        let list = MostRead::of([
            ("base/5/1".to_owned(), vec![0, 1, 1, 0, 128, 70]),
            ("base/5/2".to_owned(), vec![0, 0]),
            ("base/5/3".to_owned(), vec![5, 64, 127]),
        ]);
        let runs: Vec<_> = list.runs().iter().map(|run| (run.0.as_str(), run.1, run.2)).collect();
        let expected =
            [("base/5/1", 4, 1), ("base/5/1", 5, 1), ("base/5/3", 1, 2), ("base/5/3", 0, 1), ("base/5/1", 1, 2)];
        assert_eq!(runs, expected);
        assert_eq!(list.runs()[2].bytes(), 1 << 20..3 << 20);
        assert!(MostRead::of([]).is_empty());
    }

    #[test]
    fn what_no_list_can_be_is_refused() {
        let list = |parts: &str| format!(r#"{{"unit":1048576,"parts":[{parts}]}}"#);
        for (json, says) in [
            (list(r#"["a",0,0]"#), "without units"),
            (list(r#"["a",0,2],["b",0,1],["a",1,1]"#), "twice"),
            (list(r#"["a",-1,2]"#), "invalid value"),
            (list(r#"["a",0,4294967296]"#), "invalid value"),
            (list("").replace("1048576", "8192"), "isn't known"),
            (list(&format!(r#"["{}",0,1]"#, "x".repeat(LIST_BYTES_MAX))), "at most"),
            ("[]".into(), "invalid length"),
        ] {
            let error = parse("verifications/shop", json.as_bytes()).expect_err(&json).to_string();
            assert!(error.contains(says), "{error}");
        }
        let most = parse("", list(r#"["a",4294967295,4294967295]"#).as_bytes()).unwrap();
        assert_eq!(most.runs()[0].bytes().start, u64::from(u32::MAX) << 20);
    }

    proptest! {
        /// Whatever was read is a list that fits, is read as it was written, and lacks only what was read least.
        #[test]
        fn what_is_written_is_read(
            files in prop::collection::btree_map("[a-z\"/\u{e9}]{0,60}", prop::collection::vec(0u32..300, 0..60), 0..80)
        ) {
            let list = MostRead::of(files.clone());
            prop_assert!(text(&list).len() <= LIST_BYTES_MAX);
            prop_assert_eq!(&parse("", &text(&list)).unwrap(), &list);
            let least = |run: &ReadRun| files[&run.0][run.1 as usize..][..run.2 as usize].iter().copied().min().unwrap();
            prop_assert!(list.runs().windows(2).all(|pair| least(&pair[0]) > least(&pair[1]) / 2));
            let listed: u64 = list.runs().iter().map(|run| u64::from(run.2)).sum();
            let read = files.values().flatten().filter(|amount| **amount > 0).count() as u64;
            prop_assert!(listed == read || text(&list).len() > LIST_BYTES_MAX - 400, "{} of {}", listed, read);
        }

        #[test]
        fn any_bytes_are_a_list_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let _ = parse("", &bytes);
            let written = text(&MostRead::of([("base/5/1".into(), vec![1, 9, 200]), ("b".into(), vec![7])]));
            prop_assert!(parse("", &written[..cut.index(written.len())]).is_err());
            let (mut changed, at) = (written, cut.index(60));
            changed[at] = bytes.first().copied().unwrap_or_default();
            if let Ok(list) = parse("", &changed) {
                prop_assert_eq!(parse("", &text(&list)).unwrap(), list);
            }
        }
    }
}
