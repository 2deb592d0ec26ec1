//! One connection of a client, from its first moment to its last.
//!
//! It is held while there is nowhere to go, connected through when there is, and cut off when its epoch is over. Its first
//! packet is looked into, and nothing after that: to say it to another server when the first one dies without a word, to refuse it in words that it
//! understands, and on the port for reading, where a request to cancel goes to every server.

use super::opening::{First, first_words};
use super::pipe::{End, carry};
use super::refuse::refuse;
use super::standing::{Load, Place, Server, Verdict, candidates, verdict};
use super::startup::{HEAD_BYTES, Opening, Refusal};
use super::statistics::{Counters, Gauge, count};
use super::{ProxySettings, Role, socket};
use crate::routing::RouteTable;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A server that refuses, or doesn't answer, is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// All held connections together try a primary that can't be reached about so often.
const KNOCK_PAUSE: Duration = Duration::from_millis(100);
/// PostgreSQL gives a client a minute for its first words; they come at once, or from nobody.
const FIRST_WORDS_TIME_MAX: Duration = Duration::from_secs(10);
/// Servers that a cancel request is passed to.
const CANCELS_MAX: usize = 16;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: ProxySettings,
    pub counters: Arc<Counters>,
    pub load: Load,
    pub holds: Semaphore,
    pub failure: Failure,
    /// Never goes back. Tells of a change only when somebody is sent elsewhere.
    pub routes: watch::Receiver<RouteTable>,
}

/// The last attempt to reach a primary that came to nothing. Thousands that are held would otherwise all knock at a server that is just starting.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<(Server, String, Instant)>>);

impl Failure {
    /// Why it isn't worth trying, if that was found out just now. Whoever gets no reason here tries for all.
    fn recent(&self, server: &Server) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, why, at) = last.as_mut().filter(|(who, _, _)| who == server)?;
        if at.elapsed() < KNOCK_PAUSE {
            return Some(why.clone());
        }
        *at = Instant::now();
        None
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, server: Server, why: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((server, why.to_owned(), Instant::now()));
    }
}

/// Where a held connection got to.
enum Found<'a> {
    Connected {
        stream: TcpStream,
        server: Server,
        place: Option<Place<'a>>,
    },
    Refused(Refusal),
    /// The client didn't wait.
    Left,
}

/// Serves a client until its end.
pub(super) async fn serve(shared: Arc<Shared>, mut client: TcpStream, role: Role) {
    if socket::prepare(&client, &shared.settings).is_err() {
        return; // it is gone already
    }
    let mut opening = Vec::new();
    if role == Role::ReadOnly {
        let mut first = [0; HEAD_BYTES];
        if !matches!(timeout(FIRST_WORDS_TIME_MAX, client.read_exact(&mut first)).await, Ok(Ok(_))) {
            return;
        }
        if let Opening::Cancel { rest } = Opening::of(first) {
            return cancel_everywhere(&shared, client, first, rest).await;
        }
        opening = first.to_vec();
    }
    let until = Instant::now() + shared.settings.hold;
    loop {
        match find(&shared, &client, role, until).await {
            Found::Left => return count(&shared.counters.left),
            Found::Refused(refusal) => {
                count(&shared.counters.refused);
                return refuse(client, &opening, &refusal).await;
            }
            Found::Connected { mut stream, server, place } => {
                let open = if role == Role::Primary { &shared.counters.open } else { &shared.counters.open_read_only };
                let _open = Gauge::up(open);
                let mut stop = std::pin::pin!(until_over(shared.routes.clone(), &server, shared.settings.drain));
                let first = tokio::select! {
                    // First: who is replaced mustn't be said one byte more.
                    biased;
                    () = &mut stop => First::Replaced,
                    first = first_words(&mut client, &mut opening, &mut stream) => first,
                };
                match first {
                    First::Left => return socket::end_with_reset(&client),
                    First::Answers => return pass(&shared, (client, stream), std::mem::take(&mut opening), stop).await,
                    First::Replaced => continue,
                    First::Nothing => {}
                }
                count(&shared.counters.unreachable);
                let why = format!("{} ended the connection without a word", server.endpoint.name);
                // Another standby is next; of a primary, one of all who wait asks again.
                match place {
                    Some(place) => place.unreachable(),
                    None => shared.failure.note(server.clone(), &why),
                }
                if Instant::now() >= until {
                    count(&shared.counters.refused);
                    let waited = format!("The connection was held for {:?}.", shared.settings.hold);
                    return refuse(client, &opening, &Refusal::not_now(why, waited)).await;
                }
            }
        }
        let mut routes = shared.routes.clone();
        routes.mark_unchanged();
        tokio::select! {
            _ = routes.changed() => {}
            () = sleep_until((Instant::now() + RETRY_PAUSE).min(until)) => {}
        }
    }
}

/// The session itself. Its first packet, `said`, is at the server already.
async fn pass(
    shared: &Shared,
    (client, server): (TcpStream, TcpStream),
    said: Vec<u8>,
    stop: impl Future<Output = ()>,
) {
    let Counters { served, killed, received_bytes, sent_bytes, .. } = &*shared.counters;
    count(served);
    received_bytes.fetch_add(said.len() as u64, Ordering::Relaxed);
    drop(said);
    if carry(client, server, received_bytes, sent_bytes, stop).await == End::Stopped {
        count(killed);
    }
}

/// Looks for a server, for as long as a connection may be held.
async fn find<'a>(shared: &'a Shared, client: &TcpStream, role: Role, until: Instant) -> Found<'a> {
    let mut routes = shared.routes.clone();
    let mut held = None;
    loop {
        routes.mark_unchanged();
        let why = match attempt(shared, role).await {
            Ok((stream, server, place)) => return Found::Connected { stream, server, place },
            Err(why) => why,
        };
        if held.is_none() {
            let Ok(permit) = shared.holds.try_acquire() else {
                let most = shared.settings.held_max;
                return Found::Refused(Refusal::not_now(why, format!("{most} connections wait already.")));
            };
            held = Some((permit, Gauge::up(&shared.counters.held)));
        }
        if Instant::now() >= until {
            let waited = format!("The connection was held for {:?}.", shared.settings.hold);
            return Found::Refused(Refusal::not_now(why, waited));
        }
        tokio::select! {
            _ = routes.changed() => {}
            () = sleep_until((Instant::now() + RETRY_PAUSE).min(until)) => {}
        }
        if has_left(client).await {
            return Found::Left;
        }
    }
}

/// Tries whoever may serve, by the newest table; or says why nobody does.
async fn attempt(shared: &Shared, role: Role) -> Result<(TcpStream, Server, Option<Place<'_>>), String> {
    let table = shared.routes.borrow().clone();
    let mut who = candidates(&table, role, &shared.settings);
    let mut why = match (role, &who.primary, who.standbys.is_empty()) {
        (Role::ReadOnly, None, true) => format!("no standby of {} is near enough to serve reads now", table.cluster),
        _ => format!("{} has no primary at present (epoch {})", table.cluster, table.epoch),
    };
    while let Some((server, place)) = shared.load.least(&mut who.standbys) {
        match connect(shared, &server).await {
            Ok(stream) => return Ok((stream, server, Some(place))),
            Err(error) => {
                why = error;
                place.unreachable();
            }
        }
    }
    if let Some(server) = who.primary {
        if let Some(why) = shared.failure.recent(&server) {
            return Err(why);
        }
        match connect(shared, &server).await {
            Ok(stream) => {
                shared.failure.forget();
                return Ok((stream, server, None));
            }
            Err(error) => {
                shared.failure.note(server, &error);
                why = error;
            }
        }
    }
    Err(why)
}

/// Connects, unless the server's time is over before that is done.
async fn connect(shared: &Shared, server: &Server) -> Result<TcpStream, String> {
    let (endpoint, limit) = (&server.endpoint, shared.settings.connect_time_max);
    let unreachable = |why: String| {
        count(&shared.counters.unreachable);
        let what = if server.is_primary { "primary" } else { "standby" };
        format!("the {what} {} can't be reached: {why}", endpoint.name)
    };
    let mut routes = shared.routes.clone();
    let connecting = timeout(limit, TcpStream::connect((endpoint.host.as_str(), endpoint.port)));
    let stream = tokio::select! {
        connected = connecting => match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no answer within {limit:?}"))),
        },
        _ = routes.wait_for(|table| verdict(table, server) != Verdict::Stays) => {
            return Err(unreachable("it has just been replaced".into()));
        }
    };
    // Between the look at the table and now it may have been replaced.
    if verdict(&routes.borrow(), server) != Verdict::Stays {
        return Err(unreachable("it has just been replaced".into()));
    }
    socket::prepare(&stream, &shared.settings).map_err(|error| unreachable(error.to_string()))?;
    Ok(stream)
}

/// Whether the client has closed its side, whatever it sent before.
async fn has_left(client: &TcpStream) -> bool {
    match timeout(Duration::ZERO, client.ready(Interest::READABLE | Interest::ERROR)).await {
        Ok(Ok(ready)) => ready.is_read_closed() || ready.is_error(),
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

/// Until the session with `server` has to end.
async fn until_over(mut routes: watch::Receiver<RouteTable>, server: &Server, drain: Duration) {
    let mut deadline = None;
    loop {
        let verdict = verdict(&routes.borrow_and_update(), server);
        match verdict {
            Verdict::Stays => deadline = None,
            Verdict::Drains => deadline = deadline.or(Some(Instant::now() + drain)),
            Verdict::Ends => return,
        }
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = routes.changed() => if changed.is_err() { return },
            () = over => return,
        }
    }
}

/// A key tells nobody which server it is of, and servers pass over keys that aren't theirs.
async fn cancel_everywhere(shared: &Shared, mut client: TcpStream, head: [u8; HEAD_BYTES], rest: usize) {
    let mut packet = head.to_vec();
    packet.resize(HEAD_BYTES + rest, 0);
    if !matches!(timeout(FIRST_WORDS_TIME_MAX, client.read_exact(&mut packet[HEAD_BYTES..])).await, Ok(Ok(_))) {
        return;
    }
    let RouteTable { primary, standbys, .. } = shared.routes.borrow().clone();
    for endpoint in standbys.into_iter().map(|standby| standby.endpoint).chain(primary).take(CANCELS_MAX) {
        let passed = timeout(shared.settings.connect_time_max, async {
            let mut server = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            server.write_all(&packet).await?;
            // It answers nothing, and closes when the signal is sent.
            server.read(&mut [0; 1]).await
        });
        if !matches!(passed.await, Ok(Ok(_))) {
            count(&shared.counters.unreachable);
        }
    }
}
