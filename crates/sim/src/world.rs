//! The world: one queue of happenings, carried out in order.

use crate::checkers::{Checkers, Finding, path};
use crate::database::Run;
use crate::faults::{self, Planned, QUIET_AT};
use crate::mutant::Mutant;
use crate::node::Node;
use crate::random::Random;
use crate::scenario::{Outcome, Scenario, settings};
use crate::store::Store;
use crate::stream::Stream;
use lifeboat_failover::{
    Action, Command, Durable, Epoch, Event, LeaseAnswer, LeaseOperation, Member, MemberName, Message, Note, Route,
    Unanswered,
};
use std::collections::BTreeMap;

/// Within so many microseconds after the last fault there must be a primary that takes writes.
const HEALED_WITHIN: u64 = 60_000_000;
/// And so long nothing may change any more.
const STEADY_FOR: u64 = 15_000_000;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Wake { node: MemberName, life: u64 },
    Deliver { from: MemberName, to: MemberName, message: Message },
    Refused { to: MemberName, by: MemberName },
    LeaseArrives { node: MemberName, life: u64, request: u64, operation: LeaseOperation },
    LeaseReturns { node: MemberName, life: u64, request: u64, answer: LeaseAnswer },
    Remembered { node: MemberName, life: u64, number: u64, durable: Durable },
    Report { node: MemberName, again: bool },
    Apply { node: MemberName, order: u64 },
    Finish { node: MemberName, turn: u64, what: crate::database_work::Work },
    DeadMan { node: MemberName },
    StreamTick { node: MemberName },
    Stream { from: MemberName, to: MemberName, stream: Stream },
    Closed { to: MemberName, connection: u64 },
    Client,
    AgentStarts { node: MemberName },
    Strike(Planned),
    Heal(Planned, MemberName),
    Bootstrap,
    EndMaintenance,
    Resume,
}

/// See the module.
pub(crate) struct World {
    pub scenario: Scenario,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Box<Happening>>,
    sequence: u64,
    pub random: Random,
    pub nodes: BTreeMap<MemberName, Node>,
    pub store: Store,
    /// How many requests to the store are late by seconds.
    pub late_per_thousand: u64,
    /// Who can't be heard by whom.
    pub blocked: Vec<(MemberName, MemberName)>,
    /// For whom the store is away.
    pub store_blocked: Vec<MemberName>,
    pub checkers: Checkers,
    pub routed: Option<MemberName>,
    routed_epoch: Epoch,
    pub next_entry: u64,
    pub last_acknowledged_at: u64,
    trace: u64,
    lines: Vec<String>,
    commands: u64,
    faults: usize,
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let all = settings(scenario, &mut random);
        let drift_bound = 1_000 * i64::from(all[0].timing.drift_per_thousand) / 2;
        // In some worlds the store is a bad one.
        let late_per_thousand = if scenario.calm { 0 } else { [10, 10, 10, 250][random.index(4)] };
        let nodes = all
            .into_iter()
            .map(|settings| {
                let offset = random.between(1_000_000, 1_000_000_000_000);
                let drift = random.between(0, u64::try_from(2 * drift_bound).unwrap_or(1)).cast_signed() - drift_bound;
                let witness = settings.own().witness;
                (settings.name.clone(), Node::new(settings, witness, offset, drift))
            })
            .collect();
        Self {
            scenario,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            random,
            nodes,
            store: Store::default(),
            late_per_thousand,
            blocked: Vec::new(),
            store_blocked: Vec::new(),
            checkers: Checkers::default(),
            routed: None,
            routed_epoch: Epoch::default(),
            next_entry: 0,
            last_acknowledged_at: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            lines: Vec::new(),
            commands: 0,
            faults: 0,
        }
    }

    pub fn run(mut self) -> Outcome {
        let names: Vec<MemberName> = self.nodes.keys().cloned().collect();
        for name in &names {
            let start = self.random.between(0, 500_000);
            self.later(start, Happening::AgentStarts { node: name.clone() });
            self.later(start + 1_000, Happening::StreamTick { node: name.clone() });
            self.later(start + 2_000, Happening::Report { node: name.clone(), again: true });
        }
        self.later(2_500_000, Happening::Bootstrap);
        self.later(3_000_000, Happening::Client);
        let planned = faults::plan(self.scenario, &names, &mut self.random);
        self.faults = planned.len();
        for fault in planned {
            self.later(fault.at, Happening::Strike(fault.clone()));
        }
        self.run_until(QUIET_AT);
        self.heal_everything();
        let mut healed = false;
        while self.now < QUIET_AT + HEALED_WITHIN && !healed {
            let before = self.now;
            self.run_until(before + 500_000);
            healed = self.last_acknowledged_at >= before;
        }
        if healed {
            self.run_until(self.now + 10_000_000);
            let settled = self.store.lease().map_or(0, |lease| lease.epoch.0);
            self.run_until(self.now + STEADY_FOR);
            let epochs = self.store.lease().map_or(0, |lease| lease.epoch.0) - settled;
            if epochs > 0 {
                self.checkers.liveness(Finding::Flapping { epochs });
            }
        } else {
            self.checkers.liveness(Finding::NoPrimary { seconds: HEALED_WITHIN / 1_000_000 });
        }
        self.check_the_end();
        Outcome {
            findings: self.checkers.findings.clone(),
            trace: self.trace,
            acknowledged: self.checkers.acknowledged_writes(),
            epochs: self.checkers.highest_epoch().0,
            faults: self.faults,
            lines: self.lines,
        }
    }

    /// How everybody is left.
    fn tell_the_end(&mut self) {
        let mut told = Vec::new();
        for node in self.nodes.values() {
            let state = node.agent.as_ref().map(|agent| agent.state().to_string());
            let Some(database) = &node.database else { continue };
            told.push(format!(
                "{}: {state:?}, {:?} at {} on {}, follows {:?} ({}), confirmed by {:?}, waits for {:?}",
                node.name(),
                database.run,
                database.log.len(),
                path(&database.history),
                database.follow,
                database.connected,
                database.confirmed,
                database.quorum
            ));
        }
        told.into_iter().for_each(|text| self.line(|| text));
    }

    fn check_the_end(&mut self) {
        self.tell_the_end();
        let primary = self
            .nodes
            .values()
            .filter(|node| node.database.as_ref().is_some_and(|database| database.run == Run::Primary));
        let Some(primary) = primary.max_by_key(|node| node.term) else { return };
        let (name, term) = (primary.name().clone(), primary.term);
        let log = primary.database.as_ref().map(|database| database.log.clone()).unwrap_or_default();
        if self.keeps_everything() {
            self.checkers.has_all(&log, &name, term);
        }
    }

    /// Whether nothing that was acknowledged may be lost here.
    pub fn keeps_everything(&self) -> bool {
        self.nodes.values().all(|node| node.settings.loss_max.is_none()) && !self.scenario.asynchronous
    }

    pub fn later(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), Box::new(happening));
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let happening = entry.remove();
            self.now = self.now.max(at);
            self.happen(*happening);
        }
        self.now = end;
    }

    pub fn line(&mut self, text: impl FnOnce() -> String) {
        if self.scenario.traced {
            self.lines.push(format!("{:>10.3} {}", self.now as f64 / 1e6, text()));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { node, life } => self.wake(&node, life),
            Happening::Deliver { from, to, message } => self.deliver(from, to, message),
            Happening::Refused { to, by } => self.tell(&to, Event::NobodyListens { at: by }),
            Happening::LeaseArrives { node, life, request, operation } => {
                self.lease_arrives(node, life, request, operation);
            }
            Happening::LeaseReturns { node, life, request, answer } => {
                if self.lives(&node, life) {
                    self.tell(&node, Event::Lease { request, answer });
                }
            }
            Happening::Remembered { node, life, number, durable } => {
                if self.lives(&node, life) {
                    if let Some(node) = self.nodes.get_mut(&node) {
                        node.durable = durable;
                    }
                    self.tell(&node, Event::Remembered { number });
                }
            }
            Happening::Report { node, again } => self.report(&node, again),
            Happening::Apply { node, order } => self.apply(&node, order),
            Happening::Finish { node, turn, what } => self.finish(&node, turn, what),
            Happening::DeadMan { node } => self.dead_man(&node),
            Happening::StreamTick { node } => self.stream_tick(&node),
            Happening::Stream { from, to, stream } => self.stream(from, to, stream),
            Happening::Closed { to, connection } => self.closed(&to, connection),
            Happening::Client => self.write(),
            Happening::AgentStarts { node } => self.start_agent(&node),
            Happening::Strike(planned) => self.strike(planned),
            Happening::Heal(planned, whom) => self.heal(&planned, &whom),
            Happening::EndMaintenance => self.end_maintenance(),
            Happening::Bootstrap => self.bootstrap(),
            Happening::Resume => self.resume(),
        }
    }

    fn lives(&self, node: &MemberName, life: u64) -> bool {
        self.nodes.get(node).is_some_and(|node| node.life == life && node.agent.is_some())
    }

    pub fn start_agent(&mut self, name: &MemberName) {
        let incarnation = self.random.next();
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.agent.is_some() || node.down {
            return;
        }
        node.life += 1;
        if let Some(database) = &mut node.database {
            database.order_done = 0;
            database.wanted = None;
        }
        let local = node.local(now);
        node.agent = Some(Member::new(node.settings.clone(), node.durable.clone(), incarnation, local));
        node.wakes_at = None;
        self.line(|| format!("{name}: the agent starts"));
        self.tell(name, Event::Tick);
        self.later(1_000, Happening::Report { node: name.clone(), again: false });
    }

    fn bootstrap(&mut self) {
        let name = MemberName::from("m0");
        if self.store.lease().is_none() {
            self.command(&name, Command::Bootstrap);
            self.later(1_000_000, Happening::Bootstrap);
        }
    }

    /// An operator who paused it wants it back, and asks one member after the other.
    pub fn resume(&mut self) {
        let names: Vec<MemberName> = self.nodes.keys().cloned().collect();
        if self.store.lease().is_some_and(|lease| lease.paused) {
            let name = names[self.random.index(names.len())].clone();
            self.command(&name, Command::Resume);
            self.later(1_000_000, Happening::Resume);
        }
    }

    /// Asks until nobody is in maintenance any more: an agent may be away, or busy.
    pub fn end_maintenance(&mut self) {
        let maintained = |node: &Node| node.agent.as_ref().map_or(&node.durable, Member::durable).maintained;
        let names: Vec<MemberName> =
            self.nodes.iter().filter(|(_, node)| maintained(node)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.command(name, Command::Maintenance { on: false });
        }
        if !names.is_empty() {
            self.later(500_000, Happening::EndMaintenance);
        }
    }

    pub fn command(&mut self, name: &MemberName, command: Command) {
        self.commands += 1;
        let number = self.commands;
        self.line(|| format!("{name}: ordered {command:?}"));
        self.tell(name, Event::Command { number, command });
    }

    fn wake(&mut self, name: &MemberName, life: u64) {
        if !self.lives(name, life) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.wakes_at = None;
        }
        self.tell(name, Event::Tick);
    }

    /// Whether what `from` sends arrives at `to`.
    pub fn reaches(&self, from: &MemberName, to: &MemberName) -> bool {
        let up = |name: &MemberName| self.nodes.get(name).is_some_and(|node| !node.down);
        up(from) && up(to) && !self.blocked.iter().any(|(one, other)| one == from && other == to)
    }

    fn deliver(&mut self, from: MemberName, to: MemberName, message: Message) {
        if !self.reaches(&from, &to) {
            return;
        }
        if self.nodes.get(&to).is_some_and(|node| node.agent.is_some()) {
            return self.tell(&to, Event::Message { from, message });
        }
        if self.reaches(&to, &from) {
            let delay = self.random.delay(400, 5_000);
            self.later(delay, Happening::Refused { to: from, by: to });
        }
    }

    /// Steps a member, unless its agent is paused: then it hears of it later.
    pub fn tell(&mut self, name: &MemberName, event: Event) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.agent_paused_until > now {
            let wait = node.agent_paused_until - now;
            let (name, life) = (name.clone(), node.life);
            // Of what came meanwhile, messages and answers wait in a queue; a tick is needed once.
            match event {
                Event::Message { from, message } => self.later(wait, Happening::Deliver { from, to: name, message }),
                Event::Lease { request, answer } => {
                    self.later(wait, Happening::LeaseReturns { node: name, life, request, answer });
                }
                Event::Remembered { number } => {
                    let durable = node.durable.clone();
                    self.later(wait, Happening::Remembered { node: name, life, number, durable });
                }
                _ => self.later(wait, Happening::Wake { node: name, life }),
            }
            return;
        }
        let local = node.local(now);
        let Some(agent) = &mut node.agent else { return };
        let before = agent.state();
        let actions = agent.step(local, event);
        let (after, wake) = (agent.state(), agent.wake_at());
        let at = node.world(now, wake).max(now + 100);
        let life = node.life;
        if node.wakes_at.is_none_or(|known| at < known) {
            node.wakes_at = Some(at);
            self.later(at - now, Happening::Wake { node: name.clone(), life });
        }
        self.mark(name, actions.len() as u64, after as u64);
        if before != after {
            self.line(|| format!("{name}: {before} → {after}"));
        }
        for action in actions {
            self.perform(name, life, action);
        }
    }

    fn mark(&mut self, name: &MemberName, actions: u64, state: u64) {
        let bytes = name.as_str().bytes().map(u64::from);
        for value in [self.now, actions, state].into_iter().chain(bytes) {
            self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn perform(&mut self, name: &MemberName, life: u64, action: Action) {
        match action {
            Action::Lease { request, operation } => self.ask_store(name, life, request, operation),
            Action::Remember { number, durable } => self.write_down(name, life, number, durable),
            Action::Send { to, message } => self.send(name, to, message),
            Action::Want { order, wanted } => {
                self.line(|| format!("{name}: wants {wanted:?}"));
                self.want(name, order, wanted);
            }
            Action::Deadline(deadline) => {
                let now = self.now;
                let Some(node) = self.nodes.get_mut(name) else { return };
                node.deadline = deadline;
                if let Some(moment) = deadline {
                    let wait = node.world(now, moment) - now;
                    self.later(wait, Happening::DeadMan { node: name.clone() });
                }
            }
            Action::Route(route) => self.route(&route),
            Action::Note(note) => self.noted(name, &note),
            Action::Answer { answer, .. } => self.line(|| format!("{name}: answers {answer:?}")),
        }
    }

    fn noted(&mut self, name: &MemberName, note: &Note) {
        if !matches!(note, Note::Entered { .. }) {
            self.line(|| format!("{name}: {note:?}"));
        }
    }

    fn route(&mut self, route: &Route) {
        self.checkers.route(route);
        if route.epoch >= self.routed_epoch {
            self.routed_epoch = route.epoch;
            self.routed.clone_from(&route.primary);
        }
    }

    fn send(&mut self, from: &MemberName, to: MemberName, mut message: Message) {
        if self.scenario.mutant == Some(Mutant::CandidateBehind)
            && let Message::Granted { position, .. } = &mut message
        {
            position.offset = 0;
        }
        if self.random.chance(5) && !self.scenario.calm {
            return;
        }
        if self.random.chance(5) {
            let delay = self.random.delay(1_000, 300_000);
            self.later(delay, Happening::Deliver { from: from.clone(), to: to.clone(), message: message.clone() });
        }
        let delay = self.random.delay(400, if self.scenario.calm { 5_000 } else { 60_000 });
        self.later(delay, Happening::Deliver { from: from.clone(), to, message });
    }

    fn write_down(&mut self, name: &MemberName, life: u64, number: u64, durable: Durable) {
        let delay = self.random.delay(2_000, 100_000);
        if self.scenario.mutant == Some(Mutant::PromiseForgotten) {
            let old = self.nodes.get(name).map(|node| node.durable.clone()).unwrap_or_default();
            return self.later(1, Happening::Remembered { node: name.clone(), life, number, durable: old });
        }
        self.later(delay, Happening::Remembered { node: name.clone(), life, number, durable });
    }

    fn ask_store(&mut self, name: &MemberName, life: u64, request: u64, mut operation: LeaseOperation) {
        crate::mutate::operation(self.scenario.mutant, &mut operation);
        let down = self.nodes.get(name).is_none_or(|node| node.down);
        let away = self.store.away_until > self.now || self.store_blocked.contains(name) || down;
        let there = self.random.delay(2_000, 30_000);
        if away {
            if self.random.chance(500) {
                let answer = LeaseAnswer::Unknown(Unanswered::Unavailable);
                self.later(there, Happening::LeaseReturns { node: name.clone(), life, request, answer });
            }
            return;
        }
        // Now and then a request is late by seconds, and still arrives.
        let late = if self.random.chance(self.late_per_thousand) { self.random.between(300_000, 8_000_000) } else { 0 };
        self.later(there + late, Happening::LeaseArrives { node: name.clone(), life, request, operation });
    }

    fn lease_arrives(&mut self, node: MemberName, life: u64, request: u64, operation: LeaseOperation) {
        let is_swap = matches!(operation, LeaseOperation::Swap { .. });
        let (mut answer, applied) = self.store.apply(operation, self.scenario.mutant);
        if let Some(lease) = &applied {
            self.checkers.leased(lease);
            let told = format!(
                "lease: epoch {} {} {:?} at {} on {} #{}",
                lease.epoch,
                lease.holder,
                lease.state,
                lease.position.offset,
                path(&lease.history),
                lease.sequence
            );
            self.line(|| told);
        }
        if self.store.away_until > self.now || self.store_blocked.contains(&node) {
            return;
        }
        if self.random.chance(10) && !self.scenario.calm {
            // The answer is lost; perhaps the client library says so.
            if self.scenario.mutant == Some(Mutant::AmbiguousIsSuccess) && is_swap {
                answer = LeaseAnswer::Swapped(lifeboat_failover::Version("1".into()));
            } else if self.random.chance(500) {
                answer = LeaseAnswer::Unknown(Unanswered::Unavailable);
            } else {
                return;
            }
        }
        if self.scenario.mutant == Some(Mutant::AmbiguousIsSuccess) && answer == LeaseAnswer::Lost {
            answer = LeaseAnswer::Swapped(lifeboat_failover::Version("1".into()));
        }
        let back = self.random.delay(2_000, 30_000);
        self.later(back, Happening::LeaseReturns { node, life, request, answer });
    }

    /// Goes on until there is another deadline, or none: what is started after it is killed too.
    pub fn dead_man(&mut self, name: &MemberName) {
        let now = self.now;
        let mutant = self.scenario.mutant;
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(deadline) = node.deadline else { return };
        if node.local(now) < deadline || matches!(mutant, Some(Mutant::NoDeadMan | Mutant::NeverStops)) {
            return;
        }
        let kills = node.database.as_ref().is_some_and(|database| {
            database.run == Run::Primary || (database.run == Run::Busy && !database.is_standby)
        });
        if kills {
            self.line(|| format!("{name}: the end of the lease kills the database"));
            self.end_database(name, false);
        }
    }

    /// Whoever it is that holds the lease now.
    pub fn holder(&self) -> Option<MemberName> {
        self.store.lease().map(|lease| lease.holder.clone())
    }
}
