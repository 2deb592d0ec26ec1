//! `ledger` and `incident`: what is told is kept, and what somebody does to it is found and named.

use crate::program::{Ran, lifeboat};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.screen());
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.screen()))
}

/// A repository in two directories.
fn create() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("paper"), "open sesame\n").unwrap();
    fs::set_permissions(root.join("paper"), fs::Permissions::from_mode(0o600)).unwrap();
    let here = root.display();
    let text = format!(
        "state_dir = \"{here}/state\"\n[location.north]\nurl = \"file://{here}/north\"\n[location.south]\nurl = \"file://{here}/south\"\n\
         [encryption]\npassphrase = {{ file = \"{here}/paper\" }}\n"
    );
    fs::write(root.join("lifeboat.toml"), text).unwrap();
    done(lifeboat(root, &["init"]));
    directory
}

fn open(root: &Path, what: &str) -> String {
    let opened = done(lifeboat(root, &["incident", "open", what, "--began", "10 minutes ago", "--json"]));
    json(&opened)["entry"].as_str().unwrap().to_owned()
}

fn entries(root: &Path, location: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root.join(location).join("ledger")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| !path.to_string_lossy().contains("/key-")).collect();
    files.sort();
    files
}

fn findings(ran: &Ran) -> Vec<(String, String)> {
    let document = json(ran);
    let found = document["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    found.map(|finding| (text(finding, "kind"), text(finding, "object"))).collect()
}

#[test]
fn an_incident_is_told_and_counted() {
    let directory = create();
    let root = directory.path();
    let none = lifeboat(root, &["ledger", "verify"]);
    assert_eq!(none.code, 3, "nothing was proven: {}", none.screen());
    let id = open(root, "the primary is gone");
    done(lifeboat(root, &["incident", "note", &id[..6], "the disk died", "--detected", "8 minutes ago"]));
    let early = lifeboat(root, &["incident", "close", &id[..8], "--recovered", "1 hour ago"]);
    assert_eq!(early.code, 2, "it would be over before it began: {}", early.screen());
    let ahead = lifeboat(root, &["incident", "close", &id[..8], "--recovered", "2999-01-01 00:00 UTC"]);
    assert_eq!(ahead.code, 2, "{}", ahead.screen());
    done(lifeboat(root, &["incident", "close", &id[..8], "replaced", "--recovered", "1 minute ago"]));
    let again = lifeboat(root, &["incident", "close", &id[..8]]);
    assert_eq!(again.code, 2, "{}", again.screen());
    assert_eq!(lifeboat(root, &["incident", "close", "00000000"]).code, 3);
    let second = open(root, "orders is empty");
    done(lifeboat(root, &["incident", "close", &second[..8], "--recovered", "7 minutes ago", "--writes-lost", "0"]));
    let listed = json(&done(lifeboat(root, &["incident", "list", "--json"])));
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 2);
    assert!(listed["incidents"][0]["writes_lost"].is_null(), "nobody knows, which is not none");
    let mttr = listed["figures"]["mttr_seconds"].as_f64().unwrap();
    assert!((355.0..365.0).contains(&mttr), "of nine minutes and of three: {mttr}");
    assert_eq!(listed["figures"]["writes_lost_unknown"], 1);
    assert!(listed["figures"]["availability"].is_null(), "less than a day was observed");
    let shown = json(&done(lifeboat(root, &["ledger", "show", "2", "--json"])));
    assert_eq!((&shown["kind"], &shown["body"]["what"]), (&"incident".into(), &"the disk died".into()));
    assert_eq!(shown["locations"], serde_json::json!(["north", "south"]));
    done(lifeboat(root, &["ledger", "verify"]));
}

#[test]
fn what_is_done_to_an_entry_is_found_and_named() {
    let directory = create();
    let root = directory.path();
    for what in ["one", "two", "three"] {
        open(root, what);
    }
    let public = done(lifeboat(root, &["ledger", "key", "--json"]));
    let public = json(&public)["public_key"].as_str().unwrap().to_owned();
    let copy = format!("file://{}/north", root.display());
    let alone = ["ledger", "verify", "--url", &copy, "--public-key", &public, "--json"];
    fs::rename(root.join("lifeboat.toml"), root.join("away.toml")).unwrap();
    assert_eq!(json(&done(lifeboat(root, &alone)))["verified"], true, "without a configuration");
    let beside = json(&done(lifeboat(root, &["ledger", "verify", "--url", &copy, "--json"])));
    assert_eq!(beside["key"]["trust"], "beside_the_entries");
    fs::rename(root.join("away.toml"), root.join("lifeboat.toml")).unwrap();

    let [_, second, third] = &entries(root, "north")[..] else { panic!("three entries") };
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(second).unwrap();
    fs::write(second, text.replace("two", "two million")).unwrap();
    let changed = lifeboat(root, &["ledger", "verify", "--json"]);
    assert_eq!((changed.code, findings(&changed)), (6, vec![("changed".into(), name(second))]));
    fs::write(second, text).unwrap();

    fs::remove_file(second).unwrap();
    let removed = lifeboat(root, &["ledger", "verify", "--json"]);
    assert_eq!((removed.code, findings(&removed)), (6, vec![("removed".into(), name(second))]));
    done(lifeboat(root, &["ledger", "sync"]));
    done(lifeboat(root, &["ledger", "verify"]));

    // The end is gone everywhere: this machine remembers, and so does who wrote the head down.
    for location in ["north", "south"] {
        fs::remove_file(root.join(location).join("ledger").join(third.file_name().unwrap())).unwrap();
    }
    let seen = lifeboat(root, &["ledger", "verify", "--json"]);
    assert_eq!(seen.code, 6, "{}", seen.screen());
    assert!(findings(&seen).iter().all(|finding| *finding == ("truncated".into(), name(third))), "{}", seen.screen());
    open(root, "four");
    assert_eq!(lifeboat(root, &["ledger", "verify"]).code, 6, "a later entry doesn't cover it up");
    fs::remove_dir_all(root.join("state")).unwrap();
    done(lifeboat(root, &["ledger", "verify"]));
    let known = lifeboat(root, &["ledger", "verify", "--head", &name(third)[13..25], "--json"]);
    assert_eq!((known.code, &findings(&known)[0].0), (6, &"truncated".to_owned()));
}

#[test]
fn a_location_that_lacks_entries_leaves_a_doubt() {
    let directory = create();
    let root = directory.path();
    open(root, "one");
    open(root, "two");
    fs::remove_file(entries(root, "south").pop().unwrap()).unwrap();
    fs::remove_dir_all(root.join("state")).unwrap();
    let lacking = lifeboat(root, &["ledger", "verify"]);
    assert_eq!(lacking.code, 4, "{}", lacking.screen());
    assert!(lacking.screen().contains("ledger sync"), "{}", lacking.screen());
    done(lifeboat(root, &["ledger", "sync"]));
    done(lifeboat(root, &["ledger", "verify"]));
    let wrong = "00".repeat(32);
    assert_eq!(lifeboat(root, &["ledger", "verify", "--public-key", &wrong]).code, 6);
    assert_eq!(lifeboat(root, &["ledger", "verify", "--public-key", "nowhere"]).code, 2);
    assert_eq!(lifeboat(root, &["ledger", "verify", "--head", "x"]).code, 2);
}
