//! Databases at work in the world: orders are carried out, log is sent, processes end.

use crate::database::Run;
use crate::mutant::Mutant;
use crate::stream::Stream;
use crate::world::{Happening, World};
use lifeboat_failover::{Activity, Event, History, Lineage, MemberName, Mode, Quorum, StopHow, Wanted};

/// What a database was busy with.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Stop { order: u64, orderly: bool },
    StartStandby { order: u64, follow: Option<MemberName> },
    Promote { order: u64, lineage: Lineage, quorum: Quorum },
    StartPrimary { order: u64, quorum: Quorum },
    Rewind { history: History },
}

impl World {
    pub(crate) fn want(&mut self, name: &MemberName, order: u64, mut wanted: Wanted) {
        if self.scenario.mutant == Some(Mutant::TooFewPromises)
            && let Wanted::Primary { quorum, .. } = &mut wanted
            && let Some(node) = self.nodes.get(name)
            && let Mode::Synchronous { needed, .. } = node.settings.mode
        {
            quorum.needed = quorum.needed.min(needed);
        }
        let delay = self.random.delay(5_000, 80_000);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if let Wanted::Primary { .. } = wanted
            && let Some(agent) = &node.agent
            && let Some(lease) = agent.summary(node.local(self.now)).lease
        {
            node.term = node.term.max(lease.epoch);
        }
        if let Some(database) = &mut node.database {
            database.wanted = Some((order, wanted));
            self.later(delay, Happening::Apply { node: name.clone(), order });
        }
    }

    /// An order reaches the database, if it is still the last one.
    pub(crate) fn apply(&mut self, name: &MemberName, order: u64) {
        let (now, mutant) = (self.now, self.scenario.mutant);
        let slow = self.random.chance(60) && !self.scenario.calm;
        let (brief, start, promotion) = (
            self.random.delay(20_000, 150_000),
            self.random.delay(400_000, 2_000_000),
            if slow { self.random.between(500_000, 6_000_000) } else { self.random.delay(40_000, 300_000) },
        );
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.down {
            return;
        }
        let hangs = node.database_paused_until > now;
        let Some(database) = &mut node.database else { return };
        let Some((_, wanted)) = database.wanted.clone().filter(|(wanted, _)| *wanted == order) else { return };
        let kills = matches!(wanted, Wanted::Stopped { how: StopHow::AtOnce });
        if (hangs || database.run == Run::Busy) && !kills {
            return self.later(50_000, Happening::Apply { node: name.clone(), order });
        }
        let work = match (wanted, database.run) {
            (Wanted::Stopped { .. }, Run::Stopped { .. }) => {
                database.order_done = order;
                None
            }
            (Wanted::Stopped { how: StopHow::AtOnce }, _) => {
                let ignored = mutant == Some(Mutant::NeverStops);
                (!ignored).then_some((Work::Stop { order, orderly: false }, brief))
            }
            (Wanted::Stopped { how: StopHow::Orderly }, _) => {
                node.closing = true;
                Some((Work::Stop { order, orderly: true }, brief))
            }
            (Wanted::Standby { follow }, Run::Standby) => {
                let fenced = follow.is_some() || mutant != Some(Mutant::NoFence);
                if fenced {
                    if database.follow != follow || follow.is_none() {
                        database.let_go();
                    }
                    database.follow = follow;
                }
                database.order_done = order;
                None
            }
            (Wanted::Standby { follow }, _) => {
                node.closing = false;
                let was_primary = database.run == Run::Primary;
                database.end(was_primary);
                database.run = Run::Busy;
                database.is_standby = true;
                Some((Work::StartStandby { order, follow }, start))
            }
            (Wanted::Primary { quorum, .. }, Run::Primary) => {
                if database.quorum != quorum {
                    database.quorum = quorum;
                    database.quorum_since = database.log.len() as u64;
                }
                database.order_done = order;
                None
            }
            (Wanted::Primary { lineage, quorum }, _) => {
                let promoted = database.is_standby;
                database.turn += 1;
                database.let_go();
                database.run = Run::Busy;
                database.is_standby = false;
                node.closing = false;
                if promoted {
                    Some((Work::Promote { order, lineage, quorum }, promotion))
                } else {
                    Some((Work::StartPrimary { order, quorum }, start))
                }
            }
        };
        if let Some((what, after)) = work
            && let Some(database) = &self.nodes[name].database
        {
            let turn = database.turn;
            self.later(after, Happening::Finish { node: name.clone(), turn, what });
        }
        self.acknowledge(name);
        self.report_soon(name);
    }

    /// What the database was busy with is done, unless something came between.
    pub(crate) fn finish(&mut self, name: &MemberName, turn: u64, what: Work) {
        let (now, mutant) = (self.now, self.scenario.mutant);
        let Some(node) = self.nodes.get_mut(name) else { return };
        let hangs = node.database_paused_until > now;
        let Some(database) = &mut node.database else { return };
        if database.turn != turn || node.down {
            return;
        }
        if hangs && !matches!(what, Work::Stop { orderly: false, .. }) {
            return self.later(50_000, Happening::Finish { node: name.clone(), turn, what });
        }
        match what {
            Work::Stop { order, orderly } => {
                let end = database.log.len() as u64;
                let behind = database.confirmed.values().any(|(_, at)| at.offset < end);
                let superseded = database.wanted.as_ref().is_none_or(|(wanted, _)| *wanted != order);
                if superseded {
                    return;
                }
                if orderly && behind && database.runs() {
                    return self.later(20_000, Happening::Finish { node: name.clone(), turn, what });
                }
                self.end_database(name, orderly);
                if let Some(database) = self.nodes.get_mut(name).and_then(|node| node.database.as_mut()) {
                    database.order_done = order;
                }
            }
            Work::StartStandby { order, follow } => {
                database.run = Run::Standby;
                database.follow = follow;
                database.order_done = order;
            }
            Work::Promote { order, lineage, quorum } => {
                let start = database.log.len() as u64;
                database.history = database.history.forked(lineage, start);
                let late = mutant == Some(Mutant::QuorumAfterPromotion);
                self.begin_as_primary(name, order, quorum, late);
            }
            Work::StartPrimary { order, quorum } => self.begin_as_primary(name, order, quorum, false),
            Work::Rewind { history } => {
                database.rewind(&history);
                database.run = Run::Standby;
                database.connected = false;
            }
        }
        self.report_soon(name);
    }

    fn begin_as_primary(&mut self, name: &MemberName, order: u64, quorum: Quorum, late: bool) {
        let keeps = self.keeps_everything();
        let Some(node) = self.nodes.get_mut(name) else { return };
        let term = node.term;
        let Some(database) = &mut node.database else { return };
        database.run = Run::Primary;
        database.quorum = if late { Quorum::asynchronous() } else { quorum };
        database.quorum_since = database.log.len() as u64;
        database.order_done = order;
        database.follow = None;
        let log = database.log.clone();
        if keeps {
            self.checkers.has_all(&log, name, term);
        }
        self.line(|| format!("{name}: the database is the primary, {} writes", log.len()));
    }

    /// The process ends; the other ends of its connections notice, if they can be reached.
    pub(crate) fn end_database(&mut self, name: &MemberName, orderly: bool) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.closing = false;
        let Some(database) = &mut node.database else { return };
        let sent: Vec<_> = database.sent.iter().map(|(to, (connection, _))| (to.clone(), *connection)).collect();
        database.end(orderly);
        node.database_paused_until = 0;
        self.line(|| format!("{name}: the database ends"));
        for (to, connection) in sent {
            if self.reaches(name, &to) {
                let delay = self.random.delay(500, 20_000);
                self.later(delay, Happening::Closed { to, connection });
            }
        }
        self.report_soon(name);
    }

    pub(crate) fn closed(&mut self, to: &MemberName, connection: u64) {
        let Some(database) = self.nodes.get_mut(to).and_then(|node| node.database.as_mut()) else { return };
        if database.connection == connection && database.connected {
            database.connected = false;
            self.report_soon(to);
        }
    }

    pub(crate) fn report_soon(&mut self, name: &MemberName) {
        let delay = self.random.delay(2_000, 20_000);
        self.later(delay, Happening::Report { node: name.clone(), again: false });
    }

    /// The agent looks at its database.
    pub(crate) fn report(&mut self, name: &MemberName, again: bool) {
        if again {
            self.later(150_000, Happening::Report { node: name.clone(), again: true });
        }
        let (now, mutant) = (self.now, self.scenario.mutant);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.agent.is_none() || node.down || node.agent_paused_until > now {
            return;
        }
        let local = node.local(now);
        let hangs = node.database_paused_until > now;
        let Some(database) = &node.database else { return };
        if !hangs || !database.runs() {
            node.answered_at = local;
        }
        if let (Some((order, Wanted::Standby { .. })), Run::Stopped { .. }) = (&database.wanted, database.run) {
            // Shells start a standby that has died again.
            let order = *order;
            self.later(10_000, Happening::Apply { node: name.clone(), order });
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(database) = &node.database else { return };
        let mut report = database.report(node.answered_at);
        let fenced = matches!(&database.wanted, Some((order, Wanted::Standby { follow: None })) if *order <= report.order);
        if mutant == Some(Mutant::NoFence)
            && fenced
            && let Activity::Standby { from, .. } = &mut report.activity
        {
            *from = None;
        }
        self.tell(name, Event::Database(report));
    }

    /// Standbys connect and notice silence; whoever is followed sends what is new, and that it lives.
    pub(crate) fn stream_tick(&mut self, name: &MemberName) {
        self.later(100_000, Happening::StreamTick { node: name.clone() });
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.down || node.database_paused_until > now {
            return;
        }
        let Some(database) = &mut node.database else { return };
        if !database.runs() {
            return;
        }
        if database.run == Run::Standby
            && let Some(upstream) = database.follow.clone()
        {
            let silent = now.saturating_sub(database.heard_at) > 3_000_000;
            if database.connected && silent {
                database.connected = false;
            }
            if !database.connected && now.saturating_sub(database.heard_at) > 200_000 {
                database.heard_at = now;
                database.connection += 1;
                let (connection, position) = (database.connection, database.position());
                self.stream_to(name, upstream, Stream::Connect { connection, position });
            }
        }
        self.send_log(name);
    }

    fn stream_to(&mut self, from: &MemberName, to: MemberName, stream: Stream) {
        let delay = self.random.delay(400, 10_000);
        self.later(delay, Happening::Stream { from: from.clone(), to, stream });
    }

    /// Sends to everybody who follows what he hasn't got.
    pub(crate) fn send_log(&mut self, name: &MemberName) {
        let Some(database) = self.nodes.get_mut(name).and_then(|node| node.database.as_mut()) else { return };
        if !database.runs() {
            return;
        }
        let end = database.log.len();
        let history = database.history.clone();
        let mut sent = Vec::new();
        for (to, (connection, start)) in &mut database.sent {
            let entries = database.log[*start..].to_vec();
            let log = Stream::Log { connection: *connection, start: *start, entries, history: history.clone() };
            sent.push((to.clone(), log));
            *start = end;
        }
        for (to, log) in sent {
            self.stream_to(name, to, log);
        }
    }

    pub(crate) fn stream(&mut self, from: MemberName, to: MemberName, stream: Stream) {
        if !self.reaches(&from, &to) {
            return;
        }
        let (now, blind) = (self.now, self.scenario.mutant);
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if node.database_paused_until > now {
            let wait = node.database_paused_until - now;
            return self.later(wait, Happening::Stream { from, to, stream });
        }
        let local = node.local(now);
        let Some(database) = &mut node.database else { return };
        match stream {
            Stream::Connect { connection, position } => {
                if !database.runs() {
                    return;
                }
                let history = database.history.clone();
                if !history.contains(position) || position.offset > database.log.len() as u64 {
                    return self.stream_to(&to, from, Stream::Diverged { connection, history });
                }
                let start = usize::try_from(position.offset).unwrap_or(usize::MAX);
                database.sent.insert(from.clone(), (connection, start));
                let whole = database.log.clone();
                let log = self.nodes[&from].database.as_ref().map(|other| other.log.clone()).unwrap_or_default();
                let begins = log.get(..start).unwrap_or(&log);
                self.checkers.follows((&from, begins), (&to, &whole));
                self.send_log(&to);
            }
            Stream::Diverged { connection, history } => {
                if database.connection == connection && database.run == Run::Standby && blind != Some(Mutant::NoFence) {
                    database.let_go();
                    database.run = Run::Busy;
                    database.turn += 1;
                    let turn = database.turn;
                    let delay = self.random.delay(500_000, 3_000_000);
                    self.later(delay, Happening::Finish { node: to, turn, what: Work::Rewind { history } });
                }
            }
            Stream::Log { connection, start, entries, history } => {
                if database.connection != connection || database.run != Run::Standby {
                    return;
                }
                if start > database.log.len() {
                    // Something was lost on the way: from the beginning.
                    database.connected = false;
                    return;
                }
                let known = database.log.len() - start;
                database.log.extend(entries.into_iter().skip(known));
                let end = database.log.len() as u64;
                database.history = History::new(history.forks().iter().copied().filter(|fork| fork.start <= end).collect());
                (database.connected, database.received_at, database.heard_at) = (true, local, now);
                let position = database.position();
                self.stream_to(&to, from, Stream::Confirm { connection, position });
            }
            Stream::Confirm { connection, position } => {
                if database.sent.get(&from).is_some_and(|(known, _)| *known == connection) {
                    database.confirmed.insert(from, (connection, position));
                    self.acknowledge(&to);
                }
            }
        }
    }
}
