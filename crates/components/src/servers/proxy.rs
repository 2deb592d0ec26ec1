//! A proxy in front of an object store that can be told to fail: one request per connection, each answered as told.
//!
//! It can also make what lies in the store look older than it is: nobody waits a day for a test.

mod older;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It reaches the store.
    Pass,
    /// It reaches the store after so many milliseconds.
    Slow(u64),
    /// It reaches the store, and each answer comes back at so many bytes per second.
    Trickle(u64),
    /// It is read, and nothing ever comes back.
    Hang,
    /// The store's own error, with this status.
    Status(u16),
    /// The connection is cut.
    Reset,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// After so many writes the mode becomes this one.
    then: Option<(u32, Mode)>,
    /// Requests that got the answer of a mode that fails.
    failed: u32,
    /// What was written before this time looks older, by so much.
    older: Option<(SystemTime, Duration)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: AtomicBool,
}

/// Listens until dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of `http://host:port`.
    pub fn before(url: &str) -> Self {
        let store = url.strip_prefix("http://").expect("a plain url").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let address = listener.local_addr().expect("the address");
        let state = Mutex::new(State { mode: Mode::Pass, then: None, failed: 0, older: None });
        let shared = Arc::new(Shared { state, ended: AtomicBool::new(false) });
        let for_thread = shared.clone();
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if for_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, store) = (for_thread.clone(), store.clone());
                std::thread::spawn(move || drop(serve(client, &store, &shared)));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        state.mode = mode;
        state.then = None;
    }

    /// After so many more writes.
    pub fn set_after_writes(&self, writes: u32, mode: Mode) {
        self.shared.lock().then = Some((writes, mode));
    }

    /// From now on every time before `written_before` that the store tells is earlier by `by`.
    pub fn age(&self, written_before: SystemTime, by: Duration) {
        self.shared.lock().older = Some((written_before, by));
    }

    /// Requests that were not let through so far.
    pub fn failed(&self) -> u32 {
        self.shared.lock().failed
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }

    /// What to do with a request.
    fn mode_for(&self, head: &str) -> Mode {
        let mut state = self.lock();
        if head.starts_with("PUT") || head.starts_with("POST") {
            match state.then {
                Some((0, mode)) => {
                    state.mode = mode;
                    state.then = None;
                }
                Some((writes, mode)) => state.then = Some((writes - 1, mode)),
                None => {}
            }
        }
        state.failed += u32::from(!matches!(state.mode, Mode::Pass | Mode::Slow(_) | Mode::Trickle(_)));
        state.mode
    }
}

fn serve(mut client: TcpStream, store: &str, shared: &Shared) -> std::io::Result<()> {
    let (head, body) = read_request(&mut client)?;
    match shared.mode_for(&head) {
        Mode::Pass => pass(&mut client, store, &head, &body, shared)?,
        Mode::Slow(milliseconds) => {
            std::thread::sleep(Duration::from_millis(milliseconds));
            pass(&mut client, store, &head, &body, shared)?;
        }
        Mode::Trickle(rate) => pass(&mut Trickling { client: &mut client, rate }, store, &head, &body, shared)?,
        // Held until the client gives up.
        Mode::Hang => {
            client.set_read_timeout(Some(Duration::from_millis(100)))?;
            while !shared.ended.load(Ordering::Relaxed) {
                match client.read(&mut [0; 1]) {
                    Ok(0) => break,
                    Err(error) if ![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => break,
                    _ => {}
                }
            }
        }
        Mode::Status(status) => {
            let code = if status == 403 { "InvalidAccessKeyId" } else { "InternalError" };
            let text = format!("<Error><Code>{code}</Code><Message>told to fail</Message></Error>");
            write!(client, "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nConnection: close\r\n")?;
            let text = if head.starts_with("HEAD") { "" } else { &text };
            write!(client, "Content-Length: {}\r\n\r\n{text}", text.len())?;
        }
        Mode::Reset => {}
    }
    Ok(())
}

fn pass(client: &mut impl Write, store: &str, head: &str, body: &[u8], shared: &Shared) -> std::io::Result<()> {
    let mut server = TcpStream::connect(store)?;
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    write!(server, "{line}\r\nConnection: close\r\n{fields}")?;
    server.write_all(body)?;
    let Some((written_before, by)) = shared.lock().older else {
        return std::io::copy(&mut server, client).map(drop);
    };
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    older::rewrite(&mut answer, written_before, by);
    client.write_all(&answer)
}

/// So many times a second something comes.
const TRICKLES_PER_SECOND: u64 = 20;

/// Takes no more than so many bytes per second.
struct Trickling<'a> {
    client: &'a mut TcpStream,
    rate: u64,
}

impl Write for Trickling<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(1000 / TRICKLES_PER_SECOND));
        let most = (self.rate / TRICKLES_PER_SECOND).max(1) as usize;
        self.client.write(&bytes[..bytes.len().min(most)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.client.flush()
    }
}

/// The head up to and with its empty line, and the body.
fn read_request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut expected = None;
    loop {
        if let (None, Some(end)) = (expected, bytes.windows(4).position(|four| four == b"\r\n\r\n")) {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if head.contains("expect: 100-continue") {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            expected = Some((end + 4, length.unwrap_or(0usize)));
        }
        if let Some((head, body)) = expected
            && bytes.len() >= head + body
        {
            let rest = bytes.split_off(head);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match client.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
