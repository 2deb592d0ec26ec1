//! The invariants of ARCHITECTURE.md as tests. A failing one says what it found, why that matters and what to do.
//!
//! They read the sources and `cargo metadata`, nothing else: no network, no build.

#[path = "tidy/source.rs"]
mod source;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which room may use which: data flows downwards, arrows never go up. `components` (real servers for tests) is for
/// tests, for `xtask` and for the example only, so it appears nowhere else on the right.
const ALLOWED_EDGES: &[(&str, &[&str])] = &[
    (
        "lifeboat",
        &[
            "agent",
            "document",
            "drill",
            "failover",
            "ledger",
            "location",
            "mount",
            "plan",
            "postgres",
            "recovery",
            "report",
            "repository",
            "workload",
        ],
    ),
    ("agent", &["failover", "location", "postgres"]),
    ("drill", &["plan", "postgres"]),
    ("failover", &[]),
    ("ledger", &["location"]),
    ("sim", &["failover"]),
    ("plan", &[]),
    ("report", &["plan", "document"]),
    ("document", &[]),
    ("recovery", &["workload", "mount", "repository", "location", "postgres"]),
    ("workload", &["repository", "location", "postgres"]),
    ("mount", &[]),
    ("repository", &["location"]),
    ("postgres", &[]),
    ("location", &[]),
    ("components", &[]),
    ("example", &["components"]),
    ("xtask", &["components"]),
    ("tests", &[]),
];

/// Libraries that only one room may know (two, where it is named twice), so that replacing one is the work of one room. What exists for tests only
/// ([`FOR_TESTS`]) may look at the world with them too.
const ONLY_IN: &[(&str, &str)] = &[
    ("object_store", "location"),
    ("clap", "lifeboat"),
    ("indicatif", "lifeboat"),
    ("comfy-table", "lifeboat"),
    ("tokio-postgres", "postgres"),
    ("postgres-protocol", "postgres"),
    ("aws-lc-rs", "repository"),
    ("aws-lc-rs", "ledger"),
    ("argon2", "repository"),
    ("zstd", "repository"),
    ("fuser", "mount"),
    ("hickory-proto", "agent"),
    ("krilla", "document"),
    ("rustybuzz", "document"),
];

const FOR_TESTS: &[&str] = &["sim", "components", "example", "xtask", "tests"];

/// Rooms that may print, read the environment and end the process: programs, and what runs only in tests.
const PROGRAMS: &[&str] = &["crates/lifeboat/", "crates/components/", "example/", "xtask/", "tests/"];

/// Every module that decodes bytes from outside, and its target in `fuzz/fuzz_targets/`.
const DECODERS: &[(&str, &str)] = &[
    ("crates/agent/src/api.rs", "agent_message"),
    ("crates/agent/src/lease/content.rs", "lease"),
    ("crates/agent/src/proxy/startup.rs", "startup"),
    ("crates/agent/src/routing/route53/records.rs", "route53"),
    ("crates/agent/src/routing/table.rs", "route_table"),
    ("crates/postgres/src/catalog/mod.rs", "catalog"),
    ("crates/postgres/src/control.rs", "control"),
    ("crates/postgres/src/history.rs", "history"),
    ("crates/postgres/src/label.rs", "label"),
    ("crates/postgres/src/manifest.rs", "manifest"),
    ("crates/postgres/src/layout.rs", "layout"),
    ("crates/postgres/src/page.rs", "page"),
    ("crates/postgres/src/replication/codec.rs", "wire"),
    ("crates/postgres/src/tar.rs", "tar"),
    ("crates/postgres/src/wal/mod.rs", "wal_header"),
    ("crates/postgres/src/wal/mod.rs", "wal_records"),
    ("crates/postgres/src/wal/contents.rs", "wal_rows"),
    ("crates/postgres/src/wal_file.rs", "wal_file_name"),
    ("crates/mount/src/journal.rs", "mount_journal"),
    ("crates/ledger/src/entry.rs", "ledger_entry"),
    ("crates/repository/src/container.rs", "container"),
    ("crates/repository/src/container/footer.rs", "container"),
    ("crates/repository/src/container/pages.rs", "pages"),
    ("crates/repository/src/index.rs", "index_fragment"),
    ("crates/repository/src/file_map.rs", "leaf"),
    ("crates/repository/src/tree.rs", "tree"),
    ("crates/repository/src/point.rs", "point"),
    ("crates/repository/src/hold.rs", "hold"),
    ("crates/repository/src/most_read.rs", "most_read"),
    ("crates/repository/src/open.rs", "repository_root"),
    ("crates/repository/src/pack.rs", "fingerprints"),
    ("crates/workload/src/postgres/wal/journal/format.rs", "journal"),
    ("crates/lifeboat/src/config/mod.rs", "config"),
    ("crates/lifeboat/src/target.rs", "target"),
];

const FILE_LINES_MAX: usize = 600;
const FILE_LINES_AIM: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Every text file of the tree: path from the root, and content. Build output and version control are left out.
fn files() -> Vec<(String, String)> {
    fn walk(directory: &Path, root: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).expect("read a directory of the tree") {
            let path = entry.expect("read an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() || ["target", ".git", "node_modules", "corpus", "artifacts"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    found
}

/// Rust sources under a `src/` directory: the code that ships, and the programs that build and test it.
fn sources() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs") && path.contains("src/")).collect()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

/// `cargo metadata` of the workspace's own packages: short name to package.
fn packages() -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (short(package["name"].as_str().unwrap_or_default()), package.clone())).collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("lifeboat-").unwrap_or(name).to_owned()
}

/// Names of what a package depends on. Dev-dependencies only when asked for.
fn dependencies(package: &Value, with_dev: bool) -> BTreeSet<String> {
    let list = package["dependencies"].as_array().expect("a list of dependencies");
    let wanted = list.iter().filter(|dependency| with_dev || dependency["kind"] != "dev");
    wanted.filter_map(|dependency| dependency["name"].as_str()).map(str::to_owned).collect()
}

/// Fails with every finding on its own line, then why it matters and what to do.
fn expect_none(findings: Vec<String>, why: &str) {
    assert!(findings.is_empty(), "\n\n  {}\n\n{why}\n", findings.join("\n  "));
}

/// Places in shipped code (no comments, literals, tests) where one of the `needles` stands as a whole word.
fn find_in_code(needles: &[&str], skip: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test_file(path) && !skip(path)) {
        let code = source::without_tests(&source::code_only(&text));
        for needle in needles {
            for (at, _) in code.match_indices(needle) {
                let before = code[..at].chars().next_back();
                let after = code[at + needle.len()..].chars().next();
                let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                let starts = !(needle.starts_with(char::is_alphanumeric) && word(before));
                let ends = !(needle.ends_with(char::is_alphanumeric) && word(after));
                if starts && ends {
                    findings.push(format!("{path}:{}: {needle}", source::line_of(&code, at)));
                }
            }
        }
    }
    findings
}

#[test]
fn arrows_between_crates_go_down() {
    let packages = packages();
    let allowed: BTreeMap<_, _> = ALLOWED_EDGES.iter().copied().collect();
    let mut findings = Vec::new();
    for (name, package) in &packages {
        let Some(may_use) = allowed.get(name.as_str()) else {
            findings.push(format!("{name} is not in the table of allowed edges"));
            continue;
        };
        let ours =
            dependencies(package, false).into_iter().map(|name| short(&name)).filter(|n| packages.contains_key(n));
        findings.extend(ours.filter(|n| !may_use.contains(&n.as_str())).map(|used| format!("{name} -> {used}")));
    }
    expect_none(
        findings,
        "Each room must be usable and understandable without those above it: `repository` knows no database,\n\
         `postgres` knows no repository. Move the code to the room that may know both (usually `workload` or\n\
         `recovery`), or pass a value or a trait down. A new crate gets its line in ALLOWED_EDGES of tests/tidy.rs and\n\
         its paragraph in ARCHITECTURE.md.",
    );
}

#[test]
fn a_library_with_one_home_stays_there() {
    let mut findings = Vec::new();
    for (name, package) in packages().into_iter().filter(|(name, _)| !FOR_TESTS.contains(&name.as_str())) {
        let used = dependencies(&package, false);
        let is_home = |library: &str| ONLY_IN.contains(&(library, name.as_str()));
        let strangers = ONLY_IN.iter().filter(|(library, _)| used.contains(*library) && !is_home(library));
        findings.extend(strangers.map(|(library, home)| format!("{name} depends on {library}, whose home is {home}")));
    }
    expect_none(findings, "Call the home crate's own API, or add what is missing there.");
}

#[test]
fn libraries_do_not_print_exit_or_read_the_environment() {
    let forbidden = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "process::exit",
        "env::var",
        "env::var_os",
        "env::vars",
        "env::home_dir",
        "env::args",
        "io::stdout",
        "io::stderr",
        "io::stdin",
    ];
    expect_none(
        find_in_code(&forbidden, |path| PROGRAMS.iter().any(|program| path.starts_with(program))),
        "A library that prints spoils `--json`; one that reads the environment behaves otherwise under cron than in a\n\
         shell; one that exits skips the cleanup of its caller. Return a value or an error, take settings as arguments,\n\
         report progress through the trait that the caller gives.",
    );
}

#[test]
fn nothing_unwraps_in_shipped_code() {
    expect_none(
        find_in_code(&[".unwrap()"], |path| path.starts_with("xtask/")),
        "A panic in the middle of a restore is the worst message at the worst time. Return an error that names the\n\
         thing; where it truly cannot happen, `.expect(\"the reason why it cannot\")`.",
    );
}

#[test]
fn nothing_is_unfinished() {
    expect_none(
        find_in_code(&["todo!", "unimplemented!"], |_| false),
        "A command that isn't there should not be offered. Leave it out until it works.",
    );
}

#[test]
fn unsafe_is_forbidden_everywhere() {
    let mut findings = find_in_code(&["unsafe"], |_| false);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("read Cargo.toml");
    if !manifest.contains("unsafe_code = \"forbid\"") {
        findings.push("Cargo.toml: no unsafe_code = \"forbid\" in [workspace.lints.rust]".to_owned());
    }
    for (name, package) in packages() {
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let text = std::fs::read_to_string(path).expect("read a manifest");
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{name}: its Cargo.toml lacks `[lints] workspace = true`"));
        }
    }
    expect_none(findings, "Use a safe crate (rustix for system calls, zerocopy-like parsing by hand).");
}

#[test]
fn files_and_functions_stay_small() {
    let mut findings = Vec::new();
    for (path, text) in sources().into_iter().chain(files().into_iter().filter(|(path, _)| is_test_source(path))) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{path}: {lines} lines (at most {FILE_LINES_MAX})"));
        } else if lines > FILE_LINES_AIM {
            println!("note: {path} has {lines} lines; aim for {FILE_LINES_AIM}");
        }
        if is_test_file(&path) {
            continue;
        }
        let code = source::without_tests(&source::code_only(&text));
        let long = source::functions(&code).into_iter().filter(|(_, _, length)| *length > FUNCTION_LINES_MAX);
        findings.extend(long.map(|(name, line, length)| {
            format!("{path}:{line}: fn {name} has {length} lines (at most {FUNCTION_LINES_MAX})")
        }));
    }
    expect_none(
        findings,
        "A file is one job that fits in the head. Give the second job its own file, named for what it does; tests\n\
         that outgrow the code move to the crate's tests/. Split a function where one would write a comment.",
    );
}

fn is_test_source(path: &str) -> bool {
    path.ends_with(".rs") && !path.contains("src/")
}

#[test]
fn no_room_is_a_cupboard() {
    let cupboards = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let stem = |path: &str| Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let parent =
        |path: &str| Path::new(path).parent().map(|parent| stem(&parent.to_string_lossy())).unwrap_or_default();
    let rust = files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".rs"));
    let named =
        rust.filter(|path| cupboards.contains(&stem(path).as_str()) || cupboards.contains(&parent(path).as_str()));
    expect_none(
        named.collect(),
        "Name the file for the one job it does; a cupboard collects everything and explains nothing.",
    );
}

#[test]
fn every_source_file_opens_with_its_idea() {
    let silent = sources().into_iter().filter(|(_, text)| !text.trim().is_empty() && !text.starts_with("//!"));
    expect_none(
        silent.map(|(path, _)| path).collect(),
        "Open the file with `//!`: the idea, what it promises, what is not here. Ten lines at most.",
    );
}

#[test]
fn every_decoder_is_fuzzed() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("read fuzz/Cargo.toml");
    let mut findings = Vec::new();
    for (module, target) in DECODERS {
        if !std::fs::read_to_string(root().join(module)).is_ok_and(|text| !text.trim().is_empty()) {
            findings.push(format!("{module}: no such module"));
        }
        if !root().join("fuzz/fuzz_targets").join(format!("{target}.rs")).is_file() {
            findings.push(format!("{module}: no fuzz/fuzz_targets/{target}.rs"));
        }
        if !manifest.contains(&format!("name = \"{target}\"")) {
            findings.push(format!("{module}: fuzz/Cargo.toml has no [[bin]] {target}"));
        }
    }
    expect_none(
        findings,
        "Bytes from outside are guilty until proven innocent: a decoder returns Result, bounds what it reads and never\n\
         panics, and a fuzzer is what shows it. Add the target; a new decoder gets its line in DECODERS.",
    );
}

#[test]
fn every_promise_names_tests_that_exist() {
    let tests: String = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs") && !path.contains("tidy"))
        .map(|(_, text)| text)
        .collect();
    let table = std::fs::read_to_string(root().join("tests/README.md")).expect("read tests/README.md");
    let shown = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).skip(1);
    // Between backticks: the odd pieces.
    let names: Vec<&str> = shown.flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 60, "the table has {} names: was it read?", names.len());
    let is_there = |name: &&&str| tests.contains(&format!("fn {name}(")) || tests.contains(&format!("    {name},\n"));
    let missing = names.iter().filter(|name| **name != "long_").filter(|name| !is_there(name));
    expect_none(
        missing.map(|name| format!("tests/README.md: {name}")).collect(),
        "A promise is worth what its test is: name the one that shows it, as it is called today.",
    );
}

#[test]
fn the_tree_names_no_machine_and_no_registry() {
    let here = "tests/tidy.rs";
    let hosts = [
        "index.crates.io",
        "static.crates.io",
        "pypi.org",
        "pythonhosted.org",
        "registry.npmjs.org",
        "proxy.golang.org",
    ];
    let directories = ["/work/", "/root/", "/home/", "/Users/"];
    let mut findings = Vec::new();
    for (path, text) in files().into_iter().filter(|(path, _)| path != here) {
        for (number, line) in text.lines().enumerate() {
            let host = hosts.iter().find(|host| line.contains(**host));
            let machine = directories.iter().find(|directory| {
                line.match_indices(**directory).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-}*$".contains(c))
                })
            });
            let foreign =
                path == "Cargo.lock" && line.starts_with("source = ") && !line.contains("rust-lang/crates.io-index");
            if host.or(machine).is_some() || foreign {
                findings.push(format!("{path}:{}: {}", number + 1, line.trim().chars().take(100).collect::<String>()));
            }
        }
    }
    expect_none(
        findings,
        "The tree must build and read the same on every machine: use relative paths and default sources.",
    );
}
