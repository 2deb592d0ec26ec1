//! `plan cost` from outside: what it measures, what it writes, and what it refuses before anything is measured or written.

use crate::program::lifeboat;
use crate::prune::World;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn document(world: &World, options: &[&str]) -> Value {
    let ran = lifeboat(world.directory.path(), &[&["plan", "cost", "--json"], options].concat());
    assert_eq!(ran.code, 0, "{}", ran.screen());
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Objects and bytes below a directory, counted by somebody else.
fn counted(directory: &Path) -> (u64, u64) {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.fold((0, 0), |(objects, bytes), entry| match entry.metadata().unwrap() {
        found if found.is_dir() => {
            let (more, size) = counted(&entry.path());
            (objects + more, bytes + size)
        }
        found => (objects + 1, bytes + found.len()),
    })
}

#[tokio::test]
async fn storage_is_measured_where_it_lies_and_priced_by_the_book() {
    let world = World::new("").await;
    world.point(20, 0).await;
    world.point(0, 0).await;
    let unpriced = document(&world, &[]);
    let local = &unpriced["locations"][0];
    let (objects, bytes) = counted(&world.path("repository"));
    assert_eq!((local["objects"].as_u64(), local["stored_bytes"].as_u64()), (Some(objects), Some(bytes)), "{local}");
    assert_eq!(local["class"], "own-disk");
    assert!(local["cost_by_year"][0]["currency_units"].is_null(), "nobody said what the disk costs: {local}");
    let book = "[class.shelf]\nper_gigabyte_month = 1000\nput_per_thousand = 0\nfirst_byte = \"2h\"\n[location.local]\nclass = \"shelf\"\n";
    std::fs::write(world.path("prices.toml"), book).unwrap();
    let priced = document(&world, &["--price-book", "prices.toml", "--years", "2"]);
    let local = &priced["locations"][0];
    assert_eq!(local["class"], "shelf");
    assert_eq!(local["restore_takes_at_least_seconds"], 7200.0);
    let years: Vec<f64> =
        local["cost_by_year"].as_array().unwrap().iter().map(|year| year["currency_units"].as_f64().unwrap()).collect();
    assert_eq!(years.len(), 2);
    let without_growth = bytes as f64 / 1e9 * 12_000.0;
    assert!(years[0] > without_growth && years[1] > years[0], "{years:?} {without_growth}: it grows");
    std::fs::rename(world.path("repository"), world.path("away")).unwrap();
    let ran = lifeboat(world.directory.path(), &["plan", "cost", "--json"]);
    assert!(ran.code == 0 && ran.stderr.contains("storage is not measured"), "{}", ran.screen());
    let away: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(away["locations"][0]["stored_bytes"].is_null(), "not there is not empty: {away}");
}

#[tokio::test]
async fn templates_are_written_once_and_read_back_and_the_picture_is_whole() {
    let world = World::new("").await;
    let at = world.directory.path();
    let ran = lifeboat(at, &["plan", "cost", "--write-price-book", "p.toml", "--write-assumptions", "a.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.screen());
    let ran = lifeboat(at, &["plan", "cost", "--write-price-book", "p.toml"]);
    assert!(ran.code == 2 && ran.stderr.contains("may have been edited"), "{}", ran.screen());
    let before = files(at);
    let ran = lifeboat(at, &["plan", "cost", "--price-book", "p.toml", "--assumptions", "a.toml", "--svg", "cost.svg"]);
    assert_eq!(ran.code, 0, "{}", ran.screen());
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    assert!(ran.stdout.contains("no [process.NAME]") && ran.stdout.contains("no [risk.NAME]"), "{}", ran.stdout);
    assert_eq!(files(at).len(), before.len() + 1, "the picture, and nothing beside it");
    let picture = std::fs::read_to_string(world.path("cost.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_line_and_nothing_is_written() {
    let world = World::new("").await;
    let at = world.directory.path();
    let before = files(at).len();
    let mut screens = String::new();
    for (option, text) in [
        ("--price-book", "[class.a]\nper_gigabyte_month = -1\n"),
        ("--price-book", "[class.a]\ntitle = \"x\"\nper_gigabyte = 1\n"),
        ("--price-book", "[class.a]\nfirst_byte = \"5\"\n"),
        ("--price-book", "[class.a\n"),
        ("--price-book", "[class.a]\n[location.local]\nclass = \"b\"\n"),
        ("--price-book", "[class.a]\n[location.locl]\nclass = \"a\"\n"),
        ("--assumptions", "[strategy.hot]\n"),
        ("--assumptions", "[strategy.hot_standby.use]\nhours = 5\n"),
        ("--assumptions", "[strategy.hot_standby.expected.fire]\nrta = \"1h\"\n"),
        ("--assumptions", "staff_cost_per_hour = \"80\"\n"),
        ("--assumptions", "[group.shop.strategy.hot_standby]\n"),
    ] {
        std::fs::write(world.path("bad.toml"), text).unwrap();
        let ran = lifeboat(at, &["plan", "cost", option, "bad.toml", "--svg", "cost.svg"]);
        assert!(ran.code == 2 || ran.code == 3, "{text}{}", ran.screen());
        writeln!(screens, "{text}{}\n", ran.screen()).unwrap();
    }
    std::fs::remove_file(world.path("bad.toml")).unwrap();
    for arguments in [
        &["--assumptions", "nowhere.toml"][..],
        &["--svg", "nowhere/cost.svg"],
        &["--years", "0"],
        &["--write-price-book", "p.toml", "--svg", "cost.svg"],
        &["--write-price-book", "nowhere/p.toml"],
    ] {
        let ran = lifeboat(at, &[&["plan", "cost"], arguments].concat());
        writeln!(screens, "{}\n{}\n", arguments.join(" "), ran.screen()).unwrap();
    }
    assert_eq!(files(at).len(), before, "{:?}", files(at));
    insta::assert_snapshot!("bad_costs", screens);
}
