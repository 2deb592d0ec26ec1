//! Archives of a base backup, in pieces of any size: the same files however they are cut, and no name that leads out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::tar::{TarDecoder, TarEntry, TarError, TarEvent};

type Files = Vec<(TarEntry, Vec<u8>, bool)>;

fn read(bytes: &[u8], piece: usize) -> (Files, Result<(), TarError>) {
    let (mut decoder, mut files) = (TarDecoder::default(), Files::new());
    for mut part in bytes.chunks(piece) {
        loop {
            match decoder.next_event(&mut part) {
                Ok(Some(TarEvent::Entry(entry))) => files.push((entry, Vec::new(), false)),
                Ok(Some(TarEvent::Data(data))) => files.last_mut().unwrap().1.extend_from_slice(data),
                Ok(Some(TarEvent::EntryEnd)) => files.last_mut().unwrap().2 = true,
                Ok(None) => break,
                Err(error) => return (files, Err(error)),
            }
        }
    }
    (files, decoder.finish())
}

/// Gives headers the checksum that they need to be looked at.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(header) = bytes.get_mut(..512) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

fuzz_target!(|input: (u16, bool, &[u8])| {
    let (piece, sign, bytes) = input;
    let bytes = if sign { signed(bytes) } else { bytes.to_vec() };
    let (files, end) = read(&bytes, bytes.len().max(1));
    let (same, same_end) = read(&bytes, usize::from(piece).max(1));
    assert_eq!((&files, end.is_ok()), (&same, same_end.is_ok()));
    for (entry, content, is_whole) in files {
        assert!(!entry.path.starts_with('/') && entry.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
        assert!(!is_whole || content.len() as u64 == entry.size);
    }
});
