//! A door between networks: a socket of the place that leads to an address which only those in a host can reach.
//!
//! It runs in the host, as a process of its own, and passes bytes on. Whoever is on the outside reaches the proxy there as its clients do.

use std::io;
use std::path::Path;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

/// Passes on until it is killed. A connection that leads nowhere is closed.
///
/// # Errors
/// When nobody can listen there.
pub async fn serve(socket: &Path, to: &str) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        let to = to.to_owned();
        tokio::spawn(async move {
            if let Ok(mut far) = TcpStream::connect(&to).await {
                // Either end may break off.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixStream};

    #[tokio::test]
    async fn what_comes_in_goes_out_and_nobody_behind_it_is_an_end() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("socket");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let path = socket.clone();
        let door = tokio::spawn(async move { serve(&path, &to).await });
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let mut client = UnixStream::connect(&socket).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut said = [0; 4];
        server.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"ping");
        server.write_all(b"pong").await.unwrap();
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"pong");
        drop((server, listener));
        assert_eq!(client.read(&mut said).await.unwrap(), 0);
        let mut late = UnixStream::connect(&socket).await.unwrap();
        assert_eq!(late.read(&mut said).await.unwrap_or(0), 0);
        door.abort();
    }
}
