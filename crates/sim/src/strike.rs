//! Faults happen, and are over.

use crate::database::Run;
use crate::faults::{Fault, Planned, Whom};
use crate::world::{Happening, World};
use lifeboat_failover::{Command, MemberName};

impl World {
    pub(crate) fn strike(&mut self, planned: Planned) {
        let whom = match &planned.whom {
            Whom::Member(name) => name.clone(),
            Whom::ThePrimary => match self.holder() {
                Some(name) => name,
                None => return,
            },
        };
        let (now, until) = (self.now, planned.until);
        self.line(|| format!("{whom}: FAULT {:?} until {:.3}", planned.fault, until as f64 / 1e6));
        let others: Vec<MemberName> = self.nodes.keys().filter(|name| **name != whom).cloned().collect();
        match &planned.fault {
            Fault::AgentDies => self.kill_agent(&whom),
            Fault::AgentRestarts => {
                self.kill_agent(&whom);
                let (again, next) = (self.random.between(3_000, 80_000), self.random.between(100_000, 700_000));
                self.later(again, Happening::AgentStarts { node: whom.clone() });
                if now + next < until {
                    self.later(next, Happening::Strike(Planned { whom: Whom::Member(whom), ..planned }));
                    return;
                }
            }
            Fault::DatabaseDies => self.end_if_running(&whom),
            Fault::HostDies => {
                self.kill_agent(&whom);
                self.end_if_running(&whom);
                if let Some(node) = self.nodes.get_mut(&whom) {
                    node.down = true;
                }
            }
            Fault::AgentPauses => self.pause(&whom, Some(until), None),
            Fault::DatabaseHangs => self.pause(&whom, None, Some(until)),
            Fault::HostPauses => self.pause(&whom, Some(until), Some(until)),
            Fault::CutOff { store_too } => {
                for other in &others {
                    self.blocked.push((whom.clone(), other.clone()));
                    self.blocked.push((other.clone(), whom.clone()));
                }
                if *store_too {
                    self.store_blocked.push(whom.clone());
                }
            }
            Fault::HalfCut { from } => {
                for other in &others {
                    let pair = if *from { (whom.clone(), other.clone()) } else { (other.clone(), whom.clone()) };
                    self.blocked.push(pair);
                }
            }
            Fault::CutPair { other } => {
                self.blocked.push((whom.clone(), other.clone()));
                self.blocked.push((other.clone(), whom.clone()));
            }
            Fault::StoreAwayForIt => self.store_blocked.push(whom.clone()),
            Fault::StoreAway => self.store.away_until = self.store.away_until.max(until),
            Fault::ClockJumps { by } => {
                if let Some(node) = self.nodes.get_mut(&whom) {
                    node.jump(*by);
                }
            }
            Fault::Switchover => self.command(&whom, Command::Switchover { to: None }),
            Fault::Failover => self.command(&whom, Command::Failover { force: false }),
            Fault::Pause => self.command(&whom, Command::Pause),
            Fault::Maintenance => self.maintain(&whom),
        }
        self.later(until.saturating_sub(now), Happening::Heal(planned, whom));
    }

    /// Who leads is left alone: the command is refused there.
    fn maintain(&mut self, whom: &MemberName) {
        self.command(whom, Command::Maintenance { on: true });
        let agent = self.nodes.get(whom).and_then(|node| node.agent.as_ref());
        if agent.is_some_and(|agent| agent.durable().maintained) {
            self.end_if_running(whom);
        }
    }

    fn kill_agent(&mut self, whom: &MemberName) {
        if let Some(node) = self.nodes.get_mut(whom) {
            node.agent = None;
            node.life += 1;
        }
    }

    fn end_if_running(&mut self, whom: &MemberName) {
        let runs = |run: Run| !matches!(run, Run::Stopped { .. });
        if self.nodes.get(whom).and_then(|node| node.database.as_ref()).is_some_and(|database| runs(database.run)) {
            self.end_database(whom, false);
        }
    }

    fn pause(&mut self, whom: &MemberName, agent: Option<u64>, database: Option<u64>) {
        if let Some(node) = self.nodes.get_mut(whom) {
            node.agent_paused_until = node.agent_paused_until.max(agent.unwrap_or(0));
            node.database_paused_until = node.database_paused_until.max(database.unwrap_or(0));
        }
    }

    pub(crate) fn heal(&mut self, planned: &Planned, whom: &MemberName) {
        self.line(|| format!("{whom}: healed of {:?}", planned.fault));
        match &planned.fault {
            Fault::AgentDies | Fault::AgentRestarts => self.start_agent(whom),
            Fault::HostDies => {
                if let Some(node) = self.nodes.get_mut(whom) {
                    node.down = false;
                }
                self.start_agent(whom);
            }
            Fault::CutOff { .. } | Fault::HalfCut { .. } => {
                self.blocked.retain(|(one, other)| one != whom && other != whom);
                self.store_blocked.retain(|name| name != whom);
            }
            Fault::CutPair { other } => {
                self.blocked
                    .retain(|pair| *pair != (whom.clone(), other.clone()) && *pair != (other.clone(), whom.clone()));
            }
            Fault::StoreAwayForIt => self.store_blocked.retain(|name| name != whom),
            Fault::Pause => self.resume(),
            Fault::Maintenance => self.end_maintenance(),
            _ => {}
        }
    }

    /// The last fault is over: everything runs and reaches everything.
    pub(crate) fn heal_everything(&mut self) {
        self.blocked.clear();
        self.store_blocked.clear();
        self.store.away_until = 0;
        self.late_per_thousand = 0;
        let names: Vec<MemberName> = self.nodes.keys().cloned().collect();
        for name in &names {
            if let Some(node) = self.nodes.get_mut(name) {
                node.down = false;
            }
            self.start_agent(name);
        }
        self.resume();
        self.end_maintenance();
    }
}
