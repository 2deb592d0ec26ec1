//! Is it all there, and is it what was signed? A pure answer from what was read.
//!
//! Promise: every object that isn't as it must be is named once for each location, with the kind of its flaw. An entry is judged by
//! itself, by what it follows, by what follows it, by what other locations have, and by what is known from elsewhere.

use crate::entry::{Flaw, FlawKind, Signed};
use crate::gather::{Look, heads, wrong_place};
use crate::key::PublicKey;
use crate::name::{EntryHash, EntryName, PREFIX};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nothing but a hand or a broken disk does this.
    Damage,
    /// An honest ledger can look so for a while; so can one that somebody laid hands on.
    Doubt,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// The location. Empty: all that were looked at.
    pub location: String,
    /// What is wrong.
    pub kind: FlawKind,
    /// The entry by its name; by its hash where nobody knows the rest; another object by its key below `ledger/`.
    pub object: String,
    /// How it was seen.
    pub why: String,
}

/// What is known from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Hashes of entries that were there, or how they begin: from a report, the end of a drill.
    pub heads: Vec<String>,
    /// Entries that this machine saw in a location, by its name.
    pub seen: BTreeMap<String, BTreeSet<EntryName>>,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Everything that is wrong, worst first.
    pub findings: Vec<Finding>,
    /// The entries that are signed and whole in any location, by hash; those with a wrong place among them.
    pub entries: BTreeMap<EntryHash, Signed>,
    /// Those that nothing follows, in their order.
    pub heads: Vec<EntryName>,
}

impl Verdict {
    /// The worst that was found.
    pub fn worst(&self) -> Option<Grade> {
        self.findings.iter().map(|finding| finding.grade).min()
    }
}

struct Judge<'a> {
    looks: &'a [Look],
    key: &'a PublicKey,
    /// Signed and under their own name, of any location.
    signed: BTreeMap<EntryHash, Signed>,
    findings: Vec<Finding>,
}

/// Judges what was read of one or several locations.
pub fn judge(looks: &[Look], key: &PublicKey, known: &Known) -> Verdict {
    let mut judge = Judge { looks, key, signed: BTreeMap::new(), findings: Vec::new() };
    for look in looks {
        judge.look_at_each(look);
    }
    for look in looks {
        judge.follow(look);
        judge.compare(look, known);
    }
    judge.compare_with_heads(known);
    judge.count_heads();
    let mut findings = judge.findings;
    findings.sort();
    findings.dedup();
    let heads = heads(&judge.signed).into_iter().map(Signed::name).collect();
    Verdict { findings, entries: judge.signed, heads }
}

impl Judge<'_> {
    fn add(&mut self, grade: Grade, location: &str, kind: FlawKind, object: String, why: impl Into<String>) {
        self.findings.push(Finding { grade, location: location.to_owned(), kind, object, why: why.into() });
    }

    fn damage(&mut self, location: &str, object: String, flaw: Flaw) {
        self.add(Grade::Damage, location, flaw.kind, object, flaw.why);
    }

    /// Each object by itself.
    fn look_at_each(&mut self, look: &Look) {
        let below = |key: &str| key.strip_prefix(PREFIX).unwrap_or(key).to_owned();
        for key in &look.foreign {
            self.damage(&look.place, below(key), Flaw::new(FlawKind::Foreign, "nothing of the ledger has such a name"));
        }
        for (object, key) in &look.keys {
            let flaw = match key {
                Ok(key) if key == self.key => continue,
                Ok(_) => Flaw::new(FlawKind::Key, "it is another key than the one that signs here"),
                Err(flaw) => Flaw::new(FlawKind::Key, flaw.why.clone()),
            };
            self.damage(&look.place, below(object), flaw);
        }
        for (name, read) in &look.entries {
            let checked = read.clone().and_then(|signed| signed.check(name, self.key).map(|()| signed));
            match checked {
                Ok(signed) => drop(self.signed.insert(name.hash, signed)),
                Err(flaw) => self.damage(&look.place, name.to_string(), flaw),
            }
        }
    }

    /// Each entry by what it follows.
    fn follow(&mut self, look: &Look) {
        let here: BTreeSet<EntryHash> = look.entries.keys().map(|name| name.hash).collect();
        for name in look.entries.keys() {
            let Some(signed) = self.signed.get(&name.hash).filter(|signed| signed.name() == *name).cloned() else {
                continue;
            };
            if let Some(why) = wrong_place(&signed, &self.signed) {
                self.add(Grade::Damage, &look.place, FlawKind::Misplaced, name.to_string(), why);
            }
            for hash in signed.entry.previous.iter().filter(|hash| !here.contains(*hash)) {
                let object = self.called(hash);
                self.add(Grade::Damage, &look.place, FlawKind::Removed, object, format!("{name} follows it"));
            }
        }
    }

    /// What others have, and what was seen here.
    fn compare(&mut self, look: &Look, known: &Known) {
        let here: BTreeSet<EntryHash> = look.entries.keys().map(|name| name.hash).collect();
        let mut gone = BTreeSet::new();
        for name in known.seen.get(&look.place).into_iter().flatten().filter(|name| !here.contains(&name.hash)) {
            gone.insert(name.hash);
            let why = "this machine saw it there";
            self.add(Grade::Damage, &look.place, FlawKind::Truncated, name.to_string(), why);
        }
        let told =
            self.findings.iter().filter(|finding| finding.location == look.place && finding.kind == FlawKind::Removed);
        let told: BTreeSet<String> = told.map(|finding| finding.object.clone()).collect();
        let names: Vec<EntryName> = self.signed.values().map(Signed::name).collect();
        for name in names.into_iter().filter(|name| !here.contains(&name.hash) && !gone.contains(&name.hash)) {
            if !told.contains(&name.to_string()) {
                let why = "another location has it; this one was away, or lost it";
                self.add(Grade::Doubt, &look.place, FlawKind::Lacking, name.to_string(), why);
            }
        }
    }

    fn compare_with_heads(&mut self, known: &Known) {
        let gone: Vec<&String> = known.heads.iter().filter(|hash| !self.is_listed(hash)).collect();
        for hash in gone {
            self.add(
                Grade::Damage,
                "",
                FlawKind::Truncated,
                hash.to_string(),
                "it is known from elsewhere, and is not there",
            );
        }
    }

    fn is_listed(&self, start: &str) -> bool {
        self.looks.iter().any(|look| look.entries.keys().any(|name| name.hash.to_string().starts_with(start)))
    }

    /// What is damaged hides what it follows: then heads say nothing.
    fn count_heads(&mut self) {
        let heads: Vec<String> = heads(&self.signed).into_iter().map(|head| head.name().to_string()).collect();
        if heads.len() < 2 || self.findings.iter().any(|finding| finding.grade == Grade::Damage) {
            return;
        }
        let why = format!("one of {} that nothing follows; the next entry joins them", heads.len());
        for head in heads {
            self.add(Grade::Doubt, "", FlawKind::Heads, head, why.clone());
        }
    }

    /// The name of an entry as far as anybody knows it.
    fn called(&self, hash: &EntryHash) -> String {
        let of_look = |look: &Look| look.entries.keys().find(|name| name.hash == *hash).map(ToString::to_string);
        let signed = self.signed.get(hash).map(|signed| signed.name().to_string());
        signed.or_else(|| self.looks.iter().find_map(of_look)).unwrap_or_else(|| hash.to_string())
    }
}
