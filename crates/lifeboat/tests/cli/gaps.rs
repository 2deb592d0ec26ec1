//! Holes in the log: those that `prune` makes are known, those that nobody made are not.

use crate::program::lifeboat;
use crate::prune::{DAY, World};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How long ago a point was made, in hours.
fn hours(days_ago: u64) -> u64 {
    days_ago * 24 + 1
}

/// A log of some weeks with a point in a month of its own, one in a later month, and a newer one in the same. Returns how
/// many days ago each was made.
async fn three_points(world: &World) -> [u64; 3] {
    let month = |days_ago: u64| {
        let at = Timestamp::now() - SignedDuration::from_hours(hours(days_ago) as i64);
        at.to_zoned(TimeZone::system()).strftime("%Y-%m").to_string()
    };
    let newest = (0..10).find(|newest| month(*newest) == month(newest + 4)).unwrap();
    let days = [newest + 4 + 32, newest + 4, newest];
    for days_ago in (newest..=days[0]).rev() {
        match days.contains(&days_ago) {
            true => _ = world.point(days_ago, 0).await,
            false => _ = world.segment(days_ago).await,
        }
    }
    world.age("packs", DAY * 4);
    days
}

/// What `verify` says of the log, and its exit code.
fn verify(world: &World) -> (i32, Vec<String>) {
    let done = lifeboat(&world.path(""), &["verify", "--quiet"]);
    let lines = done.stdout.lines().filter(|line| line.contains("has a hole"));
    (done.code, lines.map(str::to_owned).collect())
}

/// Guards: what is deleted today joins what was deleted before, and the hole that is larger then is as known as its parts.
#[tokio::test]
async fn a_hole_that_prune_made_may_grow() {
    for looks_between in [false, true] {
        let world = World::new("").await;
        let [_, middle, newest] = three_points(&world).await;
        for (step, keep, holes) in [
            ("the log behind the first", format!("last = 3, window = \"{}h\"", hours(middle)), 1),
            ("the log behind the second", format!("last = 3, window = \"{}h\"", hours(newest)), 2),
            ("the second", format!("monthly = 12, window = \"{}h\"", hours(newest)), 1),
        ] {
            world.configure(&format!("keep = {{ {keep} }}"));
            let marked = world.document(&[]);
            assert_ne!(marked["marked"]["log_files"], 0, "{step}: {marked}");
            world.age("removals", DAY * 3);
            let swept = world.document(&[]);
            assert_eq!(swept["deleted"]["points"], marked["marked"]["points"], "{step}: {swept}");
            assert_eq!(
                swept["marked"]["points"].as_array().unwrap().len(),
                0,
                "{step}: what is gone isn't marked again"
            );
            if looks_between || step == "the second" {
                let (code, told) = verify(&world);
                assert!(code == 0 && told.len() == holes, "{step}: {code} {told:?}");
                assert!(told.iter().all(|line| line.ends_with("as was known")), "{step}: {told:?}");
            }
        }
        assert_eq!(world.repository.list_points(None).await.unwrap().len(), 2);
    }
}

/// Guards: what is only marked should still be there.
#[tokio::test]
async fn what_is_lost_before_it_is_deleted_is_told() {
    let world = World::new("").await;
    let [_, middle, _] = three_points(&world).await;
    world.configure(&format!("keep = {{ last = 3, window = \"{}h\" }}", hours(middle)));
    world.document(&[]);
    assert_eq!(verify(&world), (0, vec![]));
    let name = world.segment(middle + 5).await;
    let entry =
        world.repository.list_logs("shop", "").await.unwrap().into_iter().find(|entry| entry.name == name).unwrap();
    std::fs::remove_file(world.path("repository").join(entry.key("shop"))).unwrap();
    let (code, told) = verify(&world);
    assert!(code == 4 && told.len() == 1 && told[0].starts_with("bad"), "{code} {told:?}");
}
