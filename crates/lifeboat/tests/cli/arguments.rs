//! Bad arguments, one screen each, and the help texts.

use crate::program::lifeboat;
use std::fmt::Write;

const CASES: &[&[&str]] = &[
    &[],
    &["--json"],
    &["frobnicate"],
    &["restor"],
    &["--frobnicate"],
    &["backup", "--type", "half"],
    &["backup", "--typ", "full"],
    &["backup", "-q", "-v"],
    &["backup", "--max-rate", "10"],
    &["check", "--color", "sometimes"],
    &["check"],
    &["check", "--config", "/nonexistent/lifeboat.toml"],
    &["check", "--config", "/"],
    &["check", "--config", ""],
    &["restore"],
    &["restore", "shop"],
    &["restore", "shop", "--to", "/x", "--lsn", "0/3000028", "--xid", "7"],
    &["restore", "shop", "--to", "/x", "--immediate", "--name", "before"],
    &["restore", "shop", "--to", "/x", "--lsn", "16777216"],
    &["restore", "shop", "--to", "/x", "--xid", "2"],
    &["restore", "shop", "--to", "/x", "--xid", "many"],
    &["restore", "shop", "--to", "/x", "--name", ""],
    &["restore", "shop", "--to", "/x", "--timeline", "0"],
    &["restore", "shop", "--to", "/x", "--at", "2026-11-21 14:03:05"],
    &["restore", "shop", "--to", "/x", "--at", "2026-11-21"],
    &["restore", "shop", "--to", "/x", "--at", "2026-11-21 UTC"],
    &["restore", "shop", "--to", "/x", "--at", "yesterday"],
    &["restore", "shop", "--to", "/x", "--at", "5 fortnights ago"],
    &["restore", "shop", "--to", "/x", "--at", "2026-11-21 14:03:05 Mars/Olympus"],
    &["restore", "shop", "--to", "/x", "--at", "2026-03-29 02:30:00 Europe/Berlin"],
    &["restore", "shop", "--to", "/x", "--at", "2026-10-25 02:30:00 Europe/Berlin"],
    &["restore", "shop", "--to", "/x", "--at", "2026-02-30 02:30:00 UTC"],
    &["restore", "shop", "--to", "/x", "--at", ""],
    &["restore", "shop", "--to", "/x", "--at"],
    &["wal"],
    &["wal", "push"],
    &["wal", "fetch", "000000010000000000000001"],
    &["wal", "pull", "x"],
    &["copy", "--from", "a"],
    &["key"],
    &["completions", "cmd"],
    &["man", "--to", "/dev/null/man"],
];

#[test]
fn each_mistake_is_named_and_the_right_form_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut screens = String::new();
    for arguments in CASES {
        let ran = lifeboat(directory.path(), arguments);
        // To a restore_command, 1 to 125 would mean that there is no such file.
        let expected = match arguments {
            ["man", ..] => 5,
            ["wal", "fetch", ..] => 130,
            _ => 2,
        };
        assert_eq!(ran.code, expected, "{arguments:?}: {}", ran.screen());
        let typed: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        writeln!(screens, "$ lifeboat {}\n{}\n", typed.join(" "), ran.screen()).expect("write to a string");
    }
    insta::assert_snapshot!("bad_arguments", screens);
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(' ') { format!("{word:?}") } else { word.to_owned() }
}

#[test]
fn help_reads_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut screens = String::new();
    let commands = [
        "check",
        "backup",
        "points",
        "restore",
        "verify",
        "wal",
        "copy",
        "metrics",
        "key",
        "demo",
        "completions",
        "man",
    ];
    for command in std::iter::once(None).chain(commands.into_iter().map(Some)) {
        let arguments: Vec<&str> = command.into_iter().chain(["-h"]).collect();
        let ran = lifeboat(directory.path(), &arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.ends_with('\n'), "help of {command:?} ends its last line");
        writeln!(screens, "$ lifeboat {}\n{}\n", arguments.join(" "), ran.stdout).expect("write to a string");
    }
    insta::assert_snapshot!("help", screens);
    let long = lifeboat(directory.path(), &["help", "restore"]);
    assert!(long.stdout.ends_with('\n'), "long help ends its last line");
}

#[test]
fn completions_and_manual_are_written() {
    let directory = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let ran = lifeboat(directory.path(), &["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("restore") && ran.stdout.contains("dry-run"), "{shell}");
    }
    assert!(lifeboat(directory.path(), &["man"]).stdout.contains(".TH lifeboat 1"));
    assert_eq!(lifeboat(directory.path(), &["man", "--to", "pages"]).code, 0);
    let page = std::fs::read_to_string(directory.path().join("pages/lifeboat-restore.1")).expect("a page");
    assert!(page.contains("pg_create_restore_point"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
