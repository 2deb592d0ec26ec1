//! An arbitrary text for `--at` is a moment or a refusal with a hint, never a panic.

#![no_main]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_cli::target::parse_time;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = parse_time(text, Timestamp::UNIX_EPOCH) {
        assert!(!error.hint(&TimeZone::UTC).is_empty());
    }
});
