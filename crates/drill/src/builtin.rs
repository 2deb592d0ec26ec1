//! The scenarios that come with the program.

use crate::scenario::{Scenario, parse};

/// Name and text of each.
pub const TEXTS: [(&str, &str); 16] = [
    ("restore-database", include_str!("builtin/restore-database.toml")),
    ("restore-group", include_str!("builtin/restore-group.toml")),
    ("dropped-table", include_str!("builtin/dropped-table.toml")),
    ("delete-without-where", include_str!("builtin/delete-without-where.toml")),
    ("corrupted-pages", include_str!("builtin/corrupted-pages.toml")),
    ("ransomware", include_str!("builtin/ransomware.toml")),
    ("lost-location", include_str!("builtin/lost-location.toml")),
    ("full-disk", include_str!("builtin/full-disk.toml")),
    ("lost-key", include_str!("builtin/lost-key.toml")),
    ("nobody-answers", include_str!("builtin/nobody-answers.toml")),
    ("runbook-from-copy", include_str!("builtin/runbook-from-copy.toml")),
    ("missing-backup", include_str!("builtin/missing-backup.toml")),
    ("loss-of-primary", include_str!("builtin/loss-of-primary.toml")),
    ("loss-of-region", include_str!("builtin/loss-of-region.toml")),
    ("partition", include_str!("builtin/partition.toml")),
    ("loss-of-lease-store", include_str!("builtin/loss-of-lease-store.toml")),
];

/// What they are called.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(name, _)| *name)
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let read = |(name, text): &(&str, &str)| parse(name, name, text).ok();
    TEXTS.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_is_understood() {
        for (name, text) in TEXTS {
            let scenario = parse(name, name, text).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(!scenario.does_not_show.is_empty(), "{name} says what nobody may conclude from it");
            assert!(scenario.isolated || scenario.target == crate::scenario::TargetKind::Nothing, "{name}");
        }
    }
}
