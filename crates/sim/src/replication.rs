//! Replication at work in the world: standbys connect, log is sent, received and confirmed.

use crate::database::{Entry, Run};
use crate::database_work::Work;
use crate::mutant::Mutant;
use crate::stream::Stream;
use crate::world::{Happening, World};
use lifeboat_failover::{History, MemberName, Position};

impl World {
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
        let mut sent = Vec::with_capacity(database.sent.len());
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
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if node.database_paused_until > now {
            let wait = node.database_paused_until - now;
            return self.later(wait, Happening::Stream { from, to, stream });
        }
        let Some(database) = &mut node.database else { return };
        match stream {
            Stream::Connect { connection, position } => self.connected(from, &to, connection, position),
            Stream::Diverged { connection, history } => self.diverged(to, connection, history),
            Stream::Log { connection, start, entries, history } => {
                if database.connection == connection && database.run == Run::Standby {
                    self.received(from, &to, (start, entries), &history);
                }
            }
            Stream::Confirm { connection, position } => {
                if database.sent.get(&from).is_some_and(|(known, _)| *known == connection) {
                    database.confirmed.insert(from, (connection, position));
                    self.acknowledge(&to);
                }
            }
        }
    }

    /// A standby wants what comes after its position.
    fn connected(&mut self, from: MemberName, to: &MemberName, connection: u64, position: Position) {
        let Some(database) = self.nodes.get_mut(to).and_then(|node| node.database.as_mut()) else { return };
        if !database.runs() {
            return;
        }
        let history = database.history.clone();
        if !history.contains(position) || position.offset > database.log.len() as u64 {
            return self.stream_to(to, from, Stream::Diverged { connection, history });
        }
        let start = usize::try_from(position.offset).unwrap_or(usize::MAX);
        database.sent.insert(from.clone(), (connection, start));
        let asks = self.nodes[&from].database.as_ref();
        // Who has given that connection up may have something else by now.
        if asks.is_some_and(|asks| asks.connection == connection) {
            let log = |name: &MemberName| self.nodes[name].database.as_ref().map_or(&[][..], |other| &other.log);
            let begins = log(&from).get(..start).unwrap_or(log(&from));
            self.checkers.follows((&from, begins), (to, log(to)));
        }
        self.send_log(to);
    }

    /// What it has isn't a beginning of what it follows: it is rewound.
    fn diverged(&mut self, to: MemberName, connection: u64, history: History) {
        let blind = self.scenario.mutant == Some(Mutant::NoFence);
        let Some(database) = self.nodes.get_mut(&to).and_then(|node| node.database.as_mut()) else { return };
        if database.connection != connection || database.run != Run::Standby || blind {
            return;
        }
        database.let_go();
        database.run = Run::Busy;
        database.turn += 1;
        let turn = database.turn;
        let delay = self.random.delay(500_000, 3_000_000);
        self.later(delay, Happening::Finish { node: to, turn, what: Work::Rewind { history } });
    }

    fn received(
        &mut self,
        from: MemberName,
        to: &MemberName,
        (start, entries): (usize, Vec<Entry>),
        history: &History,
    ) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(to) else { return };
        let local = node.local(now);
        let Some(database) = &mut node.database else { return };
        if start > database.log.len() {
            // Something was lost on the way: connect again.
            database.connected = false;
            return;
        }
        let known = database.log.len() - start;
        database.log.extend(entries.into_iter().skip(known));
        let end = database.log.len() as u64;
        database.history = History::new(history.forks().iter().copied().filter(|fork| fork.start <= end).collect());
        (database.connected, database.received_at, database.heard_at) = (true, local, now);
        let (connection, position) = (database.connection, database.position());
        self.stream_to(to, from, Stream::Confirm { connection, position });
    }
}
