//! The backup manifest: what the server says it has sent, decoded line by line as it arrives.
//!
//! What it proves: the bytes that arrived are the bytes that the server read, from its disk through its network and our
//! tar decoder. It doesn't prove that what the server read was right: that is for page checksums and replay.
//!
//! A manifest is JSON, and PostgreSQL writes one line for each file, so a cluster of a million files needs the memory of
//! one line. Not here: comparing. Source: "Backup Manifest Format" in the documentation, `backup_manifest.c`.

use crate::{Lsn, SystemId, TimelineId};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The longest line that is accepted. A path has at most 1024 bytes, each of them up to six in JSON.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Timelines that a backup may have crossed.
const RANGES_MAX: usize = 1000;

/// The bytes are not a manifest, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the backup manifest has a line of more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("line {0} of the backup manifest can't be understood")]
    Line(u64),
    #[error("line {line} of the backup manifest can't be understood")]
    Json {
        line: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the backup manifest is of version {0}, which isn't known")]
    Version(u64),
    #[error("the backup manifest's checksum doesn't fit its content")]
    Checksum,
    #[error("the backup manifest ends too early")]
    Truncated,
}

/// A file that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Relative to the data directory.
    pub path: Vec<u8>,
    pub size: u64,
    pub crc32c: u32,
}

/// The log that is needed, timeline by timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestRange {
    pub timeline: TimelineId,
    pub start: Lsn,
    pub end: Lsn,
}

/// What a manifest says beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestSummary {
    /// Since 17.
    pub system_id: Option<SystemId>,
    pub ranges: Vec<ManifestRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Top,
    Files,
    Ranges,
    Ended,
}

/// Reads a manifest.
#[derive(Debug)]
pub struct ManifestReader {
    section: Section,
    /// The line that has begun.
    line: Vec<u8>,
    number: u64,
    digest: Sha256,
    summary: ManifestSummary,
}

impl Default for ManifestReader {
    fn default() -> Self {
        Self {
            section: Section::Top,
            line: Vec::new(),
            number: 0,
            digest: Sha256::new(),
            summary: ManifestSummary::default(),
        }
    }
}

#[derive(Deserialize)]
struct FileLine {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: String,
    #[serde(rename = "Checksum")]
    checksum: String,
}

#[derive(Deserialize)]
struct RangeLine {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

impl ManifestReader {
    /// Takes the next bytes; gives the files of the lines that are complete with them to `found`.
    ///
    /// # Errors
    /// After an error the manifest is of no use.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(ManifestFile)) -> Result<(), ManifestError> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(ManifestError::TooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.number += 1;
                if let Some(file) = self.take_line(&line)? {
                    found(file);
                }
                if self.section != Section::Ended {
                    self.digest.update(&line);
                }
            }
        }
        Ok(())
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When it isn't the end of a manifest.
    pub fn finish(self) -> Result<ManifestSummary, ManifestError> {
        if self.section == Section::Ended && self.line.is_empty() {
            Ok(self.summary)
        } else {
            Err(ManifestError::Truncated)
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<ManifestFile>, ManifestError> {
        let wrong = ManifestError::Line(self.number);
        let Ok(text) = std::str::from_utf8(line) else { return Err(wrong) };
        let text = text.trim_end();
        let text = text.strip_suffix(',').unwrap_or(text);
        let value = |name: &str| text.strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\": ");
        match self.section {
            Section::Top if text.starts_with("{ \"PostgreSQL-Backup-Manifest-Version\": ") => {
                let version = text.rsplit(' ').next().and_then(|digits| digits.parse().ok()).ok_or(wrong)?;
                if !(1..=2).contains(&version) {
                    return Err(ManifestError::Version(version));
                }
            }
            Section::Top if value("Files") == Some("[") => self.section = Section::Files,
            Section::Top if value("WAL-Ranges") == Some("[") => self.section = Section::Ranges,
            Section::Top if let Some(digits) = value("System-Identifier") => {
                self.summary.system_id = Some(SystemId(digits.parse().map_err(|_| wrong)?));
            }
            Section::Top if let Some(rest) = value("Manifest-Checksum") => {
                let expected = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix("\"}")).ok_or(wrong)?;
                let found = std::mem::take(&mut self.digest).finalize();
                if unhex(expected).as_deref() != Some(found.as_slice()) {
                    return Err(ManifestError::Checksum);
                }
                self.section = Section::Ended;
            }
            Section::Files | Section::Ranges if text == "]" => self.section = Section::Top,
            Section::Files => return self.file(text).map(Some),
            Section::Ranges if self.summary.ranges.len() < RANGES_MAX => {
                let range = self.range(text)?;
                self.summary.ranges.push(range);
            }
            _ => return Err(wrong),
        }
        Ok(None)
    }

    fn file(&self, text: &str) -> Result<ManifestFile, ManifestError> {
        let line: FileLine =
            serde_json::from_str(text).map_err(|source| ManifestError::Json { line: self.number, source })?;
        let wrong = || ManifestError::Line(self.number);
        let path = match (line.path, line.encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(digits)) => unhex(&digits).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        // The server prints its own memory, and servers are little-endian.
        let checksum = unhex(&line.checksum).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        if line.algorithm != "CRC32C" {
            return Err(wrong());
        }
        Ok(ManifestFile { path, size: line.size, crc32c: checksum.ok_or_else(wrong)? })
    }

    fn range(&self, text: &str) -> Result<ManifestRange, ManifestError> {
        let line: RangeLine =
            serde_json::from_str(text).map_err(|source| ManifestError::Json { line: self.number, source })?;
        let lsn = |text: &str| text.parse().map_err(|_| ManifestError::Line(self.number));
        Ok(ManifestRange { timeline: TimelineId(line.timeline), start: lsn(&line.start)?, end: lsn(&line.end)? })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(files: &str) -> String {
        let text = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7000000000000000001,\n\
             \"Files\": [{files}\n],\n\"WAL-Ranges\": [\n\
             {{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }}\n],\n"
        );
        let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{text}\"Manifest-Checksum\": \"{digest}\"}}\n")
    }

    const FILES: &str = "\n{ \"Path\": \"backup_label\", \"Size\": 3, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \
        \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"04030201\" },\n{ \"Encoded-Path\": \"62ff\", \"Size\": 0, \
        \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }";

    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<ManifestFile>, ManifestSummary), ManifestError> {
        let (mut reader, mut found) = (ManifestReader::default(), Vec::new());
        for part in bytes.chunks(piece.max(1)) {
            reader.push(part, |file| found.push(file))?;
        }
        Ok((found, reader.finish()?))
    }

    #[test]
    fn it_is_read_in_pieces_of_any_size_and_its_own_checksum_is_checked() {
        let text = manifest(FILES);
        for piece in [1, 7, 64, 10_000] {
            let (files, summary) = read(text.as_bytes(), piece).unwrap();
            assert_eq!(files[0], ManifestFile { path: b"backup_label".to_vec(), size: 3, crc32c: 0x0102_0304 });
            assert_eq!(files[1].path, [0x62, 0xff]);
            assert_eq!(summary.system_id, Some(SystemId(7_000_000_000_000_000_001)));
            let (start, end) = (Lsn(0x200_0028), Lsn(0x200_0100));
            assert_eq!(summary.ranges, [ManifestRange { timeline: TimelineId(1), start, end }]);
        }
        let changed = text.replace("\"Size\": 3", "\"Size\": 4");
        assert!(matches!(read(changed.as_bytes(), 100), Err(ManifestError::Checksum)));
        for end in 0..text.len() {
            assert!(read(&text.as_bytes()[..end], 100).is_err(), "{end}");
        }
        assert!(read(manifest("").as_bytes(), 100).is_ok());
        assert!(matches!(read(&[b'x'; LINE_BYTES_MAX + 1], 1000), Err(ManifestError::TooLong)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..600, with in prop::collection::vec(any::<u8>(), 0..20), piece in 1usize..99) {
            let mut bytes = manifest(FILES).into_bytes();
            let at = at.min(bytes.len() - 1);
            bytes.splice(at..at, with);
            let _ = read(&bytes, piece);
        }
    }
}
