//! `metrics`, and what `check` says of ages: over points and results that were made up, and old.

use crate::program::lifeboat;
use crate::prune::World;
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::{Point, PointId, Verification, WriteSession};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

type Labels = BTreeMap<String, String>;

/// A small reader of the text format that lets nothing pass that a strict one wouldn't: each name has its help and its type
/// once and before its figures, names and labels are well formed, nothing is told twice.
fn read(text: &str) -> BTreeMap<(String, Labels), f64> {
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
    let is_name = |name: &str| {
        name.starts_with("lifeboat_")
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let (mut figures, mut families, mut current) = (BTreeMap::new(), BTreeSet::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && help.ends_with('.') && families.insert(name.to_owned()), "{line}");
            assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
            current = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.strip_suffix('}') {
            Some(series) => series.split_once('{').unwrap(),
            None => (series, ""),
        };
        assert_eq!(name, current, "{line}");
        let labels: Labels = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| {
                let (label, value) = label.split_once("=\"").unwrap();
                let value = value.strip_suffix('"').unwrap();
                assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()) && !value.contains(['"', '\\']), "{line}");
                (label.to_owned(), value.to_owned())
            })
            .collect();
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && figures.insert((name.to_owned(), labels), value).is_none(), "{line}");
    }
    figures
}

struct Figures(BTreeMap<(String, Labels), f64>);

impl Figures {
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.get(&(format!("lifeboat_{name}"), labels)).copied()
    }

    /// How long before the figures were gathered, in whole hours.
    fn hours(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        let observed = self.get("observed_timestamp_seconds", &[]).unwrap();
        assert!((Timestamp::now().as_second() as f64 - observed).abs() < 60.0);
        Some(((observed - self.get(name, labels)?) / 3600.0) as i64)
    }
}

fn metrics(world: &World) -> Figures {
    let done = lifeboat(&world.path(""), &["metrics", "--quiet"]);
    assert_eq!(done.code, 0, "{}", done.screen());
    Figures(read(&done.stdout))
}

async fn verified(world: &World, point: &Point, level: &str, hours_ago: i64, passed: bool) {
    let details = json!({
        "seconds": 42.5, "plan_seconds": 0.5, "restore_seconds": 30.0, "replay_seconds": 11.0, "first_query_seconds": 1.0,
        "reached": { "seconds_behind": 7.25, "bytes_behind": 4096 },
    });
    let verification = Verification {
        point: point.id.clone(),
        workload: "shop".into(),
        verified_at: Timestamp::now() - SignedDuration::from_secs(hours_ago * 3600 + 60),
        passed,
        level: level.into(),
        details,
        standing: None,
    };
    world.repository.put_verification(&verification).await.unwrap();
}

const SHOP: (&str, &str) = ("workload", "shop");
const LOCAL: (&str, &str) = ("location", "local");

#[tokio::test]
async fn ages_windows_and_measured_times_are_told() {
    let world = World::new("backup_within = \"26h\"\nverify_within = { boot = \"7d\", data = \"30d\" }").await;
    let empty = metrics(&world);
    assert_eq!(empty.get("points", &[SHOP, LOCAL]), Some(0.0));
    assert_eq!(empty.get("newest_point_timestamp_seconds", &[SHOP, LOCAL]), None);
    assert_eq!(empty.get("up", &[SHOP, LOCAL]), Some(1.0));

    let old = world.point(5, 0).await;
    let new = world.point(2, 0).await;
    for hours_ago in [100, 50] {
        verified(&world, &old, "boot", hours_ago, true).await;
    }
    verified(&world, &new, "boot", 3, false).await;
    verified(&world, &old, "structure", 1, true).await;
    let seen = metrics(&world);
    // Made an hour before the round number of days.
    assert_eq!(seen.hours("newest_point_timestamp_seconds", &[SHOP, LOCAL]), Some(49));
    assert_eq!(seen.get("points", &[SHOP, LOCAL]), Some(2.0));
    assert_eq!(seen.get("log_gaps", &[SHOP, LOCAL]), Some(1.0), "the log between the points was never stored");
    assert_eq!(seen.hours("reach_oldest_timestamp_seconds", &[SHOP, LOCAL]), Some(121));
    assert_eq!(seen.hours("reach_newest_timestamp_seconds", &[SHOP, LOCAL]), Some(49));
    let level = |level: &'static str| [SHOP, ("level", level)];
    assert_eq!(seen.hours("verified_timestamp_seconds", &level("boot")), Some(50), "the last that passed");
    assert_eq!(seen.get("verification_passed", &level("boot")), Some(0.0));
    assert_eq!(seen.hours("verified_timestamp_seconds", &level("structure")), Some(1));
    assert_eq!(seen.get("verification_passed", &level("structure")), Some(1.0));
    assert_eq!(seen.get("verified_timestamp_seconds", &level("data")), None);
    let way = ("way", "copy");
    assert_eq!(seen.get("recovery_time_seconds", &[SHOP, way]), Some(42.5), "an older record is of a copy");
    assert_eq!(seen.get("recovery_phase_seconds", &[SHOP, ("phase", "replay"), way]), Some(11.0));
    assert_eq!(seen.get("recovery_point_seconds", &[SHOP]), Some(7.25));
    assert_eq!(seen.get("recovery_point_bytes", &[SHOP]), Some(4096.0));
    assert_eq!(seen.get("backup_within_seconds", &[SHOP]), Some(26.0 * 3600.0));
    assert_eq!(seen.get("verify_within_seconds", &level("boot")), Some(7.0 * 86_400.0));
    assert_eq!(seen.get("verify_within_seconds", &level("structure")), None);
    assert!(seen.get("repository_bytes", &[LOCAL]).unwrap() > 1000.0);
    assert!(seen.get("repository_objects", &[LOCAL]).unwrap() > 10.0);
}

#[tokio::test]
async fn a_file_is_replaced_whole_and_can_be_collected() {
    let world = World::new("").await;
    let file = world.path("collected/lifeboat.prom");
    let arguments = ["metrics", "--output", file.to_str().unwrap()];
    let nowhere = lifeboat(&world.path(""), &arguments);
    assert_eq!(nowhere.code, 2, "{}", nowhere.screen());
    std::fs::create_dir(world.path("collected")).unwrap();
    std::fs::write(&file, "before").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(lifeboat(&world.path(""), &arguments).code, 0);
    let figures = Figures(read(&std::fs::read_to_string(&file).unwrap()));
    assert_eq!(figures.get("location_up", &[LOCAL]), Some(1.0));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(world.path("collected")).unwrap().count(), 1, "nothing is left beside it");

    // The location is gone: that is a figure.
    std::fs::rename(world.path("repository"), world.path("elsewhere")).unwrap();
    let gone = metrics(&world);
    assert_eq!(gone.get("location_up", &[LOCAL]), Some(0.0));
    assert_eq!(gone.get("up", &[SHOP, LOCAL]), Some(0.0));
    assert_eq!(gone.get("repository_bytes", &[LOCAL]), None);
    let document = lifeboat(&world.path(""), &["metrics", "--json", "--quiet"]);
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["metrics"].as_array().unwrap().len(), gone.0.len());
}

/// A backup and a test restore under a clock that was 40 years ahead: nothing is younger for them.
#[tokio::test]
async fn what_comes_from_the_future_silences_nothing() {
    let world = World::new("backup_within = \"1h\"\nverify_within = \"1h\"").await;
    let late = world.point(2, 0).await;
    verified(&world, &late, "boot", 30, true).await;
    let hours = 40 * 365 * 24;
    let at = Timestamp::now() + SignedDuration::from_hours(hours);
    let claimed = Point { id: PointId::new(at).unwrap(), started_at: at, finished_at: at, ..late };
    let session = WriteSession::begin(world.repository.clone(), &mut Vec::new()).await.unwrap();
    let claimed = tokio::task::spawn_blocking(move || session.commit(claimed).unwrap()).await.unwrap();
    verified(&world, &claimed, "boot", -hours, true).await;
    let checked = lifeboat(&world.path(""), &["check", "--quiet"]).stdout;
    for line in [
        "warn  workload shop points in local: one claims to be made in 14599 d: a clock was wrong",
        "bad   workload shop newest point in local: made 2 d ago; the limit is 1 h",
        "bad   workload shop verification (boot): passed 1 d ago; the limit is 1 h",
    ] {
        assert!(checked.contains(line), "{line} is not in:\n{checked}");
    }
    let seen = metrics(&world);
    assert_eq!(seen.get("points", &[SHOP, LOCAL]), Some(2.0));
    assert_eq!(seen.hours("newest_point_timestamp_seconds", &[SHOP, LOCAL]), Some(49));
    assert_eq!(seen.hours("verified_timestamp_seconds", &[SHOP, ("level", "boot")]), Some(30));
}

#[tokio::test]
async fn check_says_what_is_too_old() {
    let world = World::new("").await;
    let point = world.point(2, 0).await;
    verified(&world, &point, "boot", 30, true).await;
    let check = |lines: &str| {
        world.configure(lines);
        let done = lifeboat(&world.path(""), &["check", "--quiet"]);
        // There is no server here.
        assert_eq!(done.code, 4, "{}", done.screen());
        let about = |line: &&str| line.contains("newest point") || line.contains("verification");
        let told: Vec<String> = done.stdout.lines().filter(about).map(str::to_owned).collect();
        told.join("\n")
    };
    assert_eq!(check(""), "");
    let young = check("backup_within = \"3d\"\nverify_within = \"2d\"");
    assert_eq!(
        young,
        "ok    workload shop newest point in local: made 2 d ago; the limit is 3 d\n\
         ok    workload shop verification (boot): passed 1 d ago; the limit is 2 d"
    );
    let old = check("backup_within = \"26h\"\nverify_within = { boot = \"29h\", data = \"30d\" }");
    assert_eq!(
        old,
        "bad   workload shop newest point in local: made 2 d ago; the limit is 1 d 2 h\n\
         bad   workload shop verification (data): never passed; the limit is 30 d\n\
         bad   workload shop verification (boot): passed 1 d ago; the limit is 1 d 5 h"
    );
}
