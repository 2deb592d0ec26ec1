//! Bad configurations of clusters, and agents that aren't there.

use crate::program::lifeboat;
use std::fmt::Write;

const GOOD: &str = r#"[cluster.shop]
this_member = "virginia"
data_dir = "/nonexistent/main"
connection = "host=/var/run/postgresql user=postgres"
replication = "user=replicator"
lease = { etcd = ["http://127.0.0.1:1"] }
listen = "127.0.0.1:1"
token = { command = ["echo", "a token for tests"] }
mode = "synchronous"

[cluster.shop.member.virginia]
agent = "http://127.0.0.1:1"
database = "10.0.0.1:5432"

[cluster.shop.member.ohio]
agent = "http://127.0.0.2:1"
database = "10.0.0.2:5432"
region = "ohio"

[cluster.shop.member.witness]
agent = "http://127.0.0.3:1"
"#;

/// Each case replaces one text of [`GOOD`] by another.
const CASES: &[(&str, &str, &str)] = &[
    ("no member", "this_member = \"virginia\"", "this_member = \"texas\""),
    ("unknown key", "replication", "replicaton"),
    ("no token", "token = { command = [\"echo\", \"a token for tests\"] }", ""),
    ("token in the file", "{ command = [\"echo\", \"a token for tests\"] }", "\"topsecret\""),
    ("password in replication", "user=replicator", "user=replicator password=topsecret"),
    ("no data_dir", "data_dir = \"/nonexistent/main\"", ""),
    ("no lease", "lease = { etcd = [\"http://127.0.0.1:1\"] }", ""),
    ("lease without a store", "{ etcd = [\"http://127.0.0.1:1\"] }", "{ }"),
    ("lease in two stores", "{ etcd = [", "{ directory = \"/x\", etcd = ["),
    ("lease in an unknown location", "{ etcd = [\"http://127.0.0.1:1\"] }", "{ location = \"vault\" }"),
    ("listens nowhere", "listen = \"127.0.0.1:1\"", "listen = \"localhost\""),
    ("another mode", "\"synchronous\"", "\"quorum\""),
    ("needed where nobody is waited for", "\"synchronous\"", "\"asynchronous\"\nneeded = 1"),
    ("needed is nothing", "\"synchronous\"", "\"synchronous\"\nneeded = 0"),
    ("another timing", "\"synchronous\"", "\"synchronous\"\ntiming = \"fast\""),
    ("loss without unit", "\"synchronous\"", "\"synchronous\"\nloss_max = 16"),
    ("agent without a scheme", "agent = \"http://127.0.0.2:1\"", "agent = \"127.0.0.2:1\""),
    ("database without a port", "\"10.0.0.2:5432\"", "\"10.0.0.2\""),
    ("unknown key of a member", "region = ", "reigon = "),
    ("half of tls", "\"synchronous\"", "\"synchronous\"\ntls = { certificate = \"/c\" }"),
    ("proxy that listens nowhere", "\"synchronous\"", "\"synchronous\"\nproxy = { hold = \"5s\" }"),
    ("bars a region that nobody has", "\"synchronous\"", "\"synchronous\"\nnever_primary_in = [\"texas\"]"),
    (
        "bars everybody",
        "\"synchronous\"\n\n[cluster.shop.member.virginia]",
        "\"synchronous\"\nnever_primary_in = [\"ohio\"]\n\n[cluster.shop.member.virginia]\nregion = \"ohio\"",
    ),
    ("only witnesses", "database = ", "# "),
];

#[test]
fn each_problem_is_named_with_its_line_and_what_is_expected() {
    let mut screens = String::new();
    for (what, from, to) in CASES {
        assert!(GOOD.contains(from), "{what}: nothing to replace");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("lifeboat.toml"), GOOD.replace(from, to)).expect("write");
        let ran = lifeboat(directory.path(), &["cluster", "status"]);
        assert!(!ran.stderr.contains("topsecret"), "{what}: the message shows a secret: {}", ran.stderr);
        assert_eq!(ran.code, 2, "{what}: {}", ran.screen());
        writeln!(screens, "── {what}: {}\n{}\n", to.replace('\n', " ⏎ "), ran.screen()).expect("write to a string");
    }
    insta::assert_snapshot!("bad_clusters", screens);
}

#[test]
fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |text: &str| std::fs::write(directory.path().join("lifeboat.toml"), text).expect("write");
    let mut screens = String::new();
    let mut run = |arguments: &[&str], code: u8| {
        let ran = lifeboat(directory.path(), arguments);
        assert_eq!(ran.code, i32::from(code), "{arguments:?}: {}", ran.screen());
        writeln!(screens, "── {}\n{}\n", arguments.join(" "), ran.screen()).expect("write to a string");
    };
    write(GOOD);
    run(&["cluster", "status"], 4);
    run(&["cluster", "switchover"], 5);
    run(&["cluster", "switchover", "--to", "ohoi"], 3);
    run(&["cluster", "failover", "--to", "ohio"], 5);
    run(&["cluster", "status", "warehouse"], 3);
    run(&["agent"], 3);
    run(&["proxy"], 2);
    write(&GOOD.replace("this_member = \"virginia\"\n", ""));
    run(&["agent"], 2);
    run(&["cluster", "bootstrap"], 2);
    write("");
    run(&["agent"], 2);
    insta::assert_snapshot!("no_clusters", screens);
}
