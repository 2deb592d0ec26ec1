//! The bytes of the replication protocol: bytes in, messages out, and back. No I/O, no clock.
//!
//! Whatever comes in, a decoder returns, bounded and without panic.

use crate::Lsn;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use jiff::Timestamp;
use postgres_protocol::message::backend::{ErrorFields, Message};

/// The longest message that is accepted. The server sends WAL in pieces of 128 KiB; the longest answers are timeline
/// histories, with some 60 bytes for each promotion there ever was.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// 2000-01-01, where PostgreSQL's clock begins, in microseconds since 1970.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
/// An answer has at most this many columns.
const COLUMNS_MAX: usize = 64;

/// The bytes are not the protocol's.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    #[error("malformed message {0:?}")]
    Malformed(char),
    #[error("malformed message {tag:?}")]
    Message {
        tag: char,
        #[source]
        source: std::io::Error,
    },
    #[error("malformed replication message: {0}")]
    Stream(&'static str),
}

/// What a server says, as far as a replication session is concerned.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerMessage {
    AuthenticationOk,
    CleartextPassword,
    Md5Password {
        salt: [u8; 4],
    },
    Sasl {
        mechanisms: Vec<String>,
    },
    SaslContinue(Vec<u8>),
    SaslFinal(Vec<u8>),
    /// Kerberos and its like.
    OtherAuthentication,
    Parameter {
        name: String,
        value: String,
    },
    Row(Vec<Option<Bytes>>),
    CommandComplete,
    CopyBoth,
    CopyOut,
    CopyData(Bytes),
    CopyDone,
    ReadyForQuery,
    Error(Refusal),
    /// Notices, row descriptions, keys: nothing to do.
    Other,
}

/// An error that the server reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters, such as `58P01`.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Cuts what arrives into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
}

impl Framer {
    /// Where what is read goes: bytes are added at the end.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole message; `None` when more bytes are needed.
    ///
    /// # Errors
    /// After an error the position in the stream is lost: close the connection.
    pub fn next_message(&mut self) -> Result<Option<ServerMessage>, CodecError> {
        let Some((&tag, rest)) = self.buffer.split_first() else { return Ok(None) };
        let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
        // The length counts itself, not the tag.
        let length = u32::from_be_bytes(*length) as usize;
        if length < 4 {
            return Err(CodecError::Malformed(tag.into()));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(CodecError::TooLong(length));
        }
        if self.buffer.len() <= length {
            self.buffer.reserve(length + 1 - self.buffer.len());
            return Ok(None);
        }
        decode(tag, self.buffer.split_to(length + 1)).map(Some)
    }
}

fn decode(tag: u8, mut frame: BytesMut) -> Result<ServerMessage, CodecError> {
    let broken = |source| CodecError::Message { tag: tag.into(), source };
    if tag == b'W' {
        return Ok(ServerMessage::CopyBoth); // the driver's crate doesn't know it
    }
    let message = Message::parse(&mut frame).map_err(broken)?.ok_or(CodecError::Malformed(tag.into()))?;
    let text = |bytes: &str| bytes.to_owned();
    Ok(match message {
        Message::AuthenticationOk => ServerMessage::AuthenticationOk,
        Message::AuthenticationCleartextPassword => ServerMessage::CleartextPassword,
        Message::AuthenticationMd5Password(body) => ServerMessage::Md5Password { salt: body.salt() },
        Message::AuthenticationSasl(body) => {
            let mechanisms = body.mechanisms().take(16).map(|name| Ok(text(name))).collect().map_err(broken)?;
            ServerMessage::Sasl { mechanisms }
        }
        Message::AuthenticationSaslContinue(body) => ServerMessage::SaslContinue(body.data().to_vec()),
        Message::AuthenticationSaslFinal(body) => ServerMessage::SaslFinal(body.data().to_vec()),
        Message::AuthenticationGss
        | Message::AuthenticationGssContinue(_)
        | Message::AuthenticationKerberosV5
        | Message::AuthenticationScmCredential
        | Message::AuthenticationSspi => ServerMessage::OtherAuthentication,
        Message::ParameterStatus(body) => ServerMessage::Parameter {
            name: text(body.name().map_err(broken)?),
            value: text(body.value().map_err(broken)?),
        },
        Message::DataRow(body) => {
            let all = body.buffer_bytes();
            let ranges: Vec<_> = body.ranges().take(COLUMNS_MAX).collect().map_err(broken)?;
            ServerMessage::Row(ranges.into_iter().map(|range| range.map(|range| all.slice(range))).collect())
        }
        Message::CommandComplete(_) => ServerMessage::CommandComplete,
        Message::CopyOutResponse(_) => ServerMessage::CopyOut,
        Message::CopyData(body) => ServerMessage::CopyData(body.into_bytes()),
        Message::CopyDone => ServerMessage::CopyDone,
        Message::ReadyForQuery(_) => ServerMessage::ReadyForQuery,
        Message::ErrorResponse(body) => ServerMessage::Error(refusal(body.fields()).map_err(broken)?),
        _ => ServerMessage::Other,
    })
}

fn refusal(mut fields: ErrorFields<'_>) -> std::io::Result<Refusal> {
    let mut refusal = Refusal::default();
    while let Some(field) = fields.next()? {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => refusal.code = value(),
            b'M' => refusal.message = value(),
            b'D' => refusal.detail = Some(value()),
            b'H' => refusal.hint = Some(value()),
            _ => {}
        }
    }
    Ok(refusal)
}

/// What a server says inside the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamMessage {
    /// WAL from `start` on, without a gap to the message before.
    Data { start: Lsn, server_end: Lsn, sent_at: Timestamp, bytes: Bytes },
    /// Nothing new; the server wants to hear from us at once when `reply_requested`.
    Keepalive { server_end: Lsn, sent_at: Timestamp, reply_requested: bool },
}

impl StreamMessage {
    /// From the content of one `CopyData`.
    ///
    /// # Errors
    /// When it isn't one of the two messages, or is too short.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CodecError> {
        let short = CodecError::Stream("it is too short");
        match bytes.first() {
            Some(b'w') if bytes.len() >= 25 => {
                bytes.advance(1);
                let (start, server_end) = (Lsn(bytes.get_u64()), Lsn(bytes.get_u64()));
                let sent_at = timestamp(bytes.get_i64())?;
                if start.0.checked_add(bytes.len() as u64).is_none() {
                    return Err(CodecError::Stream("it ends behind the last possible position"));
                }
                Ok(Self::Data { start, server_end, sent_at, bytes })
            }
            Some(b'k') if bytes.len() >= 18 => {
                bytes.advance(1);
                let server_end = Lsn(bytes.get_u64());
                let sent_at = timestamp(bytes.get_i64())?;
                Ok(Self::Keepalive { server_end, sent_at, reply_requested: bytes.get_u8() != 0 })
            }
            Some(b'w' | b'k') | None => Err(short),
            Some(_) => Err(CodecError::Stream("its kind is unknown")),
        }
    }
}

fn timestamp(since_2000: i64) -> Result<Timestamp, CodecError> {
    let since_1970 = since_2000.checked_add(EPOCH_MICROSECONDS);
    since_1970.and_then(|at| Timestamp::from_microsecond(at).ok()).ok_or(CodecError::Stream("its time is out of range"))
}

/// How far the receiver is. Each position is the end of what is done, that is the first byte that isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Received and handed to the operating system.
    pub written: Lsn,
    /// Durable. The server may forget everything before, and synchronous commits return.
    pub flushed: Lsn,
    /// Replayed. For a receiver that doesn't replay: the same as `flushed` is a lie; leave it at 0.
    pub applied: Lsn,
    /// Ask the server to answer at once.
    pub reply_requested: bool,
}

impl StatusUpdate {
    /// Adds the `CopyData` message to `out`.
    pub fn encode(&self, now: Timestamp, out: &mut BytesMut) {
        out.put_u8(b'd');
        out.put_u32(4 + 34);
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        out.put_u64(self.applied.0);
        out.put_i64(now.as_microsecond() - EPOCH_MICROSECONDS);
        out.put_u8(self.reply_requested.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Everything that is decoded from `bytes` when they arrive in pieces of `piece` bytes.
    fn decode_all(bytes: &[u8], piece: usize) -> Result<Vec<ServerMessage>, CodecError> {
        let (mut framer, mut found) = (Framer::default(), Vec::new());
        for part in bytes.chunks(piece.max(1)) {
            framer.buffer().extend_from_slice(part);
            while let Some(message) = framer.next_message()? {
                found.push(message);
            }
        }
        Ok(found)
    }

    #[test]
    fn an_error_is_taken_apart() {
        let body = b"SERROR\0C58P01\0Mrequested WAL segment 000000010000000000000001 has already been removed\0Hgo\0\0";
        let found = decode_all(&frame(b'E', body), 7).unwrap();
        let [ServerMessage::Error(refusal)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((refusal.code.as_str(), refusal.hint.as_deref()), ("58P01", Some("go")));
    }

    #[test]
    fn a_status_update_is_what_the_manual_says() {
        let update = StatusUpdate { written: Lsn(3), flushed: Lsn(2), applied: Lsn(1), reply_requested: true };
        let mut out = BytesMut::new();
        update.encode(Timestamp::from_microsecond(EPOCH_MICROSECONDS + 5).unwrap(), &mut out);
        let mut expected = vec![b'd', 0, 0, 0, 38, b'r'];
        for number in [3u64, 2, 1, 5] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(1);
        assert_eq!(out.to_vec(), expected);
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        assert!(matches!(decode_all(&[b'd', 0xff, 0xff, 0xff, 0xff], 9), Err(CodecError::TooLong(_))));
        assert!(matches!(decode_all(&[b'd', 0, 0, 0, 3], 9), Err(CodecError::Malformed('d'))));
        for bytes in [&b""[..], b"w", b"k", b"x", &[b'w'; 24], &[b'k'; 17]] {
            assert!(StreamMessage::decode(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
        let mut overflowing = vec![b'w'];
        overflowing.extend(u64::MAX.to_be_bytes());
        overflowing.extend([0; 16]);
        overflowing.push(1);
        assert!(StreamMessage::decode(overflowing.into()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
            let _ = decode_all(&bytes, piece);
            let _ = StreamMessage::decode(bytes.into());
        }

        #[test]
        fn no_body_of_a_known_message_makes_it_panic(
            tag in prop::sample::select(b"RSKZTDCEdcWHGNIAnst123v".to_vec()),
            body in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..60),
        ) {
            let _ = decode_all(&frame(tag, &body), 1000);
        }

        #[test]
        fn data_arrives_whole_however_it_is_cut(
            start in 0u64..1 << 60, end in any::<u64>(), at in 0i64..1 << 50,
            body in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..400,
        ) {
            let mut content = vec![b'w'];
            content.extend(start.to_be_bytes());
            content.extend(end.to_be_bytes());
            content.extend(at.to_be_bytes());
            content.extend(&body);
            let mut bytes = frame(b'd', &content);
            bytes.extend(frame(b'c', b""));
            let mut found = decode_all(&bytes, piece).unwrap();
            prop_assert_eq!(found.pop(), Some(ServerMessage::CopyDone));
            let Some(ServerMessage::CopyData(inner)) = found.pop() else { panic!("no data") };
            let sent_at = Timestamp::from_microsecond(at + EPOCH_MICROSECONDS).unwrap();
            let expected =
                StreamMessage::Data { start: Lsn(start), server_end: Lsn(end), sent_at, bytes: body.into() };
            prop_assert_eq!(StreamMessage::decode(inner).unwrap(), expected);
        }
    }
}
