//! Every kind of target, with what must be there afterwards.

use crate::site::{Site, append, until, until_primary};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use lifeboat_location::{Fault, Operation};
use lifeboat_recovery::{Action, Destination, DestinationError, Reason, Target, TimelineChoice, Wanted, windows};

/// Moments of one afternoon, with how many rows there were.
struct Afternoon {
    after_first: jiff::Timestamp,
    lsn_after_first: lifeboat_postgres::Lsn,
    second_xid: u32,
}

/// 100 rows and a backup; one more; `deploy`; one more; `deploy` again; all gone.
async fn afternoon(site: &Site) -> Afternoon {
    let sql = async |text: &str| site.cluster.sql(text).await.unwrap().unwrap_or_default();
    sql("create table orders (n int primary key); insert into orders select generate_series(1, 100)").await;
    site.backup().await;
    sql("insert into orders values (101)").await;
    let after_first = site.now().await;
    let lsn_after_first = sql("select pg_current_wal_insert_lsn()").await.parse().unwrap();
    sql("select pg_create_restore_point('deploy')").await;
    let second_xid = sql("begin; insert into orders values (102); select pg_current_xact_id(); commit").await;
    sql("select pg_create_restore_point('deploy')").await;
    sql("delete from orders").await;
    site.store_log().await;
    Afternoon { after_first, lsn_after_first, second_xid: second_xid.parse().unwrap() }
}

async fn rows_after(site: &Site, wanted: &Wanted) -> String {
    let plan = site.plan(wanted).await.unwrap_or_else(|refusal| panic!("{refusal}; {}", refusal.hint()));
    let mut copy = site.restore(&plan).await;
    copy.start().unwrap_or_else(|error| panic!("{plan}\n{error}\n{}", copy.log()));
    until_primary(&copy).await;
    assert_eq!(copy.sql("show archive_mode").await.unwrap().as_deref(), Some("off"));
    copy.sql("select count(*) from orders").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_target_is_reached() {
    let site = Site::new(15).await;
    // An older recovery of the original must not collide with ours.
    let leftover = "recovery_target_time = '2020-01-01'\nrestore_command = 'false'\n";
    append(&site.cluster.data_dir().join("postgresql.conf"), leftover);
    append(&site.cluster.data_dir().join("postgresql.auto.conf"), leftover);
    let Afternoon { after_first, lsn_after_first, second_xid } = afternoon(&site).await;
    let observed = site.observe(None).await;
    let window = windows(&observed.known.points, &observed.known.logs[0]).remove(0);
    let exclusive = |target| Wanted { inclusive: false, ..site.wanted(target) };
    for (wanted, rows) in [
        (site.wanted(Target::Immediate), "100"),
        (site.wanted(Target::Time(after_first)), "101"),
        (site.wanted(Target::Lsn(lsn_after_first)), "101"),
        (exclusive(Target::Xid(second_xid)), "101"),
        (site.wanted(Target::Xid(second_xid)), "102"),
        // The newest of that name, although PostgreSQL would stop at the first.
        (site.wanted(Target::Name("deploy".into())), "102"),
        (site.wanted(Target::Latest), "0"),
        // The very end of the window: nothing follows at which PostgreSQL could stop.
        (site.wanted(Target::Time(window.to)), "0"),
        (site.wanted(Target::Lsn(window.lsn_to)), "0"),
    ] {
        assert_eq!(rows_after(&site, &wanted).await, rows, "{:?}", wanted.target);
    }
    // To look before it is too late, and for a cluster that takes the original's place.
    let looking = Wanted { action: Action::Pause, archives: true, ..site.wanted(Target::Time(after_first)) };
    let mut copy = site.restore(&site.plan(&looking).await.unwrap()).await;
    copy.start().unwrap();
    until(&copy, "select pg_get_wal_replay_pause_state()", "paused").await;
    assert_eq!(copy.sql("select count(*) from orders").await.unwrap().as_deref(), Some("101"));
    assert_eq!(copy.sql("show archive_mode").await.unwrap().as_deref(), Some("on"));
    drop(copy);
    let late = Target::Time(window.to + jiff::SignedDuration::from_secs(1));
    let refused = site.plan(&site.wanted(late)).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TooLate { at, .. } if at == window.to), "{refused}");
    let early = Target::Time(window.from - jiff::SignedDuration::from_secs(1));
    let refused = site.plan(&site.wanted(early)).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TooEarly { at, .. } if at == window.from), "{refused}");
    let refused = site.plan(&site.wanted(Target::Xid(second_xid + 1000))).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::NotInLog { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_is_brought_up_to_date_and_a_running_one_refused() {
    let site = Site::new(15).await;
    afternoon(&site).await;
    let plan = site.plan(&site.wanted(Target::Latest)).await.unwrap();
    let refused = Destination::observe(&site.cluster.data_dir(), plan.system_id);
    assert!(matches!(refused, Err(DestinationError::Running { .. })), "{refused:?}");

    let mut copy = site.restore(&plan).await;
    copy.start().unwrap();
    until_primary(&copy).await;
    copy.sql("create table mine (n int); insert into orders values (7)").await.unwrap();
    copy.stop(Shutdown::Fast).unwrap();
    let data = copy.data_dir();
    // The log on a disk of its own, as many have it.
    let volume = data.with_file_name("volume");
    std::fs::rename(data.join("pg_wal"), &volume).unwrap();
    std::os::unix::fs::symlink(&volume, data.join("pg_wal")).unwrap();
    std::fs::create_dir(volume.join("lost+found")).unwrap();
    assert_eq!(Destination::observe(&data, plan.system_id).unwrap(), Destination::SameCluster);
    let other = lifeboat_postgres::SystemId(plan.system_id.0 + 1);
    assert!(matches!(Destination::observe(&data, other), Err(DestinationError::Taken { .. })));

    let to = lifeboat_recovery::RestoreTo {
        destination: data.clone(),
        tablespaces: Default::default(),
        workers: 2,
        owner: lifeboat_recovery::owner_when_root(&data, None),
    };
    let (reader, point) = (site.reader().await, site.point(&plan.point).await);
    let settings = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
    let done = tokio::task::block_in_place(|| {
        let seen = Destination::SameCluster;
        lifeboat_recovery::apply(&reader, &point, &plan, seen, &to, &lifeboat_repository::Silent)
    })
    .unwrap();
    assert!(done.bytes_unchanged > 10 * done.bytes_written, "{done:?}");
    // The copy's own log was archived nowhere: it isn't lost.
    let note = done.notes.iter().find(|note| note.contains("that the repository lacks")).unwrap();
    assert!(note.contains("volume.wal-kept-") && note.contains("don't push them"), "{note}");
    assert_eq!(std::fs::read_link(data.join("pg_wal")).unwrap(), volume);
    assert!(volume.join("lost+found").is_dir(), "the file system's own directory is not ours to remove");
    let kept: Vec<String> = std::fs::read_dir(data.parent().unwrap())
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".wal-kept-"))
        .flat_map(|path| std::fs::read_dir(path).unwrap())
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(kept.contains(&"00000002.history".to_owned()), "{kept:?}: {note}");
    assert!(kept.iter().any(|name| name.starts_with("00000002000000")), "{kept:?}: {note}");
    let ours = settings.split_once("# of the test").unwrap().1;
    append(&data.join("postgresql.conf"), &format!("\n# of the test{ours}"));
    copy.start().unwrap();
    until_primary(&copy).await;
    let left = copy.sql("select count(*) from orders where to_regclass('mine') is null").await.unwrap();
    assert_eq!(left.as_deref(), Some("0"));
    assert_eq!(copy.sql("select to_regclass('mine') is null").await.unwrap().as_deref(), Some("t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_promoted_by_accident_does_not_take_over() {
    let site = Site::new(15).await;
    afternoon(&site).await;
    // A copy recovers, promotes itself, and archives into the original's archive.
    let plan = site.plan(&site.wanted(Target::Latest)).await.unwrap();
    let mut copy = site.restore(&plan).await;
    append(&copy.data_dir().join("postgresql.auto.conf"), "archive_mode = on\n");
    let line = format!("archive_command = 'cp %p {}/%f'\n", site.archive().display());
    append(&copy.data_dir().join("postgresql.conf"), &line);
    copy.start().unwrap();
    until_primary(&copy).await;
    copy.sql("insert into orders values (666)").await.unwrap();
    let segment = copy.sql("select pg_walfile_name(pg_switch_wal())").await.unwrap().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !site.archive().join(&segment).exists() || !site.archive().join("00000002.history").exists() {
        assert!(std::time::Instant::now() < deadline, "{}", copy.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(copy);
    site.cluster.sql("insert into orders values (1), (2)").await.unwrap();
    site.store_log().await;
    let wanted = site.wanted(Target::Latest);
    let plan = site.plan(&wanted).await.unwrap();
    assert!(plan.notes.iter().any(|note| note.starts_with("timeline 2 branched off")), "{plan}");
    assert_eq!(rows_after(&site, &wanted).await, "2");
    let as_postgres = Wanted { timeline: TimelineChoice::Latest, ..wanted };
    assert_eq!(rows_after(&site, &as_postgres).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_cannot_be_started_and_can_be_finished() {
    let site = Site::new(15).await;
    let [far, moved] = ["far", "moved"].map(|name| site.cluster.directory().join(name));
    std::fs::create_dir(&far).unwrap();
    site.cluster.give_to_server(&far).unwrap();
    site.cluster.sql(&format!("create tablespace far location '{}'", far.display())).await.unwrap();
    site.cluster.sql("create table away (n int) tablespace far; insert into away values (5)").await.unwrap();
    site.backup().await;
    let oid = site.cluster.sql("select oid from pg_tablespace where spcname = 'far'").await.unwrap().unwrap();
    let oid: u32 = oid.parse().unwrap();
    let plan = site.plan(&site.wanted(Target::Immediate)).await.unwrap();
    let point = site.point(&plan.point).await;
    let reader = site.reader().await;
    let mut copy = TestCluster::builder(15)
        .adopt(|data| {
            let to = lifeboat_recovery::RestoreTo {
                destination: data.to_path_buf(),
                tablespaces: [(oid, moved.clone())].into(),
                workers: 2,
                owner: lifeboat_recovery::owner_when_root(data, None),
            };
            let run = || {
                let seen = Destination::observe(data, plan.system_id)?;
                let silent = &lifeboat_repository::Silent;
                tokio::task::block_in_place(|| lifeboat_recovery::apply(&reader, &point, &plan, seen, &to, silent))
            };
            site.location.times(
                Operation::Get,
                "packs/",
                1,
                1000,
                Fault::Error(lifeboat_location::ErrorKind::Unavailable),
            );
            assert!(run().is_err());
            assert_eq!(Destination::observe(data, plan.system_id)?, Destination::Unfinished);
            assert!(data.join("base").exists() && !data.join("global/pg_control").exists());
            site.location.heal();
            run()?;
            assert!(!data.join("lifeboat.unfinished").exists());
            // Over this copy, but into the original's tablespace: never.
            let home = lifeboat_recovery::RestoreTo { tablespaces: Default::default(), ..to.clone() };
            let seen = Destination::observe(data, plan.system_id)?;
            let silent = &lifeboat_repository::Silent;
            let refused =
                tokio::task::block_in_place(|| lifeboat_recovery::apply(&reader, &point, &plan, seen, &home, silent));
            assert!(refused.is_err_and(|error| error.to_string().contains("has it elsewhere")));
            assert!(data.join("global/pg_control").exists());
            Ok(())
        })
        .unwrap();
    copy.start().unwrap_or_else(|error| panic!("{error}\n{}", copy.log()));
    until_primary(&copy).await;
    assert_eq!(copy.sql("select n from away").await.unwrap().as_deref(), Some("5"));
    let place = copy.sql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'").await.unwrap();
    assert_eq!(place.as_deref(), moved.to_str());
}

async fn latest_of(major: u16) {
    let site = Site::new(major).await;
    afternoon(&site).await;
    assert_eq!(rows_after(&site, &site.wanted(Target::Name("deploy".into()))).await, "102");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_14_recovers() {
    latest_of(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_16_recovers() {
    latest_of(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_17_recovers() {
    latest_of(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_18_recovers() {
    latest_of(18).await;
}
