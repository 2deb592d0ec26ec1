//! What operators ask for, and what they are told.

use super::{Member, State};
use crate::action::{Action, Command, Note};
use crate::clock::Moment;
use crate::lease::{Lease, MemberName};

/// A command that isn't answered yet.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    number: u64,
    command: Command,
    pub until: Moment,
}

/// What switches may be under way at the same time as a pause is.
#[derive(Clone, Copy)]
enum Slot {
    Asked,
    Pausing,
}

impl Member {
    pub(super) fn command(&mut self, now: Moment, number: u64, command: Command) {
        let pauses = matches!(command, Command::Pause | Command::Resume);
        let slot = if pauses { &self.pausing } else { &self.asked };
        if let Some(other) = slot {
            let answer = Err(format!("another command is under way: {:?}", other.command));
            return self.out.push(Action::Answer { number, answer });
        }
        match self.begin_command(now, &command) {
            Err(why) => self.out.push(Action::Answer { number, answer: Err(why) }),
            Ok(()) => {
                let timing = &self.settings.timing;
                let until = now + timing.promotion_timeout + timing.handover_timeout * 2;
                let asked = Some(Asked { number, command, until });
                if pauses { self.pausing = asked } else { self.asked = asked }
            }
        }
    }

    /// Refuses what can't be done, before anything is changed.
    fn begin_command(&mut self, now: Moment, command: &Command) -> Result<(), String> {
        match command {
            Command::Bootstrap => self.may_bootstrap(),
            Command::Pause | Command::Resume => {
                self.register.lease().map(|_| ()).ok_or_else(|| "there is no lease yet".to_owned())?;
                self.store_answers(now)
            }
            Command::Switchover { to } => {
                let to = self.successor(now, to.as_ref())?;
                self.drain(now, to);
                Ok(())
            }
            Command::Failover { force } => self.order_failover(*force),
            Command::Maintenance { on } => self.begin_maintenance(*on),
        }
    }

    fn begin_maintenance(&mut self, on: bool) -> Result<(), String> {
        let name = &self.settings.name;
        if self.settings.own().witness {
            return Err(format!("{name} is a witness: it has no server, and can be stopped as it is"));
        }
        let leads = !matches!(self.state, State::Standby(_) | State::Promised(_));
        if on && leads {
            return Err(format!(
                "{name} is {} now: only a standby can be worked at; a primary hands over to another first",
                self.state.kind()
            ));
        }
        if self.durable.maintained != on {
            self.remember(|durable| durable.maintained = on);
            self.note(Note::Maintenance { on });
        }
        Ok(())
    }

    /// Why this member can't become the primary even if it is told to.
    fn obstacle(&self) -> Result<(), String> {
        let name = &self.settings.name;
        match () {
            () if self.settings.own().barred => {
                Err(format!("{name} is in a region where the configuration allows no primary"))
            }
            () if self.durable.maintained => Err(format!("{name} is in maintenance: end that first")),
            () => Ok(()),
        }
    }

    fn may_bootstrap(&self) -> Result<(), String> {
        self.obstacle()?;
        if let Some(lease) = self.register.lease() {
            return Err(format!("the cluster exists already: {} holds epoch {}", lease.holder, lease.epoch));
        }
        if !self.register.is_empty() {
            return Err("the lease store hasn't answered yet: try again".into());
        }
        if self.durable.seen.0 > 0 {
            return Err(format!(
                "this member has seen epoch {} of the cluster: its lease store has forgotten",
                self.durable.seen
            ));
        }
        let running = self.database.is_primary() || self.database.is_standby();
        if !matches!(self.state, State::Standby(_)) || !running {
            return Err("its database doesn't run".into());
        }
        Ok(())
    }

    /// What can't be written there couldn't be ended either.
    fn store_answers(&self, now: Moment) -> Result<(), String> {
        let timing = &self.settings.timing;
        let lately = timing.renew_interval * 2 + timing.operation_timeout;
        let answers = self.register.answered_at().is_some_and(|at| now - at <= lately);
        let why = "the lease store doesn't answer: nothing can be changed before it does, and nothing was";
        answers.then_some(()).ok_or_else(|| why.to_owned())
    }

    fn not_the_primary(&self) -> String {
        match self.register.lease() {
            Some(lease) => format!("this is not the primary: {} is", lease.holder),
            None => "there is no primary yet".into(),
        }
    }

    /// Whether an order to hand over would be taken now, and if not, why.
    ///
    /// # Errors
    /// One sentence for whoever asks.
    pub fn may_hand_over(&self, now: Moment, to: Option<&MemberName>) -> Result<(), String> {
        self.successor(now, to).map(drop)
    }

    fn successor(&self, now: Moment, to: Option<&MemberName>) -> Result<MemberName, String> {
        let State::Primary(_) = &self.state else { return Err(self.not_the_primary()) };
        self.store_answers(now)?;
        let best = self.best_successor(now);
        let Some(to) = to else {
            return best.ok_or_else(|| "no standby is ready to take over".into());
        };
        if *to == self.settings.name {
            return Err(format!("{to} is the primary already"));
        }
        if !self.settings.members.contains_key(to) {
            let names: Vec<_> = self.settings.others().map(MemberName::as_str).collect();
            return Err(format!("there is no member {to}: the others are {}", names.join(", ")));
        }
        if self.settings.members[to].barred {
            return Err(format!("{to} is in a region where the configuration allows no primary"));
        }
        let mut fresh = self.peers.fresh(now, self.settings.timing.silence_limit);
        match fresh.find(|(name, _)| *name == to).map(|(_, peer)| &peer.pulse) {
            Some(pulse) if pulse.maintained => Err(format!("{to} is in maintenance: end that first")),
            Some(pulse) if pulse.standby && pulse.able => Ok(to.clone()),
            _ => Err(format!("{to} is not ready to take over: it doesn't answer, or isn't a standby that follows")),
        }
    }

    fn order_failover(&mut self, force: bool) -> Result<(), String> {
        self.obstacle()?;
        let (name, not_primary) = (self.settings.name.clone(), self.not_the_primary());
        let loss = self.loss();
        let safe = self.loss_is_allowed();
        let lease = self.register.lease().cloned();
        let State::Standby(standby) = &mut self.state else {
            return Err(format!("{name} is not a standby that could take over now; {not_primary}"));
        };
        let Some(lease) = lease else { return Err("there is no primary yet".into()) };
        // Of a former life of ours, or of somebody who used our name: it leads nobody, and an operator may replace it.
        let is_present = lease.is_of(&name, self.incarnation) || !force;
        if lease.holder == name && is_present {
            return Err(format!("{name} is the primary already"));
        }
        if lease.quorums.any_asynchronous() && !safe && !force {
            let bytes = loss.unwrap_or(0);
            return Err(format!(
                "at least {bytes} bytes of log would be lost, and what was written since the last renewal of the lease; `lifeboat cluster \
                 failover --to {name} --force` accepts that"
            ));
        }
        standby.ordered = Some(force);
        Ok(())
    }

    fn maintenance_words(&self, on: bool) -> String {
        let name = &self.settings.name;
        match on {
            true => format!("{name} is in maintenance: nobody waits for it, and what stops there stays stopped"),
            false => format!("{name} is at work again"),
        }
    }

    pub(super) fn wants_bootstrap(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.command == Command::Bootstrap)
    }

    /// What an operator wants of the lease, if anything.
    pub(super) fn pause_wanted(&self) -> Option<bool> {
        match self.pausing.as_ref()?.command {
            Command::Pause => Some(true),
            Command::Resume => Some(false),
            _ => None,
        }
    }

    /// The lease of another, or of nobody, with nothing changed but the pause. Any member can be asked: the primary may be dead.
    pub(super) fn lease_paused(&self) -> Option<Lease> {
        let paused = self.pause_wanted()?;
        let known = self.register.lease()?;
        let in_use = known.is_of(&self.settings.name, self.incarnation) && !known.is_released();
        (!in_use && known.paused != paused).then(|| Lease { paused, ..known.clone() })
    }

    /// Tells how commands ended, when they have.
    pub(super) fn answer_commands(&mut self, now: Moment) {
        for slot in [Slot::Asked, Slot::Pausing] {
            let Some(asked) = self.slot(slot).clone() else { continue };
            if let Some(answer) = self.end_of(now, &asked) {
                *self.slot(slot) = None;
                self.out.push(Action::Answer { number: asked.number, answer });
            }
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Option<Asked> {
        match slot {
            Slot::Asked => &mut self.asked,
            Slot::Pausing => &mut self.pausing,
        }
    }

    fn end_of(&self, now: Moment, asked: &Asked) -> Option<Result<String, String>> {
        let lease = self.register.lease();
        let holder = lease.map(|lease| lease.holder.clone());
        let mine = holder.as_ref() == Some(&self.settings.name);
        let is_primary = matches!(self.state, State::Primary(_));
        let done = match &asked.command {
            Command::Bootstrap | Command::Failover { .. } => {
                is_primary.then(|| format!("{} is the primary", self.settings.name))
            }
            Command::Switchover { .. } => (!mine && lease.is_some_and(|lease| !lease.is_released()))
                .then(|| format!("{} has taken over", holder.map(|name| name.to_string()).unwrap_or_default())),
            Command::Pause => lease.is_some_and(|lease| lease.paused).then(|| "paused".into()),
            Command::Resume => lease.is_some_and(|lease| !lease.paused).then(|| "resumed".into()),
            Command::Maintenance { on } => self.has_remembered().then(|| self.maintenance_words(*on)),
        };
        let back = matches!(asked.command, Command::Switchover { .. }) && is_primary;
        match done {
            Some(done) => Some(Ok(done)),
            None if back => Some(Err("the other didn't take over in time: this is the primary again".into())),
            None if asked.until <= now => Some(Err("it wasn't done in time; see the status".into())),
            None => None,
        }
    }
}
