//! `kill -9` of each command at random moments: the repository verifies, the database is unharmed, the next run
//! succeeds and what it makes restores exactly.

use crate::comparison::{
    archive_everything, assert_unharmed, change, content, content_of_restored, content_when_started, make_table,
};
use crate::left_running::left_running;
use crate::world::{Ran, World, finish, wait_until};
use std::fs;
use std::time::{Duration, Instant};

/// Moments per command in the ordinary run, and in the long one.
const FEW: u64 = 5;
const MANY: u64 = 50;

/// Small and good enough: splitmix64, from `LIFEBOAT_SEED` or the clock.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let given = std::env::var("LIFEBOAT_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| u64::from(since.subsec_nanos()));
        let seed = given.unwrap_or_else(clock);
        println!("LIFEBOAT_SEED={seed}");
        Self(seed)
    }

    /// From nothing to a little more than `whole`, so that some runs end by themselves.
    fn within(&mut self, whole: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        whole.mul_f64(1.1 * ((mixed >> 11) as f64 / (1_u64 << 53) as f64))
    }
}

/// Starts the program and kills it at that moment. True when it had ended before.
fn kill_at(world: &World, moment: Duration, arguments: &[&str]) -> bool {
    let mut started = world.spawn(arguments);
    // The moment is the fault that is injected: nothing is waited for.
    std::thread::sleep(moment.saturating_sub(started.at.elapsed()));
    let ended = started.child.try_wait().expect("look at the program").is_some();
    let _ = started.child.kill();
    started.child.wait().expect("wait for the program");
    println!("{arguments:?} killed after {moment:?}{}", if ended { ", when it had ended" } else { "" });
    ended
}

fn verified(world: &World) -> Ran {
    world.run(&["verify", "--data"]).ok()
}

/// Whatever is stored is whole, though there may be no point yet to prove (3), or a location is behind until the next
/// run brings it up to date (4).
fn nothing_is_bad(world: &World, may_end_with: i32, arguments: &[&str]) {
    let ran = world.run(&[&["verify", "--data"], arguments].concat());
    assert!([0, may_end_with].contains(&ran.code) && ran.stdout.contains(" 0 bad"), "{}", ran.screen());
}

fn world_with_data() -> World {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world
}

fn kill_backup(moments: u64) {
    let world = world_with_data();
    let whole = world.run(&["backup"]).ok().took;
    let mut random = Moments::new();
    for round in 1..=moments {
        change(&world, round);
        let kind = if round % 2 == 0 { "full" } else { "incr" };
        kill_at(&world, random.within(whole), &["backup", "--type", kind]);
        assert_unharmed(&world);
        // What was stored in one location and not yet in the other belongs to no point.
        nothing_is_bad(&world, 4, &[]);
        change(&world, round + 1000);
        world.run(&["backup", "--type", if round % 3 == 0 { "full" } else { "incr" }]).ok();
        if round % 5 == 0 || round == moments {
            archive_everything(&world);
            let expected = content(&world);
            assert_eq!(content_of_restored(&world, &format!("new-{round}"), &[]), expected);
        }
    }
    let waiting = "select count(*) = 0 from pg_ls_archive_statusdir() where name like '%.ready'";
    world.wait_for_sql(waiting);
    assert_eq!(world.sql("select count(*) from pg_replication_slots").as_deref(), Some("0"));
    verified(&world);
}

#[test]
fn kill_backup_at_random_moments() {
    kill_backup(FEW);
}

#[test]
fn long_kill_backup_at_random_moments() {
    kill_backup(MANY);
}

/// PostgreSQL itself runs the command that is killed, and runs it again.
fn kill_push(moments: u64) {
    let mut world = World::new();
    let here = world.path(".").display().to_string();
    let push = format!("{here}/lifeboat --config {here}/lifeboat.toml wal push \"$1\"");
    let script = format!(
        "moment=$(cat {here}/kill-after 2>/dev/null)\nif [ -z \"$moment\" ]; then exec {push}; fi\n\
         timeout -s KILL \"$moment\" {push} || exit 1\n"
    );
    let path = world.write("archive", script);
    let command = format!("sh {} %p", path.display());
    world.start_cluster(|builder| builder.setting("archive_command", command));
    make_table(&world);
    world.run(&["backup"]).ok();
    let started = Instant::now();
    archive_everything(&world);
    let whole = started.elapsed();
    let mut random = Moments::new();
    for round in 1..=moments {
        change(&world, round);
        let moment = random.within(whole.min(Duration::from_secs(2))).max(Duration::from_millis(1));
        world.write("kill-after", format!("{:.3}", moment.as_secs_f64()));
        let tried = "select failed_count + archived_count from pg_stat_archiver";
        let before = world.sql(tried);
        world.sql("select pg_create_restore_point('here'); select pg_switch_wal()");
        wait_until("the command ran", || world.sql(tried) != before);
        fs::remove_file(world.path("kill-after")).expect("stop killing");
        archive_everything(&world);
    }
    let waiting = "select count(*) = 0 from pg_ls_archive_statusdir() where name like '%.ready'";
    world.wait_for_sql(waiting);
    verified(&world);
    let expected = content(&world);
    assert_eq!(content_of_restored(&world, "new", &["--from", "second"]), expected);
}

#[test]
fn kill_wal_push_at_random_moments() {
    kill_push(FEW);
}

#[test]
fn long_kill_wal_push_at_random_moments() {
    kill_push(MANY);
}

/// Many segments wait at once: a process in the background stores them, and is killed. What it said was stored is.
fn kill_push_ahead(moments: u64) {
    let mut world = World::new();
    let here = world.path(".").display().to_string();
    let script =
        format!("[ -e {here}/closed ] && exit 1\nexec {here}/lifeboat --config {here}/lifeboat.toml wal push \"$1\"\n");
    let path = world.write("archive", script);
    let command = format!("sh {} %p", path.display());
    world.start_cluster(|builder| builder.setting("archive_command", command));
    make_table(&world);
    world.run(&["backup"]).ok();
    let mut random = Moments::new();
    let mut killed = 0;
    for round in 1..=moments {
        world.write("closed", "");
        for part in 0..14 {
            change(&world, round * 100 + part);
            world.sql("select pg_switch_wal()");
        }
        let name = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a segment");
        fs::remove_file(world.path("closed")).expect("let it through");
        // Wakes the archiver.
        world.sql("select pg_create_restore_point('here'); select pg_switch_wal()");
        let is_done = format!("select coalesce(last_archived_wal >= '{name}', false) from pg_stat_archiver");
        wait_until("a process in the background", || {
            !left_running(&world, "push-ahead").is_empty() || world.sql(&is_done).as_deref() == Some("t")
        });
        std::thread::sleep(random.within(Duration::from_millis(300)));
        for pid in left_running(&world, "push-ahead") {
            killed += u64::from(rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
        }
        world.wait_for_sql(&is_done);
    }
    println!("{killed} killed");
    assert!(killed > 0, "none was ever at work");
    let waiting = "select count(*) = 0 from pg_ls_archive_statusdir() where name like '%.ready'";
    world.wait_for_sql(waiting);
    verified(&world);
    let expected = content(&world);
    assert_eq!(content_of_restored(&world, "new", &["--from", "second"]), expected);
}

#[test]
fn kill_what_pushes_ahead_at_random_moments() {
    kill_push_ahead(FEW);
}

#[test]
fn long_kill_what_pushes_ahead_at_random_moments() {
    kill_push_ahead(MANY);
}

/// A file is there whole or not at all, also when it was loaded ahead.
fn kill_fetch(moments: u64) {
    let world = world_with_data();
    let mut names = Vec::new();
    world.make_directory("as-they-were");
    for round in 0..6 {
        change(&world, round);
        let name = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a segment");
        archive_everything(&world);
        let bytes = fs::read(world.cluster().data_dir().join("pg_wal").join(&name)).expect("read a segment");
        world.write(&format!("as-they-were/{name}"), bytes);
        names.push(name);
    }
    let whole = world.run(&["wal", "fetch", "--no-prefetch", &names[0], "first-one"]).ok().took;
    let mut random = Moments::new();
    for round in 0..moments as usize {
        let name = &names[round % names.len()];
        let into = format!("into-{round}");
        kill_at(&world, random.within(whole), &["wal", "fetch", name, &into]);
        let expected = fs::read(world.path("as-they-were").join(name)).expect("read a segment");
        if let Ok(bytes) = fs::read(world.path(&into)) {
            assert!(bytes == expected, "{name} was left half brought");
        }
        world.run(&["wal", "fetch", name, &into]).ok();
        assert!(fs::read(world.path(&into)).expect("the segment") == expected, "{name} after a kill");
    }
    nothing_is_bad(&world, 3, &[]);
}

#[test]
fn kill_wal_fetch_at_random_moments() {
    kill_fetch(FEW);
}

#[test]
fn long_kill_wal_fetch_at_random_moments() {
    kill_fetch(MANY);
}

fn kill_receive(moments: u64) {
    let world = World::with_cluster(|builder| builder.setting("archive_mode", "off"));
    make_table(&world);
    let receiving = || world.spawn(&["wal", "receive", "shop"]);
    let connected = "select count(*) = 1 from pg_replication_slots where active";
    let mut random = Moments::new();
    // Something to replay from.
    let mut first = receiving();
    world.wait_for_sql(connected);
    world.run(&["backup"]).ok();
    first.child.kill().expect("kill the receiver");
    first.child.wait().expect("wait for the receiver");
    for round in 1..=moments {
        world.wait_for_sql("select count(*) = 0 from pg_replication_slots where active");
        let moment = random.within(Duration::from_secs(3));
        let mut receiver = receiving();
        world.sql("select pg_switch_wal()");
        while receiver.at.elapsed() < moment {
            change(&world, round);
        }
        receiver.child.kill().expect("kill the receiver");
        receiver.child.wait().expect("wait for the receiver");
        println!("wal receive killed after {moment:?}");
        // One location may have what follows on what it was just being given.
        nothing_is_bad(&world, 4, &[]);
    }
    world.wait_for_sql("select count(*) = 0 from pg_replication_slots where active");
    let last = receiving();
    world.wait_for_sql(connected);
    change(&world, 5000);
    let end = world.sql("select pg_current_wal_lsn()").expect("a position");
    // The slot lets go of what is stored: nothing is held for ever.
    world.sql("select pg_switch_wal()");
    world.wait_for_sql(&format!("select restart_lsn >= '{end}' from pg_replication_slots"));
    let expected = content(&world);
    let pid = rustix::process::Pid::from_raw(last.child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupt the receiver");
    let ran = finish(last, &["wal", "receive"]).ok();
    assert!(ran.stdout.contains("is stored"), "{}", ran.screen());
    verified(&world);
    assert_eq!(content_of_restored(&world, "new", &[]), expected);
}

#[test]
fn kill_wal_receive_at_random_moments() {
    kill_receive(FEW);
}

#[test]
fn long_kill_wal_receive_at_random_moments() {
    kill_receive(MANY);
}

/// What an interrupted restore leaves can't be started, and the next run finishes it.
fn kill_restore(moments: u64) {
    let world = world_with_data();
    world.run(&["backup"]).ok();
    change(&world, 1);
    archive_everything(&world);
    let expected = content(&world);
    let started = Instant::now();
    assert_eq!(content_of_restored(&world, "first-one", &[]), expected);
    let whole = started.elapsed() / 2;
    let mut random = Moments::new();
    for round in 1..=moments {
        let name = format!("new-{round}");
        let to = world.path(&name);
        let arguments = ["restore", "shop", "--to", &to.display().to_string()];
        let ended = kill_at(&world, random.within(whole), &arguments);
        let is_whole = to.join("global/pg_control").exists();
        assert!(is_whole || !ended, "it ended and nothing is there");
        if !is_whole || round % 2 == 0 {
            world.run(&arguments).ok();
        }
        assert_eq!(content_when_started(&world, to), expected);
    }
}

#[test]
fn kill_restore_at_random_moments() {
    kill_restore(FEW);
}

#[test]
fn long_kill_restore_at_random_moments() {
    kill_restore(MANY);
}

/// A killed test restore leaves no server behind that nobody knows, and doesn't hinder the next.
fn kill_verify(moments: u64) {
    let world = world_with_data();
    world.run(&["backup"]).ok();
    archive_everything(&world);
    let whole = world.run(&["verify", "--boot"]).ok().took;
    let mut random = Moments::new();
    for round in 1..=moments {
        kill_at(&world, random.within(whole), &["verify", "--boot"]);
        assert_unharmed(&world);
        let ran = world.run(&["verify", "--boot", "--json"]);
        assert_eq!(ran.code, 0, "round {round}: {}", ran.screen());
    }
    wait_until("no server of a test restore is left", || servers_below(&world).is_empty());
    verified(&world);
}

/// Processes of `postgres` other than the cluster's own that run from this world's directory.
fn servers_below(world: &World) -> Vec<String> {
    let here = world.path(".").display().to_string();
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let command = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).ok();
    processes.filter_map(command).filter(|line| line.contains("postgres") && line.contains(&here)).collect()
}

#[test]
fn kill_verify_at_random_moments() {
    kill_verify(FEW);
}

#[test]
fn long_kill_verify_at_random_moments() {
    kill_verify(MANY);
}

fn kill_copy(moments: u64) {
    let world = world_with_data();
    world.run(&["backup"]).ok();
    archive_everything(&world);
    let expected = content(&world);
    let mut random = Moments::new();
    let mut whole = Duration::from_secs(2);
    for _ in 0..moments {
        // A location that begins with nothing but the keys.
        for entry in fs::read_dir(world.path("second")).expect("list the location").flatten() {
            if entry.path().is_dir() && entry.file_name() != "keys" {
                fs::remove_dir_all(entry.path()).expect("empty the location");
            }
        }
        kill_at(&world, random.within(whole), &["copy", "--from", "first", "--to", "second"]);
        // Points come last: whatever is listed is whole.
        nothing_is_bad(&world, 3, &["--from", "second"]);
        whole = world.run(&["copy", "--from", "first", "--to", "second"]).ok().took.max(Duration::from_millis(200));
        world.run(&["verify", "--data", "--from", "second"]).ok();
    }
    assert_eq!(content_of_restored(&world, "new", &["--from", "second"]), expected);
}

#[test]
fn kill_copy_at_random_moments() {
    kill_copy(FEW);
}

#[test]
fn long_kill_copy_at_random_moments() {
    kill_copy(MANY);
}

/// Packs are rewritten, points are given up, packs are deleted: wherever that is cut off, what stays reads back, and the
/// next run ends it.
fn kill_prune(moments: u64) {
    let world = world_with_data();
    let keeping = world.configuration().replace("kind = ", "keep = { last = 1 }\nkind = ");
    world.write("lifeboat.toml", format!("prune_after = \"1h\"\n{keeping}"));
    let prune = ["prune", "--repack-below", "100"];
    let mut random = Moments::new();
    let (mut whole, mut rewritten, mut deleted) = (Duration::from_secs(1), 0, 0);
    for round in 1..=moments {
        change(&world, round);
        world.run(&["backup", "--type", if round % 2 == 0 { "full" } else { "incr" }]).ok();
        // Rewrites and marks at first, then deletes what was marked.
        for _ in 0..2 {
            make_older(&world);
            kill_at(&world, random.within(whole), &prune);
            nothing_is_bad(&world, 4, &[]);
        }
        make_older(&world);
        let ran = world.run(&["prune", "--repack-below", "100", "--json"]).ok();
        whole = ran.took;
        let told = ran.json();
        rewritten += told["rewritten"]["new_packs"].as_u64().expect("a number of packs");
        let locations = told["locations"].as_array().expect("locations");
        deleted += locations.iter().filter_map(|told| told["deleted"]["packs"].as_u64()).sum::<u64>();
        verified(&world);
    }
    // The last kill may have left nothing to do: the runs together must have met both.
    println!("{rewritten} packs written anew, {deleted} deleted, by the runs that ended");
    archive_everything(&world);
    let expected = content(&world);
    assert_eq!(content_of_restored(&world, "new", &["--from", "second"]), expected);
}

/// All that is stored was written two hours ago, by the clocks of the locations.
pub fn make_older(world: &World) {
    for location in ["first", "second"] {
        let mut directories = vec![world.path(location)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("list a repository").flatten() {
                match entry.file_type().expect("a kind of file").is_dir() {
                    true => directories.push(entry.path()),
                    false => {
                        let file = fs::File::options().write(true).open(entry.path()).expect("open an object");
                        let modified = file.metadata().and_then(|found| found.modified()).expect("its age");
                        file.set_modified(modified - Duration::from_secs(7200)).expect("make it older");
                    }
                }
            }
        }
    }
}

#[test]
fn kill_prune_at_random_moments() {
    kill_prune(FEW);
}

#[test]
fn long_kill_prune_at_random_moments() {
    kill_prune(MANY);
}

fn kill_init(moments: u64) {
    let world = World::new();
    let whole = world.run(&["init"]).ok().took;
    let mut random = Moments::new();
    for _ in 0..moments {
        for location in ["first", "second"] {
            fs::remove_dir_all(world.path(location)).or_else(not_there).expect("remove a repository");
        }
        kill_at(&world, random.within(whole), &["init"]);
        world.run(&["init"]).ok();
        let keys = world.run(&["key", "list"]).ok();
        assert!(keys.stderr.is_empty(), "{}", keys.screen());
        nothing_is_bad(&world, 3, &[]);
    }
}

fn not_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[test]
fn kill_init_at_random_moments() {
    kill_init(FEW);
}

#[test]
fn long_kill_init_at_random_moments() {
    kill_init(MANY);
}
