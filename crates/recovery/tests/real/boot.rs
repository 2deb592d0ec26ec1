//! Points that are proven by starting them.

use crate::site::Site;
use lifeboat_postgres::cluster::{Cluster, Programs, RunState, StartOptions};
use lifeboat_recovery::{
    Amcheck, BootReport, BootRequest, Came, Destination, RecoveryError, RestoreTo, Target, Way, apply, boot,
    owner_when_root,
};
use lifeboat_repository::{Point, Silent};
use std::path::PathBuf;
use std::time::Duration;

fn scratch(site: &Site) -> PathBuf {
    site.cluster.directory().join("b")
}

/// Far less than any cluster has.
pub const MOUNT: Way = Way::Mount { came_bytes_max: 1 << 20 };

pub fn copy() -> Way {
    Way::Copy { because: "it was asked for".into() }
}

pub async fn booted(site: &Site, target: Target, checks: &[&str]) -> (Point, BootReport) {
    booted_by(MOUNT, site, target, checks).await
}

pub async fn booted_by(way: Way, site: &Site, target: Target, checks: &[&str]) -> (Point, BootReport) {
    let (point, report) = tried(way.clone(), true, site, target, checks).await;
    let report = report.unwrap();
    assert_eq!(matches!(way, Way::Mount { .. }), matches!(report.came, Came::Mount { .. }), "{report:#?}");
    (point, report)
}

pub async fn tried(
    way: Way,
    amcheck: bool,
    site: &Site,
    target: Target,
    checks: &[&str],
) -> (Point, Result<BootReport, RecoveryError>) {
    let plan = site.plan(&site.wanted(target)).await.unwrap();
    let request = BootRequest {
        way,
        scratch_dir: scratch(site),
        programs: Programs::in_directory(site.cluster.programs()).unwrap(),
        owner: owner_when_root(&scratch(site), None),
        workers: 2,
        user: "postgres".into(),
        database: "postgres".into(),
        checks: checks.iter().map(|sql| (*sql).to_owned()).collect(),
        amcheck,
        planned_at: jiff::Timestamp::now(),
        plan_seconds: 0.5,
        server_lsn: site.cluster.sql("select pg_current_wal_flush_lsn()").await.unwrap().unwrap().parse().ok(),
        host: "here".into(),
        patience: Duration::from_secs(90),
    };
    let (reader, point) = (site.reader().await, site.point(&plan.point).await);
    let report = tokio::task::block_in_place(|| boot(&reader, &point, &plan, &request, &Silent));
    let left = std::fs::read_dir(scratch(site)).unwrap().count();
    assert_eq!(left, 0, "the copy was not removed");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*scratch(site).join("lifeboat-boot").to_string_lossy()), "it is still mounted");
    (point, report)
}

/// With everything in the configuration that would keep a copy from starting elsewhere.
async fn hostile(major: u16) -> Site {
    let mut site = Site::new(major).await;
    let configuration = "include_dir = 'not.there'\n";
    let far = site.cluster.directory().join("far");
    std::fs::create_dir(&far).unwrap();
    site.cluster.give_to_server(&far).unwrap();
    site.cluster.sql(&format!("create tablespace far location '{}'", far.display())).await.unwrap();
    site.cluster.sql("create table away tablespace far as select true as here").await.unwrap();
    site.cluster
        .sql("create table orders (n int primary key); insert into orders select generate_series(1, 1000)")
        .await
        .unwrap();
    site.cluster.sql("alter system set log_directory = '/not/there'").await.unwrap();
    site.cluster.restart().unwrap();
    // Not read before the next start, which is the copy's.
    crate::site::append(
        &site.cluster.data_dir().join("postgresql.auto.conf"),
        "shared_preload_libraries = 'not_there'\n",
    );
    crate::site::append(&site.cluster.data_dir().join("postgresql.conf"), configuration);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_point_passes() {
    for (major, way) in [(15, MOUNT), (18, MOUNT), (18, copy())] {
        let site = hostile(major).await;
        site.backup().await;
        site.cluster.sql("insert into orders values (0)").await.unwrap();
        site.store_log().await;
        let checks = [
            "select count(*) = 1000 from orders",
            "select here from away",
            "select current_setting('max_connections') = '37'",
        ];
        let (point, report) = booted_by(way.clone(), &site, Target::Immediate, &checks).await;
        assert!(report.passed(), "{report:#?}");
        assert!(report.replayed_to.is_some() && report.seconds >= report.restore_seconds, "{report:#?}");
        assert!(report.pages.as_ref().is_some_and(|pages| pages.checked > 500), "{report:#?}");
        assert!(matches!(report.amcheck, Amcheck::Passed(_)), "{report:#?}");
        let kept = report.verification(&point, jiff::Timestamp::UNIX_EPOCH);
        assert!(kept.passed && kept.level == "boot" && kept.details["started"] == true);

        let (_, latest) = booted_by(way, &site, Target::Latest, &["select count(*) = 1001 from orders"]).await;
        assert!(latest.passed() && latest.replayed_to > report.replayed_to, "{latest:#?}");
        assert!(latest.replayed_until.is_some(), "{latest:#?}");
        let parts = latest.plan_seconds + latest.restore_seconds + latest.replay_seconds + latest.first_query_seconds;
        assert!((latest.seconds - parts).abs() < 1e-6 && latest.first_query_seconds > 0.0, "{latest:#?}");
        assert_eq!(latest.reached.bytes_short, Some(0), "{latest:#?}");
        assert!(latest.reached.server_lsn.is_some() && latest.reached.bytes_behind.is_some(), "{latest:#?}");
        assert!(latest.server_version.as_ref().is_some_and(|said| said.starts_with(&major.to_string())), "{latest:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_asked_must_be_true() {
    let site = Site::new(15).await;
    site.cluster.sql("create table orders (n int)").await.unwrap();
    site.backup().await;
    let checks = [
        "select count(*) > 0 from orders",
        "select 1",
        "select true from pg_class",
        "select null::boolean",
        "select * from nowhere",
        "select true",
    ];
    let (_, report) = booted(&site, Target::Immediate, &checks).await;
    assert!(report.started && !report.passed());
    let said: Vec<&str> = report.checks.iter().map(|check| check.said.as_deref().unwrap_or("passed")).collect();
    assert_eq!(&said[..2], ["false", "its first column is not a boolean"]);
    assert!(said[2].ends_with("rows instead of one"), "{said:?}");
    assert!(said[4].contains("nowhere"), "{said:?}");
    assert_eq!((said[3], said[5]), ("null", "passed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_found() {
    let mut site = Site::new(15).await;
    site.cluster.sql("create table orders (n int); insert into orders select generate_series(1, 5000)").await.unwrap();
    let path = site.cluster.sql("select pg_relation_filepath('orders')").await.unwrap().unwrap();
    site.cluster.stop(lifeboat_components::postgres::Shutdown::Fast).unwrap();
    let file = site.cluster.data_dir().join(&path);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2 * 8192 + 5000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    site.cluster.start().unwrap();
    site.backup().await;
    for way in [MOUNT, copy()] {
        let (_, report) = booted_by(way, &site, Target::Immediate, &["select true"]).await;
        assert!(report.started && !report.passed());
        let bad = &report.pages.as_ref().unwrap().bad;
        assert_eq!(bad.iter().map(|page| (page.path.as_str(), page.block)).collect::<Vec<_>>(), [(path.as_str(), 2)]);
        assert!(matches!(report.amcheck, Amcheck::Failed(_)), "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_does_not_start_is_no_point() {
    let site = Site::new(15).await;
    site.backup().await;
    site.store_log().await;
    // The log that it needs is listed, and gone.
    std::fs::remove_dir_all(site.archive()).unwrap();
    for way in [MOUNT, copy()] {
        let (_, report) = booted_by(way, &site, Target::Immediate, &["select true"]).await;
        assert!(!report.started && !report.passed());
        assert!(report.failure.as_ref().is_some_and(|said| said.contains("its log ends")), "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_verification_left_is_ended_and_removed() {
    let site = Site::new(15).await;
    site.backup().await;
    let plan = site.plan(&site.wanted(Target::Immediate)).await.unwrap();
    // Made by a process of our number that began at another time: by nobody who lives.
    let left = scratch(&site).join(format!("lifeboat-boot-{}-1-0", std::process::id()));
    let data = left.join("data");
    std::fs::create_dir_all(&left).unwrap();
    let owner = owner_when_root(&scratch(&site), None);
    let (reader, point) = (site.reader().await, site.point(&plan.point).await);
    let to = RestoreTo { destination: data.clone(), tablespaces: Default::default(), workers: 2, owner };
    tokio::task::block_in_place(|| apply(&reader, &point, &plan, Destination::Missing, &to, &Silent)).unwrap();
    site.cluster.give_to_server(&scratch(&site)).unwrap();
    let cluster = Cluster::open(&data, Programs::in_directory(site.cluster.programs()).unwrap()).unwrap();
    cluster.start(&StartOptions::private(left.join("log"), &left)).await.unwrap();
    let RunState::Running(file) = cluster.state().unwrap() else { panic!("it runs") };

    let (_, report) = booted(&site, Target::Immediate, &[]).await;
    assert!(report.passed(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.starts_with("removed ")), "{:?}", report.notes);
    let state = std::fs::read_to_string(format!("/proc/{}/stat", file.process_id)).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
}
