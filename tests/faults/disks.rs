//! A disk that is plugged in now and then: attached, brought up to date, verified, flushed, detached. In its drawer nobody
//! misses it; broken off anywhere, the next run goes on; damaged, it stays attached and is told.

use crate::comparison::{archive_everything, change, content, content_of_restored, make_table};
use crate::world::World;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A drawer and a mount point. To attach is to move what the disk holds from one to the other.
struct Disk<'a> {
    world: &'a World,
}

impl Disk<'_> {
    fn in_drawer(&self) -> PathBuf {
        self.world.path("drawer/repository")
    }

    fn attached(&self) -> PathBuf {
        self.world.path("mount/repository")
    }

    /// The location in the configuration, with the commands or without.
    fn configure(&self, attaches: bool) {
        let (drawer, mount) = (self.in_drawer().display().to_string(), self.attached().display().to_string());
        let attach = if attaches { format!("attach = [\"mv\", \"{drawer}\", \"{mount}\"]\n") } else { String::new() };
        let section = format!(
            "[location.disk]\nurl = \"file://{mount}\"\nmedia = \"removable\"\nmax_age = \"14d\"\n{attach}\
             detach = [\"mv\", \"{mount}\", \"{drawer}\"]\n\n[encryption]"
        );
        self.world.write("lifeboat.toml", self.world.configuration().replace("[encryption]", &section));
    }

    fn put_back(&self) {
        fs::rename(self.attached(), self.in_drawer()).expect("put the disk into its drawer");
    }
}

#[test]
fn a_disk_comes_and_goes() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    world.run(&["backup"]).ok();
    let disk = Disk { world: &world };
    for name in ["drawer", "mount"] {
        world.make_directory(name);
    }

    disk.configure(true);
    let refused = world.run(&["sync", "disk"]);
    assert_ne!(refused.code, 0, "{}", refused.screen());
    assert!(refused.stderr.contains("attach"), "it doesn't say what failed: {}", refused.screen());
    assert!(!disk.attached().exists(), "nothing may be written where no disk is");

    // A new one. On the file system of the host it is taken only when told so.
    disk.configure(false);
    world.make_directory("mount/repository");
    let refused = world.run(&["sync", "disk", "--init-new"]);
    assert_eq!(refused.code, 2, "{}", refused.screen());
    let told = world.run(&["sync", "disk", "--init-new", "--same-device", "--json"]).ok().json();
    assert_eq!((&told["detached"], told["points"].as_array().map(Vec::len)), (&true.into(), Some(1)), "{told:#}");
    assert!(disk.in_drawer().join("lifeboat.json").exists() && !disk.attached().exists());

    // While it is away nobody misses it, and its age is told.
    disk.configure(true);
    change(&world, 1);
    let ran = world.run(&["backup", "--json"]).ok();
    assert!(!ran.stderr.contains("error"), "{}", ran.screen());
    archive_everything(&world);
    let points = world.run(&["points", "--json"]).ok().json();
    let away = &points["removable"][0];
    assert_eq!((&away["location"], &away["points_behind"]), (&"disk".into(), &1.into()), "{points:#}");

    let expected = content(&world);
    let told = world.run(&["sync", "disk", "--data", "--json"]).ok().json();
    assert_eq!((&told["verified"], told["points"].as_array().map(Vec::len)), (&"data".into(), Some(2)), "{told:#}");
    assert!(disk.in_drawer().join("lifeboat.json").exists() && !disk.attached().exists());

    // The building has burned down: the disk alone is enough.
    fs::rename(disk.in_drawer(), disk.attached()).expect("attach the disk");
    for burnt in ["first", "second"] {
        fs::rename(world.path(burnt), world.path(&format!("{burnt}-ash"))).expect("lose a location");
    }
    assert_eq!(content_of_restored(&world, "new", &["--from", "disk"]), expected);
    for burnt in ["first", "second"] {
        fs::rename(world.path(&format!("{burnt}-ash")), world.path(burnt)).expect("bring a location back");
    }
    disk.put_back();
}

#[test]
fn a_disk_that_is_pulled_out_or_goes_bad() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    let whole = world.run(&["backup"]).ok().took;
    let disk = Disk { world: &world };
    for name in ["drawer", "mount"] {
        world.make_directory(name);
    }
    disk.configure(false);
    world.make_directory("mount/repository");
    world.run(&["sync", "disk", "--init-new", "--same-device"]).ok();
    disk.configure(true);
    for round in 1..=4_u32 {
        change(&world, round.into());
        world.run(&["backup", "--type", "full"]).ok();
        let mut started = world.spawn(&["sync", "disk"]);
        // The moment is the fault: a fifth of the time that a backup takes, then two, ...
        std::thread::sleep(whole.mul_f64(f64::from(round) / 5.0).min(Duration::from_secs(3)));
        let _ = started.child.kill();
        started.child.wait().expect("wait for the program");
        // Still attached, or back already.
        world.run(&["sync", "disk", "--data"]).ok();
        assert!(disk.in_drawer().exists() && !disk.attached().exists());
    }

    let mut packs = vec![disk.in_drawer().join("packs")];
    let damaged = loop {
        let path = packs.pop().expect("a pack");
        match path.is_dir() {
            true => packs.extend(fs::read_dir(&path).expect("list packs").flatten().map(|entry| entry.path())),
            false => break path,
        }
    };
    let mut bytes = fs::read(&damaged).expect("read a pack");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, &bytes).expect("damage a pack");
    let bad = world.run(&["sync", "disk", "--data"]);
    assert_eq!(bad.code, 4, "{}", bad.screen());
    assert!(disk.attached().exists() && bad.stderr.contains("still attached"), "{}", bad.screen());
    // It is known while the disk is away, and until somebody has looked again.
    let known = || world.run(&["points", "--json"]).ok().json()["damage"].to_string();
    fs::rename(disk.attached(), disk.in_drawer()).expect("unplug the disk");
    assert!(known().contains(&damaged.file_name().expect("a name").to_string_lossy().into_owned()), "{}", known());
    let check = world.run(&["check"]);
    assert_eq!(check.code, 4, "{}", check.screen());
    assert!(check.stdout.contains("not as written in disk"), "{}", check.screen());
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).expect("mend a pack");
    world.run(&["sync", "disk", "--data"]).ok();
    assert_eq!(known(), "[]");
    let check = world.run(&["check"]);
    assert!(!check.stdout.contains("not as written"), "{}", check.screen());
}
