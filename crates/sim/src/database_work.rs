//! Databases at work in the world: orders are carried out, log is sent, processes end.

use crate::checkers::{Finding, path};
use crate::database::Run;
use crate::mutant::Mutant;
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
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.down {
            return;
        }
        let hangs = node.database_paused_until > now;
        let maintained = node.agent.as_ref().is_some_and(|agent| agent.durable().maintained);
        let Some(database) = &mut node.database else { return };
        let Some((_, wanted)) = database.wanted.clone().filter(|(wanted, _)| *wanted == order) else { return };
        let kills = matches!(wanted, Wanted::Stopped { how: StopHow::AtOnce });
        // What is stopped there stays stopped.
        let left_alone = maintained && matches!(database.run, Run::Stopped { .. });
        if (hangs || left_alone || database.run == Run::Busy) && !kills {
            return self.later(50_000, Happening::Apply { node: name.clone(), order });
        }
        let work = match wanted {
            Wanted::Stopped { how } => self.apply_stop(name, order, how),
            Wanted::Standby { follow } => self.apply_standby(name, order, follow),
            Wanted::Primary { lineage, quorum } => self.apply_primary(name, order, lineage, quorum),
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

    fn apply_stop(&mut self, name: &MemberName, order: u64, how: StopHow) -> Option<(Work, u64)> {
        let brief = self.random.delay(20_000, 150_000);
        let never = self.scenario.mutant == Some(Mutant::NeverStops);
        let node = self.nodes.get_mut(name)?;
        let database = node.database.as_mut()?;
        if let Run::Stopped { .. } = database.run {
            database.order_done = order;
            return None;
        }
        let orderly = how == StopHow::Orderly;
        node.closing |= orderly;
        (orderly || !never).then_some((Work::Stop { order, orderly }, brief))
    }

    fn apply_standby(&mut self, name: &MemberName, order: u64, follow: Option<MemberName>) -> Option<(Work, u64)> {
        let start = self.random.delay(400_000, 2_000_000);
        let fenced = follow.is_some() || self.scenario.mutant != Some(Mutant::NoFence);
        let node = self.nodes.get_mut(name)?;
        let database = node.database.as_mut()?;
        if database.run != Run::Standby {
            node.closing = false;
            database.end(database.run == Run::Primary);
            database.run = Run::Busy;
            database.is_standby = true;
            return Some((Work::StartStandby { order, follow }, start));
        }
        if fenced {
            if database.follow != follow || follow.is_none() {
                database.let_go();
            }
            database.follow = follow;
        }
        database.order_done = order;
        None
    }

    fn apply_primary(
        &mut self,
        name: &MemberName,
        order: u64,
        lineage: Lineage,
        quorum: Quorum,
    ) -> Option<(Work, u64)> {
        let slow = self.random.chance(60) && !self.scenario.calm;
        let start = self.random.delay(400_000, 2_000_000);
        let promotion = if slow { self.random.between(500_000, 6_000_000) } else { self.random.delay(40_000, 300_000) };
        let node = self.nodes.get_mut(name)?;
        let database = node.database.as_mut()?;
        if database.run == Run::Primary {
            node.closing = false;
            if database.quorum != quorum {
                database.quorum = quorum;
                database.quorum_since = database.log.len() as u64;
            }
            database.order_done = order;
            return None;
        }
        let promoted = database.is_standby;
        database.turn += 1;
        database.let_go();
        database.run = Run::Busy;
        database.is_standby = false;
        node.closing = false;
        Some(if promoted {
            (Work::Promote { order, lineage, quorum }, promotion)
        } else {
            (Work::StartPrimary { order, quorum }, start)
        })
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
                if database.history.last() >= Some(lineage) {
                    let found = Finding::LineageReused { by: name.to_string(), lineage: lineage.0 };
                    self.checkers.findings.push(found);
                    return;
                }
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
        self.dead_man(name);
        if self.nodes.get(name).and_then(|node| node.database.as_ref()).is_none_or(|database| database.run != Run::Busy)
        {
            return;
        }
        let keeps = self.keeps_everything();
        let Some(node) = self.nodes.get_mut(name) else { return };
        assert!(!node.settings.own().barred, "{name} may never be the primary");
        let term = node.term;
        let Some(database) = &mut node.database else { return };
        database.run = Run::Primary;
        database.quorum = if late { Quorum::asynchronous() } else { quorum };
        database.quorum_since = database.log.len() as u64;
        database.order_done = order;
        database.follow = None;
        let log = database.log.clone();
        let begun = path(&database.history);
        // One that carries out an old order late may be behind: nobody acknowledges what it writes.
        if keeps && term >= self.checkers.highest_term() {
            self.checkers.has_all(&log, name, term);
        }
        self.line(|| format!("{name}: the database is the primary on {begun}, {} writes", log.len()));
    }

    /// The process ends; the other ends of its connections notice, if they can be reached.
    pub(crate) fn end_database(&mut self, name: &MemberName, orderly: bool) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.closing = false;
        let Some(database) = &mut node.database else { return };
        let sent: Vec<_> = database.sent.iter().map(|(to, (connection, _))| (to.clone(), *connection)).collect();
        // What it was busy with is over, one way or the other; a shell sees that.
        let busy = database.run == Run::Busy;
        match &database.wanted {
            Some((order, Wanted::Stopped { .. })) => database.order_done = *order,
            Some((order, Wanted::Primary { .. })) if busy => database.order_done = *order,
            _ => {}
        }
        database.end(orderly);
        node.database_paused_until = 0;
        let told = format!("{name}: the database ends at {} on {}", database.log.len(), path(&database.history));
        self.line(|| told);
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
        let fenced =
            matches!(&database.wanted, Some((order, Wanted::Standby { follow: None })) if *order <= report.order);
        if mutant == Some(Mutant::NoFence)
            && fenced
            && let Activity::Standby { from, .. } = &mut report.activity
        {
            *from = None;
        }
        self.tell(name, Event::Database(report));
    }
}
