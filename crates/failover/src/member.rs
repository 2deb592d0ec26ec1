//! One member: what it knows, and the step from one event to the next.
//!
//! Handlers of events only note what happened. What follows from it is decided afterwards, in one place per state, from everything
//! that is known: so it doesn't matter in which order things came to be known, or what was lost on the way.

mod candidate;
mod commands;
mod draining;
mod holding;
mod knowledge;
mod peers;
mod primary;
mod promise;
mod safe_mode;
mod standby;
mod summary;

pub use knowledge::Durable;
pub use summary::Summary;

use crate::action::{Action, Event, Note};
use crate::clock::Moment;
use crate::database::{Report, Wanted};
use crate::position::Epoch;
use crate::register::Register;
use crate::settings::Settings;
use crate::transitions::{StateKind, TRANSITIONS, when};
use candidate::Candidate;
use commands::Asked;
use draining::Draining;
use holding::{Hold, Retaking};
use peers::Peers;
use primary::Primary;
use promise::Promise;
use standby::Standby;

/// More changes of state than this within one step would be a circle.
const CHANGES_MAX: usize = 8;

/// See the crate.
#[derive(Debug, Clone)]
pub struct Member {
    settings: Settings,
    incarnation: u64,
    /// Of the last write to the register by this incarnation.
    sequence: u64,
    state: State,
    /// What is to be remembered; how often it changed; up to which change it is durable.
    durable: Durable,
    changed: u64,
    remembered: u64,
    register: Register,
    /// Why the store wasn't believed last.
    doubted: Option<Note>,
    /// When the store is asked next, if nothing else makes us.
    ask_at: Moment,
    /// Our lease, while it is ours.
    hold: Option<Hold>,
    /// What was last seen of the database, and whether it ever was.
    database: Report,
    database_seen: bool,
    wanted: Option<Wanted>,
    order: u64,
    peers: Peers,
    /// Nobody is voted for until then.
    held_off_until: Moment,
    /// Commands that aren't answered yet.
    asked: Option<Asked>,
    pausing: Option<Asked>,
    pulse_at: Moment,
    out: Vec<Action>,
}

#[derive(Debug, Clone)]
enum State {
    Starting,
    Standby(Standby),
    Promised(Promise),
    Candidate(Candidate),
    Promoting { since: Moment },
    Primary(Primary),
    Draining(Draining),
    Demoting,
    Witness,
}

impl State {
    fn kind(&self) -> StateKind {
        match self {
            Self::Starting => StateKind::Starting,
            Self::Standby(_) => StateKind::Standby,
            Self::Promised(_) => StateKind::Promised,
            Self::Candidate(_) => StateKind::Candidate,
            Self::Promoting { .. } => StateKind::Promoting,
            Self::Primary(_) => StateKind::Primary,
            Self::Draining(_) => StateKind::Draining,
            Self::Demoting => StateKind::Demoting,
            Self::Witness => StateKind::Witness,
        }
    }
}

impl Member {
    /// A member as it starts, with what it had written down in its former lives.
    ///
    /// `settings` must have passed [`Settings::check`]. `incarnation` is drawn at random for each life.
    pub fn new(settings: Settings, durable: Durable, incarnation: u64, now: Moment) -> Self {
        Self {
            settings,
            incarnation,
            sequence: 0,
            state: State::Starting,
            durable,
            changed: 0,
            remembered: 0,
            register: Register::default(),
            doubted: None,
            ask_at: now,
            hold: None,
            database: Report::nothing(),
            database_seen: false,
            wanted: None,
            order: 0,
            peers: Peers::new(now),
            held_off_until: Moment::default(),
            asked: None,
            pausing: None,
            pulse_at: now,
            out: Vec::new(),
        }
    }

    /// What is to be done now that `event` has happened. `now` must not be earlier than at the last step.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Database(report) => self.see_database(now, report),
            Event::Lease { request, answer } => self.see_lease(now, request, answer),
            Event::Remembered { number } => self.remembered = self.remembered.max(number),
            Event::Message { from, message } => self.hear(now, &from, message),
            Event::NobodyListens { at } => self.peers.refused(now, &at),
            Event::Command { number, command } => self.command(now, number, command),
        }
        if self.register.give_up(now, self.settings.timing.operation_timeout) {
            self.ask_at = now;
        }
        for _ in 0..CHANGES_MAX {
            let before = self.state.kind();
            self.decide(now);
            if self.state.kind() == before {
                break;
            }
        }
        self.answer_commands(now);
        self.pulse(now);
        self.use_register(now);
        std::mem::take(&mut self.out)
    }

    /// When [`Member::step`] must be called next, if nothing happens before.
    pub fn wake_at(&self) -> Moment {
        let timing = &self.settings.timing;
        let of_state = match &self.state {
            State::Starting | State::Witness | State::Demoting => None,
            State::Standby(standby) => Some(self.standby_wakes_at(standby)),
            State::Promised(promise) => Some(promise.since + timing.canvass_timeout),
            State::Candidate(candidate) => Some(candidate.wakes_at(timing)),
            State::Promoting { since } => Some(*since + timing.promotion_timeout),
            State::Primary(_) => None,
            State::Draining(draining) => Some(draining.wakes_at(self.peers.last_step, timing)),
        };
        [
            Some(self.pulse_at),
            (!self.register.is_busy()).then_some(self.ask_at),
            self.register.gives_up_at(timing.operation_timeout),
            self.hold.as_ref().map(|hold| hold.stops_at(timing)),
            self.asked.as_ref().map(|asked| asked.until),
            self.pausing.as_ref().map(|asked| asked.until),
            of_state,
        ]
        .into_iter()
        .flatten()
        .filter(|moment| *moment > self.peers.last_step)
        .min()
        .unwrap_or(self.pulse_at)
    }

    /// What follows from what is known, in the present state.
    fn decide(&mut self, now: Moment) {
        self.peers.last_step = now;
        if self.mind_the_lease(now) {
            return;
        }
        match &self.state {
            State::Starting => self.decide_starting(),
            State::Standby(_) => self.decide_standby(now),
            State::Promised(_) => self.decide_promised(now),
            State::Candidate(_) => self.decide_candidate(now),
            State::Promoting { .. } => self.decide_promoting(now),
            State::Primary(_) => self.decide_primary(now),
            State::Draining(_) => self.decide_draining(now),
            State::Demoting => self.decide_demoting(),
            State::Witness => {}
        }
    }

    /// The first decision: what this may be. It waits until both the lease and the database were seen.
    fn decide_starting(&mut self) {
        if self.settings.own().witness {
            return self.enter(State::Witness, when::NO_DATABASE);
        }
        if !self.database_seen {
            return;
        }
        let Some(lease) = self.register.lease() else {
            // A database that nobody leads yet is left alone until an operator makes it the first primary.
            if self.register.is_empty() {
                self.enter(State::Standby(Standby::default()), when::NOT_THE_HOLDER);
            }
            return;
        };
        if lease.holder == self.settings.name && self.retaking() != Retaking::No {
            return;
        }
        if self.database.is_primary() {
            return self.demote(when::RUNS_UNLEASED);
        }
        self.enter(State::Standby(Standby::default()), when::NOT_THE_HOLDER);
    }

    /// Changes the state by a way that the table has.
    fn enter(&mut self, state: State, why: &'static str) {
        let (from, to) = (self.state.kind(), state.kind());
        debug_assert!(
            TRANSITIONS.iter().any(|way| way.from == from && way.to == to && way.when == why),
            "no way from {from} to {to} because {why}"
        );
        self.state = state;
        self.out.push(Action::Note(Note::Entered { from, to, why }));
    }

    /// Orders what the database is to be, unless that is what was ordered last.
    fn want(&mut self, wanted: Wanted) {
        if self.wanted.as_ref() != Some(&wanted) {
            self.order += 1;
            self.out.push(Action::Want { order: self.order, wanted: wanted.clone() });
            self.wanted = Some(wanted);
        }
    }

    /// Writes down what must survive.
    fn remember(&mut self, change: impl FnOnce(&mut Durable)) {
        let mut durable = self.durable.clone();
        change(&mut durable);
        if durable != self.durable {
            self.durable = durable;
            self.changed += 1;
            self.out.push(Action::Remember { number: self.changed, durable: self.durable.clone() });
        }
    }

    /// Whether all that was to be written down is durable.
    fn has_remembered(&self) -> bool {
        self.remembered >= self.changed
    }

    fn note(&mut self, note: Note) {
        self.out.push(Action::Note(note));
    }

    /// The highest epoch that is known to be used up or promised by anybody.
    fn highest_epoch(&self) -> Epoch {
        let leased = self.register.lease().map_or(Epoch::default(), |lease| lease.epoch);
        leased.max(self.durable.promised).max(self.durable.seen).max(self.peers.highest_promise())
    }

    fn see_database(&mut self, now: Moment, report: Report) {
        if let crate::database::Activity::Standby { from: Some(from), received_at } = &report.activity
            && self.register.lease().is_some_and(|lease| lease.holder == *from)
        {
            self.peers.saw_primary(*received_at);
        }
        if let crate::database::Activity::Primary { confirmed, .. } = &report.activity {
            self.peers.confirmed(now, confirmed.keys());
        }
        self.database = report;
        self.database_seen = true;
    }
}
