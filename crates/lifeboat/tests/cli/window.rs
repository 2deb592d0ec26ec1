//! The hours in which a backup may run.

use crate::program::lifeboat;

/// An hour of the day, some hours from now.
fn hour(from_now: i64) -> String {
    // Where the program is told to be.
    let now = jiff::Timestamp::now().in_tz("Europe/Berlin").expect("a time zone");
    let then = now.checked_add(jiff::Span::new().hours(from_now)).expect("a time");
    then.strftime("%H:00").to_string()
}

fn backup(window: &str, more: &[&str]) -> crate::program::Ran {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display();
    let text = format!(
        "state_dir = \"{place}/state\"\n[location.local]\nurl = \"file://{place}/vault\"\n[encryption]\n\
         passphrase = {{ command = [\"echo\", \"secret\"] }}\n[workload.shop]\nkind = \"postgres\"\n\
         data_dir = \"{place}/data\"\nconnection = \"host={place} user=postgres\"\nwindow = \"{window}\"\n"
    );
    std::fs::write(directory.path().join("lifeboat.toml"), text).expect("write");
    lifeboat(directory.path(), &[&["backup", "--quiet"], more].concat())
}

#[test]
fn outside_its_window_a_backup_is_refused_before_anything_is_touched() {
    let ran = backup(&format!("{}-{}", hour(3), hour(5)), &[]);
    assert_eq!(ran.code, 5, "{}", ran.screen());
    assert!(ran.stderr.contains("it opens at") && ran.stderr.contains("--wait-for-window"), "{}", ran.stderr);
    // Inside, the next thing that is missing is the repository.
    for more in [&[][..], &["--wait-for-window"]] {
        let ran = backup(&format!("{}-{}", hour(-1), hour(2)), more);
        assert!(ran.stderr.contains("vault"), "{}", ran.screen());
    }
}
