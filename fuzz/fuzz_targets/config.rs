//! A configuration of arbitrary text is a configuration or a list of problems, never a panic.

#![no_main]

use lifeboat_cli::config::{UnknownKeys, parse, parse_including};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let strict = parse("lifeboat.toml", text, UnknownKeys::Refuse);
    let lenient = parse("lifeboat.toml", text, UnknownKeys::Warn);
    // What stops a restore must be wrong for a backup too.
    assert!(lenient.is_ok() || strict.is_err());
    // Whatever an included file says, it stops no restore.
    const MAIN: &str =
        "include = [\"x\"]\n[location.local]\nurl = \"file:///x\"\n[encryption]\npassphrase = { env = \"P\" }\n";
    let included = |_: &str| Ok(vec![("x".to_owned(), text.to_owned())]);
    assert!(parse_including("lifeboat.toml", MAIN, UnknownKeys::Warn, &included).is_ok());
});
