//! Who still reads from a recovery point.

use crate::output::human;
use jiff::Timestamp;
use lifeboat_repository::HoldRecord;
use serde_json::{Value, json};

/// For programs. What can't be read is null.
pub fn document(record: &HoldRecord) -> Value {
    let hold = record.hold.as_ref();
    json!({
        "name": record.name,
        "by": hold.map(|hold| &hold.by),
        "why": hold.map(|hold| &hold.why),
        "made_at": hold.map(|hold| hold.made_at),
        "until": hold.map(|hold| hold.until),
        "locations": record.locations,
    })
}

/// Whether its holder says that it still holds.
pub fn is_wanted(record: &HoldRecord, now: Timestamp) -> bool {
    record.hold.as_ref().is_none_or(|hold| hold.until >= now)
}

/// `held by db2:/srv/restored (instant restore), ends in 29 d; in local, ohio`.
pub fn sentence(record: &HoldRecord, now: Timestamp) -> String {
    let places = record.locations.join(", ");
    match &record.hold {
        Some(hold) => {
            let ends = if is_wanted(record, now) { "ends" } else { "ended" };
            format!("held by {} ({}), {ends} {}; in {places}", hold.by, hold.why, human::age(hold.until, now))
        }
        None => format!("held by somebody: {} can't be read; in {places}", record.name),
    }
}
