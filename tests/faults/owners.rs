//! The record of which cluster the log is of: a restore starts although it is lost, and the program says that it is.

use crate::comparison::{archive_everything, change, content, content_of_restored, make_table};
use crate::world::World;
use std::fs;

fn lose_the_record(world: &World) {
    for location in ["first", "second"] {
        fs::remove_dir_all(world.path(location).join("wal/shop/cluster")).expect("the record is there");
    }
}

fn is_recorded(world: &World, location: &str) -> bool {
    fs::read_dir(world.path(location).join("wal/shop/cluster")).is_ok_and(|mut entries| entries.next().is_some())
}

#[test]
fn a_lost_record_is_told_and_written_again_and_stops_no_restore() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    change(&world, 1);
    archive_everything(&world);
    let expected = content(&world);

    lose_the_record(&world);
    let told = world.run(&["verify"]);
    assert_eq!(told.code, 4, "{}", told.screen());
    assert!(told.screen().contains("nothing records"), "{}", told.screen());
    let warned = world.run(&["check"]);
    assert!(warned.screen().contains("nothing records"), "{}", warned.screen());
    assert_eq!(content_of_restored(&world, "without", &[]), expected);
    // Outside of a data directory, only the log says whose it is.
    let segment = world.sql("select last_archived_wal from pg_stat_archiver").expect("a segment");
    world.run(&["wal", "fetch", &segment, "fetched"]).ok();

    world.run(&["backup"]).ok();
    assert!(is_recorded(&world, "first") && is_recorded(&world, "second"));
    world.run(&["verify"]).ok();
}

#[test]
fn a_repository_made_again_at_the_same_places_is_restored_from() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    // The archiver has nothing more to do, and writes nothing into what is gone.
    archive_everything(&world);
    for location in ["first", "second"] {
        fs::remove_dir_all(world.path(location)).expect("lose a location");
    }
    world.run(&["init"]).ok();
    world.run(&["backup"]).ok();
    change(&world, 2);
    archive_everything(&world);
    assert!(is_recorded(&world, "first") && is_recorded(&world, "second"));
    let expected = content(&world);
    assert_eq!(content_of_restored(&world, "again", &[]), expected);
    world.run(&["verify", "--data"]).ok();
}
