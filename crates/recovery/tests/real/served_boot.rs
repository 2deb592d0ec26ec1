//! Points that are proven over a mount: what can't be had is told for what it is, and no more lies here than may.

use crate::boot::{MOUNT, copy, tried};
use crate::site::Site;
use lifeboat_location::{ErrorKind, Fault, Operation};
use lifeboat_mount::mount::mounts;
use lifeboat_recovery::{BootReport, Came, RecoveryError, Target, Way};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

async fn site(checksums: bool) -> Site {
    let site = Site::with_checksums(15, checksums).await;
    let sql = "create table orders (n int primary key, t text); \
               insert into orders select g, md5(g::text) from generate_series(1, 20000) g";
    site.cluster.sql(sql).await.unwrap();
    site.backup().await;
    site
}

fn scratch(site: &Site) -> PathBuf {
    site.cluster.directory().join("b")
}

/// The copy that is mounted there.
fn mounted(scratch: &Path) -> Option<PathBuf> {
    let data = mounts().into_iter().find(|path| path.starts_with(scratch) && path.ends_with("data"))?;
    data.parent().map(Path::to_path_buf)
}

/// Proves the point, and from when `is_so` of the mounted copy on, packs are read with this fault.
async fn with_a_fault(
    way: Way,
    site: &Site,
    fault: Fault,
    is_so: impl Fn(&Path) -> bool + Sync,
) -> Result<BootReport, RecoveryError> {
    let (scratch, location) = (scratch(site), site.location.clone());
    let (is_over, was_so) = (AtomicBool::new(false), AtomicBool::new(false));
    let (_, report) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if mounted(&scratch).is_some_and(|copy| is_so(&copy)) {
                    was_so.store(true, Ordering::Relaxed);
                    return location.always(Operation::Get, "packs/", fault);
                }
                std::thread::yield_now();
            }
        });
        let tried = tried(way, false, site, Target::Immediate, &["select count(*) = 20000 from orders"]);
        let tried = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(tried));
        is_over.store(true, Ordering::Relaxed);
        tried
    });
    assert!(was_so.load(Ordering::Relaxed), "it never came to that");
    site.location.heal();
    report
}

fn says(copy: &Path, what: &str) -> bool {
    std::fs::read_to_string(copy.join("log")).is_ok_and(|log| log.contains(what))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_damaged_fails_the_point_and_is_named() {
    let site = site(true).await;
    for fault in [Fault::Flipped(100), Fault::Error(ErrorKind::NotFound)] {
        let report = with_a_fault(MOUNT, &site, fault.clone(), |_| true).await.unwrap();
        assert!(!report.passed(), "{fault:?}: {report:#?}");
        let said = report.failure.as_deref().unwrap_or_default();
        assert!(said.starts_with("a part of the point can't be had: base/") || said.contains("global/"), "{said}");
    }
    // Whole again, it passes.
    tried(MOUNT, true, &site, Target::Immediate, &[]).await.1.unwrap().passed().then_some(()).expect("it is whole");
}

/// Without checksums nobody reads all pages; a copy would have brought them all.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_never_read_is_looked_at_too() {
    let site = site(false).await;
    let is_ended = |copy: &Path| says(copy, "database system is shut down");
    let report = with_a_fault(MOUNT, &site, Fault::Flipped(100), is_ended).await.unwrap();
    assert!(report.started && report.checks.iter().all(|check| check.passed), "{report:#?}");
    assert!(
        !report.passed() && report.failure.as_ref().is_some_and(|said| said.contains("can't be had")),
        "{report:#?}"
    );
}

/// It is no fact about the point.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_goes_away_says_nothing_about_the_point() {
    let site = site(true).await;
    let away = || Fault::Error(ErrorKind::Unavailable);
    let moments: [fn(&Path) -> bool; 3] =
        [|_| true, |copy| says(copy, "ready to accept connections"), |copy| says(copy, "database system is shut down")];
    for is_so in moments {
        let begun = Instant::now();
        let error = with_a_fault(MOUNT, &site, away(), is_so).await.expect_err("nobody knows");
        assert!(matches!(error, RecoveryError::Repository(_)), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "it was asked again and again");
    }
}

/// A disk of its own, which can't hold more. Taken away when dropped.
struct Disk(PathBuf);

impl Disk {
    fn of(path: &Path, mebibytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(mounted.is_ok_and(|status| status.success()), "needs root");
        Self(path.to_path_buf())
    }

    fn used_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const MIB: u64 = 1 << 20;

/// Hundreds of megabytes, on a disk that holds a fraction of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_proven_in_far_less_room_than_it_has() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount what this needs");
        return;
    }
    let site = Site::new(15).await;
    let sql = "create table orders (n int primary key, t text); \
               insert into orders select g, md5(g::text) || repeat('x', 900) from generate_series(1, 300000) g; \
               vacuum (freeze) orders; checkpoint";
    for statement in sql.split(';') {
        site.cluster.sql(statement).await.unwrap();
    }
    let all: u64 = site.cluster.sql("select pg_database_size('postgres')").await.unwrap().unwrap().parse().unwrap();
    assert!(all > 300 * MIB, "{all}");
    site.backup().await;
    site.cluster.sql("update orders set t = 'new' where n % 50000 = 0").await.unwrap();
    site.store_log().await;
    let disk = Disk::of(&scratch(&site), 160);
    let before = disk.used_bytes();
    let is_over = AtomicBool::new(false);
    let (report, most) = std::thread::scope(|scope| {
        let sampled = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(disk.used_bytes() - before);
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let checks =
            ["select sum(n)::bigint = 45000150000 from orders", "select count(*) = 6 from orders where t = 'new'"];
        let way = Way::Mount { came_bytes_max: 16 * MIB };
        let tried = tried(way, true, &site, Target::Latest, &checks);
        let (_, report) = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(tried));
        is_over.store(true, Ordering::Relaxed);
        (report.unwrap(), sampled.join().unwrap())
    });
    assert!(report.passed(), "{report:#?}");
    let Came::Mount { bytes_fetched, bytes_kept_max, bytes_changed } = report.came else { panic!("{report:#?}") };
    println!("{all} bytes; used {most}, kept {bytes_kept_max}, changed {bytes_changed}, fetched {bytes_fetched}");
    println!("{:.1} s of replay; {:#?}", report.replay_seconds, report.pages.map(|pages| pages.checked));
    assert!(bytes_fetched > all / 10 * 9, "not all of it was read");
    assert!(bytes_kept_max <= 20 * MIB && bytes_changed < 20 * MIB, "{bytes_kept_max}, {bytes_changed}");
    // Log, what the server writes at its start, and what isn't a table.
    assert!(most < 16 * MIB + bytes_changed + 100 * MIB, "{most}");
    // All of it doesn't fit.
    let (_, copied) = tried(copy(), true, &site, Target::Latest, &[]).await;
    assert!(copied.is_err(), "{copied:#?}");
}
