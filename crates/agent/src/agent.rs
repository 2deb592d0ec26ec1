//! The loop: what happens goes into the member, and what it decides is carried out.

mod ease;
mod notice;
mod table;

use crate::api::{self, Incoming, Shown, Status};
use crate::clock;
use crate::concerns::Concerns;
use crate::database::{Keeper, Order, Wish, spawn};
use crate::dead_man::DeadMan;
use crate::journal::{Entry, Journal};
use crate::lease::{LeaseStore, StoreError, Swapped, decode, encode};
use crate::outward::{Following, Outward};
use crate::peers::{Peers, TlsError};
use crate::promise_file::{PromiseError, PromiseFile};
use crate::routing::{RouteTable, StandbyEndpoint};
use crate::settings::{AgentSettings, InvalidSettings};
use lifeboat_failover::{
    Action, Durable, Event, Lease, LeaseAnswer, LeaseOperation, Member, MemberName, Message, Moment, Note, Report,
    Route, StateKind, Unanswered, Wanted,
};
use lifeboat_postgres::SystemId;
use notice::Missed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

/// Status and routes are shown anew so often, also when nothing happens.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Why an agent can't begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error(transparent)]
    Promise(#[from] PromiseError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Serve(#[from] api::ServeError),
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    ForeignData(ForeignData),
    /// What isn't durable can't be promised: this member is out until it is started again.
    #[error("a promise couldn't be written down")]
    NotDurable(#[source] std::io::Error),
}

/// A data directory that is no copy of what the cluster holds: freshly made, or somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cluster {cluster} holds the data of system identifier {theirs}, and the server here has {ours}: it is no copy of it"
)]
pub struct ForeignData {
    pub cluster: String,
    pub theirs: String,
    pub ours: String,
}

/// A member at work.
pub struct Agent {
    settings: AgentSettings,
    member: Member,
    store: Arc<dyn LeaseStore>,
    keeper: Option<Keeper>,
    reports: mpsc::UnboundedReceiver<Report>,
    sentences: mpsc::UnboundedReceiver<String>,
    dead_man: Option<DeadMan>,
    peers: Peers,
    journal: Journal,
    told: mpsc::UnboundedSender<Entry>,
    events: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    incoming: mpsc::UnboundedReceiver<Incoming>,
    remember: mpsc::UnboundedSender<(u64, Durable)>,
    remembered: mpsc::UnboundedReceiver<Result<u64, std::io::Error>>,
    answers: BTreeMap<u64, oneshot::Sender<Result<String, String>>>,
    commands: u64,
    route: Option<Route>,
    missed: Option<Missed>,
    /// Who was told as a standby last: they are there as well while our own server hangs.
    standbys: Vec<StandbyEndpoint>,
    /// Whose clock was told to differ.
    clocks: BTreeSet<MemberName>,
    status: watch::Sender<Option<(Moment, Status)>>,
    routes: watch::Sender<RouteTable>,
    following: Following,
    concerns: Concerns,
    server: tokio::task::JoinHandle<Result<(), api::ServeError>>,
    database_runs_as_primary: bool,
}

impl Agent {
    /// Takes hold of the data directory's promises, tries out the lease store, and listens. `told` gets every line of the journal.
    ///
    /// # Errors
    /// Before anything is changed: see [`AgentError`].
    pub async fn start(
        settings: AgentSettings,
        store: Arc<dyn LeaseStore>,
        outward: Outward,
        told: mpsc::UnboundedSender<Entry>,
    ) -> Result<Self, AgentError> {
        settings.check()?;
        let name = settings.failover.name.clone();
        let data = settings.database.as_ref().map(|database| PromiseFile::hold(&database.data_dir)).transpose()?;
        let (promises, durable) =
            PromiseFile::open(&settings.state_dir, &settings.failover.cluster, &name, settings.system_id)?;
        let system = |what: String| move |source| AgentError::System { what, source };
        let journal = Journal::open(&settings.state_dir, name.as_str()).map_err(system("open the journal".into()))?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.map_err(system(format!("listen on {}", settings.listen)))?;
        try_out(&*store).await?;
        same_data(&*store, settings.system_id).await?;
        let dead_man = dead_man(&settings).map_err(system("start the process that ends the database".into()))?;
        let events = mpsc::unbounded_channel();
        let peers = Peers::new(&settings, events.0.clone())?;
        let (remember, to_remember) = mpsc::unbounded_channel();
        let (said, remembered) = mpsc::unbounded_channel();
        let promises = Arc::new(promises);
        // It holds the file until we are gone.
        tokio::spawn(write_down((promises, data.flatten()), to_remember, said));
        let Serving { incoming, status, routes, task: server } = serving(&settings, listener);
        let member = Member::new(settings.failover.clone(), durable, incarnation(), clock::now());
        let (keeper, reports, sentences) = match settings.database.clone().map(spawn) {
            Some((keeper, reports, sentences)) => (Some(keeper), reports, sentences),
            // A witness hears nothing of a database.
            None => (None, mpsc::unbounded_channel().1, mpsc::unbounded_channel().1),
        };
        Ok(Self {
            settings,
            member,
            store,
            keeper,
            reports,
            sentences,
            dead_man,
            peers,
            journal,
            told,
            events,
            incoming,
            remember,
            remembered,
            answers: BTreeMap::new(),
            commands: 0,
            route: None,
            missed: None,
            standbys: Vec::new(),
            clocks: BTreeSet::new(),
            status,
            concerns: Concerns::default(),
            following: Following::start(outward, &routes.subscribe()),
            routes,
            server,
            database_runs_as_primary: false,
        })
    }

    /// Goes on until `end` comes, or a promise can't be kept. A database that runs goes on running; the dead man's handle stays armed.
    ///
    /// # Errors
    /// [`AgentError::NotDurable`].
    pub async fn run(mut self, mut end: oneshot::Receiver<()>) -> Result<(), AgentError> {
        let mut show_at = tokio::time::Instant::now();
        loop {
            let now = clock::now();
            let wait = (self.member.wake_at() - now).max(Duration::from_millis(1));
            let event = tokio::select! {
                _ = &mut end => return Ok(()),
                Some(event) = self.events.1.recv() => event,
                Some(report) = self.reports.recv() => self.seen(report),
                Some(text) = self.sentences.recv() => {
                    self.tell("database", text);
                    continue;
                }
                Some(incoming) = self.incoming.recv() => match self.take(incoming) {
                    Some(event) => event,
                    None => continue,
                },
                Some(written) = self.remembered.recv() => match written {
                    Ok(number) => Event::Remembered { number },
                    Err(error) => return Err(AgentError::NotDurable(error)),
                },
                ended = &mut self.server => {
                    return match ended {
                        Ok(Err(error)) => Err(error.into()),
                        _ => Ok(()),
                    };
                }
                () = tokio::time::sleep(wait) => Event::Tick,
                () = tokio::time::sleep_until(show_at) => Event::Tick,
            };
            let now = clock::now();
            let before = self.member.state();
            let actions = self.member.step(now, event);
            for action in actions {
                self.carry_out(action);
            }
            self.tell_lineage();
            if self.member.state() != before || tokio::time::Instant::now() >= show_at {
                self.show();
                show_at = tokio::time::Instant::now() + SHOW_EVERY;
            }
        }
    }

    fn seen(&mut self, report: Report) -> Event {
        self.database_runs_as_primary = report.is_primary();
        Event::Database(report)
    }

    /// `None`: it isn't the member's to decide.
    fn take(&mut self, incoming: Incoming) -> Option<Event> {
        match incoming {
            Incoming::Rejoin { anew, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.rejoin(anew));
                None
            }
            Incoming::Message { from, message, clock_seconds } => {
                self.compare_clocks(&from, clock_seconds);
                if let (Message::Pulse(pulse), Some(keeper)) = (&message, &self.keeper)
                    && pulse.standby
                {
                    let offset = pulse.position.offset;
                    keeper.positions.send_if_modified(|known| known.insert(from.clone(), offset) != Some(offset));
                }
                Some(Event::Message { from, message })
            }
            Incoming::Command { command, answer } => {
                self.commands += 1;
                self.answers.insert(self.commands, answer);
                self.take_command(command)
            }
        }
    }

    /// A member that doesn't follow is made to, as far as that can be done.
    fn rejoin(&mut self, anew: bool) -> Result<String, String> {
        let name = &self.settings.failover.name;
        let Some(keeper) = &self.keeper else { return Err(format!("{name} is a witness: it has no server")) };
        if self.member.durable().maintained {
            return Err(format!("{name} is in maintenance: end that first"));
        }
        if !matches!(self.member.state(), StateKind::Standby | StateKind::Promised) {
            return Err(format!("{name} is {} now: only a standby rejoins", self.member.state()));
        }
        let holder = self.member.lease().map(|lease| lease.holder.clone()).filter(|holder| holder != name);
        let Some(holder) = holder else { return Err("there is no primary that it could follow".into()) };
        keeper.wishes.send_replace(Wish { anew });
        Ok(match anew {
            true => format!("{name} is made anew from {holder}"),
            false => format!("{name} tries again to follow {holder}"),
        })
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Lease { request, operation } => {
                let ours = self.settings.system_id;
                tokio::spawn(use_store((self.store.clone(), ours), request, operation, self.events.0.clone()));
            }
            Action::Remember { number, durable } => {
                // The task ends only with us.
                let _ = self.remember.send((number, durable));
            }
            Action::Send { to, message } => self.peers.send(to, message),
            Action::Want { order, wanted } => self.want(order, wanted),
            Action::Deadline(deadline) => self.arm(deadline),
            Action::Route(route) => {
                self.journal_line(
                    "route",
                    route
                        .primary
                        .as_ref()
                        .map_or_else(|| "new connections are held".to_owned(), |name| format!("writes go to {name}")),
                    Some(route.epoch),
                );
                self.tell_takeover(&route);
                self.route = Some(route);
                self.show();
            }
            Action::Note(note) => {
                if let Note::Suspected { primary, epoch } = &note {
                    self.missed = Some(Missed { primary: primary.clone(), epoch: *epoch, at: clock::now() });
                }
                let entry = self.journal.note(&note);
                let _ = self.told.send(entry);
            }
            Action::Answer { number, answer } => {
                if let Some(waiting) = self.answers.remove(&number) {
                    // Who asks for the status next must see what was done.
                    self.show();
                    // Whoever asked may have gone.
                    let _ = waiting.send(answer);
                }
            }
        }
    }

    fn want(&mut self, order: u64, wanted: Wanted) {
        // A standby runs without a lease; but one that is a primary still is ended by the old deadline.
        if matches!(wanted, Wanted::Standby { .. }) && !self.database_runs_as_primary {
            self.arm(None);
        }
        if let Some(keeper) = &self.keeper {
            keeper.orders.send_replace(Some(Order { number: order, wanted, lineage: None, left_alone: false }));
        }
        self.tell_lineage();
    }

    /// Of the one that is followed; it changes when that one is promoted again. And whether somebody works here.
    fn tell_lineage(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        let (lease, left_alone) = (self.member.lease(), self.member.durable().maintained);
        keeper.orders.send_if_modified(|order| {
            let Some(order) = order else { return false };
            let changed = std::mem::replace(&mut order.left_alone, left_alone) != left_alone;
            let Wanted::Standby { follow: Some(follow) } = &order.wanted else { return changed };
            let lineage = lease.filter(|lease| lease.holder == *follow).and_then(|lease| lease.history.last());
            let news = order.lineage != lineage;
            order.lineage = lineage;
            news || changed
        });
    }

    fn arm(&mut self, deadline: Option<Moment>) {
        let Some(dead_man) = &mut self.dead_man else { return };
        let armed = dead_man.arm(deadline);
        if let Err(error) = armed {
            self.tell("dead man", format!("the deadline can't be written: {error}"));
        }
    }

    fn tell(&mut self, what: &'static str, text: String) {
        self.journal_line(what, text, None);
    }

    fn journal_line(&mut self, what: &'static str, text: String, epoch: Option<lifeboat_failover::Epoch>) {
        let entry = self.journal.write(what, epoch, text);
        // Nobody has to listen.
        let _ = self.told.send(entry);
    }

    fn show(&mut self) {
        let now = clock::now();
        let summary = self.member.summary(now);
        let seen = self.keeper.as_ref().and_then(|keeper| keeper.view.borrow().clone());
        let status = api::view(&self.settings, &summary, seen.as_ref());
        let table = self.table(&status, seen.as_ref(), summary.state);
        for concern in self.concerns.look(now.0, &status) {
            self.tell(concern.what, concern.text);
        }
        self.status.send_replace(Some((now, status)));
        self.routes.send_if_modified(|before| {
            let same = RouteTable { version: before.version, ..table.clone() } == *before;
            if !same {
                *before = RouteTable { version: before.version + 1, ..table };
            }
            !same
        });
        for news in self.following.news() {
            self.journal_line(news.what, news.text, news.epoch);
        }
        if self.dead_man.as_mut().is_some_and(|dead_man| !dead_man.is_there()) {
            self.replace_dead_man();
        }
    }

    /// The deadline stands in the file: the next one goes by it at once.
    fn replace_dead_man(&mut self) {
        match dead_man(&self.settings) {
            Ok(next) => {
                self.dead_man = next;
                self.tell("dead man", "the process that ends the database was gone, and is started again".to_owned());
            }
            Err(error) => tracing::warn!(%error, "the process that ends the database is gone, and can't be started"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(keeper) = &self.keeper {
            keeper.task.abort();
        }
    }
}

/// The server at work, and our ends of it.
struct Serving {
    incoming: mpsc::UnboundedReceiver<Incoming>,
    status: watch::Sender<Option<(Moment, Status)>>,
    routes: watch::Sender<RouteTable>,
    task: tokio::task::JoinHandle<Result<(), api::ServeError>>,
}

fn serving(settings: &AgentSettings, listener: TcpListener) -> Serving {
    let name = &settings.failover.name;
    let (taken, incoming) = mpsc::unbounded_channel();
    let (status, show_status) = watch::channel(None);
    // Who asks for what is newer than a table of our former life must not wait for it.
    let nowhere = RouteTable::nowhere(&settings.failover.cluster, name.clone());
    let (routes, show_routes) = watch::channel(RouteTable { version: incarnation() >> 16, ..nowhere });
    let shown = Shown {
        cluster: settings.failover.cluster.clone(),
        name: name.clone(),
        members: settings.places.keys().cloned().collect(),
        system_id: settings.system_id.map(|id| id.to_string()),
        token: settings.token.clone(),
        status: show_status,
        routes: show_routes,
        incoming: taken,
    };
    let tls = settings.tls.clone();
    let task = tokio::spawn(async move { api::serve(listener, tls.as_ref(), shown).await });
    Serving { incoming, status, routes, task }
}

fn dead_man(settings: &AgentSettings) -> std::io::Result<Option<DeadMan>> {
    let start = |database: &crate::database::DatabaseSettings| {
        DeadMan::start(
            settings.dead_man.as_deref(),
            &settings.state_dir,
            &database.data_dir,
            settings.watchdog.as_deref(),
        )
    };
    settings.database.as_ref().map(start).transpose()
}

/// A run of an agent has a number that no other has.
fn incarnation() -> u64 {
    let mut bytes = [0; 8];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    // A kernel without randomness: the clock differs too.
    if drawn.is_err() {
        bytes = clock::now().0.as_nanos().to_le_bytes()[..8].try_into().unwrap_or_default();
    }
    u64::from_le_bytes(bytes)
}

/// A store that takes what it must refuse is refused; one that is away may come back.
async fn try_out(store: &dyn LeaseStore) -> Result<(), AgentError> {
    match store.probe().await {
        Err(error @ (StoreError::Unsafe { .. } | StoreError::Refused { .. })) => Err(error.into()),
        Err(error @ StoreError::Unavailable { .. }) => {
            tracing::warn!(%error, "the lease store couldn't be tried out");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Holds the promises' file, and what keeps others from the data, until we are gone.
async fn write_down(
    (promises, _data): (Arc<PromiseFile>, Option<std::fs::File>),
    mut work: mpsc::UnboundedReceiver<(u64, Durable)>,
    said: mpsc::UnboundedSender<Result<u64, std::io::Error>>,
) {
    while let Some((number, durable)) = work.recv().await {
        let promises = promises.clone();
        let written = tokio::task::spawn_blocking(move || promises.write(&durable)).await;
        let written = written.unwrap_or_else(|_| Err(std::io::Error::other("broken off"))).map(|()| number);
        if said.send(written).is_err() {
            return;
        }
    }
}

/// A lease that is about other data than ours: what our server has must not take its place, and has no say in it.
fn foreign(lease: &Lease, ours: Option<SystemId>) -> Option<ForeignData> {
    let (theirs, ours) = (lease.system_id.as_ref()?, ours?.to_string());
    let differs = *theirs != ours;
    differs.then(|| ForeignData { cluster: lease.cluster.clone(), theirs: theirs.clone(), ours })
}

/// Said at once, before anything is started. A store that is away is looked at again with every look at the lease.
async fn same_data(store: &dyn LeaseStore, ours: Option<SystemId>) -> Result<(), AgentError> {
    let Ok(Some((content, _))) = store.read().await else { return Ok(()) };
    match decode(&content).ok().and_then(|lease| foreign(&lease, ours)) {
        Some(why) => Err(AgentError::ForeignData(why)),
        None => Ok(()),
    }
}

async fn use_store(
    (store, ours): (Arc<dyn LeaseStore>, Option<SystemId>),
    request: u64,
    operation: LeaseOperation,
    events: mpsc::UnboundedSender<Event>,
) {
    let answer = match operation {
        LeaseOperation::Read => match store.read().await {
            Ok(None) => LeaseAnswer::Read(None),
            Ok(Some((content, version))) => match decode(&content) {
                Ok(lease) => match foreign(&lease, ours) {
                    Some(why) => {
                        tracing::warn!(%why, store = store.address(), "not our lease");
                        LeaseAnswer::Unknown(Unanswered::NotOurs)
                    }
                    None => LeaseAnswer::Read(Some((Box::new(lease), version))),
                },
                Err(error) => {
                    tracing::warn!(%error, store = store.address(), "no lease");
                    LeaseAnswer::Unknown(Unanswered::NotOurs)
                }
            },
            Err(error) => {
                tracing::debug!(%error, "the lease can't be read");
                LeaseAnswer::Unknown(Unanswered::Unavailable)
            }
        },
        LeaseOperation::Swap { expected, mut lease } => {
            lease.system_id = lease.system_id.or_else(|| ours.map(|id| id.to_string()));
            match store.swap(expected.as_ref(), encode(&lease).into()).await {
                Swapped::Applied(version) => LeaseAnswer::Swapped(version),
                Swapped::Lost => LeaseAnswer::Lost,
                Swapped::Unknown(why) => {
                    tracing::debug!(%why, "nobody knows whether the lease was written");
                    LeaseAnswer::Unknown(Unanswered::Unavailable)
                }
            }
        }
    };
    // Nobody waits for it when the agent has ended.
    let _ = events.send(Event::Lease { request, answer });
}
