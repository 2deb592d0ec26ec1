//! Two verifiers, this crate and `docs/format/ledger_verify.py`, say the same of every ledger: whole ones, and ones that somebody
//! laid hands on.

mod support;

use aws_lc_rs::signature::Ed25519KeyPair;
use lifeboat_ledger::{EntryHash, EntryName, Known, Place, PublicKey, SigningKey, append, judge, look, to_canonical};
use lifeboat_location::Directory;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const SEED: [u8; 32] = [7; 32];

/// Ledgers in directories.
struct Ledgers {
    /// Removed with them.
    _root: tempfile::TempDir,
    places: Vec<Place>,
    key: SigningKey,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format/ledger_verify.py").canonicalize().expect("the script")
}

impl Ledgers {
    fn new(count: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let places = (0..count).map(|number| {
            let path = root.path().join(format!("copy-{number}"));
            std::fs::create_dir(&path).unwrap();
            Place { name: path.to_str().unwrap().to_owned(), location: Arc::new(Directory::open(&path).unwrap()) }
        });
        Self { places: places.collect(), _root: root, key: SigningKey::from_seed(&SEED).unwrap() }
    }

    /// A ledger of so many entries; where `apart` says so, an entry goes to one place only, and the rest catch up later.
    async fn filled(count: usize, entries: u32, apart: u32) -> Self {
        let ledgers = Self::new(count);
        for number in 1..=entries {
            let alone = apart >> number & 1 == 1;
            let places = if alone { &ledgers.places[number as usize % count..][..1] } else { &ledgers.places[..] };
            let none = lifeboat_ledger::Shelf::none();
            append(places, &ledgers.key, &none, support::written(number)).await.unwrap();
        }
        ledgers
    }

    fn folder(&self, place: usize) -> PathBuf {
        Path::new(&self.places[place].name).join("ledger")
    }

    fn entries(&self, place: usize) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder(place)).unwrap().map(|entry| entry.unwrap().path());
        let is_entry = |path: &PathBuf| !path.file_name().unwrap().to_str().unwrap().starts_with("key-");
        let mut files: Vec<PathBuf> = files.filter(is_entry).collect();
        files.sort();
        files
    }

    /// What this crate says: lines as the script prints them, and the exit code.
    async fn ours(&self, heads: &[String]) -> (BTreeSet<String>, i32) {
        let mut looks = Vec::new();
        for place in &self.places {
            looks.push(look(place).await.unwrap());
        }
        let verdict = judge(&looks, self.key.public(), &Known { heads: heads.to_vec(), ..Known::default() });
        let line = |finding: &lifeboat_ledger::Finding| {
            let grade = serde_json::to_value(finding.grade).unwrap();
            let location = if finding.location.is_empty() { "-" } else { &finding.location };
            format!("{} {} {location} {}", grade.as_str().unwrap(), finding.kind, finding.object)
        };
        let code = match verdict.worst() {
            Some(lifeboat_ledger::Grade::Damage) => 6,
            Some(lifeboat_ledger::Grade::Doubt) => 4,
            None if verdict.entries.is_empty() => 3,
            None => 0,
        };
        (verdict.findings.iter().map(line).collect(), code)
    }

    /// What the script says.
    fn theirs(&self, key: &PublicKey, heads: &[String]) -> (BTreeSet<String>, i32) {
        let mut command = Command::new("python3");
        command.arg(script()).args(["--public-key", &key.to_string()]);
        for head in heads {
            command.args(["--head", head]);
        }
        let output = command.args(self.places.iter().map(|place| &place.name)).output().expect("python3");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
        lines.pop();
        (lines.into_iter().collect(), output.status.code().unwrap())
    }

    async fn agree(&self, heads: &[String]) -> (BTreeSet<String>, i32) {
        let ours = self.ours(heads).await;
        assert_eq!(self.theirs(self.key.public(), heads), ours);
        ours
    }

    /// Stores a text as an entry under the name that it asks for.
    fn store(&self, place: usize, sequence: u64, bytes: &[u8]) -> EntryName {
        let name = EntryName { sequence, hash: EntryHash::of(bytes) };
        std::fs::write(Path::new(&self.places[place].name).join(name.key()), bytes).unwrap();
        name
    }

    /// Signs whatever it is: what only the key's owner can do.
    fn signed(&self, entry: &Value) -> Vec<u8> {
        let text = to_canonical(entry).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
        let signature = hex::encode(pair.sign(&[b"lifeboat/1/ledger/", &text[..]].concat()).as_ref());
        to_canonical(&json!({ "entry": entry, "key": self.key.public().id().as_str(), "signature": signature }))
            .unwrap()
    }
}

fn entry(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn both_pass_what_is_whole_and_prove_nothing_of_nothing() {
    let whole = Ledgers::filled(2, 5, 0).await;
    assert_eq!(whole.agree(&[]).await, (BTreeSet::new(), 0));
    let empty = Ledgers::new(1);
    assert_eq!(empty.agree(&[]).await, (BTreeSet::new(), 3));
    let other = SigningKey::from_seed(&[8; 32]).unwrap();
    assert_eq!(whole.theirs(other.public(), &[]).1, 6);
}

/// One way to lay hands on a ledger of one place with five entries, and the kind and the number of the entry that must be named.
type Tampering = (&'static str, fn(&Ledgers), &'static str, usize);

#[tokio::test]
async fn both_find_each_kind_of_tampering_and_name_the_entry() {
    let table: [Tampering; 12] = [
        ("a figure is changed", |l| edit(l, 2, "\"number\":3", "\"number\":4"), "changed", 3),
        ("one byte of the signature is changed", |l| edit(l, 2, "\"}", "0}"), "changed", 3),
        ("it is emptied", |l| std::fs::write(&l.entries(0)[2], "").unwrap(), "changed", 3),
        ("one in the middle is removed", |l| std::fs::remove_file(&l.entries(0)[2]).unwrap(), "removed", 3),
        ("the first is removed", |l| std::fs::remove_file(&l.entries(0)[0]).unwrap(), "removed", 1),
        ("one is given another number", |l| renumber(l, 2, 9), "renamed", 9),
        ("two change places", exchange, "renamed", 4),
        ("one that nobody signed is slipped in", unsigned, "not_signed", 6),
        ("one of another key is slipped in", other_key, "other_key", 6),
        ("one with spaces is slipped in", spaced, "not_canonical", 6),
        ("one of another shape is slipped in", shapeless, "malformed", 6),
        ("one that is rightly signed has a place of its own", misplaced, "misplaced", 9),
    ];
    for (what, tamper, kind, number) in table {
        let ledgers = Ledgers::filled(1, 5, 0).await;
        tamper(&ledgers);
        let (told, code) = ledgers.agree(&[]).await;
        assert_eq!(code, 6, "{what}: {told:?}");
        let is_named = |line: &String| line.contains(&format!(" {kind} ")) && line.contains(&format!("{number:012}-"));
        let is_hash_only = |line: &String| kind == "removed" && line.contains(" removed ");
        assert!(told.iter().any(|line| is_named(line) || is_hash_only(line)), "{what}: {told:?}");
    }
}

fn edit(ledgers: &Ledgers, position: usize, from: &str, to: &str) {
    let path = &ledgers.entries(0)[position];
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn renumber(ledgers: &Ledgers, position: usize, number: u64) {
    let path = &ledgers.entries(0)[position];
    let hash = name_of(path)[13..].to_owned();
    std::fs::rename(path, ledgers.folder(0).join(format!("{number:012}-{hash}.json"))).unwrap();
}

fn exchange(ledgers: &Ledgers) {
    let (third, fourth) = (ledgers.entries(0)[2].clone(), ledgers.entries(0)[3].clone());
    for (path, number) in [(third, 4), (fourth, 3)] {
        let hash = name_of(&path)[13..].to_owned();
        std::fs::rename(path, ledgers.folder(0).join(format!("{number:012}-{hash}.json"))).unwrap();
    }
}

/// The entry that would come next.
fn next(ledgers: &Ledgers) -> Value {
    let last = ledgers.entries(0).pop().unwrap();
    let mut whole = entry(&last);
    whole["entry"]["sequence"] = json!(6);
    whole["entry"]["previous"] = json!([name_of(&last)[13..]]);
    whole
}

fn unsigned(ledgers: &Ledgers) {
    ledgers.store(0, 6, &to_canonical(&next(ledgers)).unwrap());
}

fn other_key(ledgers: &Ledgers) {
    let mut whole = next(ledgers);
    whole["key"] = json!("0123456789abcdef");
    ledgers.store(0, 6, &to_canonical(&whole).unwrap());
}

fn spaced(ledgers: &Ledgers) {
    let text = String::from_utf8(ledgers.signed(&next(ledgers)["entry"])).unwrap();
    ledgers.store(0, 6, text.replace("\"number\":5", "\"number\":5.0").as_bytes());
}

fn shapeless(ledgers: &Ledgers) {
    let mut whole = next(ledgers);
    whole["entry"]["note"] = json!("more");
    ledgers.store(0, 6, &ledgers.signed(&whole["entry"]));
}

fn misplaced(ledgers: &Ledgers) {
    let mut whole = next(ledgers);
    whole["entry"]["sequence"] = json!(9);
    ledgers.store(0, 9, &ledgers.signed(&whole["entry"]));
}

#[tokio::test]
async fn both_find_a_second_branch_and_an_end_that_is_known() {
    let ledgers = Ledgers::filled(1, 5, 0).await;
    let mut back = entry(&ledgers.entries(0)[2]);
    back["entry"]["body"] = json!({ "verdict": "passed" });
    let slipped_in = ledgers.store(0, 3, &ledgers.signed(&back["entry"]));
    let (told, code) = ledgers.agree(&[]).await;
    assert_eq!(code, 4);
    assert!(told.contains(&format!("doubt heads - {slipped_in}")), "{told:?}");

    let ledgers = Ledgers::filled(2, 5, 0).await;
    let last = ledgers.entries(0).pop().unwrap();
    let hash = name_of(&last)[13..].to_owned();
    assert_eq!(ledgers.agree(&[hash[..8].to_owned(), hash.clone()]).await.1, 0);
    std::fs::remove_file(&last).unwrap();
    let (told, code) = ledgers.agree(&[]).await;
    assert_eq!((told.len(), code), (1, 4), "{told:?}");
    assert!(told.first().unwrap().starts_with("doubt lacking"), "{told:?}");
    std::fs::remove_file(ledgers.entries(1).pop().unwrap()).unwrap();
    assert_eq!(ledgers.agree(&[]).await.1, 0, "a chain alone can't tell");
    assert_eq!(
        ledgers.agree(std::slice::from_ref(&hash)).await,
        (BTreeSet::from([format!("damage truncated - {hash}")]), 6)
    );
}

#[tokio::test]
async fn both_tell_of_strangers_and_of_another_key() {
    let ledgers = Ledgers::filled(1, 2, 0).await;
    std::fs::write(ledgers.folder(0).join("notes.txt"), "x").unwrap();
    std::fs::create_dir(ledgers.folder(0).join("more")).unwrap();
    std::fs::write(ledgers.folder(0).join("more/000000000001.json"), "x").unwrap();
    let other = SigningKey::from_seed(&[8; 32]).unwrap().public().clone();
    std::fs::write(Path::new(&ledgers.places[0].name).join(other.object_key()), other.document()).unwrap();
    let (told, code) = ledgers.agree(&[]).await;
    assert_eq!((told.len(), code), (3, 6), "{told:?}");
}

/// Texts that are hard to write in one way only.
#[tokio::test]
async fn both_know_one_form_of_each_value() {
    let ledgers = Ledgers::filled(1, 1, 0).await;
    let numbers = [0.1, 1e-7, 1.5e300, 5e-324, 123456789.125, 1e16, 2f64.powi(64), -2f64.powi(70), 1.0 / 3.0];
    let body = json!({ "numbers": numbers, "whole": [0, -1, u64::MAX, i64::MIN], "é\u{10000}\u{7f}": "\u{0}\u{1f}\n\"\\/\u{2028}" });
    let none = lifeboat_ledger::Shelf::none();
    append(&ledgers.places, &ledgers.key, &none, lifeboat_ledger::Written { body, ..support::written(2) })
        .await
        .unwrap();
    assert_eq!(ledgers.agree(&[]).await, (BTreeSet::new(), 0));
    let good = String::from_utf8(std::fs::read(&ledgers.entries(0)[1]).unwrap()).unwrap();
    let other_forms = [
        good.replace("[0,-1", "[-0,-1"),
        good.replace("[0,-1", "[0.0,-1"),
        good.replace("[0,-1", "[NaN,-1"),
        good.replace("[0,-1", "[1e999,-1"),
        good.replace("[0,-1", &format!("[{},-1", "9".repeat(5000))),
        good.replace("\\n", "\\u000a"),
        good.replace("\\u001f", "\\u001F"),
        good.replace("é", "\\u00e9"),
        good.replace("é", "\\ud800"),
        good.replace("\\/", "/"),
        good.replace("{\"entry\"", "{ \"entry\""),
        format!("{good}\n"),
        format!("\u{feff}{good}"),
        good.replace("\"whole\":", "\"whole\":1,\"whole\":"),
        good.replace("[0,-1", &format!("[{}{},-1", "[".repeat(70), "]".repeat(70))),
        good.replace("[0,-1", &format!("[{}{},-1", "[".repeat(5000), "]".repeat(5000))),
        "[]".to_owned(),
        "1".to_owned(),
        "{}".to_owned(),
    ];
    for text in other_forms.iter().filter(|text| **text != good) {
        ledgers.store(0, 2, text.as_bytes());
    }
    ledgers.store(0, 2, &[b'"', 0xff, b'"']);
    let (told, _) = ledgers.agree(&[]).await;
    let of_kind = |kind: &str| told.iter().filter(|line| line.contains(kind)).count();
    assert_eq!((of_kind(" not_canonical "), of_kind(" malformed ")), (17, 3), "{told:#?}");
}

/// One random deed.
#[derive(Debug, Clone)]
enum Deed {
    Flip(usize, usize, usize),
    Remove(usize, usize),
    Renumber(usize, usize, u64),
    Cut(usize, usize, usize),
    Swap(usize, usize, usize),
    CopyUnder(usize, usize, u64),
    Sign(usize, usize, u64),
    Foreign(usize, String),
}

fn deed() -> impl Strategy<Value = Deed> {
    let (place, entry) = (0usize..3, 0usize..8);
    prop_oneof![
        (place.clone(), entry.clone(), 0usize..600).prop_map(|(p, e, at)| Deed::Flip(p, e, at)),
        (place.clone(), entry.clone()).prop_map(|(p, e)| Deed::Remove(p, e)),
        (place.clone(), entry.clone(), 0u64..12).prop_map(|(p, e, n)| Deed::Renumber(p, e, n)),
        (place.clone(), entry.clone(), 0usize..600).prop_map(|(p, e, at)| Deed::Cut(p, e, at)),
        (place.clone(), entry.clone(), 0usize..8).prop_map(|(p, e, f)| Deed::Swap(p, e, f)),
        (place.clone(), entry.clone(), 0u64..12).prop_map(|(p, e, n)| Deed::CopyUnder(p, e, n)),
        (place.clone(), entry, 0u64..12).prop_map(|(p, e, n)| Deed::Sign(p, e, n)),
        (place, "[a-z0-9-]{1,12}(\\.json)?").prop_map(|(p, name)| Deed::Foreign(p, name)),
    ]
}

impl Deed {
    fn carry_out(&self, ledgers: &Ledgers) {
        let count = ledgers.places.len();
        let pick = |place: usize, entry: usize| {
            let files = ledgers.entries(place % count);
            (!files.is_empty()).then(|| files[entry % files.len()].clone())
        };
        match self {
            Self::Flip(place, entry, at) => {
                let Some(path) = pick(*place, *entry) else { return };
                let mut bytes = std::fs::read(&path).unwrap();
                let at = at % bytes.len().max(1);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                std::fs::write(path, bytes).unwrap();
            }
            Self::Remove(place, entry) => drop(pick(*place, *entry).map(std::fs::remove_file)),
            Self::Renumber(place, entry, number) => {
                let Some(path) = pick(*place, *entry) else { return };
                let hash = name_of(&path)[13..].to_owned();
                std::fs::rename(&path, path.with_file_name(format!("{number:012}-{hash}.json"))).unwrap();
            }
            Self::Cut(place, entry, at) => {
                let Some(path) = pick(*place, *entry) else { return };
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..(*at).min(bytes.len())]).unwrap();
            }
            Self::Swap(place, one, other) => {
                let (Some(one), Some(other)) = (pick(*place, *one), pick(*place, *other)) else { return };
                let (first, second) = (std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
                std::fs::write(one, second).unwrap();
                std::fs::write(other, first).unwrap();
            }
            Self::CopyUnder(place, entry, number) => {
                let Some(path) = pick(*place, *entry) else { return };
                let bytes = std::fs::read(path).unwrap();
                ledgers.store(place % count, *number, &bytes);
            }
            Self::Sign(place, one, number) => {
                let Some(path) = pick(*place, *one) else { return };
                let Ok(whole) = serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()) else { return };
                let mut entry = whole["entry"].clone();
                if !entry.is_object() {
                    return;
                }
                entry["sequence"] = json!(number);
                ledgers.store(place % count, *number, &ledgers.signed(&entry));
            }
            Self::Foreign(place, name) => {
                std::fs::write(ledgers.folder(place % count).join(name), "{}").unwrap();
            }
        }
    }
}

/// Each case starts an interpreter: fewer cases than usual, more of them with `PROPTEST_CASES`.
#[test]
fn both_say_the_same_of_whatever_somebody_did() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let strategy = (1usize..=3, 1u32..=6, any::<u32>(), proptest::collection::vec(deed(), 0..4));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |(count, entries, apart, deeds)| {
        runtime.block_on(async {
            let ledgers = Ledgers::filled(count, entries, apart).await;
            let (before, _) = ledgers.ours(&[]).await;
            let state = |ledgers: &Ledgers| -> Vec<_> {
                let all =
                    (0..count).filter(|place| ledgers.folder(*place).exists()).flat_map(|place| ledgers.entries(place));
                all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
            };
            let bytes = state(&ledgers);
            let is_there = |deed: &&Deed| !matches!(deed, Deed::Foreign(..));
            let able = (0..count).all(|place| ledgers.folder(place).exists());
            if able {
                deeds.iter().for_each(|deed| deed.carry_out(&ledgers));
            }
            let (told, _) = ledgers.agree(&[]).await;
            let was_touched = able && deeds.iter().any(|deed| is_there(&deed)) && state(&ledgers) != bytes;
            // Of a single copy the newest entry can go without a trace; and a doubt may go with the entry that it was about.
            let can_hide = deeds.iter().any(|deed| matches!(deed, Deed::Remove(..)));
            if was_touched && !can_hide {
                prop_assert_ne!(told, before, "{:?}", deeds);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
