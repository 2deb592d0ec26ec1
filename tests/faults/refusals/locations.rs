//! Repositories that aren't there, aren't ours, can't be opened or can't be written.

use crate::screens::Screens;
use crate::world::World;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn repositories() {
    let world = World::new();
    let mut screens = Screens::new(&world);
    never_made(&mut screens);
    world.run(&["init"]).ok();
    not_opened(&mut screens);
    not_ours(&mut screens);
    not_readable(&mut screens);
    insta::assert_snapshot!("repositories", screens.finish(25));
}

fn never_made(screens: &mut Screens) {
    let world = screens.world;
    for command in [&["backup"][..], &["key", "list"], &["points"], &["verify"], &["restore", "shop", "--to", "new"]] {
        screens.case("nothing there yet", 3, command);
    }
    screens.case("copy, nothing there yet", 3, &["copy", "--from", "first", "--to", "second"]);
    let (first, secret) = ("/first\"", "/passphrase\"");
    world.write("file", "not a directory");
    screens.changed("init where a file is", 3, (first, "/file\""), &["init"]);
    screens.changed("init below a file", 3, (first, "/file/repository\""), &["init"]);
    let closed = world.make_directory("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("close a directory");
    screens.changed("init in a read-only directory", 7, (first, "/closed/repository\""), &["init"]);
    screens.changed("init without the passphrase's file", 2, (secret, "/missing\""), &["init"]);
    world.write("empty", "");
    screens.changed("init with an empty passphrase", 2, (secret, "/empty\""), &["init"]);
    let bucket = (&format!("file://{}/second", world.path(".").display())[..], "s3://shop-dr/lifeboat");
    let endpoint = "endpoint = \"http://127.0.0.1:1\"\ntime_limit = \"1s\"\n\n[encryption]";
    let keys = "access_key_id = { command = [\"echo\", \"a\"] }\nsecret_access_key = { command = [\"echo\", \"b\"] }\n";
    let configuration = world.configuration().replace(bucket.0, bucket.1);
    let configuration = configuration.replace("[encryption]", &format!("{keys}{endpoint}"));
    screens.case_with("init while a store is down", 5, &configuration, &["init"]);
    let far = configuration.replace("127.0.0.1:1", "store.example:9000");
    screens.case_with("a store far away without encryption", 2, &far, &["init"]);
}

fn not_opened(screens: &mut Screens) {
    let world = screens.world;
    world.write("other passphrase", "Correct Horse");
    let wrong = ("/passphrase\"", "/other passphrase\"");
    for command in [&["backup"][..], &["key", "list"], &["points"], &["restore", "shop", "--to", "new"], &["init"]] {
        screens.changed("wrong passphrase", 7, wrong, command);
    }
}

/// `changed` finds repositories by the last part of their path.
fn not_ours(screens: &mut Screens) {
    let world = screens.world;
    let foreign = ("/second\"", "/third\"");
    let alone = world.configuration().replace("/first\"", "/third\"").replace("/second\"", "/fourth\"");
    screens.case_with("init elsewhere", 0, &alone, &["init", "--json"]);
    screens.changed("another repository in the second location", 2, foreign, &["key", "list"]);
    screens.changed("another repository in the second location", 2, foreign, &["init"]);
    screens.changed("another repository in the second location", 2, foreign, &["backup"]);

    let head = world.path("fourth/lifeboat.json");
    let before = fs::read_to_string(&head).expect("read the head of a repository");
    let only_fourth = world.configuration().replace("/first\"", "/fourth\"").replace("/second\"", "/nowhere\"");
    let only = |screens: &mut Screens, what: &str, code, text: &str| {
        fs::write(&head, text).expect("write the head of a repository");
        screens.case_with(what, code, &only_fourth, &["key", "list"]);
    };
    only(screens, "from the future", 2, &before.replacen("\"format\": 1", "\"format\": 2", 1));
    only(screens, "head is not ours", 0, "{\"name\": \"something else\"}");
    only(screens, "head is cut off", 0, &before[..before.len() / 2]);
    only(screens, "head is empty", 0, "");
    fs::remove_file(&head).expect("remove the head of a repository");
    screens.case_with("head is gone", 3, &only_fourth, &["key", "list"]);
    fs::write(&head, before).expect("write the head of a repository");
    fs::remove_dir_all(world.path("fourth/keys")).expect("remove the keys");
    screens.case_with("keys are gone", 6, &only_fourth, &["key", "list"]);
}

fn not_readable(screens: &mut Screens) {
    let world = screens.world;
    let lock = |name: &str, mode| fs::set_permissions(world.path(name), Permissions::from_mode(mode)).expect("chmod");
    lock("first", 0o000);
    screens.case("one of two may not be read", 0, &["key", "list"]);
    lock("second", 0o000);
    screens.case("no location may be read", 7, &["key", "list"]);
    screens.case("copy from one that may not be read", 7, &["copy", "--from", "first", "--to", "second"]);
    lock("first", 0o700);
    screens.case("copy to one that may not be read", 5, &["copy", "--from", "first", "--to", "second"]);
    lock("second", 0o700);
    fs::rename(world.path("second"), world.path("moved")).expect("move a repository away");
    screens.case("one of two is gone", 0, &["key", "list"]);
    screens.case("copy from one that is gone", 5, &["copy", "--from", "second", "--to", "first"]);
    screens.case("copy to one that was never made", 5, &["copy", "--from", "first", "--to", "second"]);
    screens.case("copy to itself", 2, &["copy", "--from", "first", "--to", "first"]);
    screens.case("copy from an unknown location", 3, &["copy", "--from", "frist", "--to", "second"]);
    fs::rename(world.path("moved"), world.path("second")).expect("move a repository back");
}
