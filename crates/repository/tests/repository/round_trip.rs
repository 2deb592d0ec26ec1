//! Created, opened, written, read: what works when nothing fails.

use crate::bench::*;
use crate::place::Place;
use lifeboat_repository::*;
use std::sync::Arc;

#[tokio::test]
async fn everything_comes_back_from_each_location_alone() {
    let (places, repository) = create(2).await;
    let files = some_files(1);
    let (point, notes) = backup(&repository, &files).await;
    assert_eq!(notes, Vec::<String>::new());
    assert!(point.locations.iter().all(LocationState::is_complete), "{:?}", point.locations);
    assert_eq!(point.locations.len(), 2);
    assert_reads_back(&repository, &point.id, &files).await;
    for name in ["north", "south"] {
        assert_reads_back(&Arc::new(repository.only(name).unwrap()), &point.id, &files).await;
    }
    assert_eq!(places[0].objects(), places[1].objects(), "the objects are the same everywhere");
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_later_process_finds_the_point() {
    let (places, repository) = create(1).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    drop(repository);
    let repository = open(&places).await;
    let listed = repository.list_points(Some(WORKLOAD)).await.unwrap();
    assert_eq!(listed.iter().map(|header| &header.id).collect::<Vec<_>>(), [&point.id]);
    assert_reads_back(&repository, &listed[0].id, &files).await;
    assert_eq!(repository.list_points(Some("other")).await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_passphrase_opens_nothing() {
    let (places, _) = create(1).await;
    let all = replicas(&places.iter().collect::<Vec<_>>());
    let wrong = Passphrase::new("correct horse battery stapl".into());
    let error = Repository::open(all.clone(), &wrong, 3).await.unwrap_err();
    assert!(matches!(error, Error::WrongPassphrase { .. }), "{error}");
    let error = Repository::init(&all, &wrong).await.unwrap_err();
    assert!(matches!(error, Error::WrongPassphrase { .. }), "{error}");
}

#[tokio::test]
async fn two_repositories_are_never_mixed() {
    let ((ours, _), (theirs, _)) = (create(1).await, create(1).await);
    let both = replicas(&[&ours[0], &theirs[0]]);
    let before = theirs[0].objects();
    let error = Repository::init(&both, &passphrase()).await.unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    let error = Repository::open(both, &passphrase(), 3).await.unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    assert_eq!(theirs[0].objects(), before);
}

#[tokio::test]
async fn an_empty_place_is_no_repository() {
    let error = Repository::open(replicas(&[&Place::new("empty")]), &passphrase(), 3).await.unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error}");
}

#[tokio::test]
async fn a_second_init_changes_nothing_and_a_new_location_gets_the_same_key() {
    let (places, repository) = create(1).await;
    let before = places[0].objects();
    let new = Place::new("new");
    let (id, fingerprint, outcomes) = Repository::init(&replicas(&[&places[0], &new]), &passphrase()).await.unwrap();
    assert_eq!(&id, repository.id());
    assert_eq!(fingerprint, repository.key_fingerprint().unwrap());
    assert_eq!(outcomes, [("north".into(), InitOutcome::Present), ("south".into(), InitOutcome::Created)]);
    assert_eq!(places[0].objects(), before);
    assert_eq!(new.objects(), before);
}

#[tokio::test]
async fn what_is_stored_is_not_stored_again() {
    let (places, repository) = create(2).await;
    let mut files = some_files(1);
    backup(&repository, &files).await;
    let packs = places[0].keys("packs/");
    let (again, _) = backup(&repository, &files).await;
    assert_eq!(again.bytes_new, 0);
    assert_eq!(places[0].keys("packs/"), packs);
    files.insert("small/001".into(), noise(99, 5000));
    let (third, _) = backup(&repository, &files).await;
    assert!(third.bytes_new >= 5000 && third.bytes_new < 100_000, "{}", third.bytes_new);
    assert_reads_back(&repository, &third.id, &files).await;
    assert_reads_back(&repository, &again.id, &some_files(1)).await;
}

#[tokio::test]
async fn fingerprints_come_back_with_their_chunks() {
    let (_, repository) = create(1).await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let id = tokio::task::spawn_blocking(move || {
        let mut writer = session.writer().unwrap();
        let id = writer.put_pages(b"blocks", &[1, 2, u64::MAX]).unwrap();
        writer.put(b"without").unwrap();
        writer.finish().unwrap();
        session.settle().unwrap();
        id
    })
    .await
    .unwrap();
    let reader = ChunkReader::open(repository).await.unwrap();
    let place = reader.index().find(&id).unwrap();
    let all = reader.fingerprints_of_pack(place.pack).await.unwrap();
    assert_eq!([all.of(0), all.of(1)], [&[1, 2, u64::MAX][..], &[]]);
    assert_eq!((place.frame, all.frames()), (0, 2));
}

#[tokio::test]
async fn a_link_is_no_way_out() {
    let (_, repository) = create(1).await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let chunks = tokio::task::spawn_blocking(move || {
        let mut writer = session.writer().unwrap();
        let mut tree = TreeWriter::default();
        let link = TreeEntry { kind: EntryKind::Link, target: Some("/etc".into()), ..entry("out", 0, None) };
        tree.push(&mut writer, &link).unwrap();
        tree.push(&mut writer, &entry("out/passwd", 0, None)).unwrap();
        for path in ["../up", "/absolute", "a//b", "a/./b", ""] {
            assert!(TreeWriter::default().push(&mut writer, &entry(path, 0, None)).is_err(), "{path:?}");
        }
        let chunks = tree.finish(&mut writer).unwrap();
        writer.finish().unwrap();
        session.settle().unwrap();
        chunks
    })
    .await
    .unwrap();
    let reader = ChunkReader::open(repository).await.unwrap();
    let entries = TreeReader::read(&reader, &chunks).await.unwrap();
    let error = TreeReader::nothing_lies_below_links(&entries).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    TreeReader::nothing_lies_below_links(&entries[1..]).unwrap();
}

#[tokio::test]
async fn a_map_never_leaves_its_chunk() {
    let (_, repository) = create(1).await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let id = tokio::task::spawn_blocking(move || {
        let mut writer = session.writer().unwrap();
        let id = writer.put(b"ten bytes!").unwrap();
        writer.finish().unwrap();
        session.settle().unwrap();
        id
    })
    .await
    .unwrap();
    let reader = ChunkReader::open(repository).await.unwrap();
    for (offset, length, fine) in [(0, 10, true), (1, 10, false), (0, 11, false)] {
        let extent = Extent { offset: 0, length, source: Source::Chunk { id, offset } };
        let entry = entry("file", length.into(), Some(Content::inline(&[extent])));
        assert_eq!(reader.extents(&entry).await.is_ok(), fine, "{offset} {length}");
    }
}

/// Futures of the interface can be moved between threads.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let check = |repository: Arc<Repository>, entry: LogEntry, entries: TreeEntry| {
        is_send(&WriteSession::begin(repository.clone(), &mut Vec::new()));
        is_send(&Repository::open(Vec::new(), &passphrase(), 3));
        is_send(&repository.put_log("", "", "", b"", b""));
        is_send(&repository.get_log("", &entry, &mut Vec::new()));
        is_send(&repository.list_logs("", ""));
        is_send(&repository.list_points(None));
        is_send(&repository.read_point("", &PointId(String::new()), &mut Vec::new()));
        is_send(&repository.verify(None, true, &Silent));
        is_send(&ChunkReader::open(repository.clone()));
        let read = |reader: ChunkReader| is_send(&reader.extents(&entries));
        let _ = read;
    };
    let _ = check;
}
