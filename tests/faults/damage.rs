//! One object of each kind damaged in one way: `verify --data` finds it, and a restore takes it from the other location
//! and says so, or refuses and names what is lost. (Every single bit: see the tests of `repository`.)

use crate::comparison::{archive_everything, change, content, content_of_restored, content_when_started, make_table};
use crate::world::World;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// One bit, so far into the object as the number says, of 1000.
    Flip(u64),
    Truncate,
    Remove,
}

/// Folder of the objects, and what is done to the largest of them.
const CASES: &[(&str, Harm)] = &[
    ("lifeboat.json", Harm::Flip(500)),
    ("lifeboat.json", Harm::Remove),
    ("keys", Harm::Flip(500)),
    ("keys", Harm::Remove),
    ("packs", Harm::Flip(300)),
    ("packs", Harm::Flip(995)),
    ("packs", Harm::Truncate),
    ("packs", Harm::Remove),
    ("index", Harm::Flip(500)),
    ("index", Harm::Remove),
    ("points", Harm::Flip(500)),
    ("points", Harm::Truncate),
    ("points", Harm::Remove),
    ("wal", Harm::Flip(500)),
    ("wal", Harm::Truncate),
    ("wal", Harm::Remove),
];

/// Made once for each test: a point, and the log behind it.
fn repository() -> (World, String) {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    change(&world, 1);
    archive_everything(&world);
    let expected = content(&world);
    (world, expected)
}

/// The largest object of a kind: for `wal`, the newest segment.
pub fn object(location: &Path, kind: &str) -> PathBuf {
    let mut found = Vec::new();
    collect(&location.join(kind), &mut found);
    let value = |path: &PathBuf| match kind {
        "wal" => (0, path.clone()),
        _ => (fs::metadata(path).expect("its size").len(), path.clone()),
    };
    let is_segment = |path: &&PathBuf| kind != "wal" || path.metadata().is_ok_and(|file| file.len() > 1000);
    let path = found.iter().filter(is_segment).max_by_key(|path| value(path));
    path.unwrap_or_else(|| panic!("no object in {kind}")).clone()
}

pub fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.to_path_buf());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), found);
    }
}

impl Harm {
    fn apply(self, path: &Path, before: &[u8]) {
        let after = match self {
            Self::Remove => return fs::remove_file(path).expect("remove an object"),
            Self::Truncate => before[..before.len() / 2].to_vec(),
            Self::Flip(place) => {
                let at = (before.len() as u64 * place / 1000) as usize;
                let mut after = before.to_vec();
                after[at] ^= 0x10;
                after
            }
        };
        fs::write(path, after).expect("damage an object");
    }
}

#[test]
fn the_other_location_helps_and_it_is_said() {
    let (world, expected) = repository();
    for (number, (kind, harm)) in CASES.iter().enumerate() {
        let path = object(&world.path("first"), kind);
        let before = fs::read(&path).expect("read an object");
        harm.apply(&path, &before);
        let found = world.run(&["verify", "--data"]);
        let message = found.screen();
        assert!([4, 5].contains(&found.code), "{kind} {harm:?} was not found:\n{message}");
        assert!(*kind != "packs" || !passed(&world), "{kind} {harm:?}: the point is said to have passed");
        assert!(message.contains("first"), "{kind} {harm:?}: it doesn't say where:\n{message}");
        let to = world.path(&format!("new-{number}"));
        let ran = world.run(&["restore", "shop", "--to", &to.display().to_string()]);
        assert_eq!(ran.code, 0, "{kind} {harm:?}: {}", ran.screen());
        if *kind == "packs" && *harm == Harm::Flip(300) {
            assert!(ran.stderr.contains("first"), "it doesn't say that another location helped: {}", ran.screen());
        }
        if number % 5 == 4 || *kind == "wal" {
            let restored = content_when_started(&world, to);
            assert_eq!(restored, expected, "{kind} {harm:?}");
        } else {
            fs::remove_dir_all(to).expect("remove what was restored");
        }
        fs::write(&path, before).expect("mend an object");
        world.give_away(&path);
    }
    assert_eq!(content_of_restored(&world, "whole", &[]), expected);
}

/// What is noted about the point.
pub fn passed(world: &World) -> bool {
    let points = world.run(&["points", "--json"]).ok().json();
    points["points"][0]["verification"]["passed"].as_bool().expect("it was verified")
}

#[test]
fn alone_it_is_refused_and_what_is_lost_is_named() {
    let (world, expected) = repository();
    fs::rename(world.path("second"), world.path("away")).expect("lose a location");
    let only = world.configuration().replace("kind = ", "locations = [\"first\"]\nkind = ");
    world.write("lifeboat.toml", only.replace("[location.second]", "[location.lost]"));
    // The end of the log that is gone can't be told from an end that never came.
    let told = |case: &&(&str, Harm)| **case != ("wal", Harm::Remove);
    for (number, (kind, harm)) in CASES.iter().filter(told).enumerate() {
        let path = object(&world.path("first"), kind);
        let before = fs::read(&path).expect("read an object");
        harm.apply(&path, &before);
        let found = world.run(&["verify", "shop", "--data"]);
        assert_ne!(found.code, 0, "{kind} {harm:?} was not found:\n{}", found.screen());
        let to = world.path(&format!("new-{number}"));
        let ran = world.run(&["restore", "shop", "--to", &to.display().to_string()]);
        let what = format!("{kind} {harm:?}");
        if *kind == "wal" {
            log_is_lost(&world, &ran, *harm);
        } else if ran.code == 0 {
            // The tables of contents, the index and what makes it a repository are there twice: one of them is enough.
            let is_twice = ["index", "lifeboat.json"].contains(kind) || (*kind, *harm) == ("packs", Harm::Flip(995));
            assert!(is_twice, "{what}: {}", ran.screen());
            assert_eq!(content_when_started(&world, to), expected, "{what}");
        } else {
            // What is not there at all can't be told from what never was.
            let never_was = *harm == Harm::Remove && *kind == "points";
            assert_eq!(ran.code, if never_was { 3 } else { 6 }, "{what}: {}", ran.screen());
            assert!(!to.join("global/pg_control").exists(), "{what}: what was left could be started");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let named = never_was || ran.stderr.contains(&name) || ran.stderr.contains(kind);
            assert!(named, "{what}: it doesn't name what is lost: {}", ran.screen());
        }
        fs::write(&path, before).expect("mend an object");
        world.give_away(&path);
    }
}

/// The log is only asked for by the restored server: what is damaged stops it, and never looks like the log's end.
fn log_is_lost(world: &World, ran: &crate::world::Ran, harm: Harm) {
    if ran.code == 0 && harm != Harm::Remove {
        let name = object(&world.path("first"), "wal");
        let name = name.file_name().expect("a name").to_string_lossy()[..24].to_owned();
        let fetched = world.run(&["wal", "fetch", "--no-prefetch", &name, "into"]);
        assert_eq!(fetched.code, 134, "{}", fetched.screen());
        assert!(fetched.stderr.contains(&name), "{}", fetched.screen());
    }
}

#[test]
fn a_segment_that_a_point_needs_and_that_is_gone_is_found() {
    let (world, _) = repository();
    let points = world.run(&["points", "--json"]).ok().json();
    let start = points["points"][0]["lsn_start"].as_str().expect("a position").to_owned();
    let name = world.sql(&format!("select pg_walfile_name('{start}'::pg_lsn + 1)")).expect("a name");
    for location in ["first", "second"] {
        let mut found = Vec::new();
        collect(&world.path(location).join("wal"), &mut found);
        // Its backup history file goes too: it has the segment's name in its own.
        let named: Vec<_> = found.iter().filter(|path| path.to_string_lossy().contains(&name)).collect();
        assert!(!named.is_empty(), "the segment is archived");
        for path in named {
            fs::remove_file(path).expect("lose a segment");
        }
    }
    let points = world.run(&["points", "--json"]).ok().json();
    assert_eq!(points["points"][0]["usable"], false, "{points:#}");
    let ran = world.run(&["restore", "shop", "--to", "new"]);
    assert_eq!(ran.code, 3, "{}", ran.screen());
    let ran = world.run(&["verify", "--data"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
}

/// Guards: a hole that another location fills is no damage: the points don't fail, and `copy` is enough.
#[test]
fn a_hole_in_the_log_of_one_location_makes_it_behind() {
    let (world, _) = repository();
    let mut names = Vec::new();
    for round in 2..5 {
        change(&world, round);
        names.push(world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a name"));
        archive_everything(&world);
    }
    let mut found = Vec::new();
    collect(&world.path("second").join("wal"), &mut found);
    let named = found.iter().find(|path| path.to_string_lossy().contains(&names[1])).expect("it is archived");
    fs::remove_file(named).expect("lose a segment");
    // A moment ago it was stored elsewhere, and may be on its way.
    let ran = world.run(&["verify", "--json"]).ok();
    assert_eq!(ran.json()["arriving"]["second"], 1, "{}", ran.screen());
    crate::kills::make_older(&world);
    let ran = world.run(&["verify", "--data", "--json"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    let document = ran.json();
    assert_eq!(document["bad"], serde_json::json!([]), "{document:#}");
    assert!(document["behind"].to_string().contains("has a hole"), "{document:#}");
    assert!(passed(&world), "the point is said to have failed");
    world.run(&["copy", "--from", "first", "--to", "second"]).ok();
    world.run(&["verify", "--data"]).ok();
}

/// The newest segment of the log in a location.
pub fn newest_segment(world: &World, location: &str) -> PathBuf {
    let mut directories = vec![world.path(location).join("wal/shop")];
    let mut segments = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("list the log").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path().is_dir() {
                true => directories.push(entry.path()),
                // The name, and the id of its content.
                false if name.len() == 24 + 1 + 32 => segments.push((name, entry.path())),
                false => {}
            }
        }
    }
    segments.into_iter().max().expect("a segment").1
}

#[test]
fn a_newest_segment_that_is_damaged_everywhere_ends_the_log_and_stops_nothing() {
    let (world, expected) = repository();
    change(&world, 2);
    archive_everything(&world);
    fs::write(newest_segment(&world, "first"), "").expect("lose the content");
    let far = newest_segment(&world, "second");
    let mut bytes = fs::read(&far).expect("read a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(far, bytes).expect("damage a segment");

    world.run(&["points"]).ok();
    let plan = world.run(&["restore", "shop", "--to", "/nowhere/new", "--dry-run"]);
    println!("{}", plan.screen());
    assert!(plan.stdout.contains("can't be read") || plan.stderr.contains("can't be read"), "{}", plan.screen());
    assert_eq!(content_of_restored(&world, "latest", &[]), expected);
    world.run(&["restore", "shop", "--to", &world.path("first-one").display().to_string(), "--immediate"]).ok();
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
}

/// One object of each kind at once, in either location: all come back, and the next look finds nothing.
#[test]
fn what_the_other_location_has_whole_is_put_back() {
    let (world, expected) = repository();
    let harmed = [("packs", "first", Harm::Flip(300)), ("index", "second", Harm::Truncate)];
    let harmed = harmed.into_iter().chain([("points", "first", Harm::Flip(500)), ("wal", "second", Harm::Truncate)]);
    let mut kept = Vec::new();
    for (kind, location, harm) in harmed {
        let path = object(&world.path(location), kind);
        let before = fs::read(&path).expect("read an object");
        harm.apply(&path, &before);
        kept.push((path, before));
    }
    assert_eq!(world.run(&["verify", "--data"]).code, 4);
    let dry = world.run(&["repair", "--dry-run", "--json"]).ok().json();
    assert_eq!(dry["replace"].as_array().map(Vec::len), Some(4), "{dry:#}");
    let still = kept.iter().filter(|(path, before)| fs::read(path).ok().as_ref() != Some(before)).count();
    assert_eq!(still, 4, "a dry run changes nothing");
    let ran = world.run(&["repair"]).ok();
    assert!(ran.stdout.contains("4 objects put back, 0 whole in no location"), "{}", ran.screen());
    for (path, before) in &kept {
        assert!(fs::read(path).is_ok_and(|bytes| bytes == *before), "{}", path.display());
    }
    world.run(&["verify", "--data"]).ok();
    assert!(world.run(&["repair"]).ok().stdout.contains("nothing to repair"));
    assert_eq!(content_of_restored(&world, "whole", &[]), expected);
}

/// A point that is damaged everywhere stays in the way until it is given up; the next backup makes all well.
#[test]
fn what_no_location_has_is_given_up_when_told_so() {
    let (world, _) = repository();
    for location in ["first", "second"] {
        let path = object(&world.path(location), "points");
        let before = fs::read(&path).expect("read a point");
        Harm::Flip(500).apply(&path, &before);
    }
    let ran = world.run(&["repair"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(ran.stderr.contains("`lifeboat repair --give-up`"), "{}", ran.screen());
    assert_eq!(world.run(&["verify"]).code, 4, "it is still told");
    let ran = world.run(&["repair", "--give-up"]).ok();
    assert!(ran.stdout.contains("given up  first: points/shop/"), "{}", ran.screen());
    world.run(&["backup"]).ok();
    world.run(&["verify", "--data"]).ok();
    assert_eq!(content_of_restored(&world, "again", &[]), content(&world));
}

/// What can be read of a pack that is damaged everywhere is saved, a backup brings the rest, and then nothing is bad any more: not
/// for the point that was damaged either.
#[test]
fn of_a_pack_that_is_damaged_everywhere_the_rest_is_saved() {
    let (world, _) = repository();
    // The largest pack is one of pages that nobody changes: the cluster still has them.
    world.sql(
        "create table steady as select g, md5(g::text) || md5((g + 1)::text) as text from generate_series(1, 120000) g",
    );
    world.sql("vacuum (freeze) steady");
    world.run(&["backup", "--type", "full"]).ok();
    let expected = content(&world);
    for location in ["first", "second"] {
        let path = object(&world.path(location), "packs");
        let before = fs::read(&path).expect("read a pack");
        Harm::Flip(300).apply(&path, &before);
    }
    assert_eq!(world.run(&["verify", "--data"]).code, 4);
    let told = world.run(&["points", "--json"]).ok().json();
    let told: Vec<&Value> =
        told["points"].as_array().expect("points").iter().map(|point| &point["verification"]["passed"]).collect();
    assert_eq!(told, [true, false], "the second point needs what is damaged");
    let ran = world.run(&["repair"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(ran.stdout.contains("stored anew, 1 are whole nowhere"), "{}", ran.screen());
    assert!(ran.stderr.contains("`lifeboat backup`"), "{}", ran.screen());
    world.run(&["backup"]).ok();
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "the damaged pack is still there");
    let points = world.run(&["points", "--json"]).ok().json();
    let points = points["points"].as_array().expect("points");
    assert!(points.len() == 3 && points.iter().all(|point| point["verification"]["passed"] == true), "{points:#?}");
    let ran = world.run(&["repair"]).ok();
    assert!(ran.stdout.contains("dropped  first packs/"), "{}", ran.screen());
    world.run(&["verify", "--data"]).ok();
    assert_eq!(content_of_restored(&world, "again", &[]), expected);
    let oldest = points.iter().filter_map(|point| point["id"].as_str()).min().expect("a point");
    world.run(&["restore", "shop", "--point", oldest, "--to", &world.path("old").display().to_string()]).ok();
}

/// Whoever prunes doesn't take a lost point for one that never was: what it needs stays until it is back, or given up.
#[test]
fn beside_a_lost_point_nothing_is_given_up() {
    let (world, _) = repository();
    let keeping = world.configuration().replace("kind = ", "keep = { last = 1 }\nkind = ");
    world.write("lifeboat.toml", format!("prune_after = \"1h\"\n{keeping}"));
    change(&world, 2);
    world.run(&["backup", "--type", "full"]).ok();
    for location in ["first", "second"] {
        let path = object(&world.path(location), "points");
        fs::remove_file(path).expect("lose a point");
    }
    let ran = world.run(&["prune"]);
    assert_eq!(ran.code, 5, "{}", ran.screen());
    assert!(
        ran.stderr.contains("what it needs must stay") && ran.stderr.contains("lifeboat repair"),
        "{}",
        ran.screen()
    );
    assert!(!world.path("first/removals").exists() || object_count(&world.path("first/removals")) == 0);
    assert_eq!(world.run(&["repair"]).code, 4);
    world.run(&["repair", "--give-up"]).ok();
    world.run(&["prune"]).ok();
}

fn object_count(path: &Path) -> usize {
    let mut found = Vec::new();
    collect(path, &mut found);
    found.iter().filter(|path| path.ends_with("mark")).count()
}
