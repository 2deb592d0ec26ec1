//! The configuration against texts that nobody would write, and the promise for `restore`.

use lifeboat_cli::config::{UnknownKeys, parse};
use proptest::prelude::*;

const GOOD: &str = "[location.local]\nurl = \"file:///x\"\n[encryption]\npassphrase = { env = \"P\" }\n";

#[test]
fn a_newer_file_stops_a_backup_but_not_a_restore() {
    let newer = format!("{GOOD}algorithm = \"new\"\n[future]\nx = 1\n");
    let refused = parse("f", &newer, UnknownKeys::Refuse).expect_err("unknown keys are refused");
    let parsed = parse("f", &newer, UnknownKeys::Warn).expect("unknown keys only warn");
    assert_eq!(parsed.warnings, refused.0);
    assert_eq!(refused.0.len(), 2);
}

#[test]
fn one_sound_location_is_enough_for_a_restore() {
    let broken =
        format!("state_dir = 1\n{GOOD}[location.ohio]\nurl = \"ftp://x\"\n[workload.shop]\nkind = \"postgres\"\n");
    let refused = parse("f", &broken, UnknownKeys::Refuse).expect_err("a backup needs all of it");
    let parsed = parse("f", &broken, UnknownKeys::Warn).expect("a restore needs a location and the passphrase");
    assert_eq!(parsed.warnings, refused.0);
    assert_eq!(parsed.config.locations.keys().collect::<Vec<_>>(), ["local"]);
    let without_location = "[encryption]\npassphrase = { env = \"P\" }\n";
    assert!(parse("f", without_location, UnknownKeys::Warn).is_err());
    let without_passphrase = "[location.local]\nurl = \"file:///x\"\n";
    assert!(parse("f", without_passphrase, UnknownKeys::Warn).is_err());
}

#[test]
fn values_arrive_as_written() {
    let text = format!(
        "compression_level = 9\n{GOOD}[workload.shop]\nkind = \"postgres\"\ndata_dir = \"/d\"\nconnection = \"host=h\"\n\
         keep = {{ last = 3, yearly = 1 }}\nmax_rate = \"64MiB/s\"\nworkers = 4\nwindow = \"22:00-06:00\"\ncheckpoint = \"spread\"\n\
         wal_tail_interval = \"500ms\"\nslot = \"boat\"\nbackup_within = \"26h\"\n\
         verify_within = {{ boot = \"7d\" }}\ncheck = [\"select true\"]\n"
    );
    let config = parse("f", &text, UnknownKeys::Refuse).expect("a good configuration").config;
    insta::assert_debug_snapshot!(config);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = parse("f", &text, UnknownKeys::Refuse);
    }

    /// Cuts and swaps inside a real file reach deeper than random text.
    #[test]
    fn a_damaged_file_is_problems_or_a_configuration(at in 0..GOOD.len(), with in "[\\[\\]{}=\",.a-z0-9\n]{0,3}", skip in 0usize..5) {
        let end = (at + skip).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(problems) = parse("f", &text, UnknownKeys::Refuse) {
            prop_assert!(!problems.0.is_empty());
            let lines = text.lines().count() + 1;
            prop_assert!(problems.0.iter().all(|problem| problem.line.is_none_or(|line| line <= lines)));
        }
    }
}
