//! What this machine saw in the ledger of each location: so that entries that are taken from the end are missed.
//!
//! Kept among the machine's state: losing it loses this one proof. An entry that is missed stays noted until it is back.

use lifeboat_ledger::{Appended, EntryName, PREFIX};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Beyond this nobody reads it.
const BYTES_MAX: u64 = 1 << 20;
/// Of each location.
const NAMES_MAX: usize = 1000;

/// See the module. By the location's address: a name can be given to another place.
#[derive(Debug, Clone)]
pub struct Seen {
    file: PathBuf,
    /// By the location's name.
    addresses: BTreeMap<String, String>,
    heads: BTreeMap<String, BTreeSet<EntryName>>,
}

impl Seen {
    /// Reads the file. One that isn't there, or can't be understood, says nothing.
    pub fn read(file: PathBuf, addresses: BTreeMap<String, String>) -> Self {
        let heads = read(&file).unwrap_or_default();
        Self { file, addresses, heads }
    }

    /// By the location's name.
    pub fn by_name(&self) -> BTreeMap<String, BTreeSet<EntryName>> {
        let known = |(name, address): (&String, &String)| Some((name.clone(), self.heads.get(address)?.clone()));
        self.addresses.iter().filter_map(known).collect()
    }

    /// What was there and isn't, of locations that were listed.
    pub fn missing(&self, listed: &BTreeMap<String, BTreeSet<EntryName>>) -> Vec<(String, EntryName)> {
        let mut missing = Vec::new();
        for (place, heads) in self.by_name() {
            let Some(names) = listed.get(&place) else { continue };
            missing.extend(heads.into_iter().filter(|head| !names.contains(head)).map(|head| (place.clone(), head)));
        }
        missing
    }

    /// An entry was written that follows all that was there; what was not there is still missed.
    pub fn appended(&mut self, appended: &Appended) {
        for place in &appended.kept {
            let listed = appended.listed.get(place).cloned().unwrap_or_default();
            let heads = self.missing(&BTreeMap::from([(place.clone(), listed)]));
            let mut heads: BTreeSet<EntryName> = heads.into_iter().map(|(_, name)| name).collect();
            heads.insert(appended.signed.name());
            self.note(place, heads);
        }
        self.write();
    }

    /// A location was verified, and these are its heads.
    pub fn verified(&mut self, heads: &BTreeMap<String, BTreeSet<EntryName>>) {
        for (place, heads) in heads {
            self.note(place, heads.clone());
        }
        self.write();
    }

    fn note(&mut self, place: &str, heads: BTreeSet<EntryName>) {
        if let Some(address) = self.addresses.get(place) {
            self.heads.insert(address.clone(), heads.into_iter().take(NAMES_MAX).collect());
        }
    }

    /// A machine that can't keep it has one proof less, and no reason to fail.
    fn write(&self) {
        let text = json!({ "heads": self.heads }).to_string();
        let unfinished = self.file.with_extension(format!("{}.tmp", std::process::id()));
        let written = self.file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = written.and_then(|()| std::fs::write(&unfinished, text));
        if let Err(error) = written.and_then(|()| std::fs::rename(&unfinished, &self.file)) {
            tracing::debug!(%error, file = %self.file.display(), "what was seen of the ledger is not remembered");
        }
    }
}

fn read(file: &Path) -> Option<BTreeMap<String, BTreeSet<EntryName>>> {
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    let mut seen = BTreeMap::new();
    for (address, heads) in document["heads"].as_object()? {
        let names =
            heads.as_array()?.iter().filter_map(|name| EntryName::of_key(&format!("{PREFIX}{}.json", name.as_str()?)));
        seen.insert(address.clone(), names.take(NAMES_MAX).collect());
    }
    Some(seen)
}
