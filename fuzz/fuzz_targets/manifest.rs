//! Backup manifests, in pieces of any size: the same files however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::manifest::{ManifestFile, ManifestReader, ManifestSummary};

fn read(bytes: &[u8], piece: usize) -> (Vec<ManifestFile>, Result<ManifestSummary, String>) {
    let (mut reader, mut found) = (ManifestReader::default(), Vec::new());
    for part in bytes.chunks(piece) {
        if let Err(error) = reader.push(part, |file| found.push(file)) {
            return (found, Err(error.to_string()));
        }
    }
    (found, reader.finish().map_err(|error| error.to_string()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    assert_eq!(read(bytes, bytes.len().max(1)), read(bytes, usize::from(piece).max(1)));
});
