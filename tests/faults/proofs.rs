//! Does it say so soon enough? What a verification found is known to the next backup, to `check` and to `points`; what isn't there
//! is missed; and nothing that is merely late is called damage.

use crate::comparison::{archive_everything, change, content, content_of_restored, make_table};
use crate::damage::{collect, newest_segment};
use crate::kills::make_older;
use crate::world::World;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A cluster with one location, `first`.
fn alone() -> World {
    let world = World::with_cluster(|builder| builder);
    leave(&world, "");
    world
}

/// From now on there is only the first location; these lines are in the workload's section.
fn leave(world: &World, lines: &str) {
    let text = world.configuration();
    let (start, end) = (text.find("[location.second]").unwrap(), text.find("[encryption]").unwrap());
    world.write("lifeboat.toml", format!("{}{}{lines}\n", &text[..start], &text[end..]));
}

fn packs(world: &World, location: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&world.path(location).join("packs"), &mut found);
    found
}

/// One bit near the beginning of an object.
fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).expect("read an object");
    bytes[100] ^= 1;
    fs::write(path, bytes).expect("damage an object");
}

#[test]
fn a_backup_builds_on_nothing_that_was_found_damaged() {
    let world = alone();
    make_table(&world);
    world.run(&["backup"]).ok();
    packs(&world, "first").iter().for_each(flip);
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
    for kind in ["full", "incr"] {
        change(&world, 1);
        let ran = world.run(&["backup", "--type", kind]).ok();
        assert!(ran.stderr.contains("stored anew"), "{}", ran.screen());
        let expected = content(&world);
        archive_everything(&world);
        assert_eq!(content_of_restored(&world, kind, &[]), expected, "{kind}");
    }
}

/// A location that can't be reached isn't damaged, and no point is the worse for it: not in what is noted, not for `prune`.
#[test]
fn a_location_that_is_away_takes_nothing_from_a_point() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    let keeping = world.configuration().replace("kind = ", "keep = { last = 1 }\nkind = ");
    world.write("lifeboat.toml", keeping);
    world.run(&["verify", "--boot"]).ok();
    let is_proven = || {
        let kept = world.run(&["prune", "--dry-run", "--json"]).ok().stdout;
        let points = world.run(&["points", "--json"]).ok().json();
        kept.contains("newest that passed a test restore") && points["points"][0]["verification"]["passed"] == true
    };
    assert!(is_proven());
    let away = |how: &str| {
        let ran = world.run(&["verify"]);
        assert_eq!(ran.code, 5, "{how}: {}", ran.screen());
        assert!(ran.stderr.contains("nothing bad was found, but second could not be looked at: "), "{}", ran.screen());
        assert!(!ran.stderr.contains("repair"), "{how}: {}", ran.screen());
        assert_eq!(world.run(&["verify", "--data", "--json"]).code, 5, "{how}");
    };
    let lock = |mode| fs::set_permissions(world.path("second"), fs::Permissions::from_mode(mode)).expect("chmod");
    lock(0o000);
    away("may not be read");
    lock(0o700);
    assert!(is_proven(), "after one that may not be read");
    fs::rename(world.path("second"), world.path("away")).expect("lose a location");
    away("gone");
    let checked = world.run(&["check"]).stdout;
    assert!(checked.contains("shop 3-2-1: 1 of 3 copies"), "what isn't there is counted: {checked}");
    assert!(checked.contains("second doesn't count, it can't be used now"), "{checked}");
    packs(&world, "first").iter().for_each(flip);
    let ran = world.run(&["verify", "--data"]);
    assert_eq!(ran.code, 4, "what is bad weighs more: {}", ran.screen());
    assert!(ran.stderr.contains("not as written") && ran.stderr.contains("and second could not"), "{}", ran.screen());
    packs(&world, "first").iter().for_each(flip);
    fs::rename(world.path("away"), world.path("second")).expect("bring it back");
    world.run(&["copy", "--from", "first", "--to", "second"]).ok();
    world.run(&["verify", "--data"]).ok();
    assert!(is_proven(), "what was damaged is whole again");
}

/// Nobody has verified. A backup that meets damage of what it compares with reads everything; at worst it asks for another try.
#[test]
fn an_incremental_backup_survives_a_parent_that_is_damaged() {
    let world = alone();
    make_table(&world);
    world.run(&["backup"]).ok();
    for path in packs(&world, "first") {
        let mut bytes = fs::read(&path).expect("read an object");
        let end = bytes.len() * 4 / 5;
        bytes[48..end].iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        fs::write(path, bytes).expect("damage an object");
    }
    change(&world, 1);
    let mut ran = world.run(&["backup", "--type", "incr"]);
    let told = ran.stderr.clone();
    if ran.code != 0 {
        assert_eq!(ran.code, 5, "{}", ran.screen());
        ran = world.run(&["backup", "--type", "incr"]);
    }
    ran.ok();
    assert!(told.contains("every page is read"), "{told}");
    // What it didn't meet, a verification finds, and the next one heals.
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
    world.run(&["backup", "--type", "incr"]).ok();
    let expected = content(&world);
    archive_everything(&world);
    assert_eq!(content_of_restored(&world, "new", &[]), expected);
}

/// No limit has to be set for that.
#[test]
fn check_says_what_the_last_verification_found() {
    let world = alone();
    make_table(&world);
    world.run(&["backup"]).ok();
    world.run(&["check"]).ok();
    packs(&world, "first").iter().for_each(flip);
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
    // A look at names and sizes makes nothing good.
    world.run(&["verify"]);
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    for said in ["the last verification failed of", "not as written in first", "`lifeboat verify --data --from first`"]
    {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.screen());
    }
    let points = world.run(&["points"]).ok();
    assert!(points.stderr.contains("not as written in first"), "{}", points.screen());
    packs(&world, "first").iter().for_each(flip);
    world.run(&["verify", "--data"]).ok();
    world.run(&["check"]).ok();
    assert!(!world.run(&["points"]).ok().stderr.contains("not as written"));
}

/// Nothing else speaks of the newest file of a log but whoever saw it.
#[test]
fn the_end_of_the_log_is_missed_when_it_was_seen_before() {
    let world = alone();
    make_table(&world);
    world.run(&["backup"]).ok();
    change(&world, 1);
    archive_everything(&world);
    world.run(&["verify"]).ok();
    let newest = newest_segment(&world, "first");
    fs::rename(&newest, world.path("aside")).expect("lose the end of the log");
    // It isn't forgotten by the look that misses it.
    for _ in 0..2 {
        let ran = world.run(&["verify"]);
        assert_eq!(ran.code, 4, "{}", ran.screen());
        assert!(ran.stdout.contains("the log of timeline 1 ended at"), "{}", ran.screen());
    }
    assert_eq!(world.run(&["check"]).code, 4);
    fs::rename(world.path("aside"), &newest).expect("bring it back");
    world.run(&["verify"]).ok();
}

fn segments(world: &World) -> usize {
    let mut found = Vec::new();
    collect(&world.path("first").join("wal"), &mut found);
    found.len()
}

/// What `prune` gives up is the old part of a log.
#[test]
fn what_prune_gave_up_of_the_log_is_not_missed() {
    let world = alone();
    make_table(&world);
    leave(&world, "keep = { last = 1 }");
    let text = fs::read_to_string(world.path("lifeboat.toml")).expect("read the configuration");
    world.write("lifeboat.toml", format!("prune_after = \"1h\"\n{text}"));
    world.run(&["backup"]).ok();
    change(&world, 1);
    archive_everything(&world);
    world.run(&["verify"]).ok();
    let before = segments(&world);
    for _ in 0..2 {
        world.run(&["prune"]).ok();
        make_older(&world);
    }
    assert!(segments(&world) < before, "prune gave up nothing of the log");
    world.run(&["verify"]).ok();
}

/// Segments of the log in order, each with a change of its own in it.
fn with_some_log(world: &World) -> Vec<String> {
    make_table(world);
    world.run(&["backup"]).ok();
    (1..5).map(|round| changed(world, round)).collect()
}

/// Changes something, and archives the segment with it. Its name.
fn changed(world: &World, round: u64) -> String {
    change(world, round);
    let name = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a name");
    archive_everything(world);
    name
}

fn stored(world: &World, location: &str, name: &str) -> PathBuf {
    let mut found = Vec::new();
    collect(&world.path(location).join("wal"), &mut found);
    let is_it =
        |path: &&PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-")));
    found.iter().find(is_it).unwrap_or_else(|| panic!("{name} is not archived")).clone()
}

/// Up to where every moment can be reached, by the newest window.
fn reachable_to(world: &World) -> String {
    let points = world.run(&["points", "--json"]).ok().json();
    points["windows"].as_array().and_then(|all| all.last()).expect("a window")["lsn_to"].to_string()
}

#[test]
fn a_damaged_segment_breaks_the_window_as_a_missing_one_does() {
    let world = alone();
    let names = with_some_log(&world);
    let (whole, end) = (reachable_to(&world), world.sql("select pg_current_wal_insert_lsn()").expect("a position"));
    let path = stored(&world, "first", &names[1]);
    let before = fs::read(&path).expect("read a segment");

    fs::rename(&path, world.path("aside")).expect("lose a segment");
    let without = reachable_to(&world);
    assert_ne!(without, whole, "a segment that is missing breaks the window");
    fs::rename(world.path("aside"), &path).expect("bring it back");
    assert_eq!(reachable_to(&world), whole);

    flip(&path);
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
    assert_eq!(reachable_to(&world), without);
    let to = world.path("new").display().to_string();
    let ran = world.run(&["restore", "shop", "--to", &to, "--lsn", &end]);
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(!world.path("new").exists(), "something was written");
    // Mended: nobody has to verify first.
    fs::write(&path, before).expect("mend a segment");
    assert_eq!(reachable_to(&world), whole);

    // So short that a listing shows it.
    fs::write(&path, "").expect("lose the content");
    assert_eq!(reachable_to(&world), without);
    let ran = world.run(&["verify"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(ran.stdout.contains("fewer than any object has"), "{}", ran.screen());
}

#[test]
fn a_segment_that_another_location_has_whole_breaks_nothing() {
    let world = World::with_cluster(|builder| builder);
    let names = with_some_log(&world);
    let (whole, expected) = (reachable_to(&world), content(&world));
    flip(&stored(&world, "first", &names[1]));
    assert_eq!(world.run(&["verify", "--data"]).code, 4, "it is told");
    assert_eq!(reachable_to(&world), whole);
    assert_eq!(content_of_restored(&world, "new", &[]), expected);
    let from = |location: &str| {
        let points = world.run(&["points", "--json", "--from", location]).ok().json();
        points["windows"].as_array().and_then(|all| all.last()).expect("a window")["lsn_to"].to_string()
    };
    assert_eq!(from("second"), whole);
    assert_ne!(from("first"), whole);
}

/// The archiver may take its time with the file that says that there was a backup.
#[test]
fn a_backup_leaves_nothing_of_its_own_log_to_the_archiver() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.sql("alter system set archive_command = 'false'");
    world.sql("select pg_reload_conf()");
    world.wait_for_sql("select current_setting('archive_command') = 'false'");
    world.run(&["backup"]).ok();
    for location in ["first", "second"] {
        let mut found = Vec::new();
        collect(&world.path(location).join("wal"), &mut found);
        assert!(found.iter().any(|path| path.to_string_lossy().contains(".backup-")), "{location}: {found:?}");
    }
}

/// A location that failed rests for a minute. What it is still to get is no damage; what it didn't get, is.
#[test]
fn what_is_on_its_way_is_not_called_missing() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    archive_everything(&world);
    world.run(&["verify"]).ok();
    let allow = |mode: u32| {
        let mut directories = vec![world.path("second/wal")];
        while let Some(directory) = directories.pop() {
            let within = fs::read_dir(&directory).expect("list").flatten().map(|entry| entry.path());
            directories.extend(within.filter(|path| path.is_dir()));
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).expect("change a mode");
        }
    };
    allow(0o500);
    change(&world, 1);
    archive_everything(&world);
    allow(0o700);
    let ran = world.run(&["verify"]).ok();
    assert!(ran.stdout.contains("on their way to second"), "{}", ran.screen());
    make_older(&world);
    let ran = world.run(&["verify", "--json"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(ran.json()["behind"].to_string().contains("second"), "{}", ran.screen());
    world.run(&["backup"]).ok();
    world.run(&["verify"]).ok();
}

#[test]
fn nothing_is_proven_without_a_point() {
    let world = World::with_cluster(|builder| builder);
    for arguments in [&["verify"][..], &["verify", "shop", "--data"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 3, "{}", ran.screen());
        assert!(ran.stderr.contains("nothing was proven"), "{}", ran.screen());
    }
    let ran = world.run(&["verify", "--point", "20260101T000000Z-00000000"]);
    assert_eq!(ran.code, 3, "{}", ran.screen());
    make_table(&world);
    world.run(&["backup"]).ok();
    world.run(&["verify"]).ok();
}

/// What another point needs, and log that only other moments need, is not looked at.
#[test]
fn one_point_is_judged_by_what_it_needs() {
    let world = alone();
    make_table(&world);
    world.run(&["backup"]).ok();
    let old = packs(&world, "first");
    world.sql("update ledger set text = md5(text); checkpoint");
    world.run(&["backup", "--type", "incr"]).ok();
    change(&world, 1);
    archive_everything(&world);
    let points = world.run(&["points", "--json"]).ok().json();
    let id = |number: usize| points["points"][number]["id"].as_str().expect("a name").to_owned();
    let verify = |number: usize| world.run(&["verify", "--data", "--point", &id(number)]);
    let newer: Vec<PathBuf> = packs(&world, "first").into_iter().filter(|path| !old.contains(path)).collect();
    newer.iter().for_each(flip);
    let newest = newest_segment(&world, "first");
    flip(&newest);
    verify(0).ok();
    let ran = verify(1);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(!ran.stdout.contains("wal/"), "{}", ran.screen());
    // What was found is known; the good result of one point makes nothing good that is about another.
    verify(0).ok();
    assert_eq!(world.run(&["check"]).code, 4);
    newer.iter().for_each(flip);
    verify(1).ok();
}

/// A backup stores the log that it needs itself, and may be ahead of a slow archiver: what comes a moment later was no hole.
#[test]
fn log_that_is_on_its_way_is_no_hole() {
    use std::io::{BufRead, BufReader, Read};
    let world = alone();
    let names = with_some_log(&world);
    let (path, aside) = (stored(&world, "first", &names[1]), world.path("aside"));
    fs::rename(&path, &aside).expect("take a segment away");
    let mut started = world.spawn(&["verify"]);
    let mut words = BufReader::new(started.child.stderr.take().expect("its words"));
    let mut said = String::new();
    while !said.contains("on its way is waited for") {
        assert!(words.read_line(&mut said).expect("a line") > 0, "it ended without: {said}");
    }
    fs::rename(&aside, &path).expect("it comes");
    words.read_to_string(&mut said).expect("the rest");
    let status = started.child.wait().expect("its end");
    assert!(status.success(), "{said}");
}

/// A hole that nothing can fill is told when it is found, and fails no point that doesn't need it; once a point stands behind it
/// and it is known, it is a fact.
#[test]
fn a_hole_is_told_and_then_known() {
    let world = alone();
    let names = with_some_log(&world);
    fs::remove_file(stored(&world, "first", &names[1])).expect("lose a segment");
    let ran = world.run(&["verify", "--json"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    assert!(ran.json()["bad"].to_string().contains("has a hole"), "{}", ran.screen());
    let ran = world.run(&["verify"]);
    assert_eq!(ran.code, 4, "no point stands behind it yet: {}", ran.screen());
    assert!(ran.stderr.contains("`lifeboat backup`"), "{}", ran.screen());
    let points = world.run(&["points", "--json"]).ok().json();
    assert_eq!(points["points"][0]["verification"]["passed"], true, "it doesn't need what is gone: {points:#}");

    world.run(&["backup"]).ok();
    let ran = world.run(&["verify", "--data"]).ok();
    assert!(ran.stdout.contains("as was known"), "{}", ran.screen());
    world.run(&["verify", "--boot"]).ok();
    world.run(&["repair"]).ok();
    // Another one is news again.
    let later = changed(&world, 6);
    world.run(&["backup"]).ok();
    fs::remove_file(stored(&world, "first", &later)).expect("lose another segment");
    assert_eq!(world.run(&["verify"]).code, 4);
    world.run(&["verify"]).ok();
}
