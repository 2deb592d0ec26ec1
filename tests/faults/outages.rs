//! A location that hangs, fails, refuses us or is full, in the middle of the work: the database is never held up, the
//! other location gets its copy, the message names which and why, and a later run heals.

use crate::comparison::{archive_everything, assert_unharmed, change, content, content_of_restored, make_table};
use crate::world::{Ran, World};
use lifeboat_components::servers::{self, LoopbackServer, Mode, Proxy};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A location's time limit is 2 s here. PostgreSQL must not wait longer than that, with something for a busy machine.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(20);

/// A world whose second location is a bucket behind a proxy.
fn with_bucket() -> (World, Proxy, LoopbackServer) {
    let store = servers::moto().expect("start an object store");
    make_bucket(&store);
    let proxy = Proxy::before(store.url());
    let mut world = World::new();
    world.second = format!(
        "url = \"s3://shop-dr/lifeboat\"\nendpoint = \"{}\"\ntime_limit = \"2s\"\n\
         access_key_id = {{ command = [\"echo\", \"key\"] }}\nsecret_access_key = {{ command = [\"echo\", \"word\"] }}",
        proxy.url()
    );
    world.start_cluster(|builder| builder);
    (world, proxy, store)
}

fn make_bucket(store: &LoopbackServer) {
    let address = store.url().strip_prefix("http://").expect("a plain url");
    let mut socket = TcpStream::connect(address).expect("connect to the store");
    write!(socket, "PUT /shop-dr HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .expect("ask for a bucket");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains(" 200 "), "{answer}");
}

/// Everything after the location has begun to fail: archiving goes on, a backup is stored and says what is missing.
fn others_go_on(world: &World, words: &[&str]) -> Ran {
    let failed_before = world.sql("select failed_count from pg_stat_archiver");
    let started = std::time::Instant::now();
    change(world, 1);
    archive_everything(world);
    assert!(started.elapsed() < ARCHIVED_WITHIN, "archiving was held up for {:?}", started.elapsed());
    change(world, 2);
    let ran = world.run(&["backup", "--type", "full"]);
    assert_eq!(ran.code, 5, "it is stored, but not everywhere: {}", ran.screen());
    assert!(ran.stderr.contains("stored, but not in second"), "{}", ran.screen());
    assert_eq!(world.sql("select failed_count from pg_stat_archiver"), failed_before, "archive_command failed");
    assert!(ran.stderr.contains("second"), "it doesn't say which location: {}", ran.stderr);
    assert!(words.iter().any(|word| ran.stderr.contains(word)), "it doesn't say why ({words:?}): {}", ran.stderr);
    let points = world.run(&["points", "--json"]).ok().json();
    let newest =
        points["points"].as_array().and_then(|points| points.iter().max_by_key(|point| point["time"].to_string()));
    assert_eq!(newest.expect("a point")["locations"], serde_json::json!(["first"]), "{points:#}");
    archive_everything(world);
    let waiting = "select count(*) = 0 from pg_ls_archive_statusdir() where name like '%.ready'";
    world.wait_for_sql(waiting);
    assert_unharmed(world);
    let expected = content(world);
    assert_eq!(content_of_restored(world, "without second", &[]), expected, "restored while a location is down");
    ran
}

/// The location works again: the next backup brings it up to date, a copy what PostgreSQL's commands left out meanwhile, and
/// it is enough alone.
fn heals(world: &World) {
    change(world, 3);
    world.run(&["backup"]).ok();
    archive_everything(world);
    let expected = content(world);
    // What PostgreSQL's commands leave out while the location rests comes by copy.
    world.run(&["copy", "--from", "first", "--to", "second"]).ok();
    world.run(&["verify", "--data", "--from", "second"]).ok();
    assert_eq!(content_of_restored(world, "from second", &["--from", "second"]), expected);
}

fn bucket_fails(mode: Mode, words: &[&str]) {
    let (world, proxy, _store) = with_bucket();
    make_table(&world);
    world.run(&["backup"]).ok();
    proxy.set_after_writes(2, mode);
    others_go_on(&world, words);
    assert!(proxy.failed() > 0, "the fault was met");
    proxy.set(Mode::Pass);
    heals(&world);
}

#[test]
fn a_bucket_that_hangs() {
    bucket_fails(Mode::Hang, &["no answer within"]);
}

#[test]
fn a_bucket_that_answers_500() {
    bucket_fails(Mode::Status(500), &["not reachable"]);
}

#[test]
fn a_bucket_that_refuses_credentials() {
    bucket_fails(Mode::Status(403), &["access denied"]);
}

#[test]
fn a_bucket_that_cuts_connections() {
    bucket_fails(Mode::Reset, &["not reachable"]);
}

/// A small file system in memory. Needs root.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(world: &World, name: &str, kib: u32) -> Self {
        let path = world.make_directory(name);
        let owner = world.account.expect("run this test as root: it mounts a small tmpfs");
        let options = format!("size={kib}k,uid={},gid={},mode=700", owner.uid, owner.gid);
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(status.expect("run mount").success(), "mount a small tmpfs");
        Self(path)
    }

    fn grow(&self, kib: u32) {
        let options = format!("remount,size={kib}k");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.expect("run mount").success(), "make a tmpfs larger");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full() {
    let mut world = World::new();
    let disk = SmallDisk::mount(&world, "second", 1024);
    world.start_cluster(|builder| builder);
    make_table(&world);
    others_go_on(&world, &["no space left"]);
    disk.grow(200 << 10);
    heals(&world);
}

#[test]
fn all_locations_are_full() {
    let mut world = World::new();
    let disk = SmallDisk::mount(&world, "second", 1024);
    world.second = format!("url = \"file://{}\"", world.path("second/repository").display());
    world.start_cluster(|builder| builder);
    make_table(&world);
    let only_second = world.configuration().replace("kind = ", "locations = [\"second\"]\nkind = ");
    world.write("lifeboat.toml", only_second);
    let ran = world.run(&["backup"]);
    assert_eq!(ran.code, 5, "{}", ran.screen());
    assert!(ran.stderr.contains("no space left") && ran.stderr.contains("second"), "{}", ran.stderr);
    assert_unharmed(&world);
    disk.grow(200 << 10);
    change(&world, 1);
    world.run(&["backup"]).ok();
    archive_everything(&world);
    let expected = content(&world);
    world.run(&["verify", "shop", "--data"]).ok();
    assert_eq!(content_of_restored(&world, "new", &[]), expected);
}

/// A location that takes no marks is left alone and told; the others are pruned.
#[test]
fn a_location_that_takes_no_marks_holds_up_no_prune() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    let keeping = world.configuration().replace("kind = ", "keep = { last = 1 }\nkind = ");
    world.write("lifeboat.toml", keeping);
    for round in 1..=2 {
        change(&world, round);
        world.run(&["backup", "--type", "full"]).ok();
    }
    let blocked = world.path("first/removals");
    std::fs::write(&blocked, "in the way").expect("be in the way");
    let ran = world.run(&["prune", "--json"]);
    assert_eq!(ran.code, 5, "{}", ran.screen());
    assert!(ran.stderr.contains("location first was left alone"), "{}", ran.screen());
    let locations = ran.json()["locations"].clone();
    assert_eq!(locations.as_array().map(Vec::len), Some(1), "{locations:#}");
    assert_eq!(locations[0]["location"], "second", "{locations:#}");
    std::fs::remove_file(blocked).expect("be out of the way");
    world.run(&["prune"]).ok();
}
