//! Tells a client that it gets no session, in the words of the protocol: a client that is merely cut off can't say why.

use super::startup::{HEAD_BYTES, Opening, Refusal};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For all of it: a client that says nothing gets no answer.
const TIME_MAX: Duration = Duration::from_secs(5);
/// A client asks for one kind of encryption, then for the other.
const OPENINGS_MAX: usize = 3;

/// `read`: what of the first packet was read already.
pub(super) async fn refuse(mut client: TcpStream, read: &[u8], refusal: &Refusal) {
    // Whoever doesn't listen to the end has left.
    let _ = timeout(TIME_MAX, tell(&mut client, read, refusal)).await;
}

async fn tell(client: &mut TcpStream, mut read: &[u8], refusal: &Refusal) -> io::Result<()> {
    for _ in 0..OPENINGS_MAX {
        let (mut first, known) = ([0; HEAD_BYTES], std::mem::take(&mut read));
        let (head, more) = known.split_at(known.len().min(HEAD_BYTES));
        first[..head.len()].copy_from_slice(head);
        client.read_exact(&mut first[head.len()..]).await?;
        match Opening::of(first) {
            Opening::AsksForEncryption => client.write_all(b"N").await?,
            Opening::Session { rest } => {
                // What isn't read when the connection is closed resets it, and the client never sees the answer.
                client.read_exact(&mut vec![0; rest.saturating_sub(more.len())]).await?;
                client.write_all(&refusal.encode()).await?;
                client.shutdown().await?;
                while client.read(&mut [0; 512]).await? > 0 {}
                return Ok(());
            }
            Opening::Cancel { .. } | Opening::Foreign => return Ok(()),
        }
    }
    Ok(())
}
