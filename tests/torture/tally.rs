//! What was done so far, in numbers.

use crate::world::Ran;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    commands: BTreeMap<&'static str, BTreeMap<String, u64>>,
    restored: BTreeMap<String, u64>,
    tried: u64,
}

impl Tally {
    pub fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// A command ended with this code, or was killed.
    pub fn ran(&mut self, command: &'static str, code: Option<i32>) {
        let how = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
        *self.commands.entry(command).or_default().entry(how).or_default() += 1;
    }

    /// What a prune says that it deleted.
    pub fn deleted(&mut self, prune: &Ran) {
        let Ok(document) = prune.json() else { return };
        for deleted in document["locations"].as_array().into_iter().flatten().map(|location| &location["deleted"]) {
            let points = deleted["points"].as_array().map_or(0, |points| points.len() as u64);
            for (what, count) in [("points", points), ("log_files", 0), ("packs", 0)] {
                let count = count + deleted[what].as_u64().unwrap_or_default();
                if count > 0 {
                    *self.counts.entry(format!("{what} deleted by prune")).or_default() += count;
                }
            }
        }
        let rewritten = document["rewritten"]["new_packs"].as_u64().unwrap_or_default();
        *self.counts.entry("packs rewritten by prune".into()).or_default() += rewritten;
    }

    /// A restore was compared and exact.
    pub fn restored(&mut self, target: &str, from: Option<&str>) {
        *self.restored.entry(target.to_owned()).or_default() += 1;
        *self.restored.entry(format!("from {}", from.unwrap_or("all"))).or_default() += 1;
    }

    /// A number for the next restore.
    pub fn restores(&mut self) -> u64 {
        self.tried += 1;
        self.tried
    }

    pub fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        for (command, codes) in other.commands {
            for (code, count) in codes {
                *self.commands.entry(command).or_default().entry(code).or_default() += count;
            }
        }
        for (what, count) in other.restored {
            *self.restored.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
        };
        for (command, codes) in &self.commands {
            writeln!(f, "  {command}: {}", line(codes))?;
        }
        writeln!(f, "  restores that were exact: {}", line(&self.restored))?;
        writeln!(f, "  also: {}", line(&self.counts))
    }
}
