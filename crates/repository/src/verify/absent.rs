//! Finding what is gone: an object that no longer exists says nothing about itself, but others do.
//!
//! A location is compared with the others, and its points with their receipts. A location that was out of reach during a
//! backup lacks things too, until the next session brings it up to date: then it is not whole, and that is said.

use super::Damage;
use crate::copy::PREFIXES;
use crate::receipt;
use std::collections::BTreeSet;

/// For every kind of object one line for what a location lacks of what another has.
pub(super) fn what_others_have(listings: &[(&str, BTreeSet<&str>)], bad: &mut Vec<Damage>) {
    for (name, here) in listings {
        for prefix in PREFIXES {
            let mut absent: BTreeSet<&str> = BTreeSet::new();
            let mut holders: BTreeSet<&str> = BTreeSet::new();
            for (other, there) in listings.iter().filter(|(other, _)| other != name) {
                let missing = there.iter().filter(|key| key.starts_with(prefix) && !here.contains(**key));
                let before = absent.len();
                absent.extend(missing);
                if absent.len() > before {
                    holders.insert(other);
                }
            }
            let Some(first) = absent.first() else { continue };
            let holders: Vec<&str> = holders.into_iter().collect();
            let what = format!("is missing here, with {} more; in {}", absent.len() - 1, holders.join(", "));
            bad.push(Damage { location: name.to_string(), object: first.to_string(), what });
        }
    }
}

/// A receipt whose point is not there.
pub(super) fn what_receipts_say(listings: &[(&str, BTreeSet<&str>)], bad: &mut Vec<Damage>) {
    for (name, here) in listings {
        for point in here.iter().filter_map(|key| receipt::point_of(key)).filter(|key| !here.contains(key.as_str())) {
            let what = "is missing: there is a receipt for it".to_string();
            bad.push(Damage { location: name.to_string(), object: point, what });
        }
    }
}
