//! The files that real servers wrote.

use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::wal_file::SegmentName;
use std::path::PathBuf;

fn path(version: MajorVersion, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/decoders/fixtures/{version}/{name}"))
}

/// A file of the version's folder.
pub fn fixture(version: MajorVersion, name: &str) -> Vec<u8> {
    let path = path(version, name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of the version's folder, decompressed.
pub fn decompressed(version: MajorVersion, name: &str) -> Vec<u8> {
    zstd::decode_all(fixture(version, &format!("{name}.zst")).as_slice()).unwrap()
}

/// The version's segments, 1 MiB each, in order.
pub fn segments(version: MajorVersion) -> Vec<(SegmentName, Vec<u8>)> {
    let entries = std::fs::read_dir(path(version, "wal")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let name = |file: &str| file.strip_suffix(".zst").unwrap().to_owned();
    names
        .iter()
        .map(|file| (name(file).parse().unwrap(), decompressed(version, &format!("wal/{}", name(file)))))
        .collect()
}
