//! What somebody still reads from, as the program tells of it, keeps it, and lets go of it.

use crate::program::lifeboat;
use crate::prune::{DAY, World};
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::{Point, hold_until};
use serde_json::Value;

const BY: &str = "db2:/srv/restored";

async fn hold(world: &World, point: &Point, until: Timestamp) {
    world.repository.hold("shop", &point.id, BY, "instant restore", until).await.unwrap();
}

fn points(world: &World, options: &[&str]) -> String {
    let done = lifeboat(world.directory.path(), &[&["points"], options].concat());
    assert_eq!(done.code, 0, "{}", done.screen());
    done.stdout
}

/// What `prune` says of a point.
fn verdict<'a>(pruned: &'a Value, point: &Point) -> &'a Value {
    let points = pruned["points"].as_array().unwrap();
    points.iter().find(|said| said["point"] == point.id.0.as_str()).unwrap()
}

#[tokio::test]
async fn what_is_held_stays_with_its_log_until_it_is_released() {
    let world = World::new("keep = { last = 1, window = \"1d\" }").await;
    let old = world.point(20, 0).await;
    let marked = world.point(15, 0).await;
    for days_ago in [10, 2, 1, 0] {
        world.point(days_ago, 0).await;
    }
    for days_ago in [19, 18, 17, 16, 14, 13, 12, 11, 9, 8, 7, 6, 5, 4, 3] {
        world.segment(days_ago).await;
    }
    world.age("packs", DAY * 4);
    hold(&world, &old, hold_until(Timestamp::now())).await;
    let (code, text) = world.prune(&["--dry-run"]);
    assert!(code == 0 && text.contains(&format!("held by {BY} until ")), "{text}");
    assert!(text.contains("a point stays only because") && text.contains("--release"), "{text}");
    let pruned = world.document(&[]);
    assert_eq!(verdict(&pruned, &old)["only_held"], true, "{pruned}");
    let goes = pruned["marked"]["points"].as_array().unwrap();
    assert!(goes.iter().all(|point| point["point"] != old.id.0.as_str()), "{pruned}");
    assert!(goes.iter().any(|point| point["point"] == marked.id.0.as_str()), "{pruned}");

    // One that comes when the mark stands already is seen before anything is deleted.
    hold(&world, &marked, hold_until(Timestamp::now())).await;
    world.age("removals", DAY * 3);
    let swept = world.document(&[]);
    assert!(swept["deleted"]["spared"].to_string().contains(&marked.id.0), "{swept}");
    let left = world.days_left().await;
    assert!(left.contains(&20) && left.contains(&15) && !left.contains(&10), "{left:?}");
    let log = world.log_left().await;
    assert!(log.contains(&20) && log.contains(&15) && !log.contains(&10), "{log:?}");

    let listed = points(&world, &[]);
    assert!(
        listed.contains(", held") && listed.contains(&format!("held by {BY} (instant restore), ends in ")),
        "{listed}"
    );
    let document: Value = serde_json::from_str(&points(&world, &["--json"])).unwrap();
    let said = &document["points"][0];
    assert_eq!((&said["id"], &said["holds"][0]["by"]), (&old.id.0.as_str().into(), &BY.into()), "{document}");
    assert_eq!(said["holds"][0]["locations"], serde_json::json!(["local"]));

    let (code, text) = world.prune(&["--release", &old.id.0]);
    assert!(code == 0 && text.contains("released") && text.contains(BY) && text.contains("in local"), "{text}");
    let (code, text) = world.prune(&["--release", &old.id.0]);
    assert!(code == 0 && text.contains("nobody holds"), "{text}");
    let (code, text) = world.prune(&["--release", "20200101T000000Z-00000000"]);
    assert!(code == 3 && text.contains("no recovery point"), "{text}");
    assert_eq!(verdict(&world.document(&[]), &old)["kept"], false);
    world.age("removals", DAY * 3);
    world.document(&[]);
    let left = world.days_left().await;
    assert!(!left.contains(&20) && left.contains(&15), "{left:?}");
    let verified = lifeboat(world.directory.path(), &["verify", "--data"]);
    assert_eq!(verified.code, 0, "{}", verified.screen());
}

#[tokio::test]
async fn a_hold_that_has_ended_keeps_nothing_and_goes_with_the_next_run() {
    let world = World::of(&["local", "ohio"], "keep = { last = 1 }").await;
    let old = world.point(20, 0).await;
    for days_ago in [10, 0] {
        world.point(days_ago, 0).await;
    }
    world.age("packs", DAY * 4);
    hold(&world, &old, Timestamp::now() - SignedDuration::from_secs(1)).await;
    assert_eq!(world.repository.holds(None).await.unwrap()[0].locations, ["local", "ohio"]);
    let listed = points(&world, &[]);
    assert!(listed.contains("ended ") && !listed.contains(", held"), "{listed}");
    let planned = world.document(&["--dry-run"]);
    assert_eq!(verdict(&planned, &old)["kept"], false, "{planned}");
    assert_eq!(world.repository.holds(None).await.unwrap().len(), 1, "a dry run removes nothing");
    world.document(&[]);
    assert_eq!(world.repository.holds(None).await.unwrap(), vec![]);
}
