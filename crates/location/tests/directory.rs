//! What a directory makes of a full disk, a missing root, other people's files and a writer that is killed.

use bytes::Bytes;
use lifeboat_location::{Directory, ErrorKind, Location, PutOutcome};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn private_files(root: &std::path::Path) -> usize {
    fs::read_dir(root.join(".private")).unwrap().count()
}

#[tokio::test]
async fn a_root_that_is_not_there_is_never_made() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("not/mounted");
    let location = Directory::open(&root).unwrap();
    let kind = |error: Option<lifeboat_location::Error>| error.unwrap().kind();
    assert_eq!(kind(location.put_new("a/b", Bytes::new()).await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.get("a").await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.head("a").await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.list("").await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.delete("a").await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.read_register("a").await.err()), ErrorKind::NoContainer);
    assert_eq!(kind(location.probe().await.err()), ErrorKind::NoContainer);
    assert!(!root.exists());
    assert!(Directory::open("relative").is_err());
    Directory::create(&root).unwrap();
    assert_eq!(location.put_new("a/b", Bytes::new()).await.unwrap(), PutOutcome::Created);
    assert!(location.free_space().await.unwrap().unwrap() > 0);
}

#[tokio::test]
async fn only_the_owner_reads() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    let location = Directory::create(&root).unwrap();
    location.put_new("a/b/c", Bytes::from_static(b"x")).await.unwrap();
    for (path, mode) in [("", 0o700), ("a", 0o700), ("a/b", 0o700), ("a/b/c", 0o600), (".private", 0o700)] {
        assert_eq!(fs::metadata(root.join(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(private_files(&root), 0);
}

#[tokio::test]
async fn what_others_left_is_not_an_object() {
    let place = tempfile::tempdir().unwrap();
    let location = Directory::create(place.path()).unwrap();
    fs::create_dir(place.path().join("lost+found")).unwrap();
    fs::write(place.path().join(".hidden"), "x").unwrap();
    fs::write(place.path().join("a b"), "x").unwrap();
    let (old, new) = (place.path().join(".private/old"), place.path().join(".private/new"));
    fs::write(&old, "x").unwrap();
    fs::write(&new, "x").unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    fs::File::options().write(true).open(&old).unwrap().set_modified(two_days_ago).unwrap();
    assert_eq!(location.list("").await.unwrap(), []);
    location.put_new("a", Bytes::new()).await.unwrap();
    assert!(!old.exists() && new.exists(), "leftovers go after a day, not earlier");
    // A directory is not an object, and an object is not a directory.
    location.put_new("d/e", Bytes::new()).await.unwrap();
    assert_eq!(location.get("d").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(location.head("a/b").await.unwrap(), None);
}

/// A file system of 4 MiB: the third MiB-sized object still fits, the rest doesn't, and space that comes back is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    let place = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(place.path()).status();
    assert!(mounted.unwrap().success(), "mounting a tmpfs needs root");
    let root = place.path().join("root");
    let location = Directory::create(&root).unwrap();
    let mut fitted = 0;
    let full = loop {
        match location.put_new(&format!("a/{fitted}"), Bytes::from(vec![7; 1 << 20])).await {
            Ok(outcome) => assert_eq!(outcome, PutOutcome::Created),
            Err(error) => break error,
        }
        fitted += 1;
        assert!(fitted < 5);
    };
    let listed = location.list("").await.unwrap().len();
    let left = private_files(&root);
    location.delete("a/0").await.unwrap();
    let again = location.put_new("b", Bytes::from(vec![7; 1 << 20])).await;
    drop(location);
    let _ = Command::new("umount").arg("-l").arg(place.path()).status();
    assert_eq!(full.kind(), ErrorKind::Full);
    assert_eq!((listed, left), (fitted, 0), "the one that didn't fit is gone");
    assert_eq!(again.unwrap(), PutOutcome::Created);
}

/// Root may write anywhere, so this runs in a child without the right.
#[tokio::test]
async fn a_directory_that_is_not_ours() {
    let place = tempfile::tempdir().unwrap();
    let location = Directory::create(place.path()).unwrap();
    let immutable = |flag: &str| Command::new("chattr").arg(flag).arg(place.path()).status().unwrap().success();
    assert!(immutable("+i"), "chattr needs root and a file system that knows it");
    let put = location.put_new("a", Bytes::new()).await;
    assert!(immutable("-i"));
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Denied);
}

const VICTIM: &str = "LIFEBOAT_TEST_VICTIM";

/// The process that is killed: this test again, told where to write until it dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writer_leaves_nothing_visible() {
    if let Some(root) = std::env::var_os(VICTIM) {
        let location = Directory::open(std::path::PathBuf::from(root)).unwrap();
        for number in 0_u32.. {
            location.put_new(&format!("big/{number}"), Bytes::from(vec![number as u8; 8 << 20])).await.unwrap();
            location.delete(&format!("big/{}", number.wrapping_sub(8))).await.unwrap();
        }
    }
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let location = Directory::create(place.path()).unwrap();
    let mut interrupted = 0;
    for _ in 0..5 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_writer_leaves_nothing_visible"])
            .env(VICTIM, place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while private_files(place.path()) <= interrupted && Instant::now() < deadline {
            std::thread::yield_now();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        interrupted = private_files(place.path());
        for entry in location.list("").await.unwrap() {
            let number = entry.key.strip_prefix("big/").expect("only objects are listed").parse::<u32>().unwrap();
            let bytes = location.get(&entry.key).await.unwrap();
            assert!(bytes.len() == 8 << 20 && bytes.iter().all(|b| *b == number as u8), "{} is whole", entry.key);
            location.delete(&entry.key).await.unwrap();
        }
    }
    assert!(interrupted > 0, "at least one writer was killed in the middle");
}

/// One command run as root must not lock out the user whose repository it is.
#[tokio::test]
async fn what_root_writes_belongs_to_whom_the_place_belongs() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    let location = Directory::create(&root).unwrap();
    std::os::unix::fs::chown(&root, Some(12345), Some(54321)).expect("giving away needs root");
    location.put_new("packs/ab/cd", Bytes::from_static(b"x")).await.unwrap();
    location.compare_and_swap("registers/lease", None, Bytes::from_static(b"y")).await.unwrap();
    for path in ["packs", "packs/ab", "packs/ab/cd"] {
        let found = fs::metadata(root.join(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 54321), "{path}");
    }
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let item = item.unwrap();
            let is_ours = item.metadata().unwrap().uid() == 12345 || item.file_name() == ".private";
            assert!(is_ours, "{:?}", item.path());
            if item.file_type().unwrap().is_dir() && item.file_name() != ".private" {
                directories.push(item.path());
            }
        }
    }
}
