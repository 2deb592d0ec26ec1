//! `backup_label` and `tablespace_map`: what tells a restored cluster where its recovery must begin, and where its
//! tablespaces are.
//!
//! The server hands both over when a backup ends. They are kept **byte for byte**: what is parsed here is for reading,
//! comparing and showing, never for writing a label again. A tablespace map may be written anew, because restoring
//! elsewhere moves the tablespaces.
//!
//! Source: `src/backend/access/transam/xlogbackup.c` and `xlogrecovery.c` (`read_backup_label`, `read_tablespace_map`).

use crate::wal_file::SegmentName;
use crate::{Lsn, TimelineId};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most a label may hold. PostgreSQL's has nine lines, of which the longest is 1 KiB.
pub const LABEL_BYTES_MAX: usize = 64 << 10;

/// The most a tablespace map may hold: some thousands of tablespaces with long paths.
pub const TABLESPACE_MAP_BYTES_MAX: usize = 16 << 20;

/// What `backup_label` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins: the checkpoint's redo position.
    pub start: Lsn,
    /// The segment that holds `start`.
    pub start_segment: SegmentName,
    /// The record of the checkpoint that began the backup.
    pub checkpoint: Lsn,
    /// `streamed` for every backup of the supported versions.
    pub method: String,
    /// Which role the server had.
    pub from: BackupSource,
    /// As the server wrote it, in its `log_timezone`: for people.
    pub start_time: String,
    /// The label given at the start; not valid UTF-8 becomes `�`.
    pub label: String,
    /// The timeline when the backup began.
    pub timeline: TimelineId,
    /// Set when this is an incremental backup of PostgreSQL 17 or later, which can't be started by itself.
    pub incremental_from: Option<IncrementalFrom>,
}

/// The role of the server that was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupSource {
    /// A primary.
    Primary,
    /// A standby: recovery is consistent only once it reaches what the control file asks for.
    Standby,
}

/// The backup that an incremental one builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementalFrom {
    /// Where that backup began.
    pub start: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
}

/// A label or map that PostgreSQL would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// More bytes than any such file has.
    #[error("{file} has {bytes} bytes, more than PostgreSQL writes")]
    TooLarge {
        /// `backup_label` or `tablespace_map`.
        file: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A line that must be there is not.
    #[error("backup_label has no line {0:?}")]
    Missing(&'static str),
    /// A line is there with something else in it.
    #[error("backup_label: {field}: {value:?} is not what PostgreSQL writes there")]
    Value {
        /// The name of the line.
        field: &'static str,
        /// The start of what is there.
        value: String,
    },
    /// A line of the map.
    #[error("tablespace_map, line {line}: {reason}")]
    Map {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl BackupLabel {
    /// Reads the content of `backup_label`.
    ///
    /// A line that this version doesn't know is ignored. The first two lines must be the first two, as PostgreSQL
    /// insists on, so that a label text with line breaks in it can't pass for them.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        if bytes.len() > LABEL_BYTES_MAX {
            return Err(LabelError::TooLarge { file: "backup_label", bytes: bytes.len() });
        }
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        let first = lines.first().copied().unwrap_or_default();
        let second = lines.get(1).copied().unwrap_or_default();
        let (start, start_segment) = start_location(value_of(first, "START WAL LOCATION")?)?;
        let checkpoint = parsed("CHECKPOINT LOCATION", value_of(second, "CHECKPOINT LOCATION")?)?;
        let find = |field| lines.iter().skip(2).find_map(|line| value_of(line, field).ok());
        let require = |field| find(field).ok_or(LabelError::Missing(field));
        let from = match require("BACKUP FROM")? {
            "primary" => BackupSource::Primary,
            "standby" => BackupSource::Standby,
            other => return Err(wrong("BACKUP FROM", other)),
        };
        let timeline = TimelineId(parsed("START TIMELINE", require("START TIMELINE")?)?);
        if timeline != start_segment.timeline {
            return Err(wrong("START TIMELINE", &timeline.to_string()));
        }
        let incremental_from = match (find("INCREMENTAL FROM LSN"), find("INCREMENTAL FROM TLI")) {
            (None, None) => None,
            (Some(start), Some(timeline)) => Some(IncrementalFrom {
                start: parsed("INCREMENTAL FROM LSN", start)?,
                timeline: TimelineId(parsed("INCREMENTAL FROM TLI", timeline)?),
            }),
            (None, Some(_)) => return Err(LabelError::Missing("INCREMENTAL FROM LSN")),
            (Some(_), None) => return Err(LabelError::Missing("INCREMENTAL FROM TLI")),
        };
        Ok(Self {
            start,
            start_segment,
            checkpoint,
            method: require("BACKUP METHOD")?.to_owned(),
            from,
            start_time: require("START TIME")?.to_owned(),
            label: require("LABEL")?.to_owned(),
            timeline,
            incremental_from,
        })
    }
}

fn value_of<'a>(line: &'a str, field: &'static str) -> Result<&'a str, LabelError> {
    line.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")).ok_or(LabelError::Missing(field))
}

fn parsed<T: std::str::FromStr>(field: &'static str, value: &str) -> Result<T, LabelError> {
    value.parse().map_err(|_| wrong(field, value))
}

/// `0/2000028 (file 000000010000000000000002)`
fn start_location(value: &str) -> Result<(Lsn, SegmentName), LabelError> {
    let parts = value.split_once(" (file ").and_then(|(lsn, rest)| Some((lsn, rest.strip_suffix(')')?)));
    let read = parts.and_then(|(lsn, name)| Some((lsn.parse().ok()?, name.parse().ok()?)));
    read.ok_or_else(|| wrong("START WAL LOCATION", value))
}

fn wrong(field: &'static str, value: &str) -> LabelError {
    LabelError::Value { field, value: value.chars().take(80).collect() }
}

/// The tablespaces of a backup: which link below `pg_tblspc` led where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TablespaceMap {
    /// In the file's order.
    pub tablespaces: Vec<Tablespace>,
}

/// One tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// Its object id, which is the name of the link.
    pub oid: u32,
    /// Where the link leads.
    pub path: PathBuf,
}

impl TablespaceMap {
    /// Reads the content of `tablespace_map`: lines of object id, space, path, in which a backslash makes the next
    /// byte (line feed, carriage return, backslash) part of the path.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        if bytes.len() > TABLESPACE_MAP_BYTES_MAX {
            return Err(LabelError::TooLarge { file: "tablespace_map", bytes: bytes.len() });
        }
        let mut tablespaces: Vec<Tablespace> = Vec::new();
        let (mut line, mut text, mut escaped) = (1, Vec::new(), false);
        for &byte in bytes {
            match byte {
                b'\\' if !escaped => escaped = true,
                b'\n' | b'\r' if !escaped => {
                    // The second byte of a CR LF ends an empty line.
                    if !text.is_empty() {
                        tablespaces.push(tablespace(line, &text)?);
                        text.clear();
                        line += 1;
                    }
                }
                _ => {
                    text.push(byte);
                    escaped = false;
                }
            }
        }
        if !text.is_empty() || escaped {
            return Err(LabelError::Map { line, reason: "the last line has no end" });
        }
        let mut seen = std::collections::HashSet::new();
        match tablespaces.iter().position(|tablespace| !seen.insert(tablespace.oid)) {
            Some(again) => Err(LabelError::Map { line: again + 1, reason: "the same tablespace a second time" }),
            None => Ok(Self { tablespaces }),
        }
    }

    /// The file's content, with the escapes that [`TablespaceMap::parse`] and PostgreSQL read.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for tablespace in &self.tablespaces {
            bytes.extend_from_slice(format!("{} ", tablespace.oid).as_bytes());
            for &byte in tablespace.path.as_os_str().as_bytes() {
                if matches!(byte, b'\n' | b'\r' | b'\\') {
                    bytes.push(b'\\');
                }
                bytes.push(byte);
            }
            bytes.push(b'\n');
        }
        bytes
    }

    /// The same tablespaces, each where `place` puts it.
    pub fn remapped(&self, mut place: impl FnMut(u32, &Path) -> PathBuf) -> Self {
        let moved =
            |tablespace: &Tablespace| Tablespace { oid: tablespace.oid, path: place(tablespace.oid, &tablespace.path) };
        Self { tablespaces: self.tablespaces.iter().map(moved).collect() }
    }
}

fn tablespace(line: usize, text: &[u8]) -> Result<Tablespace, LabelError> {
    let wrong = |reason| LabelError::Map { line, reason };
    let space = text.iter().position(|byte| *byte == b' ').ok_or(wrong("no space after the object id"))?;
    let (digits, path) = (&text[..space], &text[space + 1..]);
    let oid = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let oid = oid.and_then(|d| d.parse::<u32>().ok()).filter(|oid| *oid > 0).ok_or(wrong("not an object id"))?;
    if path.is_empty() || path.contains(&0) {
        return Err(wrong("not a path"));
    }
    Ok(Tablespace { oid, path: PathBuf::from(OsString::from_vec(path.to_vec())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-21 02:21:12 UTC\nLABEL: nightly: 7\nSTART TIMELINE: 1\n";

    #[test]
    fn every_line_is_read() {
        let label = BackupLabel::parse(LABEL.as_bytes()).unwrap();
        assert_eq!(label.start, Lsn(0x200_0028));
        assert_eq!(label.start_segment.to_string(), "000000010000000000000002");
        assert_eq!(label.checkpoint, Lsn(0x200_0060));
        assert_eq!((label.method.as_str(), label.from), ("streamed", BackupSource::Primary));
        assert_eq!((label.start_time.as_str(), label.label.as_str()), ("2026-11-21 02:21:12 UTC", "nightly: 7"));
        assert_eq!((label.timeline, label.incremental_from), (TimelineId(1), None));

        let more = format!("{LABEL}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\nLATER: x\n");
        let from = BackupLabel::parse(more.as_bytes()).unwrap().incremental_from;
        assert_eq!(from, Some(IncrementalFrom { start: Lsn(0x100_0028), timeline: TimelineId(1) }));
    }

    #[test]
    fn a_missing_or_wrong_line_is_named() {
        for (from, to, says) in [
            ("START WAL", "START", "START WAL LOCATION"),
            ("0/2000028", "2000028", "START WAL LOCATION"),
            ("CHECKPOINT", "LABEL", "CHECKPOINT LOCATION"),
            ("primary", "tertiary", "tertiary"),
            ("START TIMELINE: 1", "START TIMELINE: one", "START TIMELINE"),
            ("START TIMELINE: 1", "START TIMELINE: 2", "START TIMELINE"),
            ("LABEL: ", "LABLE: ", "LABEL"),
            ("START TIMELINE: 1", "START TIMELINE: 1\nINCREMENTAL FROM LSN: 0/1", "INCREMENTAL FROM TLI"),
        ] {
            let error = BackupLabel::parse(LABEL.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(BackupLabel::parse(b"").is_err());
        assert!(BackupLabel::parse(&vec![b'x'; LABEL_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn paths_with_line_breaks_and_backslashes_survive() {
        let bytes = b"16384 /srv/fast disk\n16385 /srv/a\\\nb\\\\c\\\rd\n";
        let map = TablespaceMap::parse(bytes).unwrap();
        assert_eq!(map.tablespaces[0], Tablespace { oid: 16384, path: "/srv/fast disk".into() });
        assert_eq!(map.tablespaces[1].path, PathBuf::from("/srv/a\nb\\c\rd"));
        assert_eq!(map.to_bytes(), bytes);
        let moved = map.remapped(|oid, _| format!("/new/{oid}").into());
        assert_eq!(moved.to_bytes(), b"16384 /new/16384\n16385 /new/16385\n");
        assert_eq!(TablespaceMap::parse(b"").unwrap(), TablespaceMap::default());
    }

    #[test]
    fn a_damaged_map_is_refused() {
        for bytes in
            [&b"16384 /srv"[..], b"16384 /srv\\", b"16384\n", b"x /srv\n", b"0 /srv\n", b"1 \n", b"1 /a\n1 /b\n"]
        {
            assert!(TablespaceMap::parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
