//! What the tests share: a repository in two locations that fail as told, and clusters whose archiver waits.

use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Builder;
use lifeboat_location::{Faulty, Location, Memory};
use lifeboat_repository::{Passphrase, Replica, Repository};
use lifeboat_workload::postgres::wal::{PushOptions, Spool, WalArchive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const WORKLOAD: &str = "shop";

/// Two locations, one repository, one spool.
pub struct World {
    pub near: Arc<Faulty<Memory>>,
    pub far: Arc<Faulty<Memory>>,
    pub repository: Arc<Repository>,
    pub spool: Spool,
    pub directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let near = Arc::new(Faulty::new(Memory::new("near")));
        let far = Arc::new(Faulty::new(Memory::new("far")));
        let replicas = [replica("near", &near), replica("far", &far)];
        let passphrase = passphrase();
        Repository::init(&replicas, &passphrase).await.unwrap();
        let repository = Repository::open(replicas.to_vec(), &passphrase, 1).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path(), WORKLOAD, "here");
        Self { near, far, repository: Arc::new(repository), spool, directory }
    }

    /// The same repository opened anew: what can't be reached now is noted as unavailable.
    pub async fn reopened(&self) -> Arc<Repository> {
        let replicas = vec![replica("near", &self.near), replica("far", &self.far)];
        Arc::new(Repository::open(replicas, &passphrase(), 1).await.unwrap())
    }

    pub async fn archive(&self) -> WalArchive {
        WalArchive::of_workload(self.repository.clone(), WORKLOAD).await.unwrap().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn replica(name: &str, location: &Arc<Faulty<Memory>>) -> Replica {
    Replica { name: name.into(), location: location.clone() as Arc<dyn Location> }
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple".into())
}

/// Nothing beyond what is asked for.
pub const ALONE: PushOptions = PushOptions { ahead_files_max: 0, ahead_parallel: 1, ahead_time: Duration::ZERO };

/// A cluster that hands nothing over by itself: what is to be archived waits in `pg_wal`.
pub fn waiting(major: u16, segment_mib: u32) -> Builder {
    TestCluster::builder(major)
        .wal_segment_size_mib(segment_mib)
        .setting("archive_mode", "on")
        .archive_command("false")
        .setting("min_wal_size", format!("{}MB", 2 * segment_mib))
}

/// The files that wait for the archiver, by name.
pub fn ready(cluster: &TestCluster) -> Vec<PathBuf> {
    let wal = cluster.data_dir().join("pg_wal");
    let mut names: Vec<String> = std::fs::read_dir(wal.join("archive_status"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".ready").map(str::to_owned))
        .collect();
    names.sort();
    names.into_iter().map(|name| wal.join(name)).collect()
}

/// Fills a segment with something, and ends it.
pub async fn fill_segments(cluster: &TestCluster, count: usize) {
    cluster.sql("create table if not exists filled (n bigserial, at timestamptz default now())").await.unwrap();
    for _ in 0..count {
        cluster.sql("insert into filled (at) select now() from generate_series(1, 100)").await.unwrap();
        cluster.sql("select pg_switch_wal()").await.unwrap();
    }
}

pub fn name_of(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Polls until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
