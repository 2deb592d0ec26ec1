//! A little HTTP server: one request per connection, answered by a function. It can be cut off from the network, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Request {
    /// `GET /path?query`
    pub line: String,
    /// Lower case.
    pub head: String,
    pub body: Vec<u8>,
}

pub struct Server {
    pub url: String,
    pub away: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `answer` gives a status, and a body in JSON.
    pub async fn start<F>(answer: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = (u16, Vec<u8>)> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listen");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let away = Arc::new(AtomicBool::new(false));
        let (is_away, answer) = (away.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                let (is_away, answer) = (is_away.clone(), answer.clone());
                tokio::spawn(async move {
                    if is_away.load(Ordering::SeqCst) {
                        return;
                    }
                    let Some(request) = read(&mut client).await else { return };
                    let (status, body) = answer(request).await;
                    if is_away.load(Ordering::SeqCst) {
                        return;
                    }
                    let head = format!(
                        "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = client.write_all(&[head.as_bytes(), &body].concat()).await;
                });
            }
        });
        Self { url, away, task }
    }
}

async fn read(client: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let head = text.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let line = text.lines().next()?.rsplit_once(' ')?.0.to_owned();
                return Some(Request { line, head, body: bytes[end + 4..].to_vec() });
            }
        }
        let mut buffer = [0; 4096];
        match client.read(&mut buffer).await.ok()? {
            0 => return None,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
