//! Bad configurations, one screen each.

use crate::program::lifeboat;
use std::fmt::Write;

const GOOD: &str = r#"compression_level = 3

[location.local]
url = "file:///var/lib/lifeboat"

[location.ohio]
url = "s3://shop-dr/lifeboat"

[encryption]
passphrase = { command = ["echo", "secret"] }

[workload.shop]
kind = "postgres"
data_dir = "/var/lib/postgresql/15/main"
connection = "host=/var/run/postgresql user=postgres"
"#;

/// Each case replaces one text of [`GOOD`] by another.
const CASES: &[(&str, &str, &str)] = &[
    ("not TOML", "[encryption]", "[encryption"),
    ("a key twice", "kind = \"postgres\"", "kind = \"postgres\"\nkind = \"postgres\""),
    ("an unclosed text", "\"file:///var/lib/lifeboat\"", "\"file:///var/lib/lifeboat"),
    ("unknown section", "[encryption]", "[encription]"),
    ("plural section", "[location.local]", "[locations.local]"),
    ("unknown key far from all", "kind = ", "colour = \"blue\"\nkind = "),
    ("unknown key near one", "data_dir", "datadir"),
    ("unknown secret source", "command = ", "comand = "),
    ("level too high", "compression_level = 3", "compression_level = 22"),
    ("level as text", "compression_level = 3", "compression_level = \"high\""),
    ("state_dir relative", "compression_level = 3", "state_dir = \"cache\""),
    ("location as text", "[location.local]\nurl = \"file:///var/lib/lifeboat\"", "[location]\nlocal = \"file:///x\""),
    ("name with capitals", "[location.local]", "[location.Local]"),
    ("name with a slash", "[workload.shop]", "[workload.\"shop/eu\"]"),
    ("name with a line break", "[workload.shop]", "[workload.\"shop\\neu\"]"),
    ("no url", "url = \"s3://shop-dr/lifeboat\"", "region = \"ohio\""),
    ("url without scheme", "file:///var/lib/lifeboat", "/var/lib/lifeboat"),
    ("url of a relative directory", "file:///var/lib/lifeboat", "file://var/lib"),
    ("url with steps up", "file:///var/lib/lifeboat", "file:///var/../lib"),
    ("url with unknown scheme", "s3://shop-dr/lifeboat", "ftp://shop-dr/lifeboat"),
    ("url with credentials", "s3://shop-dr/lifeboat", "s3://AKIA:topsecret@shop-dr/lifeboat"),
    ("url without bucket", "s3://shop-dr/lifeboat", "s3:///lifeboat"),
    ("same place twice", "s3://shop-dr/lifeboat", "file:///var/lib/lifeboat/"),
    ("endpoint without scheme", "[encryption]", "endpoint = \"127.0.0.1:9000\"\n[encryption]"),
    ("endpoint of a directory", "[location.ohio]", "endpoint = \"http://127.0.0.1:9000\"\n[location.ohio]"),
    ("unknown media", "[encryption]", "media = \"tape\"\n[encryption]"),
    ("bucket on a disk", "[encryption]", "media = \"disk\"\n[encryption]"),
    ("directory as object", "[location.ohio]", "media = \"object\"\n[location.ohio]"),
    ("time limit without unit", "[encryption]", "time_limit = 30\n[encryption]"),
    ("time limit too long", "[encryption]", "time_limit = \"2h\"\n[encryption]"),
    ("half of a key pair", "[encryption]", "access_key_id = { env = \"KEY\" }\n[encryption]"),
    ("key of another cloud", "[encryption]", "account_key = { env = \"KEY\" }\n[encryption]"),
    ("secret in the file", "{ command = [\"echo\", \"secret\"] }", "\"topsecret\""),
    ("secret from two sources", "{ command = [\"echo\", \"secret\"] }", "{ env = \"A\", file = \"/a\" }"),
    ("secret from nowhere", "{ command = [\"echo\", \"secret\"] }", "{ }"),
    ("secret from a relative file", "{ command = [\"echo\", \"secret\"] }", "{ file = \"passphrase\" }"),
    ("secret by an empty command", "[\"echo\", \"secret\"]", "[]"),
    ("secret variable not set", "{ command = [\"echo\", \"secret\"] }", "{ env = \"LIFEBOAT_NEVER_SET\" }"),
    ("secret command fails", "[\"echo\", \"secret\"]", "[\"false\"]"),
    ("secret file missing", "{ command = [\"echo\", \"secret\"] }", "{ file = \"/nonexistent/passphrase\" }"),
    ("no passphrase", "passphrase = { command = [\"echo\", \"secret\"] }", ""),
    ("other kind", "\"postgres\"", "\"mysql\""),
    ("data_dir relative", "\"/var/lib/postgresql/15/main\"", "\"main\""),
    ("skipping without data_dir", "data_dir = \"/var/lib/postgresql/15/main\"", "unchanged_files = \"skip\""),
    ("compression of what is read", "kind = ", "server_compression = \"zstd\"\nkind = "),
    ("unknown compression", "kind = ", "server_compression = \"lz4\"\nkind = "),
    ("lag without a primary", "kind = ", "standby_max_lag = \"5m\"\nkind = "),
    ("unknown fallback", "kind = ", "primary = \"host=db1\"\nfallback = \"both\"\nkind = "),
    ("password in primary", "kind = ", "primary = \"host=db1 password=topsecret\"\nkind = "),
    ("connection is no connection", "\"host=/var/run/postgresql user=postgres\"", "\"localhost\""),
    ("password in connection", "user=postgres", "user=postgres password=topsecret"),
    ("password in connection url", "host=/var/run/postgresql user=postgres", "postgres://me:topsecret@db/postgres"),
    ("unknown location", "kind = ", "locations = [\"locl\", \"ohio\", \"ohio\"]\nkind = "),
    ("no location at all", "kind = ", "locations = []\nkind = "),
    ("keep as number", "kind = ", "keep = 3\nkind = "),
    ("keep nothing", "kind = ", "keep = { last = 0 }\nkind = "),
    ("keep less than nothing", "kind = ", "keep = { daily = -1, weekely = 2 }\nkind = "),
    ("keep somewhere unknown", "kind = ", "keep_in = { ohoi = { last = 3 }, local = \"al\", ohio = \"all\" }\nkind = "),
    ("immutable in words", "s3://shop-dr/lifeboat\"", "s3://shop-dr/lifeboat\"\nimmutable = \"yes\""),
    (
        "a bucket in a drawer",
        "s3://shop-dr/lifeboat\"",
        "s3://shop-dr/lifeboat\"\ndetach = [\"umount\"]\nmax_age = \"1s\"",
    ),
    ("check is no list", "kind = ", "check = \"select true\"\nkind = "),
    ("check has an empty query", "kind = ", "check = [\"\"]\nkind = "),
    ("slot with a dash", "kind = ", "slot = \"life-boat\"\nkind = "),
    ("rate without unit", "kind = ", "max_rate = \"100\"\nkind = "),
    ("window without an end", "kind = ", "window = \"22:00\"\nkind = "),
    ("rate of a location too small", "url = ", "max_rate = \"10kB\"\nurl = "),
    ("no workers", "kind = ", "workers = 0\nkind = "),
    ("other checkpoint", "kind = ", "checkpoint = \"lazy\"\nkind = "),
    ("synchronous as a word", "kind = ", "synchronous = \"on\"\nkind = "),
    ("synchronous with more locations than there are", "kind = ", "synchronous = { locations = 3 }\nkind = "),
    ("synchronous with no location", "kind = ", "synchronous = { locations = 0 }\nkind = "),
    ("synchronous with less than none", "kind = ", "synchronous = { locations = -1 }\nkind = "),
    ("synchronous with an empty list", "kind = ", "synchronous = { locations = [] }\nkind = "),
    ("synchronous with an unknown location", "kind = ", "synchronous = { locations = [\"local\", \"oiho\"] }\nkind = "),
    ("synchronous with a location twice", "kind = ", "synchronous = { locations = [\"local\", \"local\"] }\nkind = "),
    (
        "synchronous with a location of other workloads",
        "kind = ",
        "locations = [\"local\"]\nsynchronous = { locations = [\"ohio\"] }\nkind = ",
    ),
    ("synchronous with both", "kind = ", "synchronous = { locations = 1, spool = \"/var/spool/x\" }\nkind = "),
    ("spool relative", "kind = ", "synchronous = { spool = \"spool\" }\nkind = "),
    ("patience too short", "kind = ", "synchronous = { patience = \"10ms\" }\nkind = "),
    ("patience without unit", "kind = ", "synchronous = { locations = 1, patience = 30 }\nkind = "),
    ("unknown key of synchronous", "kind = ", "synchronous = { location = 1 }\nkind = "),
    ("alarm as text", "kind = ", "alarm = \"/bin/page\"\nkind = "),
    ("alarm without command", "kind = ", "alarm = { }\nkind = "),
    ("alarm with an empty command", "kind = ", "alarm = { command = [] }\nkind = "),
    ("alarm with a command as text", "kind = ", "alarm = { command = \"/bin/page\" }\nkind = "),
    ("unknown key of alarm", "kind = ", "alarm = { command = [\"/bin/page\"], after = \"1m\" }\nkind = "),
    ("limit without unit", "kind = ", "backup_within = \"26\"\nverify_within = \"soon\"\nkind = "),
    ("limit of no level", "kind = ", "verify_within = {}\nkind = "),
    ("limit of another level", "kind = ", "verify_within = { boots = \"7d\", data = 3 }\nkind = "),
    ("interval too short", "kind = ", "wal_tail_interval = \"1ms\"\nkind = "),
];

#[test]
fn each_problem_is_named_with_its_line_and_what_is_expected() {
    let mut screens = String::new();
    for (what, from, to) in CASES {
        assert!(GOOD.contains(from), "{what}: nothing to replace");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("lifeboat.toml"), GOOD.replacen(from, to, 1)).expect("write");
        let ran = lifeboat(directory.path(), &["check", "--quiet"]);
        assert!(!ran.stderr.contains("topsecret"), "{what}: the message shows a secret: {}", ran.stderr);
        let about_secrets = what.ends_with("not set") || what.ends_with("fails") || what.ends_with("file missing");
        assert_eq!(ran.code, if about_secrets { 4 } else { 2 }, "{what}: {}", ran.screen());
        writeln!(screens, "── {what}: {}\n{}\n", to.replace('\n', " ⏎ "), ran.screen()).expect("write to a string");
    }
    insta::assert_snapshot!("bad_configurations", screens);
}

#[test]
fn all_problems_are_reported_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let text =
        "state_dir = 1\n[location.a]\nuri = \"file:///x\"\n[workload.shop]\nkind = \"mysql\"\nlocations = [\"b\"]\n";
    std::fs::write(directory.path().join("lifeboat.toml"), text).expect("write");
    insta::assert_snapshot!("all_at_once", lifeboat(directory.path(), &["check"]).screen());
}

/// One directory and nothing else: what is looked at lies in the test's own place.
fn small(directory: &std::path::Path) -> String {
    let place = directory.join("vault");
    format!(
        "[location.local]\nurl = \"file://{}\"\n\n[encryption]\npassphrase = {{ command = [\"echo\", \"secret\"] }}\n",
        place.display()
    )
}

#[test]
fn a_good_one_is_found_and_told() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("lifeboat.toml"), small(directory.path())).expect("write");
    assert_eq!(lifeboat(directory.path(), &["init"]).code, 0);
    let place = directory.path().display().to_string();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&place, "[place]");
    settings.add_filter("[0-9a-f]{32}", "[repository]");
    settings.add_filter("([0-9a-f]{4}-){4}[0-9a-f]{4}", "[key]");
    settings.bind(|| {
        insta::assert_snapshot!("good", lifeboat(directory.path(), &["check"]).screen());
        insta::assert_snapshot!("good_json", lifeboat(directory.path(), &["check", "--json"]).screen());
    });
    std::fs::write(directory.path().join("lifeboat.toml"), GOOD).expect("write");
    insta::assert_snapshot!("unknown_workload", lifeboat(directory.path(), &["check", "shob"]).screen());
    insta::assert_snapshot!(
        "named_but_missing",
        lifeboat(directory.path(), &["check", "--config", "other.toml"]).screen()
    );
}

#[test]
fn with_json_a_failure_is_one_document_on_stdout() {
    let directory = tempfile::tempdir().expect("a directory");
    let ran = lifeboat(directory.path(), &["check", "--json"]);
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!("no_configuration_json", ran.screen());
    std::fs::write(directory.path().join("lifeboat.toml"), GOOD.replace("\"echo\"", "\"false\"")).expect("write");
    let ran = lifeboat(directory.path(), &["check", "--json"]);
    assert_eq!((ran.stderr.as_str(), ran.code), ("", 4));
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one document");
    assert_eq!(document["error"]["kind"], "check_failed");
}
