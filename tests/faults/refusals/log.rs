//! Files of the log that are refused, and files that can't be brought back. Only "certainly not there" may end with
//! exit code 3: PostgreSQL takes 1 to 125 for the end of the log, and would go on without the rest of it.

use crate::screens::Screens;
use crate::world::World;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

const NEVER: &str = "0000000100000007000000A0";

#[test]
fn log() {
    let world = World::with_cluster(|builder| builder);
    let name = a_segment(&world);
    let mut screens = Screens::new(&world);
    pushes(&mut screens, &name);
    history(&mut screens);
    fetches(&mut screens, &name);
    damage(&mut screens, &name);
    insta::assert_snapshot!("log", screens.finish(30));
}

/// Has a segment archived and keeps a copy in `pg_wal` of the world.
fn a_segment(world: &World) -> String {
    let name = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a name");
    world.sql("select pg_switch_wal()");
    world.wait_for_sql(&format!("select last_archived_wal >= '{name}' from pg_stat_archiver"));
    world.make_directory("pg_wal");
    let bytes = fs::read(world.cluster().data_dir().join("pg_wal").join(&name)).expect("read a segment");
    world.write(&format!("pg_wal/{name}"), bytes);
    name
}

fn pushes(screens: &mut Screens, name: &str) {
    let world = screens.world;
    let path = format!("pg_wal/{name}");
    let good = fs::read(world.path(&path)).expect("read a segment");
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let mut push = |what: &str, code, file: &str, content: Option<Vec<u8>>| {
        let file = format!("pg_wal/{file}");
        if let Some(content) = &content {
            world.write(&file, content);
        }
        screens.case(what, code, &["wal", "push", &file]);
        if content.is_some() && file != path {
            fs::remove_file(world.path(&file)).expect("remove a file");
        }
    };
    push("the same segment again", 0, name, None);
    push("not a file of the log", 2, "notes.txt", Some(b"hello".to_vec()));
    push("no such file", 3, NEVER, None);
    push("another name than its content", 2, NEVER, Some(good.clone()));
    push("nothing in it", 2, NEVER, Some(Vec::new()));
    push("cut off in its header", 2, NEVER, Some(good[..20].to_vec()));
    push("zeros only", 2, NEVER, Some(vec![0; good.len()]));
    push("cut off", 2, name, Some(good[..good.len() / 2].to_vec()));
    push("a page too long", 2, name, Some(with(|bytes| bytes.extend([0; 8192]))));
    push("of another cluster", 7, name, Some(with(|bytes| bytes[24] ^= 1)));
    push("the same name with other content", 7, name, Some(with(|bytes| bytes[5000] ^= 1)));
    push("of an unknown version", 2, name, Some(with(|bytes| bytes[0] ^= 0x40)));
    fs::create_dir(world.path("pg_wal").join(NEVER)).expect("make a directory");
    push("a directory", 2, NEVER, None);
    fs::remove_dir(world.path("pg_wal").join(NEVER)).expect("remove a directory");
    world.write(&path, &good);
    fs::set_permissions(world.path(&path), Permissions::from_mode(0o000)).expect("close a file");
    push("a file that may not be read", 7, name, None);
    fs::set_permissions(world.path(&path), Permissions::from_mode(0o600)).expect("open a file");

    screens.case("of an unknown workload", 3, &["wal", "push", &path, "--workload", "shob"]);
    let section = world.configuration().split("[workload.shop]").nth(1).expect("a workload").to_owned();
    let two = format!("{}\n[workload.other]{section}", world.configuration());
    screens.case_with("which of two workloads?", 2, &two, &["wal", "push", &path]);
}

fn history(screens: &mut Screens) {
    let world = screens.world;
    world.write("pg_wal/00000002.history", "1\t0/3000000\tbefore\nnonsense\n");
    screens.case("a damaged history", 2, &["wal", "push", "pg_wal/00000002.history"]);
    world.make_directory("alone");
    world.write("alone/00000002.history", "1\t0/3000000\tbefore\n");
    screens.case("a history with no segment beside it", 2, &["wal", "push", "alone/00000002.history"]);
}

fn fetches(screens: &mut Screens, name: &str) {
    let world = screens.world;
    let fetch = |more: &[&'static str]| [&["wal", "fetch", "--no-prefetch"][..], more].concat();
    screens.case("not archived", 3, &fetch(&[NEVER, "into"]));
    screens.case("a history that isn't archived", 3, &fetch(&["00000009.history", "into"]));
    screens.case("not a name", 130, &fetch(&["../../etc/passwd", "into"]));
    screens.case("of an unknown workload", 130, &fetch(&[NEVER, "into", "--workload", "shob"]));
    screens.case("from an unknown location", 130, &fetch(&[NEVER, "into", "--from", "frist"]));
    screens.case("into a directory that isn't there", 133, &["wal", "fetch", "--no-prefetch", name, "no/such/into"]);
    let closed = world.make_directory("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("close a directory");
    screens.case("into a read-only directory", 135, &["wal", "fetch", "--no-prefetch", name, "closed/into"]);
    world.write("wrong", "wrong");
    screens.changed("wrong passphrase", 135, ("/passphrase\"", "/wrong\""), &fetch(&[NEVER, "into"]));
    screens.changed("no passphrase", 130, ("/passphrase\"", "/missing\""), &fetch(&[NEVER, "into"]));
    screens.changed("no repository in one location", 133, ("/second\"", "/nowhere\""), &fetch(&[NEVER, "into"]));
    let nowhere = world.configuration().replace("/first\"", "/not\"").replace("/second\"", "/here\"");
    screens.case_with("no repository anywhere", 133, &nowhere, &fetch(&[NEVER, "into"]));
    assert!(!world.path("into").exists(), "a file that could not be brought is not begun");
}

/// Damages the stored segment in one location, then in both.
fn damage(screens: &mut Screens, name: &str) {
    let world = screens.world;
    let stored = |location: &str| find(&world.path(location).join("wal"), name).expect("the stored segment");
    let damage = |location: &str| {
        let file = fs::File::options().write(true).open(stored(location)).expect("open a stored segment");
        let middle = file.metadata().expect("its length").len() / 2;
        file.write_all_at(&[0x55; 8], middle).expect("damage it");
    };
    let fetch = ["wal", "fetch", "--no-prefetch", name, "into"];
    damage("first");
    screens.case("damaged in one location", 0, &fetch);
    let arrived = fs::read(world.path("into")).expect("the segment");
    assert_eq!(arrived, fs::read(world.path("pg_wal").join(name)).expect("the segment as it was"));
    fs::remove_file(world.path("into")).expect("remove it");
    screens.case("damaged in the location that is named", 134, &[&fetch[..], &["--from", "first"]].concat());
    damage("second");
    screens.case("damaged in both", 134, &fetch);
    screens.case("the same again, though damaged in both", 5, &["wal", "push", &format!("pg_wal/{name}")]);
    fs::set_permissions(world.path("second"), Permissions::from_mode(0o000)).expect("close a location");
    screens.case("not there, and one location may not be read", 133, &["wal", "fetch", "--no-prefetch", NEVER, "into"]);
    fs::set_permissions(world.path("first"), Permissions::from_mode(0o000)).expect("close a location");
    screens.case("no location may be read", 135, &["wal", "fetch", "--no-prefetch", NEVER, "into"]);
    screens.case("a push that no location takes", 7, &["wal", "push", &format!("pg_wal/{name}")]);
    for location in ["first", "second"] {
        fs::set_permissions(world.path(location), Permissions::from_mode(0o700)).expect("open a location");
    }
    assert!(!world.path("into").exists(), "a file that could not be brought is not begun");
}

/// The file below `directory` whose name begins with `name`.
pub fn find(directory: &Path, name: &str) -> Option<std::path::PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { entry.file_name().to_str()?.contains(name).then_some(path) }
    })
}
