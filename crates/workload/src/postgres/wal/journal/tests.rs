//! What a crash, damage and strangers leave of a journal.

use super::format::FRAME_HEAD_BYTES;
use super::*;
use lifeboat_postgres::wal_file::SegmentSize;

const MIB: u64 = 1 << 20;
const START: Lsn = Lsn(3 * MIB);
const ONE: TimelineId = TimelineId(1);

fn cluster() -> ClusterIdentity {
    ClusterIdentity { system_id: SystemId(71), segment_size: SegmentSize::new(MIB).unwrap() }
}

fn keys() -> SpoolKeys {
    SpoolKeys::new([1; 32], [0x0a; 16])
}

fn open(spool: &Path) -> Journal {
    Journal::open(spool, "shop", cluster(), keys()).unwrap()
}

fn segment() -> Segment {
    Segment::containing(ONE, START, cluster().segment_size)
}

fn read_one(spool: &Path) -> Result<JournalFile> {
    read(&directory(spool, "shop", cluster().system_id), cluster(), segment(), &keys())
}

fn path(spool: &Path) -> PathBuf {
    path_of(&directory(spool, "shop", cluster().system_id), segment(), cluster())
}

/// Three frames, and where they end in the log and in the file.
fn three_frames(spool: &Path) -> Vec<(usize, usize)> {
    let journal = open(spool);
    let mut ends = Vec::new();
    for piece in [&b"first"[..], b"second, and longer", b"3rd"] {
        journal.append(ONE, START.saturating_add(ends.last().map_or(0, |(log, _)| *log as u64)), piece).unwrap();
        let file = read_one(spool).unwrap();
        ends.push((file.log.len(), file.used_bytes as usize));
    }
    ends
}

const THREE: &[u8] = b"firstsecond, and longer3rd";

fn refusal(error: WalError) -> FormatError {
    match error {
        WalError::SpoolFile { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_appended_is_there_after_a_restart_and_can_be_gone_on_with() {
    let spool = tempfile::tempdir().unwrap();
    let journal = open(spool.path());
    assert_eq!(journal.end().unwrap(), None);
    journal.append(ONE, START, b"first").unwrap();
    journal.append(ONE, Lsn(3 * MIB + 5), b"second").unwrap();
    assert!(
        matches!(Journal::open(spool.path(), "shop", cluster(), keys()), Err(WalError::JournalInUse { .. })),
        "one writer"
    );
    drop(journal);
    let journal = open(spool.path());
    assert_eq!(journal.end().unwrap(), Some((ONE, Lsn(3 * MIB + 11))));
    assert!(journal.append(ONE, Lsn(3 * MIB + 12), b"x").is_err(), "a gap");
    journal.append(ONE, Lsn(3 * MIB + 11), b"third").unwrap();
    journal.append(ONE, Lsn(4 * MIB), b"next").unwrap();
    let found = segments(journal.directory(), cluster()).unwrap();
    let log = |segment: &Segment| read(journal.directory(), cluster(), *segment, &keys()).unwrap().log;
    let logs: Vec<Vec<u8>> = found.iter().map(log).collect();
    assert_eq!(logs, [b"firstsecondthird".to_vec(), b"next".to_vec()]);
    assert_eq!(clusters(spool.path(), "shop", &keys()).unwrap().0, [cluster()]);
}

#[test]
fn nothing_of_the_log_can_be_read_without_the_key() {
    let spool = tempfile::tempdir().unwrap();
    let journal = open(spool.path());
    journal.append(ONE, START, &b"a secret of somebody's. ".repeat(40)).unwrap();
    let bytes = fs::read(path(spool.path())).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

/// Guards: a torn frame and what came to its place sealed with one nonce.
#[test]
fn what_a_crash_left_of_the_last_frame_is_no_log_and_is_written_over() {
    let spool = tempfile::tempdir().unwrap();
    let journal = open(spool.path());
    journal.append(ONE, START, b"whole").unwrap();
    let before = read_one(spool.path()).unwrap();
    let used = before.used_bytes as usize;
    journal.append(ONE, Lsn(3 * MIB + 5), &[7; 900]).unwrap();
    drop(journal);
    let torn = fs::read(path(spool.path())).unwrap();
    let file = OpenOptions::new().write(true).open(path(spool.path())).unwrap();
    file.write_all_at(&[0; 300], used as u64 + 700).unwrap();
    let journal = open(spool.path());
    assert_eq!(journal.end().unwrap().unwrap().1, Lsn(3 * MIB + 5));
    journal.append(ONE, Lsn(3 * MIB + 5), &[8; 900]).unwrap();
    let after = read_one(spool.path()).unwrap();
    assert_eq!(after.log, [b"whole".to_vec(), vec![8; 900]].concat());
    assert!(!after.is_broken);
    assert_eq!(after.header, before.header, "the frames before are sealed with it");
    let now = fs::read(path(spool.path())).unwrap();
    assert_ne!(torn[used + 16..used + 28], now[used + 16..used + 28], "the nonce");
}

#[test]
fn whatever_byte_is_changed_what_is_read_was_written() {
    let spool = tempfile::tempdir().unwrap();
    let ends = three_frames(spool.path());
    let (path, last) = (path(spool.path()), ends[2].1);
    let bytes = fs::read(&path).unwrap();
    for at in 0..last {
        let mut other = bytes.clone();
        other[at] ^= 0x40;
        fs::write(&path, &other).unwrap();
        let frame = ends.iter().position(|(_, end)| at < *end).unwrap();
        match read_one(spool.path()) {
            Err(_) => assert!(at < HEADER_BYTES, "byte {at}"),
            Ok(file) if file.log == THREE => {
                let filling = ends[frame].1 - ends[frame].1 % 8 - 8;
                assert!(at >= HEADER_BYTES && at > filling, "byte {at} was not noticed");
            }
            Ok(file) => {
                let before = frame.checked_sub(1).map_or(0, |before| ends[before].0);
                assert_eq!(file.log, &THREE[..before], "byte {at}");
                assert_eq!(file.is_broken, frame < 2, "byte {at}: what follows was acknowledged");
            }
        }
    }
}

/// A process that is killed, or a machine that loses power, leaves a file that ends anywhere: cut, or with zeros.
#[test]
fn wherever_a_write_ends_the_whole_frames_before_it_are_there_and_it_goes_on() {
    let spool = tempfile::tempdir().unwrap();
    let ends = three_frames(spool.path());
    let path = path(spool.path());
    let bytes = fs::read(&path).unwrap();
    for cut in HEADER_BYTES..ends[2].1 {
        let (whole, _) = ends.iter().rfind(|(_, end)| *end <= cut).copied().unwrap_or_default();
        let zeros = [&bytes[..cut], &vec![0; ends[2].1 - cut + 4096]].concat();
        for left in [&bytes[..cut], &zeros] {
            fs::write(&path, left).unwrap();
            let file = read_one(spool.path()).unwrap();
            // Zeros may be what the last bytes of a frame are anyway: its filling.
            assert!(file.log == THREE[..whole] || left.len() > cut && file.log.len() > whole, "cut at {cut}");
            assert!(THREE.starts_with(&file.log) && !file.is_broken, "cut at {cut}");
            // Each is some syncs.
            if cut % 24 != 0 {
                continue;
            }
            let (journal, end) = (open(spool.path()), START.saturating_add(file.log.len() as u64));
            journal.append(ONE, end, b"more").unwrap();
            assert_eq!(read_one(spool.path()).unwrap().log, [&file.log[..], b"more"].concat(), "cut at {cut}");
        }
    }
    fs::write(&path, &bytes[..10]).unwrap();
    assert!(read_one(spool.path()).is_err(), "a cut header is damage");
    fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(read_one(spool.path()).unwrap().log, b"", "a crash before the first sync");
    open(spool.path()).append(ONE, START, b"new").unwrap();
    assert_eq!(read_one(spool.path()).unwrap().log, b"new");
}

#[test]
fn another_repositorys_spool_is_refused() {
    let spool = tempfile::tempdir().unwrap();
    three_frames(spool.path());
    let other = SpoolKeys::new([2; 32], [0x0b; 16]);
    let at = directory(spool.path(), "shop", cluster().system_id);
    let error = read(&at, cluster(), segment(), &other).unwrap_err();
    assert!(error.hint().unwrap().contains("spool of its own"), "{error}");
    let sentence = format!("it is sealed for repository {}, not for {}", "0a".repeat(16), "0b".repeat(16));
    assert_eq!(refusal(error).to_string(), sentence);
    let journal = Journal::open(spool.path(), "shop", cluster(), other.clone()).unwrap();
    assert!(journal.end().is_err());
    assert!(journal.append(ONE, START, b"mine").is_err());
    let (found, refused) = clusters(spool.path(), "shop", &other).unwrap();
    assert_eq!(found, []);
    assert!(matches!(refusal(refused.unwrap()), FormatError::OtherRepository { .. }));
    drop(journal);
    assert_eq!(read_one(spool.path()).unwrap().log, THREE, "nothing was touched");
}

#[test]
fn what_an_older_lifeboat_wrote_is_refused_and_left_alone() {
    let spool = tempfile::tempdir().unwrap();
    three_frames(spool.path());
    let mut bytes = fs::read(path(spool.path())).unwrap();
    bytes[7] = b'1';
    fs::write(path(spool.path()), &bytes).unwrap();
    let journal = open(spool.path());
    let error = journal.end().unwrap_err();
    assert!(error.hint().unwrap().contains("--ship-only"), "{error}");
    assert_eq!(refusal(error), FormatError::Version(b'1'));
    assert!(journal.append(ONE, START, b"mine").is_err());
    let (found, refused) = clusters(spool.path(), "shop", &keys()).unwrap();
    assert!(found.is_empty() && refused.is_some());
    assert_eq!(fs::read(path(spool.path())).unwrap(), bytes);
}

/// Guards: zeros where acknowledged log was, when somebody removed a file under the writer.
#[test]
fn a_file_that_lost_what_was_acknowledged_is_not_gone_on_with() {
    let spool = tempfile::tempdir().unwrap();
    let journal = open(spool.path());
    journal.append(ONE, START, b"first").unwrap();
    // The writer was given up, as after a failed sync.
    journal.state.lock().unwrap().writer = None;
    fs::remove_file(path(spool.path())).unwrap();
    let error = journal.append(ONE, Lsn(3 * MIB + 5), b"second").unwrap_err();
    assert_eq!(refusal(error), FormatError::Broken { at: 0 });
}

/// Guards: what a failed sync left being taken for durable, when it was the first of its file.
#[test]
fn what_was_not_confirmed_is_written_again() {
    let spool = tempfile::tempdir().unwrap();
    let journal = open(spool.path());
    journal.append(ONE, START, b"first").unwrap();
    let confirmed = journal.state.lock().unwrap().confirmed;
    journal.append(ONE, Lsn(3 * MIB + 5), &[1; FRAME_HEAD_BYTES]).unwrap();
    let mut state = journal.state.lock().unwrap();
    (state.writer, state.confirmed) = (None, confirmed);
    drop(state);
    journal.append(ONE, Lsn(3 * MIB + 5), b"second").unwrap();
    assert_eq!(read_one(spool.path()).unwrap().log, b"firstsecond");
    assert!(journal.append(ONE, Lsn(4 * MIB + 1), b"a gap").is_err());
    let (_, end, bytes) = journal.state.lock().unwrap().confirmed.unwrap();
    assert_eq!((end, bytes), (Lsn(4 * MIB), HEADER_BYTES as u64), "a new file is confirmed to be empty");
}
