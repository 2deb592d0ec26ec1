//! For any content: maps give back what they were made from, and no decoder panics or believes what is not there.

use crate::bench::noise;
use lifeboat_repository::*;
use proptest::prelude::*;

/// Pieces of a file: none of them long, some zero.
fn pieces() -> impl Strategy<Value = Vec<(u32, bool, u64)>> {
    prop::collection::vec((1u32..20_000, any::<bool>(), 0u64..6), 0..200)
}

fn leaf_of(pieces: &[(u32, bool, u64)], start: u64) -> (Leaf, Vec<Extent>) {
    let (mut leaf, mut extents, mut at) = (Leaf::default(), Vec::new(), start);
    for &(length, zero, number) in pieces {
        let id = ChunkId(noise(number, 32).try_into().unwrap());
        let source = if zero { Source::Zero } else { Source::Chunk { id, offset: (at % 8192) as u32 } };
        let extent = Extent { offset: at, length, source };
        leaf.push(extent);
        extents.push(extent);
        at += u64::from(length);
    }
    (leaf, extents)
}

proptest! {
    #[test]
    fn a_leaf_gives_back_what_it_was_made_from(pieces in pieces(), number in 0u64..1000) {
        let start = number * LEAF_SPAN_BYTES;
        let (leaf, extents) = leaf_of(&pieces, start);
        let bytes = leaf.encode(start);
        prop_assert_eq!(&Leaf::parse(&bytes, start).unwrap(), &leaf);
        for extent in extents {
            // Every byte is found where it was put, also after neighbours were joined.
            for at in [extent.offset, extent.offset + u64::from(extent.length) - 1] {
                let found = leaf.find(at).unwrap();
                match (found.source, extent.source) {
                    (Source::Zero, Source::Zero) => {}
                    (Source::Chunk { id: a, offset: x }, Source::Chunk { id: b, offset: y }) => {
                        prop_assert_eq!(a, b);
                        prop_assert_eq!(u64::from(x) + at - found.offset, u64::from(y) + at - extent.offset);
                    }
                    _ => prop_assert!(false, "{:?} for {:?}", found, extent),
                }
            }
        }
        let end = start + pieces.iter().map(|piece| u64::from(piece.0)).sum::<u64>();
        prop_assert!(leaf.find(end).is_none());
    }

    #[test]
    fn a_changed_leaf_is_refused_or_stays_inside_its_bounds(
        pieces in pieces(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = leaf_of(&pieces, 0).0.encode(0);
        let position = at.index(bytes.len());
        bytes[position] = byte;
        check_leaf(&bytes)?;
        check_leaf(&bytes[..cut.index(bytes.len())])?;
    }

    /// The layout is written out here once more, from docs/format/index.md.
    #[test]
    fn a_changed_fragment_is_refused_or_stays_inside_its_packs(
        frames in prop::collection::vec((1u32..5000, 0u32..20, 0u32..3), 0..20),
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let (mut rows, mut offset) = (Vec::new(), 48);
        for &(plain, shrink, packing) in &frames {
            let stored = plain - shrink.min(plain) + 16;
            rows.extend(noise(u64::from(offset), 32));
            [offset, stored, plain, packing].iter().for_each(|word| rows.extend(word.to_le_bytes()));
            offset += stored;
        }
        let pack = [&noise(1, 32)[..], &u64::from(offset).to_le_bytes(), &noise(2, 32)].concat();
        let mut bytes = [&1u32.to_le_bytes()[..], &pack, &(frames.len() as u32).to_le_bytes(), &rows].concat();
        let parsed = decode::index_fragment("test", &bytes).unwrap();
        prop_assert_eq!(parsed[0].frames.len(), frames.len());
        prop_assert_eq!(parsed[0].bytes, u64::from(offset));
        let position = at.index(bytes.len());
        bytes[position] = byte;
        feed(&bytes)?;
        feed(&bytes[..cut.index(bytes.len())])?;
    }

    #[test]
    fn no_decoder_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        feed(&bytes)?;
        feed(&[b"LIFEBOAT\x01\x00\x01\x00\x20\x00\x00\x00", &bytes[..]].concat())?;
        feed(&[&(bytes.len() as u32 % 4).to_le_bytes()[..], &bytes].concat())?;
    }

    #[test]
    fn no_decoder_of_text_panics(text in "[\\[{\"a-z0-9:,}\\]null\\\\./%-]{0,300}") {
        feed(text.as_bytes())?;
    }

    #[test]
    fn nearly_right_trees_are_refused_or_plain(path in "[a-z./%\\\\\0]{0,20}", size in any::<u64>(), offset in any::<u64>(), length in any::<u32>()) {
        let json = serde_json::json!([{
            "path": path, "kind": "file", "mode": 420, "uid": 0, "gid": 0, "modified_ns": 0, "size": size,
            "content": {"inline": [[offset, length, null, 0]]}
        }]);
        if let Ok(entries) = decode::tree(json.to_string().as_bytes()) {
            let path = &entries[0].path;
            prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !["", ".", ".."].contains(&part)));
            prop_assert!(offset.checked_add(length.into()).is_some() && length > 0);
        }
    }
}

fn check_leaf(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    let Ok(leaf) = Leaf::parse(bytes, 0) else { return Ok(()) };
    let mut end = 0;
    for extent in leaf.extents {
        prop_assert!(extent.offset >= end && extent.length > 0);
        end = extent.offset + u64::from(extent.length);
        prop_assert!(end <= LEAF_SPAN_BYTES);
        if let Source::Chunk { offset, .. } = extent.source {
            prop_assert!(offset as usize + extent.length as usize <= CHUNK_BYTES_MAX);
        }
    }
    Ok(())
}

/// Everything that is decoded, fed with anything.
fn feed(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    if let Ok(layout) = decode::container("test", bytes) {
        prop_assert!(layout.toc_range().end <= bytes.len() as u64 && layout.annex_range().end <= bytes.len() as u64);
    }
    for pack in decode::index_fragment("test", bytes).unwrap_or_default() {
        let mut free = 0;
        for frame in pack.frames {
            prop_assert!(u64::from(frame.offset) >= free);
            free = u64::from(frame.offset) + u64::from(frame.stored_bytes);
            prop_assert!(free <= pack.bytes && frame.plain_bytes as usize <= CHUNK_BYTES_MAX);
        }
    }
    check_leaf(bytes)?;
    let _ = decode::tree(bytes);
    let _ = decode::point("test", bytes);
    let _ = decode::root("test", bytes);
    let _ = decode::key_record("test", bytes);
    let _ = decode::fingerprints("test", bytes, 3);
    Ok(())
}

/// Found by the fuzzer: a number in the details came back one digit off.
#[test]
fn numbers_in_the_details_of_a_point_come_back_exactly() {
    let text = r#"{"id":"20260914T132000Z-b494df1a","workload":"golden","kind":"files","type":"full",
        "started_at":"2026-09-21T14:13:20Z","finished_at":"2026-09-21T14:13:20Z","tree":[],"files":6,"bytes":1,"bytes_read":1,
        "bytes_new":0,"bytes_stored":1,"locations":[],"details":{"rate":
        55448888888888888888888888888888888888888888888888888888888888888888888888888.8888888832}}"#;
    let point = decode::point("test", text.as_bytes()).unwrap();
    let again = serde_json::to_vec(&point).unwrap();
    assert_eq!(decode::point("test", &again).unwrap(), point);
}
