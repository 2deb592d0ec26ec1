//! `key`: a machine gets a key of its own, and loses it.

use crate::program::{Ran, lifeboat};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.screen());
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

fn configure(root: &Path, secret: &str) {
    let root_text = root.display();
    let text = format!(
        "state_dir = \"{root_text}/state\"\n[location.local]\nurl = \"file://{root_text}/repository\"\n\
         [encryption]\npassphrase = {{ file = \"{root_text}/{secret}\" }}\n"
    );
    fs::write(root.join("lifeboat.toml"), text).unwrap();
}

#[test]
fn a_machine_gets_a_key_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (name, secret) in [("paper", "open sesame\n"), ("empty", "\n")] {
        fs::write(root.join(name), secret).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    configure(root, "paper");
    done(lifeboat(root, &["init"]));
    let key = root.join("key").display().to_string();
    let added = done(lifeboat(root, &["key", "add", "--machine", &key, "--label", "db1", "--json"]));
    let id = json(&added)["id"].as_str().unwrap().to_owned();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!added.stdout.contains(fs::read_to_string(&key).unwrap().trim()), "the key itself is never shown");

    let again = lifeboat(root, &["key", "add", "--machine", &key]);
    assert_eq!(again.code, 2, "a key is never overwritten: {}", again.screen());
    let empty = root.join("empty").display().to_string();
    assert_eq!(lifeboat(root, &["key", "add", "--passphrase-file", &empty]).code, 2);
    assert_eq!(lifeboat(root, &["key", "add"]).code, 2);

    configure(root, "key");
    let listed = json(&done(lifeboat(root, &["key", "list", "--json"])));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed}");
    let own = lifeboat(root, &["key", "remove", &id]);
    assert_eq!(own.code, 2, "{}", own.screen());
    configure(root, "paper");
    done(lifeboat(root, &["key", "remove", &id]));
    assert_eq!(lifeboat(root, &["key", "remove", &id]).code, 3);
    configure(root, "key");
    assert_eq!(lifeboat(root, &["key", "list"]).code, 7, "it opens nothing any more");
}
