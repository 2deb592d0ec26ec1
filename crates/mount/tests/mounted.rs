//! A real mount, used by real programs' calls.

use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::mount::{Mounted, State, mount, mounts, mounts_of, state_of, take_stale_away};
use lifeboat_mount::overlay::{NewFile, Overlay, create, is_made};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::view::View;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PAGE_BYTES: u64 = 8192;
const RELATION_BYTES: u64 = 64 * 1024 * 1024;

fn page(number: FileNumber, page: u64) -> Vec<u8> {
    let seed = u64::from(number) << 40 | page;
    (0..PAGE_BYTES / 8).flat_map(|word| (seed << 10 | word).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

/// Pages that can be told from one another; counts what is asked for.
#[derive(Clone, Default)]
struct Pages {
    fetched: Arc<AtomicU64>,
    is_away: Arc<AtomicBool>,
    /// Held while nothing is to be given.
    gate: Arc<Mutex<()>>,
}

impl Source for Pages {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        drop(self.gate.lock().unwrap());
        if self.is_away.load(Ordering::Relaxed) {
            return Err("the location is away".into());
        }
        self.fetched.fetch_add(range.end - range.start, Ordering::Relaxed);
        for at in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            sink(at * PAGE_BYTES, Piece::Bytes(&page(number, at)))?;
        }
        Ok(())
    }
}

struct World {
    directory: tempfile::TempDir,
    pages: Pages,
    mounted: Option<Mounted>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        for name in ["base", "base/5", "global", "pg_replslot"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        fs::write(top.join("global/pg_control.held-back"), b"control").unwrap();
        let new = |number, path: &str, bytes| NewFile { number, root: 0, path: path.into(), bytes, mode: 0o600 };
        let files = [new(1, "base/5/16384", RELATION_BYTES), new(2, "base/5/16385", 10 * PAGE_BYTES)];
        create(&[top.to_path_buf()], &files, None, b"").unwrap();
        let mut world = Self { directory, pages: Pages::default(), mounted: None };
        world.mount();
        world
    }

    fn mount(&mut self) {
        let overlay = Overlay::open(&[self.top().to_path_buf()], Box::new(self.pages.clone())).unwrap();
        let view = View { held_back: Some("global/pg_control".into()) };
        let mounted = mount(Arc::new(overlay), &view);
        self.mounted = Some(mounted.expect("needs /dev/fuse, and root or fusermount3 (`apt-get install fuse3`)"));
    }

    fn top(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top().join(name)
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap()
    }

    fn fetched(&self) -> u64 {
        self.pages.fetched.load(Ordering::Relaxed)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut mounted) = self.mounted.take() {
            let unmounted = mounted.unmount();
            if unmounted.is_err() {
                let _ = take_stale_away(self.directory.path());
            }
        }
    }
}

fn read_page(file: &File, number: u64) -> std::io::Result<Vec<u8>> {
    let mut room = vec![0; PAGE_BYTES as usize];
    file.read_exact_at(&mut room, number * PAGE_BYTES).map(|()| room)
}

#[test]
fn files_have_their_size_and_come_when_they_are_read() {
    let world = World::new();
    let relation = world.open("base/5/16384");
    assert_eq!(relation.metadata().unwrap().len(), RELATION_BYTES);
    assert_eq!((&relation).seek(SeekFrom::End(0)).unwrap(), RELATION_BYTES);
    relation.sync_all().unwrap();
    rustix::fs::syncfs(File::open(world.top()).unwrap()).unwrap();
    assert_eq!(world.fetched(), 0, "opening, looking and syncing fetch nothing");
    assert_eq!(read_page(&relation, 4711).unwrap(), page(1, 4711));
    assert_eq!(world.fetched(), PAGE_BYTES);
    assert_eq!(read_page(&relation, 4711).unwrap(), page(1, 4711));
    assert_eq!(world.fetched(), PAGE_BYTES, "what is here isn't fetched again");
    relation.write_all_at(&page(9, 9), 5 * PAGE_BYTES).unwrap();
    assert_eq!(
        (read_page(&relation, 5).unwrap(), world.fetched()),
        (page(9, 9), PAGE_BYTES),
        "nor what is written over"
    );
    relation.write_all_at(b"half", 6 * PAGE_BYTES + 100).unwrap();
    let mut expected = page(1, 6);
    expected[100..104].copy_from_slice(b"half");
    assert_eq!(read_page(&relation, 6).unwrap(), expected);
    assert_eq!(read_page(&world.open("base/5/16385"), 9).unwrap(), page(2, 9));
}

#[test]
fn who_reads_in_order_waits_less_and_less() {
    let world = World::new();
    let relation = world.open("base/5/16384");
    for number in 0..RELATION_BYTES / PAGE_BYTES {
        assert_eq!(read_page(&relation, number).unwrap(), page(1, number));
    }
    assert_eq!(world.fetched(), RELATION_BYTES);
}

#[test]
fn what_cannot_be_had_is_an_error_and_comes_later() {
    let world = World::new();
    let relation = world.open("base/5/16384");
    world.pages.is_away.store(true, Ordering::Relaxed);
    let refused = read_page(&relation, 3).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert!(
        relation.write_all_at(b"half", 3 * PAGE_BYTES).is_err(),
        "nor is half of a page written without the other half"
    );
    relation.write_all_at(&page(9, 3), 3 * PAGE_BYTES).unwrap();
    world.pages.is_away.store(false, Ordering::Relaxed);
    assert_eq!(read_page(&relation, 3).unwrap(), page(9, 3));
    assert_eq!(read_page(&relation, 4).unwrap(), page(1, 4));
}

#[test]
fn who_waits_for_the_source_keeps_nobody_else_waiting() {
    let world = World::new();
    let relation = world.open("base/5/16384");
    read_page(&relation, 0).unwrap();
    let gate = world.pages.gate.clone();
    let closed = gate.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (1..50)
            .map(|n| {
                scope.spawn({
                    let relation = &relation;
                    move || read_page(relation, n * 100)
                })
            })
            .collect();
        for _ in 0..100 {
            assert_eq!(read_page(&relation, 0).unwrap(), page(1, 0));
            fs::write(world.path("postmaster.pid"), b"1").unwrap();
            relation.write_all_at(&page(9, 9), 5 * PAGE_BYTES).unwrap();
            relation.sync_all().unwrap();
            File::open(world.path("postmaster.pid")).unwrap().sync_all().unwrap();
        }
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        drop(closed);
        for (n, waiting) in (1..50).zip(waiting) {
            assert_eq!(waiting.join().unwrap().unwrap(), page(1, n * 100));
        }
    });
}

#[test]
fn a_directory_is_used_as_postgresql_uses_one() {
    let world = World::new();
    // A file is written under another name, synced, renamed over the old one.
    let write_durably = |name: &str, text: &str| {
        let temporary = world.path(&format!("{name}.tmp"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temporary, world.path(name)).unwrap();
        File::open(world.path(name).parent().unwrap()).unwrap().sync_all().unwrap();
    };
    write_durably("global/state", "one");
    write_durably("global/state", "two, longer");
    assert_eq!(fs::read_to_string(world.path("global/state")).unwrap(), "two, longer");
    // A slot is a directory that is renamed.
    fs::create_dir(world.path("pg_replslot/slot.tmp")).unwrap();
    fs::write(world.path("pg_replslot/slot.tmp/state"), b"slot").unwrap();
    fs::rename(world.path("pg_replslot/slot.tmp"), world.path("pg_replslot/slot")).unwrap();
    assert_eq!(fs::read(world.path("pg_replslot/slot/state")).unwrap(), b"slot");
    fs::remove_dir_all(world.path("pg_replslot/slot")).unwrap();
    // Logs are appended to; old versions link segments into place.
    let append = || OpenOptions::new().append(true).create(true).open(world.path("log")).unwrap();
    append().write_all(b"one ").unwrap();
    append().write_all(b"two").unwrap();
    assert_eq!(fs::read_to_string(world.path("log")).unwrap(), "one two");
    fs::hard_link(world.path("log"), world.path("log.2")).unwrap();
    fs::remove_file(world.path("log")).unwrap();
    assert_eq!(fs::read_to_string(world.path("log.2")).unwrap(), "one two");
    symlink("/elsewhere", world.path("pg_wal")).unwrap();
    assert_eq!(fs::read_link(world.path("pg_wal")).unwrap(), Path::new("/elsewhere"));
    fs::set_permissions(world.path("log.2"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fs::metadata(world.path("log.2")).unwrap().permissions().mode() & 0o777, 0o640);
    let segment = File::create(world.path("segment")).unwrap();
    rustix::fs::fallocate(&segment, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
    assert_eq!(fs::metadata(world.path("segment")).unwrap().size(), 1 << 20);
    let mut names: Vec<_> = fs::read_dir(world.top()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["base", "global", "log.2", "pg_replslot", "pg_wal", "segment"]);
    let _socket = std::os::unix::net::UnixListener::bind(world.path(".s.PGSQL.5432")).unwrap();
    std::os::unix::net::UnixStream::connect(world.path(".s.PGSQL.5432")).unwrap();
}

#[test]
fn a_removed_file_can_be_read_by_who_has_it_open() {
    let world = World::new();
    let relation = world.open("base/5/16385");
    fs::remove_file(world.path("base/5/16385")).unwrap();
    assert_eq!(read_page(&relation, 2).unwrap(), page(2, 2));
    fs::write(world.path("base/5/16385"), b"another").unwrap();
    assert_eq!(fs::read(world.path("base/5/16385")).unwrap(), b"another");
    assert_eq!(read_page(&relation, 3).unwrap(), page(2, 3));
    assert_eq!(relation.metadata().unwrap().len(), 10 * PAGE_BYTES);
}

#[test]
fn a_relation_that_was_cut_and_grows_again_is_new_there() {
    let world = World::new();
    let relation = world.open("base/5/16385");
    relation.set_len(4 * PAGE_BYTES).unwrap();
    assert_eq!(relation.metadata().unwrap().len(), 4 * PAGE_BYTES);
    relation.write_all_at(&page(9, 6), 6 * PAGE_BYTES).unwrap();
    assert_eq!(read_page(&relation, 3).unwrap(), page(2, 3));
    assert_eq!(read_page(&relation, 4).unwrap(), vec![0; PAGE_BYTES as usize]);
    assert_eq!(read_page(&relation, 6).unwrap(), page(9, 6));
    assert_eq!((&relation).seek(SeekFrom::End(0)).unwrap(), 7 * PAGE_BYTES);
    OpenOptions::new().write(true).truncate(true).open(world.path("base/5/16384")).unwrap();
    assert_eq!(fs::metadata(world.path("base/5/16384")).unwrap().len(), 0);
}

#[test]
fn until_everything_is_here_the_directory_does_not_look_whole_without_the_mount() {
    let mut world = World::new();
    assert_eq!(fs::read(world.path("global/pg_control")).unwrap(), b"control");
    world.open("global/pg_control").write_all(b"CONTROL").unwrap();
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("link");
    symlink(world.top(), &link).unwrap();
    assert_eq!([state_of(world.top()), state_of(&link)], [State::Mounted; 2]);
    assert_eq!(state_of(&world.path("base")), State::Nothing);
    assert!(mounts().contains(&world.top().to_path_buf()));
    assert!(mounts_of("").contains(&world.top().to_path_buf()) && mounts_of("nobody's").is_empty());
    world.mounted.take().unwrap().unmount().unwrap();
    assert_eq!([state_of(world.top()), state_of(&link)], [State::Nothing; 2]);
    assert!(!mounts().contains(&world.top().to_path_buf()));
    assert!(!world.path("global/pg_control").exists() && is_made(world.top()));
    world.mount();
    assert_eq!(fs::read(world.path("global/pg_control")).unwrap(), b"CONTROL");
}

#[test]
fn a_mount_in_use_stays() {
    let mut world = World::new();
    let relation = world.open("base/5/16385");
    let refused = world.mounted.as_mut().unwrap().unmount().unwrap_err();
    assert_eq!(refused.source.kind(), ErrorKind::ResourceBusy, "{refused:?}");
    assert_eq!(read_page(&relation, 1).unwrap(), page(2, 1));
    drop(relation);
    world.mounted.as_mut().unwrap().unmount().unwrap();
}

#[test]
fn when_all_is_here_an_ordinary_directory_is_left() {
    let mut world = World::new();
    world.open("base/5/16384").write_all_at(&page(9, 9), PAGE_BYTES).unwrap();
    let mut mounted = world.mounted.take().unwrap();
    let overlay = mounted.overlay().clone();
    for number in overlay.numbers() {
        overlay.bring(number, 0..RELATION_BYTES).unwrap();
        overlay.settle(number).unwrap();
    }
    let mut through = Vec::new();
    File::open(world.path("base/5/16384")).unwrap().read_to_end(&mut through).unwrap();
    mounted.unmount().unwrap();
    drop(mounted);
    Arc::into_inner(overlay)
        .expect("nobody else has it")
        .finish(&View { held_back: Some("global/pg_control".into()) })
        .unwrap();
    assert!(!is_made(world.top()) && !world.path(".lifeboat-mount").exists());
    assert_eq!(fs::read(world.path("global/pg_control")).unwrap(), b"control");
    assert!(fs::read(world.path("base/5/16384")).unwrap() == through);
    assert_eq!(through[PAGE_BYTES as usize..][..PAGE_BYTES as usize], page(9, 9));
    assert_eq!(through[2 * PAGE_BYTES as usize..][..PAGE_BYTES as usize], page(1, 2));
    assert_eq!(fs::metadata(world.path("base/5/16384")).unwrap().nlink(), 1);
}

#[test]
fn what_a_recovering_server_syncs_as_a_whole_is_durable() {
    let world = World::new();
    world.open("base/5/16384").write_all_at(&page(9, 9), 5 * PAGE_BYTES).unwrap();
    let overlay = world.mounted.as_ref().unwrap().overlay();
    let stat = overlay.roots()[0].stat_number(1).unwrap().unwrap();
    let relation = overlay.lazy(&stat).unwrap();
    assert!(relation.is_unsettled(), "nobody synced it");
    // As `do_syncfs` in PostgreSQL's fd.c does it: the kernel tells nobody of the call itself.
    let top = rustix::fs::open(world.top(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::syncfs(&top).unwrap();
    assert!(!relation.is_unsettled());
}

#[test]
fn what_is_opened_is_what_is_looked_at() {
    let world = World::new();
    // Two files change their names all the time, past the mount, one of which is still coming.
    let below = world.mounted.as_ref().unwrap().overlay().roots()[0].directory();
    fs::write(world.path("base/5/plain"), vec![0xbb; RELATION_BYTES as usize]).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(below, "base/5/plain", below, "base/5/16384", flags).unwrap();
            }
        });
        for number in 0..RELATION_BYTES / PAGE_BYTES {
            // It may not be had, as long as the kernel thinks that it is the other one.
            let Ok(found) = File::open(world.path("base/5/16384")).and_then(|file| read_page(&file, number)) else {
                continue;
            };
            let is_right = found == page(1, number) || found == [0xbb; PAGE_BYTES as usize];
            if !is_right {
                is_done.store(true, Ordering::Relaxed);
            }
            assert!(is_right, "page {number} begins with {:?}", &found[..16]);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_file_can_have_two_names_whether_it_is_here_or_coming() {
    let world = World::new();
    fs::write(world.path("here"), b"here").unwrap();
    for (first, second) in [("here", "here.2"), ("base/5/16385", "base/5/16385.2")] {
        let names = |name: &str| fs::metadata(world.path(name)).unwrap().nlink();
        assert_eq!(names(first), 1, "{first}");
        fs::hard_link(world.path(first), world.path(second)).unwrap();
        assert_eq!((names(first), names(second)), (2, 2));
        let inode = |name: &str| fs::metadata(world.path(name)).unwrap().ino();
        assert_eq!(inode(first), inode(second));
        fs::remove_file(world.path(second)).unwrap();
        assert_eq!(names(first), 1);
        File::open(world.path(first)).unwrap().read_exact(&mut [0; 4]).unwrap();
        fs::hard_link(world.path(first), world.path(second)).unwrap();
        fs::remove_file(world.path(first)).unwrap();
        File::open(world.path(second)).unwrap().read_exact(&mut [0; 4]).unwrap();
        assert_eq!(names(second), 1);
        fs::rename(world.path(second), world.path(first)).unwrap();
    }
    // With two names it is as good as with one when all of it has come.
    fs::hard_link(world.path("base/5/16385"), world.path("second")).unwrap();
    let overlay = world.mounted.as_ref().unwrap().overlay();
    overlay.bring(2, 0..10 * PAGE_BYTES).unwrap();
    overlay.settle(2).unwrap();
    assert!(!overlay.numbers().contains(&2));
    assert_eq!(read_page(&world.open("second"), 3).unwrap(), page(2, 3));
    assert_eq!(fs::metadata(world.path("base/5/16385")).unwrap().nlink(), 2);
}
