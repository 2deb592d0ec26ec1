//! `prune` over a month of recovery points that were made up: nobody waits a month for a test.

use crate::program::lifeboat;
use jiff::{SignedDuration, Timestamp};
use lifeboat_location::Directory;
use lifeboat_postgres::wal_file::SegmentSize;
use lifeboat_postgres::{Lsn, MajorVersion, SystemId, TimelineId};
use lifeboat_repository::{
    ChunkReader, Content, EntryKind, Extent, Passphrase, Point, PointId, Replica, Repository, Source, TreeEntry,
    TreeReader, TreeWriter, WriteSession,
};
use lifeboat_workload::postgres::wal::{ClusterIdentity, WalArchive};
use lifeboat_workload::postgres::{BadPage, DETAILS_VERSION, PostgresDetails};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub const DAY: Duration = Duration::from_secs(24 * 3600);
const SEGMENT: u64 = 16 << 20;
const GROUP: &str = "7/00000001/00000000";

pub struct World {
    pub directory: tempfile::TempDir,
    pub repository: Arc<Repository>,
}

impl World {
    pub async fn new(keep: &str) -> Self {
        Self::of(&["local"], keep).await
    }

    /// With these locations, in `repository` and, but for the first, `repository-<name>`.
    pub async fn of(names: &[&'static str], keep: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut replicas = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let root =
                directory.path().join(if number == 0 { "repository".into() } else { format!("repository-{name}") });
            Directory::create(&root).unwrap();
            replicas.push(Replica { name: name.to_string(), location: Arc::new(Directory::open(&root).unwrap()) });
        }
        let passphrase = Passphrase::new("open sesame".into());
        Repository::init(&replicas, &passphrase).await.unwrap();
        let repository = Arc::new(Repository::open(replicas, &passphrase, 3).await.unwrap());
        let cluster = ClusterIdentity { system_id: SystemId(7), segment_size: SegmentSize::new(SEGMENT).unwrap() };
        WalArchive::new(repository.clone(), "shop", cluster).claim().await.unwrap();
        let world = Self { directory, repository };
        world.configure(keep);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn configure(&self, keep: &str) {
        let root = self.directory.path().display();
        let locations: String = self
            .repository
            .replicas()
            .iter()
            .map(|replica| format!("[location.{}]\nurl = \"{}\"\n", replica.name, replica.location.address()))
            .collect();
        let text = format!(
            "state_dir = \"{root}/state\"\n{locations}\
             [encryption]\npassphrase = {{ command = [\"echo\", \"open sesame\"] }}\n\
             [workload.shop]\nkind = \"postgres\"\ndata_dir = \"/nowhere\"\nconnection = \"host=/nowhere\"\n{keep}\n"
        );
        std::fs::write(self.path("lifeboat.toml"), text).unwrap();
    }

    /// The segment of the log of that day. Returns its name.
    pub async fn segment(&self, days_ago: u64) -> String {
        let number = 100 - days_ago;
        let name = format!("0000000100000000000000{number:02X}");
        self.repository.put_log("shop", GROUP, &name, &empty_log(number), &[]).await.unwrap();
        name
    }

    /// A point that was made so many days ago, with a file of its own, and the segment of the log that it needs.
    pub async fn point(&self, days_ago: u64, bad_pages: usize) -> Point {
        let number = 100 - days_ago;
        let name = self.segment(days_ago).await;
        let label = format!("label {number}").into_bytes();
        self.repository.put_log("shop", GROUP, &format!("{name}.00000028.backup"), &label, &[]).await.unwrap();
        let session = WriteSession::begin(self.repository.clone(), &mut Vec::new()).await.unwrap();
        let point = tokio::task::spawn_blocking(move || {
            let mut writer = session.writer().unwrap();
            let content: Vec<u8> = format!("day {number} ").into_bytes().repeat(1000);
            let id = writer.put(&content).unwrap();
            let extent = Extent { offset: 0, length: content.len() as u32, source: Source::Chunk { id, offset: 0 } };
            let mut tree = TreeWriter::default();
            let entry = TreeEntry {
                path: "file".into(),
                kind: EntryKind::File,
                mode: 0o600,
                uid: 0,
                gid: 0,
                modified_ns: 0,
                size: content.len() as u64,
                content: Some(Content::inline(&[extent])),
                target: None,
            };
            tree.push(&mut writer, &entry).unwrap();
            let tree = tree.finish(&mut writer).unwrap();
            writer.finish().unwrap();
            session.commit(made_up(tree, days_ago, Lsn(number * SEGMENT + 40), bad_pages)).unwrap()
        })
        .await
        .unwrap();
        self.age(&format!("points/shop/{}", point.id), DAY * days_ago as u32);
        point
    }

    /// As if the file or everything in the directory had been written so long ago.
    pub fn age(&self, key: &str, by: Duration) {
        for replica in self.repository.replicas() {
            let address = replica.location.address();
            let path = Path::new(address.strip_prefix("file://").unwrap()).join(key);
            if path.exists() {
                age(&path, SystemTime::now() - by);
            }
        }
    }

    /// How many points a location holds.
    async fn points_in(&self, location: &str) -> usize {
        self.repository.only(location).unwrap().list_points(None).await.unwrap().len()
    }

    pub fn prune(&self, options: &[&str]) -> (i32, String) {
        let done = lifeboat(self.directory.path(), &[&["prune"], options].concat());
        (done.code, format!("{}{}", done.stdout, done.stderr))
    }

    pub fn document(&self, options: &[&str]) -> Value {
        let (code, text) = self.prune(&[options, &["--json", "--quiet"]].concat());
        assert_eq!(code, 0, "{text}");
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        document["locations"].get(0).cloned().unwrap_or(document)
    }

    pub async fn days_left(&self) -> Vec<i64> {
        let points = self.repository.list_points(None).await.unwrap();
        let mut days = Vec::new();
        for header in points.iter().rev() {
            let point = self.repository.read_point("shop", &header.id, &mut Vec::new()).await.unwrap();
            days.push(Timestamp::now().duration_since(point.finished_at).as_hours() / 24);
            let reader = ChunkReader::open(self.repository.clone()).await.unwrap();
            for entry in TreeReader::read(&reader, &point.tree).await.unwrap() {
                for extent in reader.extents(&entry).await.unwrap() {
                    let Source::Chunk { id, .. } = extent.source else { continue };
                    assert_eq!(reader.read_all(&[id]).await.unwrap()[0].len() as u64, entry.size);
                }
            }
        }
        days
    }

    pub async fn log_left(&self) -> Vec<u8> {
        let entries = self.repository.list_logs("shop", "").await.unwrap();
        let segments = entries.iter().filter(|entry| entry.name.len() == 24);
        segments.map(|entry| 100 - u8::from_str_radix(&entry.name[22..], 16).unwrap()).rev().collect()
    }
}

fn age(path: &Path, time: SystemTime) {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|item| age(&item.unwrap().path(), time));
    } else {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

/// What a segment of PostgreSQL 17 begins with, and no record.
fn empty_log(number: u64) -> Vec<u8> {
    let (magic, is_long, timeline) = (0xD116_u16.to_le_bytes(), 2_u16.to_le_bytes(), 1_u32.to_le_bytes());
    let (address, nothing_continues) = ((number * SEGMENT).to_le_bytes(), 0_u64.to_le_bytes());
    let (system_id, sizes) = (7_u64.to_le_bytes(), [(SEGMENT as u32).to_le_bytes(), 8192_u32.to_le_bytes()]);
    let header: [&[u8]; 8] =
        [&magic, &is_long, &timeline, &address, &nothing_continues, &system_id, &sizes[0], &sizes[1]];
    header.concat()
}

fn made_up(tree: Vec<lifeboat_repository::ChunkId>, days_ago: u64, start: Lsn, bad_pages: usize) -> Point {
    let finished_at = Timestamp::now() - SignedDuration::from_hours(days_ago as i64 * 24 + 1);
    let details = PostgresDetails {
        version: DETAILS_VERSION,
        system_id: SystemId(7),
        major: MajorVersion::V17,
        server_version_num: 170_004,
        catalog_version: 202_406_281,
        timeline: TimelineId(1),
        lsn_start: start,
        lsn_stop: Lsn(start.0 + 300),
        stopped_at: finished_at,
        wal_segment_bytes: SEGMENT,
        data_checksums: true,
        from_standby: false,
        backup_label: String::new(),
        tablespace_map: String::new(),
        tablespaces: Vec::new(),
        data_dir: "/nowhere".into(),
        outside_files: Vec::new(),
        bad_pages: vec![BadPage { path: "base/1/1".into(), block: 0, found: 1, expected: 2 }; bad_pages],
        read_whole_at: None,
        complete_to: None,
    };
    Point {
        id: PointId::new(finished_at).unwrap(),
        workload: "shop".into(),
        kind: "postgres".into(),
        backup_type: "full".into(),
        parent: None,
        started_at: finished_at,
        finished_at,
        tree,
        files: 1,
        bytes: 6000,
        bytes_read: 6000,
        bytes_new: 6000,
        bytes_stored: 0,
        locations: Vec::new(),
        details: serde_json::to_value(details).unwrap(),
    }
}

#[tokio::test]
async fn a_policy_is_carried_out_after_the_time_of_grace() {
    let world = World::new("keep = { last = 2, weekly = 3 }").await;
    for days_ago in (0..20).rev() {
        world.point(days_ago, 0).await;
    }
    world.age("packs", DAY * 4);
    let planned = world.document(&["--dry-run"]);
    let going = planned["marked"]["points"].as_array().unwrap().len();
    assert!((14..=16).contains(&going), "{planned}");
    assert_eq!(world.days_left().await.len(), 20);
    assert!(!world.path("repository/removals").exists() || world.repository.marks().await.unwrap().is_empty());

    let marked = world.document(&[]);
    assert_eq!(marked["marked"]["points"], planned["marked"]["points"]);
    assert!(marked["marked"]["packs"].as_u64().unwrap() >= going as u64);
    assert_eq!(world.document(&[])["marked"]["points"].as_array().unwrap().len(), 0, "marked once");
    assert_eq!(world.days_left().await.len(), 20, "nothing is deleted yet");
    let (_, text) = world.prune(&[]);
    assert!(text.contains("nothing more to give up") && text.contains("deleted in 2 d"), "{text}");

    world.age("removals", DAY * 3);
    let done = world.document(&[]);
    assert_eq!(done["deleted"]["points"].as_array().unwrap().len(), going);
    let left = world.days_left().await;
    assert_eq!(left.len(), 20 - going);
    assert_eq!(left[..3], [0, 1, 2]);
    // The log goes on from the oldest point that stays.
    assert_eq!(world.log_left().await, (0..=*left.last().unwrap() as u8).collect::<Vec<_>>());
    assert_eq!(world.repository.verify(None, true, &lifeboat_repository::Silent).await.unwrap().bad, vec![]);
}

#[tokio::test]
async fn each_location_keeps_what_its_own_policy_says() {
    let keep = "keep = { last = 2 }\nkeep_in = { ohio = { last = 9 }, vault = \"all\" }";
    let world = World::of(&["local", "ohio", "vault"], keep).await;
    for days_ago in (0..20).rev() {
        world.point(days_ago, 0).await;
    }
    world.age("packs", DAY * 4);
    let (code, text) = world.prune(&["--dry-run"]);
    let going: Vec<&str> = text.lines().filter(|line| line.starts_with("would be marked")).collect();
    assert!(code == 0 && going.len() == 2, "{text}");
    assert!(going[0].contains("17 points") && going[1].contains("10 points"), "{text}");
    assert!(text.contains("local:") && text.contains("vault:") && text.contains("no policy"), "{text}");
    for _ in 0..2 {
        assert_eq!(world.prune(&[]).0, 0);
        world.age("removals", DAY * 3);
    }
    let held = async || [world.points_in("local").await, world.points_in("ohio").await, world.points_in("vault").await];
    assert_eq!(held().await, [3, 10, 20]);
    // Whoever copies, backs up or looks: nothing comes back, and nothing is missed.
    let run = |arguments: &[&str]| lifeboat(world.directory.path(), arguments);
    let copied = run(&["copy", "--from", "vault", "--to", "local"]);
    assert!(copied.code == 0 && copied.stdout.contains("0 objects"), "{}", copied.screen());
    world.point(0, 0).await;
    assert_eq!(held().await, [4, 11, 21]);
    let verified = run(&["verify", "--data"]);
    assert_eq!(verified.code, 0, "{}", verified.screen());
    for location in ["local", "ohio", "vault"] {
        let verified = run(&["verify", "--from", location]);
        assert_eq!(verified.code, 0, "{}", verified.screen());
    }
}

#[tokio::test]
async fn a_location_that_is_away_keeps_everything_and_holds_up_nobody() {
    let world = World::of(&["local", "ohio"], "keep = { last = 1 }").await;
    for days_ago in [9, 8, 7, 0] {
        world.point(days_ago, 0).await;
    }
    world.age("packs", DAY * 4);
    let away = world.path("away");
    std::fs::rename(world.path("repository-ohio"), &away).unwrap();
    for _ in 0..2 {
        let (code, text) = world.prune(&[]);
        assert!(code == 5 && text.contains("location ohio was left alone"), "{code} {text}");
        world.age("removals", DAY * 3);
    }
    std::fs::rename(&away, world.path("repository-ohio")).unwrap();
    world.point(0, 0).await;
    assert_eq!([world.points_in("local").await, world.points_in("ohio").await], [3, 5]);
}

#[tokio::test]
async fn with_a_window_old_points_keep_only_their_own_log() {
    let world = World::new("keep = { last = 1, monthly = 12, window = \"5d\" }").await;
    for days_ago in [70, 69, 40, 39, 6, 5, 4, 3, 2, 1, 0] {
        world.point(days_ago, 0).await;
    }
    world.age("packs", DAY * 4);
    world.document(&[]);
    world.age("removals", DAY * 3);
    world.document(&[]);
    let left = world.days_left().await;
    assert!(left.contains(&5), "the window begins with it: {left:?}");
    let old: Vec<u8> = left.iter().filter(|day| **day > 5).map(|day| *day as u8).collect();
    assert!(old.len() >= 2 && old.len() <= 3, "the newest of each month: {left:?}");
    assert_eq!(world.log_left().await, [vec![0, 1, 2, 3, 4, 5], old].concat());
}

#[tokio::test]
async fn the_last_good_point_outlives_every_policy_and_a_mark_can_be_taken_back() {
    let world = World::new("keep = { last = 1 }").await;
    world.point(40, 0).await;
    for days_ago in [30, 20, 10] {
        world.point(days_ago, 1).await;
    }
    world.age("packs", DAY * 4);
    let (code, text) = world.prune(&["--dry-run"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("newest good one") && text.contains("nothing was done"), "{text}");
    world.document(&[]);
    assert_eq!(world.document(&["--cancel"])["cancelled"].as_array().unwrap().len(), 1);
    assert_eq!(world.repository.marks().await.unwrap(), vec![]);
    world.document(&[]);
    // The policy changes its mind before anything is deleted.
    world.configure("keep = { monthly = 12 }");
    world.age("removals", DAY * 3);
    let done = world.document(&[]);
    assert!(!done["deleted"]["spared"].as_array().unwrap().is_empty(), "{done}");
    assert!(world.days_left().await.contains(&40));
    let bad = world.repository.verify(None, true, &lifeboat_repository::Silent).await.unwrap().bad;
    assert_eq!(bad, vec![]);
}

#[tokio::test]
async fn without_a_policy_everything_stays() {
    let world = World::new("").await;
    world.point(90, 0).await;
    world.point(1, 0).await;
    world.age("packs", DAY * 4);
    let done = world.document(&[]);
    assert!(done["points"].as_array().unwrap().iter().all(|point| point["reasons"][0] == "no policy"), "{done}");
    assert_eq!(world.days_left().await.len(), 2);
}

#[tokio::test]
async fn a_point_that_cannot_be_read_stops_it() {
    let world = World::new("keep = { last = 1 }").await;
    world.point(40, 0).await;
    let damaged = world.point(30, 0).await;
    world.point(20, 0).await;
    let path = world.path("repository").join(format!("points/shop/{}", damaged.id));
    std::fs::write(path, b"not a point").unwrap();
    let (code, text) = world.prune(&[]);
    assert_eq!(code, 6, "{text}");
    assert_eq!(world.repository.marks().await.unwrap(), vec![]);
}
