//! What was found wrong in a location, in words: `check` and `points` say it as long as nobody has looked again and found it whole.

use crate::failure::{Failure, FailureKind};
use crate::output::human;
use jiff::Timestamp;
use lifeboat_repository::Findings;

/// None when nothing is wrong, as far as is known.
pub fn spoken(findings: &Findings, now: Timestamp) -> Option<Failure> {
    if findings.is_clean() {
        return None;
    }
    let name = &findings.location;
    let count = findings.damaged.len() as u64 + findings.left_out;
    let found_at = findings.damaged.iter().map(|found| found.at).min().unwrap_or(findings.found_at);
    let first = findings.damaged.first().map(|found| format!(": {}: {}", found.object, found.what)).unwrap_or_default();
    let is_inside = findings.damaged.iter().any(|found| found.level == "data");
    let option = if is_inside { " --data" } else { "" };
    let things = if count == 1 { "1 thing is".to_owned() } else { format!("{count} things are") };
    let message = format!("{things} not as written in {name}, found {}{first}", human::age(found_at, now));
    Some(Failure::new(FailureKind::CheckFailed, message).with_hint(format!(
        "`lifeboat repair` puts back what another location has whole; `lifeboat verify{option} --from {name}` looks again"
    )))
}
