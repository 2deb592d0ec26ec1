//! The connection under a replication session: TCP or a socket file, with TLS or without, and messages both ways.

use super::codec::{CodecError, Framer, ServerMessage};
use crate::connection::{Error, ErrorKind, Result, Target};
use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, SslMode};

/// How much is asked of the operating system at once.
const READ_BYTES: usize = 256 * 1024;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for S {}

/// Messages to and from one server.
pub(super) struct Socket {
    inner: Box<dyn Duplex>,
    framer: Framer,
    /// What is still to be sent. Kept here so that a cancelled write loses and repeats nothing.
    outgoing: BytesMut,
    server: String,
}

impl Socket {
    /// Tries the target's hosts in their order. Each may take the target's time limit.
    pub(super) async fn connect(target: &Target) -> Result<Self> {
        let config = target.config();
        let limit = config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(10));
        let ports = config.get_ports();
        let count = config.get_hosts().len().max(config.get_hostaddrs().len());
        let mut last = Error::new(ErrorKind::Invalid, format!("connect to {target}"), "there is no host");
        for place in 0..count {
            let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
            match tokio::time::timeout(limit, Self::connect_to(target, place, port)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let why = format!("no answer within {} s", limit.as_secs());
                    last = Error::new(ErrorKind::Unreachable, format!("connect to {target}"), why);
                }
            }
        }
        Err(last)
    }

    async fn connect_to(target: &Target, place: usize, port: u16) -> Result<Self> {
        let server = target.to_string();
        let unreachable = |error: std::io::Error| {
            Error::new(ErrorKind::Unreachable, format!("connect to {target}"), "nobody answers").with_source(error)
        };
        let config = target.config();
        let (host, address) = (config.get_hosts().get(place), config.get_hostaddrs().get(place));
        let tcp = match (host, address) {
            (Some(Host::Unix(directory)), _) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                let inner = Box::new(UnixStream::connect(path).await.map_err(unreachable)?);
                return Ok(Self { inner, framer: Framer::default(), outgoing: BytesMut::new(), server });
            }
            (_, Some(address)) => TcpStream::connect((*address, port)).await,
            (Some(Host::Tcp(name)), None) => TcpStream::connect((name.as_str(), port)).await,
            (None, None) => {
                return Err(Error::new(ErrorKind::Invalid, format!("connect to {target}"), "there is no host"));
            }
        }
        .map_err(unreachable)?;
        keep_alive(&tcp, target);
        let name = match host {
            Some(Host::Tcp(name)) => name.clone(),
            _ => address.map(ToString::to_string).unwrap_or_default(),
        };
        let inner = encrypt(target, tcp, name).await?;
        Ok(Self { inner, framer: Framer::default(), outgoing: BytesMut::new(), server })
    }

    /// The next message. Can be cancelled: what has arrived stays.
    pub(super) async fn receive(&mut self) -> Result<ServerMessage> {
        loop {
            self.flush().await?;
            if let Some(message) = self.framer.next_message().map_err(|error| self.unexpected(error))? {
                return Ok(message);
            }
            self.framer.buffer().reserve(READ_BYTES);
            let read = self.inner.read_buf(self.framer.buffer()).await;
            match read {
                Ok(0) => return Err(self.lost("the server closed the connection")),
                Ok(_) => {}
                Err(error) => return Err(self.lost("the connection broke").with_source(error)),
            }
        }
    }

    /// Where messages to be sent are added; they go with [`Socket::flush`], or with the next [`Socket::receive`].
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Sends what is there. Can be cancelled: the rest goes later.
    pub(super) async fn flush(&mut self) -> Result<()> {
        while self.outgoing.has_remaining() {
            let written = self.inner.write_buf(&mut self.outgoing).await;
            if let Err(error) = written {
                return Err(self.lost("the connection broke").with_source(error));
            }
        }
        let flushed = self.inner.flush().await;
        flushed.map_err(|error| self.lost("the connection broke").with_source(error))
    }

    /// Who is at the other end, for errors.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    fn lost(&self, why: &str) -> Error {
        Error::new(ErrorKind::Lost, format!("replicate from {}", self.server), why)
    }

    fn unexpected(&self, error: CodecError) -> Error {
        Error::new(ErrorKind::Protocol, format!("replicate from {}", self.server), "unexpected answer")
            .with_source(error)
    }
}

/// Best effort: a connection without these works too, and notices a dead peer later.
fn keep_alive(tcp: &TcpStream, target: &Target) {
    use rustix::net::sockopt;
    let config = target.config();
    let _ = tcp.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        let _ = sockopt::set_tcp_keepintvl(tcp, interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        let _ = sockopt::set_tcp_keepcnt(tcp, retries);
    }
}

async fn encrypt(target: &Target, mut tcp: TcpStream, name: String) -> Result<Box<dyn Duplex>> {
    let mode = target.config().get_ssl_mode();
    let failed = |why: &str| Error::new(ErrorKind::Tls, format!("connect to {target}"), why);
    if mode == SslMode::Disable {
        return Ok(Box::new(tcp));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    let asked = async {
        tcp.write_all(&request).await?;
        tcp.read_u8().await
    };
    match asked.await {
        Ok(b'S') => {
            let name = ServerName::try_from(name)
                .map_err(|error| failed("the host's name is not valid").with_source(error))?;
            let connector = tokio_rustls::TlsConnector::from(target.tls().clone());
            let stream = connector.connect(name, tcp).await;
            Ok(Box::new(stream.map_err(|error| failed("no encrypted connection").with_source(error))?))
        }
        Ok(_) if mode == SslMode::Prefer => Ok(Box::new(tcp)),
        Ok(_) => {
            Err(failed("the server doesn't encrypt").with_hint("set ssl = on in postgresql.conf, or sslmode=prefer"))
        }
        Err(error) => {
            let error =
                Error::new(ErrorKind::Lost, format!("connect to {target}"), "the connection broke").with_source(error);
            Err(error)
        }
    }
}
