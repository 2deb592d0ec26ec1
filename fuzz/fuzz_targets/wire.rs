//! The replication protocol, in pieces of any size: the same messages however they are cut, and what is streamed is
//! read as it was written.
#![no_main]

use bytes::{BufMut, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::replication::codec::{Framer, ServerMessage, StatusUpdate, StreamMessage};

/// 2000-01-01 in microseconds since 1970.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// All messages, and the error that ended them.
fn read(bytes: &[u8], piece: usize) -> (Vec<ServerMessage>, Option<String>) {
    let (mut framer, mut found) = (Framer::default(), Vec::new());
    for part in bytes.chunks(piece) {
        framer.buffer().extend_from_slice(part);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
    (found, None)
}

/// The content of the `CopyData` that says the same.
fn write(message: &StreamMessage) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        StreamMessage::Data { start, server_end, sent_at, bytes } => {
            out.put_u8(b'w');
            out.put_u64(start.0);
            out.put_u64(server_end.0);
            out.put_i64(sent_at.as_microsecond() - EPOCH_MICROSECONDS);
            out.put_slice(bytes);
        }
        StreamMessage::Keepalive { server_end, sent_at, reply_requested } => {
            out.put_u8(b'k');
            out.put_u64(server_end.0);
            out.put_i64(sent_at.as_microsecond() - EPOCH_MICROSECONDS);
            out.put_u8((*reply_requested).into());
        }
    }
    out.freeze()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, usize::from(piece).max(1)));
    for message in whole.0 {
        let ServerMessage::CopyData(content) = message else { continue };
        let Ok(message) = StreamMessage::decode(content) else { continue };
        assert_eq!(StreamMessage::decode(write(&message)).unwrap(), message);
        let (StreamMessage::Data { server_end, sent_at, .. } | StreamMessage::Keepalive { server_end, sent_at, .. }) =
            message;
        let update =
            StatusUpdate { written: server_end, flushed: server_end, applied: server_end, reply_requested: true };
        let mut answer = BytesMut::new();
        update.encode(sent_at, &mut answer);
        assert!(matches!(read(&answer, 7), (found, None) if matches!(found[..], [ServerMessage::CopyData(_)])));
    }
});
