//! A cluster that is backed up and archives, and what a restore needs.

use jiff::Timestamp;
use lifeboat_components::TestCluster;
use lifeboat_location::{Faulty, Memory};
use lifeboat_postgres::connection::{Secret, Target as Server};
use lifeboat_recovery::{
    Action, Destination, Observed, Refusal, RestoreCommand, RestorePlan, RestoreTo, Target, TimelineChoice, Wanted,
    apply, observe, owner_when_root, plan,
};
use lifeboat_repository::{ChunkReader, Passphrase, Point, PointId, Replica, Repository, Silent};
use lifeboat_workload::postgres::backup::{BackupRequest, BackupType, backup};
use lifeboat_workload::postgres::wal::{PushOptions, Spool, push};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const WORKLOAD: &str = "shop";

/// The cluster, its repository, and a directory in which its archived log waits to be stored.
pub struct Site {
    pub cluster: TestCluster,
    pub repository: Arc<Repository>,
    pub location: Arc<Faulty<Memory>>,
    state: tempfile::TempDir,
}

impl Site {
    pub async fn new(major: u16) -> Self {
        Self::with_checksums(major, true).await
    }

    pub async fn with_checksums(major: u16, checksums: bool) -> Self {
        let mut cluster = TestCluster::builder(major)
            .data_checksums(checksums)
            .wal_segment_size_mib(1)
            .setting("archive_mode", "on")
            .setting("max_connections", 37)
            .create()
            .unwrap();
        let archive = cluster.directory().join("archive");
        std::fs::create_dir(&archive).unwrap();
        cluster.give_to_server(&archive).unwrap();
        let line = format!("archive_command = 'cp %p {}/%f'\n", archive.display());
        append(&cluster.data_dir().join("postgresql.conf"), &line);
        cluster.start().unwrap();
        let location = Arc::new(Faulty::new(Memory::new("near")));
        let replicas = vec![Replica { name: "near".into(), location: location.clone() }];
        let passphrase = Passphrase::new("correct horse battery staple".into());
        Repository::init(&replicas, &passphrase).await.unwrap();
        let repository = Arc::new(Repository::open(replicas, &passphrase, 1).await.unwrap());
        Self { cluster, repository, location, state: tempfile::tempdir().unwrap() }
    }

    pub fn archive(&self) -> PathBuf {
        self.cluster.directory().join("archive")
    }

    fn spool(&self) -> Spool {
        Spool::new(self.state.path(), WORKLOAD, "here")
    }

    pub async fn backup(&self) -> Point {
        let request = BackupRequest {
            workload: WORKLOAD.into(),
            data_dir: Some(self.cluster.data_dir()),
            connection: Server::parse(&self.cluster.connection_string(), &Secret::None).unwrap(),
            backup_type: BackupType::Incremental,
            workers: 2,
            max_rate_bytes_per_second: None,
            fast_checkpoint: true,
            state_dir: self.state.path().to_path_buf(),
            spool: self.spool(),
            wal_time_limit: Duration::from_secs(60),
            skips_unchanged_files: false,
            server_compression: Default::default(),
            primary: None,
            trusts_log: false,
        };
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        backup(self.repository.clone(), &request, Arc::new(Silent), cancel).await.unwrap().point
    }

    /// Ends the segment, waits until it is archived, and stores all that is archived.
    pub async fn store_log(&self) {
        let segment = self.cluster.sql("select pg_walfile_name(pg_switch_wal())").await.unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let archived = self.archive().join(segment);
        while std::fs::metadata(&archived).map_or(0, |data| data.len()) < 1 << 20 {
            assert!(Instant::now() < deadline, "{} was not archived:\n{}", archived.display(), self.cluster.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.archive()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let options = PushOptions { ahead_files_max: 0, ..PushOptions::default() };
        for file in files {
            push(self.repository.clone(), WORKLOAD, &file, &self.spool(), options).await.unwrap();
        }
    }

    /// As PostgreSQL gives the time: with the clock that commits are stamped with.
    pub async fn now(&self) -> Timestamp {
        let micros = self.cluster.sql("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await;
        Timestamp::from_microsecond(micros.unwrap().unwrap().parse().unwrap()).unwrap()
    }

    pub fn wanted(&self, target: Target) -> Wanted {
        // Stands in for the program: takes `--config DIR wal fetch NAME PATH ...` from the archive's directory.
        let program = self.cluster.directory().join("fetch it's");
        std::fs::write(&program, "#!/bin/sh\n[ -f \"$2/$5\" ] || exit 3\nexec cp \"$2/$5\" \"$6\"\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let [program, archive] = [program, self.archive()].map(|path| path.to_str().unwrap().to_owned());
        Wanted {
            target,
            inclusive: true,
            timeline: TimelineChoice::MainLine,
            point: None,
            location: None,
            zone: None,
            restore_command: RestoreCommand::new(program, archive, WORKLOAD).unwrap(),
            action: Action::Promote,
            archives: false,
        }
    }

    pub async fn observe(&self, wanted: Option<&Wanted>) -> Observed {
        observe(&self.repository, WORKLOAD, wanted, &Silent).await.unwrap()
    }

    pub async fn plan(&self, wanted: &Wanted) -> Result<RestorePlan, Box<Refusal>> {
        plan(&self.observe(Some(wanted)).await.known, wanted)
    }

    pub async fn point(&self, id: &PointId) -> Point {
        self.repository.read_point(WORKLOAD, id, &mut Vec::new()).await.unwrap()
    }

    pub async fn reader(&self) -> Arc<ChunkReader> {
        Arc::new(ChunkReader::open(self.repository.clone()).await.unwrap())
    }

    /// Restores into a directory of the test, and gives the cluster that it is, stopped.
    pub async fn restore(&self, plan: &RestorePlan) -> TestCluster {
        let (reader, point) = (self.reader().await, self.point(&plan.point).await);
        TestCluster::builder(self.cluster.major())
            .adopt(|data| {
                let to = RestoreTo {
                    destination: data.to_path_buf(),
                    tablespaces: BTreeMap::new(),
                    workers: 2,
                    owner: owner_when_root(data, None),
                };
                let seen = Destination::observe(data, plan.system_id)?;
                tokio::task::block_in_place(|| apply(&reader, &point, plan, seen, &to, &Silent))?;
                Ok(())
            })
            .unwrap()
    }
}

/// Waits until recovery has ended.
pub async fn until_primary(cluster: &TestCluster) {
    until(cluster, "select pg_is_in_recovery()", "f").await;
}

/// Waits until the query gives this.
pub async fn until(cluster: &TestCluster, query: &str, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = cluster.sql(query).await;
        if seen.as_ref().is_ok_and(|seen| seen.as_deref() == Some(wanted)) {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {seen:?}\n{}", cluster.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, before + text).unwrap();
}
