//! What a server sends, sorted: which bytes belong to which file, which files belong in a backup, and whether all of it
//! is what the server says it sent.
//!
//! Pure: bytes in, windows for the workers out, no I/O. Of each file only its name and a few numbers are kept.

use crate::postgres::capture::{Piece, Window};
use crate::postgres::scan::Found;
use crate::postgres::{BackupError, restore::CONTROL_FILE};
use lifeboat_postgres::connection::{Error, ErrorKind};
use lifeboat_postgres::control::CONTROL_FILE_BYTES;
use lifeboat_postgres::label::{LABEL_BYTES_MAX, TABLESPACE_MAP_BYTES_MAX};
use lifeboat_postgres::layout::{FileKind, Layout, Treatment};
use lifeboat_postgres::manifest::ManifestFile;
use lifeboat_postgres::replication::BaseTablespace;
use lifeboat_postgres::tar::{TarDecoder, TarEntry, TarEvent, TarKind};
use lifeboat_repository::{CHUNK_BYTES_MAX, EntryKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More files and directories than any cluster has; each costs some 400 bytes of memory.
const ENTRIES_MAX: usize = 10_000_000;

/// What is wrong with what came: an error of the server's, which no setting of ours cures.
pub(super) fn wrong(why: impl Into<String>) -> BackupError {
    BackupError::server(Error::new(ErrorKind::Protocol, "read what the server sends", why))
}

/// The same, with its cause.
pub(super) fn wrong_by(why: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackupError {
    BackupError::server(Error::new(ErrorKind::Protocol, "read what the server sends", why).with_source(source))
}

/// A file as it came, for the comparison with the manifest.
#[derive(Debug)]
struct Sent {
    path: Box<str>,
    size: u64,
    crc32c: u32,
}

/// Where the content of a file goes.
#[derive(Debug)]
enum Purpose {
    /// Into the backup, under this number.
    Store(u32, Arc<Found>),
    /// Into memory: small, and needed by itself.
    Keep(Special, Vec<u8>),
    /// Nowhere: it doesn't belong in a backup.
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    Label,
    Map,
    Control,
}

impl Special {
    fn of(path: &str) -> Option<(Self, usize)> {
        match path {
            "backup_label" => Some((Self::Label, LABEL_BYTES_MAX)),
            "tablespace_map" => Some((Self::Map, TABLESPACE_MAP_BYTES_MAX)),
            CONTROL_FILE => Some((Self::Control, CONTROL_FILE_BYTES)),
            _ => None,
        }
    }
}

/// The file that is arriving.
#[derive(Debug)]
struct Open {
    path: String,
    size: u64,
    offset: u64,
    crc32c: u32,
    purpose: Purpose,
    is_file: bool,
}

/// Sorts a stream.
#[derive(Debug)]
pub(super) struct Intake {
    layout: Layout,
    decoder: Option<TarDecoder>,
    /// In front of the paths of this archive.
    prefix: String,
    open: Option<Open>,
    entries: Vec<(Arc<Found>, Option<u32>)>,
    files: u32,
    sent: Vec<Sent>,
    /// So many of `sent` were found in the manifest.
    confirmed: usize,
    label: Option<Vec<u8>>,
    map: Option<Vec<u8>>,
    control: Option<Vec<u8>>,
    window: Window,
    ready: Vec<Window>,
}

/// What came, when all has come.
#[derive(Debug)]
pub(super) struct Taken {
    /// Everything that belongs in the backup except the control file, in order of path, with the files' numbers.
    pub(super) entries: Vec<(Arc<Found>, Option<u32>)>,
    pub(super) label: Vec<u8>,
    pub(super) map: Option<Vec<u8>>,
    pub(super) control: Vec<u8>,
}

impl Intake {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            decoder: None,
            prefix: String::new(),
            open: None,
            entries: Vec::new(),
            files: 0,
            sent: Vec::new(),
            confirmed: 0,
            label: None,
            map: None,
            control: None,
            window: Window::default(),
            ready: Vec::new(),
        }
    }

    /// An archive begins, of this tablespace or of the data directory; the one before must be whole.
    pub(super) fn begin_archive(&mut self, tablespace: Option<u32>) -> Result<(), BackupError> {
        self.end_archive()?;
        self.prefix = tablespace.map(|oid| format!("pg_tblspc/{oid}/")).unwrap_or_default();
        self.decoder = Some(TarDecoder::default());
        Ok(())
    }

    /// No more of this archive comes.
    pub(super) fn end_archive(&mut self) -> Result<(), BackupError> {
        if let Some(decoder) = self.decoder.take() {
            decoder.finish().map_err(|error| wrong_by("an archive ends too early", error))?;
        }
        if self.window.bytes.is_empty() {
            return Ok(());
        }
        self.ready.push(std::mem::take(&mut self.window));
        Ok(())
    }

    /// The next plain bytes of the archive.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        let Some(mut decoder) = self.decoder.take() else {
            return Err(wrong("content comes before an archive begins"));
        };
        while let Some(event) =
            decoder.next_event(&mut bytes).map_err(|error| wrong_by("an archive can't be read", error))?
        {
            match event {
                TarEvent::Entry(entry) => self.begin(entry)?,
                TarEvent::Data(data) => self.content(data),
                TarEvent::EntryEnd => self.end(),
            }
        }
        self.decoder = Some(decoder);
        Ok(())
    }

    /// Windows that are full.
    pub(super) fn take_ready(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.ready)
    }

    fn begin(&mut self, entry: TarEntry) -> Result<(), BackupError> {
        if self.control.is_some() {
            return Err(wrong(format!("{} comes after the control file, which must be the last", entry.path)));
        }
        if self.sent.len().max(self.entries.len()) >= ENTRIES_MAX {
            return Err(wrong("there are more files than a cluster can have"));
        }
        let path = format!("{}{}", self.prefix, entry.path);
        let is_file = entry.kind == TarKind::File;
        let purpose = match Special::of(&path) {
            Some((_, most)) if entry.size > most as u64 || !is_file => {
                return Err(wrong(format!("{path} has {} bytes", entry.size)));
            }
            Some((special, _)) => Purpose::Keep(special, Vec::with_capacity(entry.size as usize)),
            None => self.purpose(&path, &entry),
        };
        if let Purpose::Store(..) = purpose
            && !self.window.bytes.is_empty()
            && self.window.bytes.len() as u64 + entry.size > CHUNK_BYTES_MAX as u64
        {
            // A long file begins a window, so that its chunks are cut in the same places every time.
            self.ready.push(std::mem::take(&mut self.window));
        }
        self.open = Some(Open { path, size: entry.size, offset: 0, crc32c: 0, purpose, is_file });
        Ok(())
    }

    /// By the same rules as for files that are read. Unlogged relations the server leaves out by itself.
    fn purpose(&mut self, path: &str, entry: &TarEntry) -> Purpose {
        let is_file = entry.kind == TarKind::File;
        let file_kind = match self.layout.classify(Path::new(path), !is_file) {
            Treatment::Copy(kind) if is_file => Some(kind),
            Treatment::Descend | Treatment::KeepDirectoryOnly if !is_file => None,
            _ => return Purpose::Pass,
        };
        let found = Arc::new(found(path, entry, file_kind));
        let number = is_file.then_some(self.files);
        self.entries.push((found.clone(), number));
        match number {
            Some(number) => {
                self.files += 1;
                Purpose::Store(number, found)
            }
            None => Purpose::Pass,
        }
    }

    fn content(&mut self, mut data: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.crc32c = crc32c::crc32c_append(open.crc32c, data);
        match &mut open.purpose {
            Purpose::Pass => {}
            Purpose::Keep(_, bytes) => bytes.extend_from_slice(data),
            Purpose::Store(number, found) => {
                while !data.is_empty() {
                    let room = CHUNK_BYTES_MAX - self.window.bytes.len();
                    let (now, later) = data.split_at(room.min(data.len()));
                    let at = self.window.bytes.len();
                    if at == 0 {
                        let expected = (open.size - open.offset).clamp(now.len() as u64, CHUNK_BYTES_MAX as u64);
                        self.window.bytes.reserve_exact(expected as usize);
                    }
                    self.window.bytes.extend_from_slice(now);
                    match self.window.pieces.last_mut() {
                        Some(piece) if piece.number == *number => piece.length += now.len(),
                        _ => self.window.pieces.push(Piece {
                            number: *number,
                            found: found.clone(),
                            offset: open.offset,
                            at,
                            length: now.len(),
                        }),
                    }
                    open.offset += now.len() as u64;
                    data = later;
                    if self.window.bytes.len() == CHUNK_BYTES_MAX {
                        self.ready.push(std::mem::take(&mut self.window));
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.is_file {
            self.sent.push(Sent { path: open.path.into(), size: open.size, crc32c: open.crc32c });
        }
        if let Purpose::Keep(special, bytes) = open.purpose {
            match special {
                Special::Label => self.label = Some(bytes),
                Special::Map => self.map = Some(bytes),
                Special::Control => self.control = Some(bytes),
            }
        }
    }

    /// A line of the manifest. The server writes it in the order in which it sends.
    pub(super) fn confirm(&mut self, file: &ManifestFile) -> Result<(), BackupError> {
        let shown = || String::from_utf8_lossy(&file.path).into_owned();
        let sent = self.sent.get(self.confirmed);
        let Some(sent) = sent.filter(|sent| sent.path.as_bytes() == file.path) else {
            return Err(wrong(format!("the manifest names {}, which didn't arrive in its place", shown())));
        };
        if (sent.size, sent.crc32c) != (file.size, file.crc32c) {
            return Err(wrong(format!("{} is not what the server read: its checksum differs", shown())));
        }
        self.confirmed += 1;
        Ok(())
    }

    /// All has come.
    pub(super) fn finish(mut self, tablespaces: &[BaseTablespace]) -> Result<Taken, BackupError> {
        if let Some(unknown) = self.sent.get(self.confirmed) {
            return Err(wrong(format!("{} arrived, but the manifest doesn't name it", unknown.path)));
        }
        self.add_links(tablespaces);
        self.add_directories();
        self.entries.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        if let Some(twice) = self.entries.windows(2).find(|pair| pair[0].0.path == pair[1].0.path) {
            return Err(wrong(format!("{} arrived twice", twice[0].0.path)));
        }
        let label = self.label.ok_or_else(|| wrong("no backup_label arrived"))?;
        let control = self.control.ok_or_else(|| wrong("no control file arrived"))?;
        let map = self.map.filter(|map| !map.is_empty());
        Ok(Taken { entries: self.entries, label, map, control })
    }

    /// The archives don't hold the links to tablespaces, since `tablespace_map` names them.
    fn add_links(&mut self, tablespaces: &[BaseTablespace]) {
        let Some(parent) = self.entry("pg_tblspc") else { return };
        for tablespace in tablespaces {
            let is_elsewhere = tablespace.path.is_absolute();
            let link = Found {
                path: format!("pg_tblspc/{}", tablespace.oid),
                kind: if is_elsewhere { EntryKind::Link } else { EntryKind::Directory },
                target: is_elsewhere.then(|| tablespace.path.clone()),
                ..(*parent).clone()
            };
            if self.entry(&link.path).is_none() {
                self.entries.push((Arc::new(link), None));
            }
        }
    }

    /// Directories without which the cluster doesn't start, and which not every version sends.
    fn add_directories(&mut self) {
        for path in self.layout.directories_needed() {
            let Some(like) = self.entry("pg_wal").filter(|_| self.entry(path).is_none()) else { continue };
            self.entries.push((Arc::new(Found { path: path.to_owned(), ..(*like).clone() }), None));
        }
    }

    fn entry(&self, path: &str) -> Option<Arc<Found>> {
        self.entries.iter().find(|(found, _)| found.path == path).map(|(found, _)| found.clone())
    }
}

fn found(path: &str, entry: &TarEntry, file_kind: Option<FileKind>) -> Found {
    Found {
        path: path.to_owned(),
        // It isn't on this machine.
        absolute: PathBuf::new(),
        kind: if entry.kind == TarKind::File { EntryKind::File } else { EntryKind::Directory },
        file_kind,
        size: entry.size,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified_ns: entry.modified_unix_seconds.saturating_mul(1_000_000_000),
        target: None,
        appearance: Default::default(),
    }
}
