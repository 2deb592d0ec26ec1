//! A TCP proxy that follows the epoch: clients always reach the primary of the newest one, and nobody stays with an older.
//!
//! Promise: as soon as the table has a new epoch, every connection of an older one is reset, whatever its two ends are doing; and no connection
//! is made to a primary of an older one. While there is no primary, new connections are held, and then refused in words.
//!
//! A request to cancel a statement is a connection of its own. On the port of the primary it goes to the primary, where every session of that port is; on
//! the port for reading to every server, unless it is encrypted (then to any).
//!
//! Not here: pools, passwords, encryption. Bytes go through as they are.

mod opening;
mod pipe;
mod refuse;
mod session;
mod socket;
mod standing;
mod startup;
mod statistics;

pub use startup::{HEAD_BYTES, Opening, Refusal, STARTUP_BYTES_MAX};
pub use statistics::Statistics;

use crate::routing::RouteTable;
use session::{Failure, Shared, serve};
use standing::{Load, same_places};
use statistics::{Counters, count};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Clients that are being told that there are too many. Those beyond are cut off without a word.
const REFUSING_MAX: usize = 64;
/// When the system has no file descriptors left, it may have some after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    ReadOnly,
}

/// Where to listen, and how long and how much.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// For the primary. Exactly this address is bound, nothing wider.
    pub primary: Option<SocketAddr>,
    /// For standbys.
    pub read_only: Option<SocketAddr>,
    /// On both ports together. Each takes two file descriptors.
    pub connections_max: usize,
    /// How long a connection waits for somewhere to go.
    pub hold: Duration,
    /// How many may wait.
    pub held_max: usize,
    /// How long sessions may go on when the primary takes nobody any more and no other has followed. A database that stops in good order ends them sooner.
    pub drain: Duration,
    /// How long one attempt to reach a database may take.
    pub connect_time_max: Duration,
    /// A peer that answers no keepalive for about so long is gone. At least 7 s.
    pub silence_max: Duration,
    /// A peer to which bytes are on their way, and that takes none for so long, is cut off: also one that is well and doesn't read.
    pub stall_max: Option<Duration>,
    /// A standby that is further behind gets no new connections.
    pub lag_bytes_max: Option<u64>,
    /// The same, in time.
    pub lag_max: Option<Duration>,
    /// When no standby is near enough, the primary serves the port for reading.
    pub primary_serves_reads: bool,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            primary: None,
            read_only: None,
            // With the usual limit of 1024 file descriptors even fewer; the service's own limit should be 65536.
            connections_max: 10_000,
            // A takeover between regions ends in that time.
            hold: Duration::from_secs(30),
            held_max: 2_000,
            drain: Duration::from_secs(30),
            connect_time_max: Duration::from_secs(1),
            silence_max: Duration::from_secs(15),
            stall_max: None,
            // One segment of the log.
            lag_bytes_max: Some(16 << 20),
            lag_max: Some(Duration::from_secs(10)),
            primary_serves_reads: true,
        }
    }
}

/// Why the proxy can't begin.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("there is no address to listen on")]
    NoAddress,
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// A proxy that listens. Nobody is served before [`Proxy::run`].
#[derive(Debug)]
pub struct Proxy {
    settings: ProxySettings,
    primary: Option<TcpListener>,
    read_only: Option<TcpListener>,
    counters: Arc<Counters>,
}

/// Reads the numbers of a proxy while it runs.
#[derive(Debug, Clone)]
pub struct StatisticsReader(Arc<Counters>);

impl StatisticsReader {
    /// Those of this moment.
    pub fn read(&self) -> Statistics {
        self.0.read()
    }
}

impl Proxy {
    /// Binds the addresses.
    ///
    /// # Errors
    /// When there is none, or one is taken.
    pub async fn bind(settings: ProxySettings) -> Result<Self, ProxyError> {
        if settings.primary.is_none() && settings.read_only.is_none() {
            return Err(ProxyError::NoAddress);
        }
        let (primary, read_only) = (listen(settings.primary).await?, listen(settings.read_only).await?);
        Ok(Self { settings, primary, read_only, counters: Arc::default() })
    }

    /// Where the port of the primary really is: port nought means any.
    pub fn primary_address(&self) -> Option<SocketAddr> {
        self.primary.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The same, of the port for reading.
    pub fn read_only_address(&self) -> Option<SocketAddr> {
        self.read_only.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// For metrics, for as long as it runs and after.
    pub fn statistics(&self) -> StatisticsReader {
        StatisticsReader(self.counters.clone())
    }

    /// Serves for ever. When this is dropped every connection ends. If `routes` has no sender any more, its last table holds.
    pub async fn run(self, mut routes: watch::Receiver<RouteTable>) {
        let Self { settings, primary, read_only, counters } = self;
        let (newest, followed) = watch::channel(routes.borrow_and_update().clone());
        let shared = Arc::new(Shared {
            counters,
            load: Load::default(),
            holds: Semaphore::new(settings.held_max),
            failure: Failure::default(),
            routes: followed,
            settings,
        });
        let places = Arc::new(Semaphore::new(shared.settings.connections_max));
        let on_primary = accept(primary, Role::Primary, shared.clone(), places.clone());
        let on_read_only = accept(read_only, Role::ReadOnly, shared, places);
        let follow = async {
            while routes.changed().await.is_ok() {
                let now = routes.borrow_and_update().clone();
                newest.send_if_modified(|table| {
                    // Whoever made the table should have seen to this; here it must hold.
                    if now.epoch < table.epoch {
                        return false;
                    }
                    let moves = !same_places(&now, table);
                    *table = now;
                    moves
                });
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(follow, on_primary, on_read_only);
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ProxyError> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|source| ProxyError::Listen { address, source })
}

async fn accept(listener: Option<TcpListener>, role: Role, shared: Arc<Shared>, places: Arc<Semaphore>) {
    let Some(listener) = listener else { return };
    let refusing = Arc::new(Semaphore::new(REFUSING_MAX));
    // Dropped with this, and all sessions with it.
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => begin(&mut sessions, client, role, &shared, &places, &refusing),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

fn begin(
    sessions: &mut JoinSet<()>,
    client: TcpStream,
    role: Role,
    shared: &Arc<Shared>,
    places: &Arc<Semaphore>,
    refusing: &Arc<Semaphore>,
) {
    if let Ok(place) = places.clone().try_acquire_owned() {
        let served = serve(shared.clone(), client, role);
        sessions.spawn(async move {
            served.await;
            drop(place);
        });
        return;
    }
    count(&shared.counters.refused);
    match refusing.clone().try_acquire_owned() {
        Ok(permit) => {
            let most = shared.settings.connections_max;
            let refusal = Refusal::too_many(format!("the proxy has {most} connections already"));
            sessions.spawn(async move {
                refuse::refuse(client, &[], &refusal).await;
                drop(permit);
            });
        }
        Err(_) => socket::end_with_reset(&client),
    }
}
