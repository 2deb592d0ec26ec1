//! Bytes both ways between a client and its server, until both have ended or somebody says stop.

use super::socket::end_with_reset;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

/// Of a client, counting what is read from it and written to it.
struct Counted<'a> {
    stream: &'a mut TcpStream,
    received: &'a AtomicU64,
    sent: &'a AtomicU64,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(context, buffer);
        self.received.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.sent.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides had nothing more to say.
    Whole,
    /// One side broke off; the other was reset.
    Broken,
    /// `stop` came; both were reset.
    Stopped,
}

/// Carries bytes. When one side says that it is done, the other is told so and may go on. `stop` ends it in the middle of whatever it does, also
/// while a side takes no bytes.
pub(super) async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    received: &AtomicU64,
    sent: &AtomicU64,
    stop: impl Future<Output = ()>,
) -> End {
    let mut counted = Counted { stream: &mut client, received, sent };
    let end = tokio::select! {
        // First: a stopped session must not carry one byte more.
        biased;
        () = stop => End::Stopped,
        carried = copy_bidirectional(&mut counted, &mut server) => if carried.is_ok() { End::Whole } else { End::Broken },
    };
    if end != End::Whole {
        end_with_reset(&client);
        end_with_reset(&server);
    }
    end
}
