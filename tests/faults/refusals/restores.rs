//! Moments that can't be reached, directories that must not be written, points that don't pass their test.

use crate::comparison::{archive_everything, change, make_table};
use crate::outages::SmallDisk;
use crate::screens::Screens;
use crate::world::World;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn to_new(more: &[&'static str]) -> Vec<&'static str> {
    [&["restore", "shop", "--to", "new"][..], more].concat()
}

#[test]
fn restores() {
    let world = World::with_cluster(|builder| builder);
    let mut screens = Screens::new(&world);
    before_the_first_backup(&mut screens);
    make_table(&world);
    world.run(&["backup"]).ok();
    change(&world, 1);
    let segment = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a segment");
    archive_everything(&world);
    moments(&mut screens);
    assert!(!world.path("new").exists(), "a refusal comes before the first byte");
    places(&mut screens);
    tests(&mut screens);
    change(&world, 2);
    archive_everything(&world);
    gap(&mut screens, &segment);
    assert!(!world.path("new").exists(), "a refusal comes before the first byte");
    insta::assert_snapshot!("restores", screens.finish(28));
}

fn before_the_first_backup(screens: &mut Screens) {
    screens.case("no recovery point yet", 3, &to_new(&[]));
    screens.case("no recovery point yet", 0, &["points"]);
    screens.case("nothing to start yet", 3, &["verify", "--boot", "--copy"]);
}

fn moments(screens: &mut Screens) {
    screens.case("before the oldest", 3, &to_new(&["--at", "2020-01-01 00:00:00 UTC"]));
    screens.case("after the newest", 3, &to_new(&["--at", "2099-01-01 00:00:00 UTC"]));
    screens.case("position before the oldest", 3, &to_new(&["--lsn", "0/100028"]));
    screens.case("position after the newest", 3, &to_new(&["--lsn", "FF/100028"]));
    screens.case("transaction that never was", 3, &to_new(&["--xid", "4000000"]));
    screens.case("name that was never given", 3, &to_new(&["--name", "before the migration"]));
    screens.case("timeline that isn't there", 3, &to_new(&["--timeline", "7"]));
    screens.case("point that isn't there", 3, &to_new(&["--point", "20200101T000000Z-abcdef"]));
    screens.case("workload that isn't there", 3, &["restore", "shob", "--to", "new"]);
    screens.case("location that isn't there", 3, &to_new(&["--from", "frist"]));
    screens.case("tablespace without a path", 2, &to_new(&["--tablespace", "16384"]));
    screens.case("points of an unknown workload", 3, &["points", "shob"]);
    screens.case("points in an unknown location", 3, &["points", "--from", "frist"]);
    screens.case("verify an unknown workload", 3, &["verify", "shob"]);
    screens.case("verify an unknown point", 3, &["verify", "--boot", "--copy", "--point", "20200101T000000Z-abcdef"]);
    let world = screens.world;
    fs::rename(world.path("second/points"), world.path("points")).expect("take the points away");
    screens.case("from a location without the point", 3, &to_new(&["--from", "second"]));
    fs::rename(world.path("points"), world.path("second/points")).expect("bring the points back");
}

fn places(screens: &mut Screens) {
    let world = screens.world;
    let mut to = |what: &str, code, place: &str| screens.case(what, code, &["restore", "shop", "--to", place]);
    world.write("file", "");
    to("into a file", 2, "file");
    to("below a file", 2, "file/new");
    let taken = world.make_directory("taken");
    world.write("taken/holiday.jpg", "precious");
    to("into a directory with something in it", 2, "taken");
    assert!(taken.join("holiday.jpg").exists());
    to("into the directory of the running server", 2, &world.cluster().data_dir().display().to_string());
    let other = lifeboat_components::TestCluster::builder(15).create().expect("make another cluster");
    let mut screen = |what: &str, code, place: &str| {
        screens.name(place.to_owned(), "OTHER");
        screens.case(what, code, &["restore", "shop", "--to", place]);
    };
    screen("into the directory of another cluster", 2, &other.data_dir().display().to_string());
    let closed = world.make_directory("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("close a directory");
    screens.case("into a read-only directory", 7, &["restore", "shop", "--to", "closed/new"]);
    let _disk = SmallDisk::mount(world, "small", 4096);
    // Which file it is that finds no room differs.
    let ran = world.run(&["restore", "shop", "--to", "small/new"]);
    assert_eq!(ran.code, 5, "{}", ran.screen());
    let file = format!("error: write what is restored: {}/", world.path("small/new").display());
    assert!(ran.stderr.contains(&file) && ran.stderr.contains("no storage space"), "{}", ran.screen());
    assert!(ran.stderr.contains("hint: make room there, then run it again"), "{}", ran.screen());
    assert!(!world.path("small/new/global/pg_control").exists(), "what is there could be started");
}

fn tests(screens: &mut Screens) {
    let boot = ["--quiet", "verify", "--boot", "--copy"];
    let check = |query: &str| format!("check = [\"{query}\"]\nkind = ");
    screens.changed("a check says no", 4, ("kind = ", &check("select count(*) = 0 from ledger")), &boot);
    screens.changed("a check can't be asked", 4, ("kind = ", &check("select * from legder")), &boot);
}

/// A segment of the log is lost in both locations.
fn gap(screens: &mut Screens, segment: &str) {
    let world = screens.world;
    for location in ["first", "second"] {
        let found = super::log::find(&world.path(location).join("wal"), segment).expect("the stored segment");
        fs::remove_file(found).expect("lose a segment");
    }
    let now = world.sql("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC')").expect("a time");
    screens.name(&now, "NOW");
    screens.case("in a hole of the log", 3, &["restore", "shop", "--to", "new", "--at", &now]);
}
