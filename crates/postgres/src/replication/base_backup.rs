//! A copy of a whole cluster as the server sends it: `BASE_BACKUP`.
//!
//! One archive for each tablespace, then the data directory's own, whose last file is `global/pg_control`, then the
//! manifest, then where the copy ends. Before 15 each of them is a copy stream of its own; since then all come in one,
//! and messages inside say what begins. Both look the same from outside.
//!
//! A copy is whole only with [`BaseBackupEvent::End`]: whatever ends earlier is an error and worth nothing. Not asked
//! for: `INCREMENTAL` (17 and later). It relies on WAL summaries, and defects were found by which pages are missed:
//! relations that VACUUM truncated and bulk inserts grew again, stale visibility maps. Comparing what arrives misses
//! nothing.
//!
//! Not here: taking the archives apart, deciding what to keep. Protocol: "Streaming Replication Protocol".

use super::client::{ReplicationClient, text};
use super::codec::{Refusal, ServerMessage};
use crate::connection::{Error, ErrorKind, Result};
use crate::{Lsn, MajorVersion, TimelineId};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::path::PathBuf;

/// A cluster may have so many tablespaces.
const TABLESPACES_MAX: usize = 10_000;
/// What `MAX_RATE` takes, in units of 1024 bytes per second.
const MAX_RATE_RANGE: (u64, u64) = (32, 1 << 20);
/// `ERRCODE_DATA_CORRUPTED`: the server found damaged pages while it read them. It has sent everything by then.
const DAMAGED: &str = "XX001";

/// What the server shall do before it sends. Since 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerCompression {
    /// Send as it is.
    #[default]
    None,
    /// Zstandard at its fastest level: for networks that are slower than one processor of the server.
    Zstd,
}

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct BaseBackupRequest<'a> {
    /// Stands in the backup label.
    pub label: &'a str,
    /// Write the checkpoint at once.
    pub fast_checkpoint: bool,
    /// Bytes per second that the server may send; it can't go below 32 KiB or above 1 GiB.
    pub max_rate_bytes_per_second: Option<u64>,
    pub compression: ServerCompression,
}

/// A tablespace of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseTablespace {
    pub oid: u32,
    /// Where it is on the server.
    pub path: PathBuf,
}

/// Where the copy begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBackupStart {
    /// WAL is needed from here on.
    pub start_lsn: Lsn,
    pub timeline: TimelineId,
    pub tablespaces: Vec<BaseTablespace>,
    /// The server's estimate of what it will send, before compression.
    pub estimated_bytes: Option<u64>,
}

/// Where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseBackupEnd {
    /// The copy is consistent when WAL up to here has been replayed.
    pub stop_lsn: Lsn,
    pub timeline: TimelineId,
    /// The server has found damaged pages in what it sent.
    pub is_damaged: bool,
}

/// What comes, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseBackupEvent {
    /// An archive begins: of this tablespace, or of the data directory. The one before has ended.
    Archive(Option<u32>),
    /// Its next bytes, as compressed as was asked for.
    ArchiveData(Bytes),
    /// The manifest begins; the last archive has ended.
    Manifest,
    /// Its next bytes, never compressed.
    ManifestData(Bytes),
    /// All is here.
    End(BaseBackupEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer's first row, and its rows about tablespaces.
    Opening(usize),
    /// Between two copy streams.
    Between,
    /// In a stream: not yet said of what, an archive, the manifest.
    Inside(Option<Part>),
    /// The end is known, the command has not ended.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Archive,
    Manifest,
}

impl Part {
    fn data(self, bytes: Bytes) -> BaseBackupEvent {
        match self {
            Self::Archive => BaseBackupEvent::ArchiveData(bytes),
            Self::Manifest => BaseBackupEvent::ManifestData(bytes),
        }
    }
}

/// A copy under way. Dropping it ends the session, and with it the server's backup mode.
#[derive(Debug)]
pub struct BaseBackup {
    client: ReplicationClient,
    major: MajorVersion,
    state: State,
    start: BaseBackupStart,
    /// The archives that were announced and haven't begun, in their order.
    announced: VecDeque<Option<u32>>,
    /// Said with the answer to the command, and not yet handed out.
    pending: Option<BaseBackupEvent>,
    has_manifest: bool,
    end: Option<BaseBackupEnd>,
}

impl ReplicationClient {
    /// Begins a copy of the cluster. Takes as long as a checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a label or a compression that this server can't have, [`ErrorKind::Denied`],
    /// [`ErrorKind::NotReady`] when all WAL senders are busy, or the server's own refusal.
    pub async fn base_backup(mut self, request: &BaseBackupRequest<'_>) -> Result<BaseBackup> {
        let major = self.version()?;
        let command =
            command(major, request).map_err(|why| Error::new(ErrorKind::Invalid, self.action("back up"), why))?;
        self.send(&command)?;
        let start =
            BaseBackupStart { start_lsn: Lsn(0), timeline: TimelineId(0), tablespaces: vec![], estimated_bytes: None };
        let mut copy = BaseBackup {
            client: self,
            major,
            state: State::Opening(0),
            start,
            announced: VecDeque::new(),
            pending: None,
            has_manifest: false,
            end: None,
        };
        copy.open().await?;
        Ok(copy)
    }
}

/// The words of the command; they changed in 15.
fn command(major: MajorVersion, request: &BaseBackupRequest<'_>) -> std::result::Result<String, &'static str> {
    if request.label.is_empty() || request.label.len() > 1024 || request.label.chars().any(char::is_control) {
        return Err("the label isn't one line of 1 to 1024 bytes");
    }
    let label = request.label.replace('\'', "''");
    let rate = request.max_rate_bytes_per_second.map(|bytes| (bytes / 1024).clamp(MAX_RATE_RANGE.0, MAX_RATE_RANGE.1));
    if major == MajorVersion::V14 {
        if request.compression != ServerCompression::None {
            return Err("PostgreSQL 14 can't compress what it sends");
        }
        let fast = if request.fast_checkpoint { " FAST" } else { "" };
        let rate = rate.map(|rate| format!(" MAX_RATE {rate}")).unwrap_or_default();
        return Ok(format!(
            "BASE_BACKUP LABEL '{label}' PROGRESS{fast} NOWAIT{rate} TABLESPACE_MAP MANIFEST 'yes' \
             MANIFEST_CHECKSUMS 'CRC32C'"
        ));
    }
    let checkpoint = if request.fast_checkpoint { "fast" } else { "spread" };
    let rate = rate.map(|rate| format!(", MAX_RATE {rate}")).unwrap_or_default();
    let compression = match request.compression {
        ServerCompression::None => "",
        ServerCompression::Zstd => ", COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=1'",
    };
    // Page checksums are verified unless told otherwise: the server can read a torn page again, and we can't.
    Ok(format!(
        "BASE_BACKUP (LABEL '{label}', PROGRESS true, CHECKPOINT '{checkpoint}', WAIT false{rate}, TABLESPACE_MAP true, \
         MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client'{compression})"
    ))
}

impl BaseBackup {
    /// Where it began.
    pub fn started(&self) -> &BaseBackupStart {
        &self.start
    }

    /// The next event. Can be cancelled: nothing is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the connection breaks, [`ErrorKind::Changed`] when the standby was promoted,
    /// [`ErrorKind::Protocol`] for an answer that makes no sense. The copy is worth nothing then.
    pub async fn next_event(&mut self) -> Result<BaseBackupEvent> {
        loop {
            if let Some(event) = self.pending.take() {
                return Ok(event);
            }
            let message = self.client.socket.receive().await?;
            if let Some(event) = self.step(message)? {
                return Ok(event);
            }
        }
    }

    /// Up to the first copy stream.
    async fn open(&mut self) -> Result<()> {
        while let State::Opening(answers) = self.state {
            match self.client.socket.receive().await? {
                ServerMessage::Row(row) if answers == 0 => {
                    let place = position(&row).ok_or_else(|| self.unexpected())?;
                    (self.start.start_lsn, self.start.timeline) = place;
                }
                ServerMessage::Row(row) if answers == 1 => self.tablespace(&row)?,
                ServerMessage::CommandComplete if answers < 2 => self.state = State::Opening(answers + 1),
                ServerMessage::CopyOut if answers == 2 && self.start.start_lsn != Lsn(0) => self.enter()?,
                ServerMessage::Error(refusal) => return Err(self.refused(&refusal)),
                ServerMessage::Other | ServerMessage::Parameter { .. } => {}
                _ => return Err(self.unexpected()),
            }
        }
        Ok(())
    }

    fn tablespace(&mut self, row: &[Option<Bytes>]) -> Result<()> {
        let number = |column| text(row, column).map(str::parse::<u64>).transpose();
        let (Ok(oid), Ok(size)) = (number(0), number(2)) else { return Err(self.unexpected()) };
        if let Some(oid) = oid {
            let (Ok(oid), Some(path)) = (oid.try_into(), text(row, 1)) else { return Err(self.unexpected()) };
            let is_new = self.start.tablespaces.iter().all(|known| known.oid != oid);
            if !is_new || self.start.tablespaces.len() == TABLESPACES_MAX {
                return Err(self.unexpected());
            }
            self.start.tablespaces.push(BaseTablespace { oid, path: path.into() });
            self.announced.push_back(Some(oid));
        } else {
            self.announced.push_back(None);
        }
        // In units of 1024 bytes.
        let bytes = size.map(|size| size.saturating_mul(1024));
        let sum = self.start.estimated_bytes.unwrap_or_default();
        self.start.estimated_bytes = bytes.map(|bytes| bytes.saturating_add(sum)).or(self.start.estimated_bytes);
        Ok(())
    }

    /// A copy stream begins. Before 15 its place alone says what it holds.
    fn enter(&mut self) -> Result<()> {
        self.state = State::Inside(None);
        if self.major == MajorVersion::V14 {
            let event = match self.announced.front().copied() {
                Some(place) => self.begin(place),
                None => self.begin_manifest(),
            };
            self.pending = Some(event?);
        }
        Ok(())
    }

    /// An archive begins: it must be the next of those that were announced.
    fn begin(&mut self, place: Option<u32>) -> Result<BaseBackupEvent> {
        if self.announced.pop_front() != Some(place) {
            return Err(self.unexpected());
        }
        self.state = State::Inside(Some(Part::Archive));
        Ok(BaseBackupEvent::Archive(place))
    }

    fn begin_manifest(&mut self) -> Result<BaseBackupEvent> {
        if self.has_manifest || !self.announced.is_empty() {
            return Err(self.unexpected());
        }
        self.has_manifest = true;
        self.state = State::Inside(Some(Part::Manifest));
        Ok(BaseBackupEvent::Manifest)
    }

    fn step(&mut self, message: ServerMessage) -> Result<Option<BaseBackupEvent>> {
        let is_old = self.major == MajorVersion::V14;
        match (message, self.state) {
            (ServerMessage::CopyOut, State::Between) if is_old => self.enter()?,
            (ServerMessage::CopyData(bytes), State::Inside(part)) => {
                return match part {
                    Some(part) if is_old => Ok(Some(part.data(bytes))),
                    _ => self.data(bytes, part),
                };
            }
            (ServerMessage::CopyDone, State::Inside(Some(_))) => self.state = State::Between,
            (ServerMessage::Row(row), State::Between) if self.has_manifest => {
                let (stop_lsn, timeline) = position(&row).ok_or_else(|| self.unexpected())?;
                self.end = Some(BaseBackupEnd { stop_lsn, timeline, is_damaged: false });
                self.state = State::Closing;
            }
            (ServerMessage::Error(refusal), State::Closing) if refusal.code == DAMAGED => {
                if let Some(end) = &mut self.end {
                    end.is_damaged = true;
                }
            }
            (ServerMessage::Error(refusal), _) => return Err(self.refused(&refusal)),
            (ServerMessage::ReadyForQuery, State::Closing) => return Ok(self.end.map(BaseBackupEvent::End)),
            (ServerMessage::CommandComplete, State::Between | State::Closing)
            | (ServerMessage::Other | ServerMessage::Parameter { .. }, _) => {}
            _ => return Err(self.unexpected()),
        }
        Ok(None)
    }

    /// Since 15: each message begins with what it is.
    fn data(&mut self, mut bytes: Bytes, part: Option<Part>) -> Result<Option<BaseBackupEvent>> {
        let Some(kind) = bytes.first().copied() else { return Err(self.unexpected()) };
        bytes.advance(1);
        match (kind, part) {
            (b'd', Some(part)) => Ok(Some(part.data(bytes))),
            (b'n', None | Some(Part::Archive)) => {
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
                let place = match std::str::from_utf8(stem) {
                    Ok("base") => None,
                    Ok(oid) => Some(oid.parse().map_err(|_| self.unexpected())?),
                    Err(_) => return Err(self.unexpected()),
                };
                self.begin(place).map(Some)
            }
            (b'm', Some(Part::Archive)) => self.begin_manifest().map(Some),
            (b'p', _) => Ok(None),
            _ => Err(self.unexpected()),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        if refusal.message.contains("promoted") {
            let why = "the standby was promoted";
            return Error::new(ErrorKind::Changed, "back up", why).with_hint("start the backup again");
        }
        self.client.refused("back up", refusal)
    }

    fn unexpected(&self) -> Error {
        self.client.unexpected("back up")
    }
}

fn position(row: &[Option<Bytes>]) -> Option<(Lsn, TimelineId)> {
    Some((text(row, 0)?.parse().ok()?, TimelineId(text(row, 1)?.parse().ok()?)))
}
