//! A server over a directory whose files come when they are read.

use crate::site::{Site, append, until_primary};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use lifeboat_mount::hydrate::{Part, UntilTold, hydrate};
use lifeboat_mount::mount::{Mounted, State, mount, state_of};
use lifeboat_mount::overlay::Overlay;
use lifeboat_recovery::instant::Origin;
use lifeboat_recovery::{Destination, RestorePlan, RestoreTo, Target, instant, owner_when_root};
use lifeboat_repository::Silent;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A copy that is served by a mount.
struct Instant {
    copy: TestCluster,
    tablespaces: BTreeMap<u32, PathBuf>,
    parts: Vec<Part>,
    mounted: Option<Mounted>,
}

impl Instant {
    /// Everything is written as it is wanted at once, mounted, and the server runs.
    async fn new(site: &Site, plan: &RestorePlan, tablespaces: BTreeMap<u32, PathBuf>) -> Self {
        let (reader, point) = (site.reader().await, site.point(&plan.point).await);
        let copy = TestCluster::builder(site.cluster.major())
            .adopt(|data| {
                let seen = Destination::observe(data, plan.system_id)?;
                let to = to(data, &tablespaces);
                let origin = Origin {
                    replay: None,
                    workload: point.workload.clone(),
                    point: point.id.clone(),
                    tablespaces: tablespaces.clone(),
                    begun_at: point.finished_at,
                    target: plan.target_spoken.clone(),
                    timeline: None,
                    inclusive: None,
                    hold: None,
                };
                tokio::task::block_in_place(|| instant::prepare(&reader, &point, plan, seen, &to, &origin, &Silent))?;
                assert_eq!(instant::origin(data)?, Some(origin));
                append(&data.join("postgresql.conf"), "fsync = on\n");
                Ok(())
            })
            .unwrap();
        let mut instant = Self { copy, tablespaces, parts: Vec::new(), mounted: None };
        instant.attach(site, plan).await;
        instant.copy.start().unwrap_or_else(|error| panic!("{plan}\n{error}\n{}", instant.copy.log()));
        until_primary(&instant.copy).await;
        instant
    }

    async fn attach(&mut self, site: &Site, plan: &RestorePlan) {
        let (reader, point) = (site.reader().await, site.point(&plan.point).await);
        let to = to(&self.copy.data_dir(), &self.tablespaces);
        // The server was given everything, and what is the mount's own must stay ours.
        for root in std::iter::once(&self.copy.data_dir().to_path_buf()).chain(self.tablespaces.values()) {
            for name in [".lifeboat-mount", ".lifeboat-mount/files"] {
                let user = Some(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()));
                std::os::unix::fs::lchown(root.join(name), user, None).unwrap();
            }
        }
        let attached = tokio::task::block_in_place(|| instant::attach(&reader, &point, &to, None)).unwrap();
        self.parts = attached.order.parts(None);
        self.mounted = Some(mount(Arc::new(attached.overlay), &instant::view()).unwrap());
    }

    fn overlay(&self) -> Arc<Overlay> {
        self.mounted.as_ref().unwrap().overlay().clone()
    }

    fn unmount(&mut self) {
        self.mounted.take().unwrap().unmount().unwrap();
    }

    /// All of it comes, under the server.
    fn hydrate(&self) {
        let (overlay, parts) = (self.overlay(), self.parts.clone());
        assert!(std::thread::spawn(move || hydrate(&overlay, parts, 2, &UntilTold::default())).join().unwrap());
    }

    /// An ordinary directory is left, and the server runs on it.
    fn finish(&mut self) {
        self.copy.stop(Shutdown::Fast).unwrap();
        let overlay = self.overlay();
        self.unmount();
        Arc::into_inner(overlay).unwrap().finish(&instant::view()).unwrap();
        assert_eq!(state_of(&self.copy.data_dir()), State::Nothing);
        self.copy.start().unwrap();
    }

    async fn sql(&self, text: &str) -> String {
        self.copy.sql(text).await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.copy.log())).unwrap_or_default()
    }
}

impl Drop for Instant {
    fn drop(&mut self) {
        // The server before what it runs on.
        let _ = self.copy.stop(Shutdown::Immediate);
        if let Some(mut mounted) = self.mounted.take() {
            let _ = mounted.unmount();
        }
    }
}

fn to(data: &Path, tablespaces: &BTreeMap<u32, PathBuf>) -> RestoreTo {
    let owner = owner_when_root(data, None);
    RestoreTo { destination: data.to_path_buf(), tablespaces: tablespaces.clone(), workers: 2, owner }
}

const SUM: &str = "select count(*) || ' ' || sum(n) || ' ' || md5(string_agg(t, '' order by n)) from orders";

/// Backed up, changed afterwards, served before it is there, stopped and begun again, brought whole, left as an ordinary directory.
async fn a_server_answers_before_its_tables_are_here(major: u16) {
    let site = Site::new(major).await;
    let sql = async |text: &str| site.cluster.sql(text).await.unwrap().unwrap_or_default();
    let far = site.cluster.directory().join("far");
    std::fs::create_dir(&far).unwrap();
    site.cluster.give_to_server(&far).unwrap();
    sql(&format!("create tablespace far location '{}'", far.display())).await;
    sql("create table orders (n int primary key, t text);
         insert into orders select g, repeat(md5(g::text), 8) from generate_series(1, 60000) g")
    .await;
    sql("create table away tablespace far as select g, repeat(md5(g::text), 8) from generate_series(1, 60000) g").await;
    // Or whoever reads it next writes to every page, and the log brings them all.
    sql("vacuum (freeze) away").await;
    site.backup().await;
    sql("update orders set t = t || 'x' where n % 100 = 0; delete from orders where n % 1000 = 1").await;
    sql("insert into orders select g, 'new' from generate_series(70001, 70100) g").await;
    sql("delete from away where g < 100").await;
    let sum = sql(SUM).await;
    site.store_log().await;
    let plan = site.plan(&site.wanted(Target::Latest)).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let oid = sql("select oid from pg_tablespace where spcname = 'far'").await.parse().unwrap();
    let mut instant = Instant::new(&site, &plan, [(oid, elsewhere.path().join("far"))].into()).await;
    let arrived = instant.overlay().arrived();
    assert!(arrived.bytes_local < arrived.bytes / 3 * 2, "the log brings orders, and nothing brings away: {arrived:?}");
    assert_eq!(instant.sql(SUM).await, sum);
    assert_eq!(instant.sql("select count(*) || ' ' || sum(g) from away").await, "59901 1800025050");
    for statement in ["create table more as select n from orders", "checkpoint", "vacuum orders", "truncate away"] {
        instant.sql(statement).await;
    }
    // Stopped, taken away, and back again; the second time without a clean stop.
    for shutdown in [Shutdown::Fast, Shutdown::Immediate] {
        instant.sql("insert into more values (1), (2)").await;
        instant.copy.stop(shutdown).unwrap();
        instant.unmount();
        assert!(!instant.copy.data_dir().join("global/pg_control").exists());
        instant.attach(&site, &plan).await;
        instant.copy.start().unwrap();
        assert_eq!(instant.sql(SUM).await, sum);
    }
    assert_eq!(instant.sql("select count(*) from more").await, "60044");
    assert_eq!(instant.sql("select count(*) from away").await, "0");
    instant.hydrate();
    instant.finish();
    assert_eq!(instant.sql(SUM).await, sum);
    assert_eq!(instant.sql("select count(*) from more").await, "60044");
    let leftovers = |path: &Path| path.join(".lifeboat-mount").exists();
    assert!(!leftovers(&instant.copy.data_dir()) && !leftovers(&elsewhere.path().join("far")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_answers_before_its_tables_are_here_on_15() {
    a_server_answers_before_its_tables_are_here(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_server_answers_before_its_tables_are_here_on_all_others() {
    for major in [14, 16, 17, 18] {
        a_server_answers_before_its_tables_are_here(major).await;
    }
}
