//! A configuration of arbitrary text is a configuration or a list of problems, never a panic.

#![no_main]

use lifeboat_cli::config::{UnknownKeys, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let strict = parse("lifeboat.toml", text, UnknownKeys::Refuse);
    let lenient = parse("lifeboat.toml", text, UnknownKeys::Warn);
    // What stops a restore must be wrong for a backup too.
    assert!(lenient.is_ok() || strict.is_err());
});
