//! The scenarios that come with the program.

use crate::scenario::{Scenario, parse};

/// Name and text of each.
pub const TEXTS: [(&str, &str); 4] = [
    ("restore-database", include_str!("builtin/restore-database.toml")),
    ("dropped-table", include_str!("builtin/dropped-table.toml")),
    ("lost-key", include_str!("builtin/lost-key.toml")),
    ("missing-backup", include_str!("builtin/missing-backup.toml")),
];

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
