//! A replication session while it streams WAL.

use super::client::{ReplicationClient, text};
use super::codec::{ServerMessage, StatusUpdate, StreamMessage};
use crate::connection::{Error, ErrorKind, Result};
use crate::{Lsn, TimelineId};
use bytes::Bytes;
use jiff::Timestamp;
use postgres_protocol::message::frontend;

/// What happens on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// WAL, from `start` on; the next piece follows without a gap. May be not yet durable on the server.
    Data { start: Lsn, server_end: Lsn, sent_at: Timestamp, bytes: Bytes },
    /// A sign of life; answer with [`WalStream::send_status`] at once when `reply_requested`, or be disconnected.
    Keepalive { server_end: Lsn, sent_at: Timestamp, reply_requested: bool },
    /// The server's history left this timeline at `switched_at`. Fetch the new timeline's history, and stream on from
    /// the start of the segment that holds that position: [`WalStream::into_client`] gives the session back.
    TimelineEnded { next_timeline: TimelineId, switched_at: Lsn },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Streaming,
    /// Both sides have said that it ends; the answer to the command is on its way.
    Ending(Option<(TimelineId, Lsn)>),
    /// The command has ended.
    Ended(Option<(TimelineId, Lsn)>),
}

/// WAL as it comes.
#[derive(Debug)]
pub struct WalStream {
    client: ReplicationClient,
    state: State,
    /// Where the next byte must be; unknown before the first.
    expected: Option<Lsn>,
    we_ended: bool,
}

impl WalStream {
    /// Reads the answer to `START_REPLICATION`.
    pub(super) async fn begin(client: ReplicationClient, action: &str) -> Result<Self> {
        let mut stream = Self { client, state: State::Streaming, expected: None, we_ended: false };
        loop {
            match stream.client.socket.receive().await? {
                ServerMessage::CopyBoth => return Ok(stream),
                ServerMessage::Error(refusal) => return Err(stream.client.refused(action, &refusal)),
                // The timeline ended exactly where we want to start: no stream, only the answer to it.
                ServerMessage::Row(row) => {
                    stream.state = State::Ending(switch(&row));
                    return Ok(stream);
                }
                ServerMessage::Other | ServerMessage::Parameter { .. } => {}
                _ => return Err(stream.client.unexpected(action)),
            }
        }
    }

    /// The next event. Can be cancelled (in `select!`, by a time limit): nothing is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the server stops or the connection breaks: connect again, and stream on from the last
    /// position that is durable. [`ErrorKind::WalRemoved`] when the server lost what comes next.
    /// [`ErrorKind::Protocol`] for a gap in the WAL.
    pub async fn next(&mut self) -> Result<StreamEvent> {
        loop {
            if let State::Ended(switch) = self.state {
                let (next_timeline, switched_at) = switch.ok_or_else(|| self.lost("the server ended the stream"))?;
                return Ok(StreamEvent::TimelineEnded { next_timeline, switched_at });
            }
            let message = self.client.socket.receive().await?;
            if let Some(event) = self.step(message)? {
                return Ok(event);
            }
        }
    }

    /// Tells the server how far we are. It may drop WAL before `flushed`, and lets synchronous commits up to it return:
    /// never more than is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`].
    pub async fn send_status(&mut self, update: &StatusUpdate, now: Timestamp) -> Result<()> {
        if self.state == State::Streaming && !self.we_ended {
            update.encode(now, self.client.socket.outgoing());
            self.client.socket.flush().await?;
        }
        Ok(())
    }

    /// Ends the stream in peace. WAL that arrives meanwhile is dropped: send a last status before.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`].
    pub async fn finish(mut self) -> Result<ReplicationClient> {
        self.end_our_side();
        while !matches!(self.state, State::Ended(_)) {
            let message = self.client.socket.receive().await?;
            self.step(message)?;
        }
        Ok(self.client)
    }

    /// The session, after [`StreamEvent::TimelineEnded`]; `None` when it still streams.
    pub fn into_client(self) -> Option<ReplicationClient> {
        matches!(self.state, State::Ended(_)).then_some(self.client)
    }

    fn step(&mut self, message: ServerMessage) -> Result<Option<StreamEvent>> {
        match (message, self.state) {
            (ServerMessage::CopyData(bytes), State::Streaming) => return self.data(bytes).map(Some),
            (ServerMessage::CopyDone, State::Streaming) => {
                self.end_our_side();
                self.state = State::Ending(None);
            }
            (ServerMessage::Row(row), State::Ending(_)) => self.state = State::Ending(switch(&row)),
            (ServerMessage::ReadyForQuery, State::Ending(switch)) => self.state = State::Ended(switch),
            // A server that shuts down completes the command, and closes.
            (ServerMessage::CommandComplete, State::Streaming) => return Err(self.lost("the server shuts down")),
            (ServerMessage::Error(refusal), _) => return Err(self.client.refused("stream", &refusal)),
            (ServerMessage::CommandComplete, State::Ending(_))
            | (ServerMessage::Other | ServerMessage::Parameter { .. }, _) => {}
            _ => return Err(self.client.unexpected("stream")),
        }
        Ok(None)
    }

    fn data(&mut self, bytes: Bytes) -> Result<StreamEvent> {
        let decoded =
            StreamMessage::decode(bytes).map_err(|error| self.client.unexpected("stream").with_source(error))?;
        Ok(match decoded {
            StreamMessage::Keepalive { server_end, sent_at, reply_requested } => {
                StreamEvent::Keepalive { server_end, sent_at, reply_requested }
            }
            StreamMessage::Data { start, server_end, sent_at, bytes } => {
                if let Some(expected) = self.expected.filter(|expected| *expected != start) {
                    let why = format!("WAL from {expected} was expected, WAL from {start} came");
                    return Err(Error::new(ErrorKind::Protocol, self.client.action("stream"), why));
                }
                self.expected = Some(start.saturating_add(bytes.len() as u64));
                StreamEvent::Data { start, server_end, sent_at, bytes }
            }
        })
    }

    fn end_our_side(&mut self) {
        if !self.we_ended && self.state == State::Streaming {
            self.we_ended = true;
            frontend::copy_done(self.client.socket.outgoing());
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::new(ErrorKind::Lost, self.client.action("stream"), why)
    }
}

/// The next timeline, and where this one ended.
fn switch(row: &[Option<Bytes>]) -> Option<(TimelineId, Lsn)> {
    Some((TimelineId(text(row, 0)?.parse().ok()?), text(row, 1)?.parse().ok()?))
}
