//! The first packet of a client and the first byte of its server. Until that byte nothing has happened at the server that the client could know
//! of, and no statement has got there; so another one can be asked instead, in the same words.
//!
//! Not here: what comes after the first packet. It stays unread until the server has answered.

use super::startup::{HEAD_BYTES, Opening};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// As long as PostgreSQL gives it (`authentication_timeout`): whoever says nothing for so long is nobody.
const FIRST_PACKET_TIME_MAX: Duration = Duration::from_secs(60);

/// What came of asking a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// It has begun to answer, or nothing is to be asked twice.
    Answers,
    /// It has ended without a word.
    Nothing,
    /// Clients go elsewhere now.
    Replaced,
    /// The client is gone, or never said one.
    Left,
}

/// Brings the client's first packet, of which `opening` was read already, to the server and waits for an answer. When this is broken off, or
/// gives [`First::Nothing`], the same can be tried with another server.
pub(super) async fn first_words(client: &mut TcpStream, opening: &mut Vec<u8>, server: &mut TcpStream) -> First {
    let is_whole = tokio::select! {
        biased;
        read = timeout(FIRST_PACKET_TIME_MAX, first_packet(client, opening)) => match read {
            Ok(Ok(is_whole)) => is_whole,
            Ok(Err(_)) | Err(_) => return First::Left,
        },
        first = first_word(server) => match first {
            // A server that can start no process says so before it was told anything.
            First::Answers => false,
            ended => return ended,
        },
    };
    let said = server.write_all(opening).await;
    // A request to cancel is never answered, and means this server alone; of what we don't know we know no end.
    if !is_whole || !is_answered(opening) {
        return First::Answers;
    }
    if said.is_err() {
        return First::Nothing;
    }
    tokio::select! {
        first = first_word(server) => first,
        // What one side says after the other has ended isn't ours to judge.
        () = says_no_more(client) => First::Answers,
    }
}

/// At most [`super::startup::STARTUP_BYTES_MAX`]: what says that it is longer isn't read. False when the client says no more than a piece of it.
async fn first_packet(client: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<bool> {
    if !fill(client, read, HEAD_BYTES).await? {
        return Ok(false);
    }
    let Some(head) = read.first_chunk() else { return Ok(false) };
    match Opening::of(*head) {
        Opening::Session { rest } => fill(client, read, HEAD_BYTES + rest).await,
        Opening::AsksForEncryption | Opening::Cancel { .. } | Opening::Foreign => Ok(true),
    }
}

/// Up to so many bytes, and not one more. What came before this was broken off is kept.
async fn fill(client: &mut TcpStream, read: &mut Vec<u8>, bytes: usize) -> io::Result<bool> {
    while read.len() < bytes {
        let missing = (bytes - read.len()) as u64;
        if (&mut *client).take(missing).read_buf(read).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_answered(opening: &[u8]) -> bool {
    let kind = opening.first_chunk().map(|head| Opening::of(*head));
    matches!(kind, Some(Opening::Session { .. } | Opening::AsksForEncryption))
}

/// Its first byte stays unread.
async fn first_word(server: &TcpStream) -> First {
    match server.peek(&mut [0]).await {
        Ok(1..) => First::Answers,
        Ok(0) | Err(_) => First::Nothing,
    }
}

/// Until the client has closed its side. One that says more before it was answered has not.
async fn says_no_more(client: &TcpStream) {
    if !matches!(client.peek(&mut [0]).await, Ok(0) | Err(_)) {
        std::future::pending().await
    }
}
