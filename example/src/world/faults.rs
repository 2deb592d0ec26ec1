//! What is done to the world, one step at a time. What comes of it is for others to see.

use super::World;
use super::member::is_agent;
use crate::script::{DATABASES, NAMES, Step, VIRGINIA};
use anyhow::{Context, Result, bail};
use lifeboat_components::hosts::{Cut, Process, Signal};
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(1);

impl World {
    /// Does it; `primary` is where it happens when the step names no place. Gives what a command said.
    ///
    /// # Errors
    /// When it can't be done, such as a switchover without a primary.
    pub fn carry_out(&mut self, step: Step, primary: Option<usize>) -> Result<String> {
        let at = |place: Option<usize>| place.or(primary).context("there is no primary now that it could happen to");
        match step {
            Step::KillHost(place) => self.members[at(place)?].kill_host(),
            Step::CutOff(place) => self.members[at(place)?].host.cut_off(Cut::Both)?,
            Step::OneWay(place) => self.members[at(place)?].host.cut_off(Cut::Outgoing)?,
            Step::Heal(Some(place)) => self.members[place].host.heal()?,
            Step::Heal(None) => self.heal()?,
            Step::HangServer(place) => self.members[at(place)?].host.signal(Signal::STOP, Process::is_of_postgres),
            Step::HangAgent(place) => self.members[at(place)?].host.signal(Signal::STOP, is_agent),
            Step::KillServer(place) => self.members[at(place)?].host.kill_postgres(),
            Step::PauseHost(place) => {
                let host = &self.members[at(place)?].host;
                host.signal(Signal::STOP, |_| true);
                std::thread::sleep(PAUSE);
                host.signal(Signal::CONT, |_| true);
            }
            Step::StopStore => self.members[..DATABASES].iter_mut().for_each(super::Member::kill_store),
            Step::Switchover => return self.hand_over(DATABASES - 1 - at(None)?, primary),
            Step::Failback => return self.hand_over(VIRGINIA, primary),
            Step::Repair => self.repair()?,
            Step::Wait(_) => {}
        }
        Ok(String::new())
    }

    fn hand_over(&self, to: usize, primary: Option<usize>) -> Result<String> {
        if primary == Some(to) {
            bail!("{} is the primary already", NAMES[to]);
        }
        self.lifeboat(&["cluster", "switchover", "--to", NAMES[to]])
    }

    fn heal(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.host.heal())
    }

    /// Heals what is cut, continues what is halted, starts what died.
    fn repair(&mut self) -> Result<()> {
        self.heal()?;
        for member in &self.members {
            member.host.signal(Signal::CONT, |process| process.is_halted);
        }
        self.start_stores()?;
        self.start_agents()?;
        self.start_proxy()
    }
}
