//! Clients: they write all the time, half of them where they were sent, half of them at any database, as old connections do.

use crate::database::{Entry, Run};
use crate::world::{Happening, World};
use lifeboat_failover::MemberName;

impl World {
    /// One write, somewhere.
    pub(crate) fn write(&mut self) {
        let pause = self.random.between(15_000, 60_000);
        self.later(pause, Happening::Client);
        let names: Vec<MemberName> = self.nodes.keys().cloned().collect();
        let to = if self.random.chance(500) {
            self.routed.clone()
        } else {
            Some(names[self.random.index(names.len())].clone())
        };
        let Some(to) = to else { return };
        self.next_entry += 1;
        let entry = Entry(self.next_entry);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        let takes = !node.down && !node.closing && node.database_paused_until <= now;
        let Some(database) = node.database.as_mut().filter(|database| takes && database.run == Run::Primary) else {
            return;
        };
        database.append(entry);
        let term = node.term;
        if self.scenario.asynchronous {
            let newer = self.nodes.values().find(|other| {
                let writes = other.database.as_ref().is_some_and(|database| database.run == Run::Primary);
                writes && !other.closing && other.term > term
            });
            if let Some(newer) = newer.map(|node| node.name().clone()) {
                self.checkers.overlap(&to, &newer);
            }
        }
        self.acknowledge(&to);
        self.send_log(&to);
    }

    /// Answers the commits that have been confirmed.
    pub(crate) fn acknowledge(&mut self, at: &MemberName) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        let term = node.term;
        let Some(database) = node.database.as_mut().filter(|database| database.run == Run::Primary) else { return };
        let done = database.acknowledged();
        if done.is_empty() {
            return;
        }
        self.last_acknowledged_at = self.now;
        // What an old primary had confirmed before it was replaced it may say late: the new one has it.
        let late = term < self.checkers.highest_term();
        let newest = self.nodes.values().filter(|node| late && node.database.is_some()).max_by_key(|node| node.term);
        let log =
            newest.and_then(|node| node.database.as_ref()).map(|database| database.log.as_slice()).unwrap_or_default();
        for entry in done {
            let elsewhere = self.scenario.asynchronous || log.contains(&entry);
            self.checkers.acknowledge(entry, at, term, elsewhere);
        }
    }
}
