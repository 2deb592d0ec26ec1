//! Every check that there is. `docs/readiness.md` has the same table.

mod people;
mod places;
mod server;
mod standards;
mod stored;
mod takeover;

use super::Check;

/// In the order in which they are told.
pub static CHECKS: [Check; 53] = gather();

/// Lists of constants have no other way to become one.
const fn gather() -> [Check; 53] {
    let lists: [&[Check]; 5] = [&server::CHECKS, &stored::CHECKS, &places::CHECKS, &takeover::CHECKS, &people::CHECKS];
    let mut all = [server::CHECKS[0]; 53];
    let (mut list, mut count) = (0, 0);
    while list < lists.len() {
        let mut place = 0;
        while place < lists[list].len() {
            all[count] = lists[list][place];
            (place, count) = (place + 1, count + 1);
        }
        list += 1;
    }
    assert!(count == all.len(), "the length of the catalogue is that of its lists");
    all
}

/// The one of that name.
pub fn check(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}
