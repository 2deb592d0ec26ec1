//! A replication session between streams: who are you, slots, timeline histories.

use super::authentication::start_session;
use super::codec::{Refusal, ServerMessage};
use super::socket::Socket;
use super::stream::WalStream;
use crate::connection::{Error, ErrorKind, Result, Secret, Target};
use crate::{Lsn, MajorVersion, SystemId, TimelineId};
use bytes::Bytes;
use postgres_protocol::message::frontend;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// No command of this protocol answers with more rows.
const ROWS_MAX: usize = 1000;

/// A session that may ask for WAL.
pub struct ReplicationClient {
    pub(super) socket: Socket,
    parameters: HashMap<String, String>,
}

/// What `IDENTIFY_SYSTEM` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemIdentity {
    pub system_id: SystemId,
    pub timeline: TimelineId,
    /// Everything before is durable on the server.
    pub flush_lsn: Lsn,
}

/// A physical slot, since 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotState {
    /// WAL is kept from here on; `None` for a slot that was never used, or is lost.
    pub restart_lsn: Option<Lsn>,
    pub restart_timeline: Option<TimelineId>,
}

/// A timeline's history file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    /// `00000002.history`
    pub file_name: String,
    pub content: Vec<u8>,
}

impl ReplicationClient {
    /// Opens a session with `replication=true`; the target's database doesn't matter.
    ///
    /// # Errors
    /// Classified: see [`ErrorKind`]. The role needs `REPLICATION`, `pg_hba.conf` a line for database `replication`.
    pub async fn connect(target: &Target) -> Result<Self> {
        let mut socket = Socket::connect(target).await?;
        let limit = target.config().get_connect_timeout().copied().unwrap_or(Duration::from_secs(10));
        let started = tokio::time::timeout(limit, start_session(&mut socket, target)).await;
        let parameters = started.map_err(|_| {
            let why = format!("the server doesn't let us in within {} s", limit.as_secs());
            Error::new(ErrorKind::Unreachable, format!("connect to {target}"), why)
        })??;
        Ok(Self { socket, parameters })
    }

    /// The same, from a connection string.
    ///
    /// # Errors
    /// As [`ReplicationClient::connect`].
    pub async fn connect_to(conninfo: &str, secret: &Secret) -> Result<Self> {
        Self::connect(&Target::parse(conninfo, secret)?).await
    }

    /// The server's version.
    ///
    /// # Errors
    /// When it isn't supported.
    pub fn version(&self) -> Result<MajorVersion> {
        // "15.19 (Debian ..)", "18beta1"
        let text = self.parameters.get("server_version").map(String::as_str).unwrap_or_default();
        let digits = text.split(|c: char| !c.is_ascii_digit()).next().and_then(|major| major.parse::<u16>().ok());
        digits.and_then(|major| major.try_into().ok()).ok_or_else(|| {
            let version: String = text.chars().take(40).collect();
            Error::new(
                ErrorKind::Invalid,
                self.action("look at version"),
                format!("PostgreSQL {version} is not supported"),
            )
        })
    }

    /// Whether it is a standby, as it said when we connected.
    pub fn is_standby(&self) -> Option<bool> {
        self.parameters.get("in_hot_standby").map(|value| value == "on")
    }

    /// Who the server is, and how far.
    ///
    /// # Errors
    /// As every command of this session: [`ErrorKind::Lost`], or the server's refusal.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity> {
        let row = self.one_row("identify system", "IDENTIFY_SYSTEM").await?;
        let identity = || {
            Some(SystemIdentity {
                system_id: SystemId(text(&row, 0)?.parse().ok()?),
                timeline: TimelineId(text(&row, 1)?.parse().ok()?),
                flush_lsn: text(&row, 2)?.parse().ok()?,
            })
        };
        identity().ok_or_else(|| self.unexpected("identify system"))
    }

    /// A setting, as text with its unit: `wal_segment_size` gives `16MB`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that can't be one.
    pub async fn show(&mut self, name: &str) -> Result<String> {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
            return Err(Error::new(ErrorKind::Invalid, self.action("show a setting"), "its name is not valid"));
        }
        let action = format!("show {name}");
        let row = self.one_row(&action, &format!("SHOW {name}")).await?;
        text(&row, 0).map(str::to_owned).ok_or_else(|| self.unexpected(&action))
    }

    /// How a slot is; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] on 14, which can't tell: ask in SQL there.
    pub async fn read_slot(&mut self, name: &str) -> Result<Option<SlotState>> {
        let action = format!("read slot {name}");
        if self.version()? == MajorVersion::V14 {
            return Err(Error::new(ErrorKind::Invalid, self.action(&action), "PostgreSQL 14 doesn't have the command"));
        }
        let slot = self.slot_name(name)?;
        let row = self.one_row(&action, &format!("READ_REPLICATION_SLOT {slot}")).await?;
        if row.first().is_none_or(Option::is_none) {
            return Ok(None);
        }
        let restart_lsn = text(&row, 1).map(str::parse).transpose().map_err(|_| self.unexpected(&action))?;
        let timeline: Option<u32> = text(&row, 2).map(str::parse).transpose().map_err(|_| self.unexpected(&action))?;
        Ok(Some(SlotState { restart_lsn, restart_timeline: timeline.map(TimelineId) }))
    }

    /// Makes a physical slot that keeps WAL from now on; says whether it is new.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], or [`ErrorKind::Server`] when all slots are used.
    pub async fn create_slot_if_missing(&mut self, name: &str) -> Result<bool> {
        let command = format!("CREATE_REPLICATION_SLOT {} PHYSICAL RESERVE_WAL", self.slot_name(name)?);
        match self.rows(&command).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == "42710" => Ok(false),
            Err(refusal) => Err(self.refused(&format!("create slot {name}"), &refusal)),
        }
    }

    /// Removes a slot that nobody uses.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::SlotMissing`].
    pub async fn drop_slot(&mut self, name: &str) -> Result<()> {
        let command = format!("DROP_REPLICATION_SLOT {}", self.slot_name(name)?);
        let answer = self.rows(&command).await?;
        answer.map(|_| ()).map_err(|refusal| self.refused(&format!("drop slot {name}"), &refusal))
    }

    /// How a timeline came to be. Timeline 1 has no history.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] when the server has no such file.
    pub async fn timeline_history(&mut self, timeline: TimelineId) -> Result<TimelineHistory> {
        let action = format!("read history of timeline {timeline}");
        let row = self.one_row(&action, &format!("TIMELINE_HISTORY {timeline}")).await?;
        let file_name = text(&row, 0).map(str::to_owned);
        let content = row.get(1).cloned().flatten().map(|bytes| bytes.to_vec());
        match (file_name, content) {
            (Some(file_name), Some(content)) => Ok(TimelineHistory { file_name, content }),
            _ => Err(self.unexpected(&action)),
        }
    }

    /// Streams from `start` on `timeline`. With a slot the server keeps what we haven't confirmed.
    ///
    /// # Errors
    /// [`ErrorKind::WalRemoved`], [`ErrorKind::SlotMissing`], [`ErrorKind::SlotLost`], [`ErrorKind::Busy`] when
    /// somebody else uses the slot, [`ErrorKind::Changed`] when that position isn't in the server's history. The
    /// session is closed then.
    pub async fn start_streaming(mut self, slot: Option<&str>, start: Lsn, timeline: TimelineId) -> Result<WalStream> {
        let slot_words = slot.map(|name| self.slot_name(name)).transpose()?.map(|name| format!("SLOT {name} "));
        let command =
            format!("START_REPLICATION {}PHYSICAL {start} TIMELINE {timeline}", slot_words.unwrap_or_default());
        let action = format!("stream from {start} on timeline {timeline}");
        self.send(&command)?;
        WalStream::begin(self, &action).await
    }

    /// Ends the session politely.
    pub async fn close(mut self) {
        frontend::terminate(self.socket.outgoing());
        let _ = self.socket.flush().await; // it is over either way
    }

    pub(super) fn send(&mut self, command: &str) -> Result<()> {
        frontend::query(command, self.socket.outgoing())
            .map_err(|error| Error::new(ErrorKind::Invalid, "send command", "it is not valid").with_source(error))
    }

    /// Runs a command to its end; the inner error is the server's refusal, after which the session goes on.
    async fn rows(&mut self, command: &str) -> Result<std::result::Result<Vec<Vec<Option<Bytes>>>, Refusal>> {
        self.send(command)?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            match self.socket.receive().await? {
                ServerMessage::Row(row) if rows.len() < ROWS_MAX => rows.push(row),
                ServerMessage::Error(refusal) => refused = Some(refusal),
                ServerMessage::ReadyForQuery => return Ok(refused.map_or(Ok(rows), Err)),
                ServerMessage::CommandComplete | ServerMessage::Other | ServerMessage::Parameter { .. } => {}
                _ => return Err(self.unexpected("run command")),
            }
        }
    }

    async fn one_row(&mut self, action: &str, command: &str) -> Result<Vec<Option<Bytes>>> {
        let answer = self.rows(command).await?;
        let rows = answer.map_err(|refusal| self.refused(action, &refusal))?;
        rows.into_iter().next().ok_or_else(|| self.unexpected(action))
    }

    fn slot_name(&self, name: &str) -> Result<String> {
        let is_valid = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if is_valid {
            return Ok(format!("\"{name}\""));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            self.action("use a replication slot"),
            format!("{name:?} is no name for one"),
        )
        .with_hint("1 to 63 lower-case letters, digits and underscores"))
    }

    pub(super) fn action(&self, what: &str) -> String {
        format!("{what} at {}", self.socket.server())
    }

    pub(super) fn refused(&self, action: &str, refusal: &Refusal) -> Error {
        let detail = refusal.detail.iter().map(|detail| format!(" ({detail})")).collect::<String>();
        let message = format!("{}{detail}", refusal.message);
        Error::from_code(self.action(action), &refusal.code, &message, refusal.hint.as_deref())
    }

    pub(super) fn unexpected(&self, action: &str) -> Error {
        Error::new(ErrorKind::Protocol, self.action(action), "unexpected answer")
    }
}

pub(super) fn text(row: &[Option<Bytes>], column: usize) -> Option<&str> {
    std::str::from_utf8(row.get(column)?.as_ref()?).ok()
}

impl fmt::Debug for ReplicationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicationClient({})", self.socket.server())
    }
}
