//! A reader written by a stranger, in Python, from docs/format/ alone: what we write is what is documented.

use crate::golden;
use lifeboat_components::{Component, install};
use lifeboat_repository::Passphrase;
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn reader(passphrase: &str, arguments: &[&str]) -> Output {
    let python = install(Component::PythonReader).unwrap().join("bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reader/restore.py");
    let run = Command::new(python).arg(script).args(arguments).env("LIFEBOAT_PASSPHRASE", passphrase).output();
    run.unwrap()
}

fn assert_succeeds(passphrase: &str, arguments: &[&str]) -> String {
    let output = reader(passphrase, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `%XX` back to bytes.
fn decoded(path: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match first {
            b'%' => {
                let byte = u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap();
                rest = &tail[2..];
                byte
            }
            other => other,
        });
    }
    std::ffi::OsStr::from_bytes(&bytes).into()
}

fn assert_restored(target: &Path, expected: &Value) {
    for (path, about) in expected.as_object().unwrap() {
        let restored = target.join(decoded(path));
        let metadata = restored.symlink_metadata().unwrap();
        match about["kind"].as_str().unwrap() {
            "link" => {
                let leads_to = std::fs::read_link(&restored).unwrap();
                assert_eq!(leads_to, decoded(about["target"].as_str().unwrap()), "{path}");
            }
            kind => {
                assert_eq!(u64::from(metadata.mode() & 0o7777), about["mode"].as_u64().unwrap(), "mode of {path}");
                assert_eq!(metadata.is_dir(), kind == "directory");
                let modified = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
                assert_eq!(modified, about["modified_ns"].as_i64().unwrap(), "time of {path}");
            }
        }
        if about["kind"] == "file" {
            let hash = blake3::hash(&std::fs::read(&restored).unwrap()).to_hex().to_string();
            assert_eq!(hash, about["blake3"].as_str().unwrap(), "content of {path}");
        }
    }
    let count = walk(target);
    assert_eq!(count, expected.as_object().unwrap().len(), "something else was written too");
}

fn walk(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { 0 }).sum()
}

fn assert_reads_everything(root: &Path, passphrase: &str, expected: &Value) {
    let scratch = tempfile::tempdir().unwrap();
    let root = root.to_str().unwrap();
    let points = expected["points"].as_object().unwrap();
    let listed = assert_succeeds(passphrase, &["points", root]);
    assert!(points.keys().all(|id| listed.contains(id)), "{listed}");
    for (id, entries) in points {
        let target = scratch.path().join(id);
        assert_succeeds(passphrase, &["restore", root, "golden", target.to_str().unwrap(), id]);
        assert_restored(&target, entries);
    }
    let latest = scratch.path().join("latest");
    assert_succeeds(passphrase, &["restore", root, "golden", latest.to_str().unwrap()]);
    assert_restored(&latest, points.values().next_back().unwrap());
    let logs = scratch.path().join("logs");
    assert_succeeds(passphrase, &["wal", root, "golden", logs.to_str().unwrap()]);
    for (name, hash) in expected["logs"].as_object().unwrap() {
        let bytes = std::fs::read(logs.join(name)).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().to_string(), hash.as_str().unwrap(), "{name}");
    }
}

#[test]
fn a_stranger_reads_the_golden_repositories() {
    for name in golden::GOLDEN {
        let root = golden::directory(name).join("repository");
        assert_reads_everything(&root, "golden", &golden::expected(name));
    }
}

#[tokio::test]
async fn a_stranger_reads_what_this_version_writes() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("repository");
    let secret = "Läßt sich's öffnen?";
    let expected = golden::write_repository(&root, &Passphrase::new(secret.into())).await;
    assert_reads_everything(&root, secret, &expected);
}

#[test]
fn a_stranger_finds_damage_and_a_wrong_passphrase() {
    let root = golden::directory("golden-v1").join("repository");
    let output = reader("gilded", &["points", root.to_str().unwrap()]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("wrong passphrase"));

    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("repository");
    assert!(Command::new("cp").args(["-r"]).arg(&root).arg(&copy).status().unwrap().success());
    let packs = std::fs::read_dir(copy.join("packs")).unwrap();
    for pack in packs.flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap()) {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let target = scratch.path().join("out");
    let output = reader("golden", &["restore", copy.to_str().unwrap(), "golden", target.to_str().unwrap()]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("damaged"));
}
