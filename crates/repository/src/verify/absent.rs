//! Finding what is gone: an object that no longer exists says nothing about itself, but others do.
//!
//! A location is compared with the others, and its points with their receipts. A location that was out of reach during a
//! backup lacks things too, until the next session brings it up to date: then it is not whole, and that is said.

use super::{Damage, IsHome};
use crate::copy::PREFIXES;
use crate::{part, receipt};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Folders below which the next part of a name is the workload's.
const OF_WORKLOADS: [&str; 5] = ["points", "receipts", "verifications", "wal", "holds"];

pub(crate) fn workload_of(key: &str) -> Option<&str> {
    let mut parts = key.split('/');
    parts.next().filter(|folder| OF_WORKLOADS.contains(folder)).and_then(|_| parts.next())
}

/// For every kind of object one line for what a location lacks of what another has and it should have too.
///
/// Whose a pack is can't be told from its name: a location that isn't meant to hold every workload is not blamed for
/// one. What its own points need is followed anyway. `lacks` says what a location (first) gave up on purpose (key), `is_new` what
/// was stored in one a moment ago, and may be on its way to the others: that is returned, by location.
pub(super) fn what_others_have<'a>(
    listings: &[(&'a str, BTreeSet<&'a str>)],
    is_home: IsHome<'_>,
    lacks: IsHome<'_>,
    is_new: IsHome<'_>,
    bad: &mut Vec<Damage>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut arriving: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let workloads: BTreeSet<&str> =
        listings.iter().flat_map(|(_, keys)| keys).filter_map(|key| workload_of(key)).collect();
    for (name, here) in listings {
        let holds_all = workloads.iter().all(|workload| is_home(name, workload));
        let is_meant = |key: &str| workload_of(key).map_or(holds_all, |workload| is_home(name, workload));
        let is_due = |key: &&&str| is_meant(key) && !lacks(name, key);
        // Fragments of the index may differ: what counts is that each pack is listed, and that is looked at where the packs are.
        for prefix in PREFIXES.into_iter().filter(|prefix| *prefix != "index/") {
            let mut absent: BTreeSet<&str> = BTreeSet::new();
            let mut holders: BTreeSet<&str> = BTreeSet::new();
            for (other, there) in listings.iter().filter(|(other, _)| other != name) {
                let missing =
                    there.iter().filter(|key| key.starts_with(prefix) && !here.contains(**key)).filter(is_due);
                let missing = missing.filter(|key| !part::is_needless(key, |start| beginning(here, start)));
                let (new, missing): (Vec<&str>, Vec<&str>) = missing.partition(|key| is_new(other, key));
                if !new.is_empty() {
                    arriving.entry(name).or_default().extend(new);
                }
                let before = absent.len();
                absent.extend(missing);
                if absent.len() > before {
                    holders.insert(other);
                }
            }
            let Some(first) = absent.first() else { continue };
            let holders: Vec<&str> = holders.into_iter().collect();
            let what = format!("is missing here, with {} more; in {}", absent.len() - 1, holders.join(", "));
            bad.push(Damage::new(*name, *first, what));
        }
    }
    arriving
}

/// The keys that begin so.
fn beginning<'a>(keys: &BTreeSet<&'a str>, start: &str) -> Vec<&'a str> {
    keys.range::<str, _>((Bound::Included(start), Bound::Unbounded))
        .take_while(|key| key.starts_with(start))
        .copied()
        .collect()
}

/// A receipt whose point is not there.
pub(super) fn what_receipts_say(listings: &[(&str, BTreeSet<&str>)], lacks: IsHome<'_>, bad: &mut Vec<Damage>) {
    for (name, here) in listings {
        for point in here.iter().filter_map(|key| receipt::point_of(key)) {
            if here.contains(point.as_str()) || lacks(name, &point) {
                continue;
            }
            let what = "is missing: there is a receipt for it".to_string();
            bad.push(Damage::new(*name, point, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [&str; 4] = ["packs/00/aa", "points/shop/1", "wal/shop/7/1", "wal/shop/7/new"];

    fn missing(is_home: IsHome<'_>) -> Vec<String> {
        let far = BTreeSet::from(["points/desk/1", "packs/00/bb", "packs/00/given up"]);
        let listings = [("near", BOTH.into()), ("far", far)];
        let mut bad = Vec::new();
        let given_up = |_: &str, key: &str| key.ends_with("given up");
        let arriving = what_others_have(&listings, is_home, &given_up, &|_, key| key.ends_with("new"), &mut bad);
        let expected =
            if is_home("far", "shop") { vec![("far", BTreeSet::from(["wal/shop/7/new"]))] } else { Vec::new() };
        assert_eq!(arriving.into_iter().collect::<Vec<_>>(), expected, "what is on its way is told");
        bad.into_iter().map(|damage| format!("{}: {}", damage.location, damage.object)).collect()
    }

    #[test]
    fn what_should_be_everywhere_is_missed() {
        let all =
            ["near: packs/00/bb", "near: points/desk/1", "far: packs/00/aa", "far: wal/shop/7/1", "far: points/shop/1"];
        assert_eq!(missing(&|_, _| true), all);
    }

    #[test]
    fn a_location_is_not_blamed_for_a_workload_that_it_is_not_meant_to_hold() {
        assert_eq!(missing(&|location, workload| (location == "near") == (workload == "shop")), [""; 0]);
        let far_holds_all = |location: &str, workload: &str| location == "far" || workload == "shop";
        assert_eq!(missing(&far_holds_all), ["far: packs/00/aa", "far: wal/shop/7/1", "far: points/shop/1"]);
    }
}
