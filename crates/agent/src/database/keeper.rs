//! The round: look, decide, do; and tell the member what was seen.

use super::apply::Refitted;
use super::fit::{self, FitError};
use super::managed::{self, Managed};
use super::plan::{self, Ending, Fit, Memory, Step};
use super::report::{Standing, report};
use super::seen::{Run, Seen, Stopped, Told};
use super::session::Session;
use super::{DatabaseSettings, apply, end_of_log, kill, lineage, slots};
use crate::clock;
use lifeboat_failover::{History, Lineage, MemberName, Moment, Quorum, Report, Wanted};
use lifeboat_postgres::Lsn;
use lifeboat_postgres::cluster::{RunState, run_state};
use lifeboat_postgres::control::{self, ControlFile};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Between two looks, when all is as it should be.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// The same, while something is under way.
const LOOK_SOON: Duration = Duration::from_millis(10);
/// Whether the server's first process is still there is looked at so often.
const DEATH_EVERY: Duration = Duration::from_millis(20);
/// After a rewind, or a copy, that failed, and at most, when it goes on failing.
const REFIT_PAUSE: Duration = Duration::from_secs(2);
const REFIT_PAUSE_MAX: Duration = Duration::from_secs(300);
/// Slots are looked after so often.
const SLOTS_EVERY: Duration = Duration::from_secs(3);

/// What is wanted, and the number that comes back when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub number: u64,
    pub wanted: Wanted,
    /// The lineage of the one that is to be followed, if it is the holder of the lease: known later, or another one, it is an order of its own.
    pub lineage: Option<Lineage>,
    /// Somebody works at this machine: what is stopped stays stopped.
    pub left_alone: bool,
}

/// An operator wants it to follow: what failed is tried again at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The data is to be made anew, whatever it is.
    pub anew: bool,
}

/// The handle of the task.
#[derive(Debug)]
pub struct Keeper {
    pub orders: watch::Sender<Option<Order>>,
    pub positions: watch::Sender<BTreeMap<MemberName, u64>>,
    pub wishes: watch::Sender<Wish>,
    /// What was last seen.
    pub view: watch::Receiver<Option<Seen>>,
    pub task: JoinHandle<()>,
}

/// Begins to look after the database; changes nothing before the first order. Gives reports for the member, and sentences for the journal.
pub fn spawn(settings: DatabaseSettings) -> (Keeper, mpsc::UnboundedReceiver<Report>, mpsc::UnboundedReceiver<String>) {
    let (orders, order) = watch::channel(None);
    let (positions, position) = watch::channel(BTreeMap::new());
    let (wishes, wish) = watch::channel(Wish::default());
    let (report_to, reports) = mpsc::unbounded_channel();
    let (tell, told) = mpsc::unbounded_channel();
    let (show, view) = watch::channel(None);
    let round = Round::new(settings, (order, position, wish), report_to, tell);
    (Keeper { orders, positions, wishes, view, task: tokio::spawn(round.go_on(show)) }, reports, told)
}

/// Orders, how far the others are, and what an operator wishes.
type Heard = (watch::Receiver<Option<Order>>, watch::Receiver<BTreeMap<MemberName, u64>>, watch::Receiver<Wish>);

struct Round {
    settings: DatabaseSettings,
    orders: watch::Receiver<Option<Order>>,
    positions: watch::Receiver<BTreeMap<MemberName, u64>>,
    wishes: watch::Receiver<Wish>,
    reports: mpsc::UnboundedSender<Report>,
    tell: mpsc::UnboundedSender<String>,
    session: Session,
    order: Option<Order>,
    memory: Memory,
    standing: Standing,
    answered_at: Moment,
    refitting: Option<JoinHandle<Result<Refitted, String>>>,
    made_anew: u64,
    /// How long the one that is to be followed has for its answer.
    ask_patience: Duration,
    /// How long after a refit that failed the next one waits.
    refit_pause: Duration,
    /// The beginning of a record that the log certainly has, and of one that it will have.
    boundary: (Lsn, Lsn),
    stopped: Option<(ControlFile, Stopped)>,
    history: Option<(Lineage, History)>,
    slots_at: Moment,
    /// What was last said, so that it is said once.
    last_told: String,
}

impl Round {
    fn new(
        settings: DatabaseSettings,
        (orders, positions, wishes): Heard,
        reports: mpsc::UnboundedSender<Report>,
        tell: mpsc::UnboundedSender<String>,
    ) -> Self {
        let standing = Standing { order: 0, busy: false, quorum: Quorum::asynchronous(), quorum_since: 0, last: None };
        Self {
            settings,
            orders,
            positions,
            wishes,
            reports,
            tell,
            session: Session::default(),
            order: None,
            memory: Memory::default(),
            standing,
            answered_at: clock::now(),
            refitting: None,
            refit_pause: REFIT_PAUSE,
            made_anew: 0,
            ask_patience: fit::PATIENCE.0,
            boundary: (Lsn(0), Lsn(0)),
            stopped: None,
            history: None,
            slots_at: Moment::default(),
            last_told: String::new(),
        }
    }

    async fn go_on(mut self, show: watch::Sender<Option<Seen>>) {
        loop {
            let (calm, seen) = self.turn().await;
            show.send_replace(Some(seen));
            let pause = if calm { LOOK_EVERY } else { LOOK_SOON };
            if !self.rest(pause).await {
                return;
            }
        }
    }

    /// One round. Returns whether all is as it is wanted, and nobody waits for the next look.
    async fn turn(&mut self) -> (bool, Seen) {
        self.take_order();
        self.end_refitting().await;
        let seen = self.look().await;
        self.note(&seen);
        let step = match &self.order {
            _ if self.refitting.is_some() => Step::Wait,
            None => Step::Done,
            Some(order) => {
                let managed = self.managed_for(order);
                plan::next(&order.wanted, &managed, &seen, &self.memory)
            }
        };
        if step == Step::Done
            && let Some(order) = &self.order
        {
            self.standing.order = order.number;
        }
        self.tell_report(&seen);
        let calm = matches!(step, Step::Done);
        self.carry_out(step, &seen).await;
        if calm {
            self.mind_slots(&seen).await;
        }
        let awaited = self.order.as_ref().is_some_and(|order| plan::is_awaited(&order.wanted, &seen, &self.memory));
        (calm && !awaited, seen)
    }

    fn take_order(&mut self) {
        let new = self.orders.borrow_and_update().clone();
        self.memory.left_alone = new.as_ref().is_some_and(|order| order.left_alone);
        if self.wishes.has_changed().unwrap_or(false) {
            let anew = self.wishes.borrow_and_update().anew;
            self.memory.anew |= anew;
            // What the repository has led to this: it would lead here again.
            self.memory.from_primary |= anew && self.memory.unserved.is_so;
            self.memory.refit_not_before = Moment::default();
            (self.refit_pause, self.last_told) = (REFIT_PAUSE, String::new());
        }
        if new == self.order {
            return;
        }
        let was_primary = matches!(&self.order, Some(Order { wanted: Wanted::Primary { .. }, .. }));
        let is_primary = matches!(&new, Some(Order { wanted: Wanted::Primary { .. }, .. }));
        let begun = self.memory.begun && was_primary && is_primary;
        let promoted_at = self.memory.promoted_at.filter(|_| was_primary && is_primary);
        let came_out = self.memory.came_out.filter(|_| was_primary && is_primary);
        let Memory { left_alone, anew, from_primary, refit_not_before, .. } = self.memory;
        // Who is to be the primary now isn't made anew for what was asked when it wasn't.
        let anew = anew && !is_primary;
        self.memory = Memory {
            ordered_at: clock::now(),
            begun,
            promoted_at,
            came_out,
            left_alone,
            anew,
            from_primary: from_primary && anew,
            refit_not_before,
            ..Memory::default()
        };
        self.order = new;
    }

    /// What the agent's settings are to be for what is wanted.
    fn managed_for(&self, order: &Order) -> Managed {
        let quiet =
            if self.standing.quorum.is_asynchronous() { &self.settings.first_quorum } else { &self.standing.quorum };
        match &order.wanted {
            Wanted::Primary { quorum, lineage } => managed::managed(&self.settings, None, quorum, Some(*lineage)),
            // A standby has names already, so that what is promoted waits from its first commit on.
            Wanted::Standby { follow } => {
                let managed = managed::managed(&self.settings, follow.as_ref(), quiet, order.lineage);
                let unserved = follow.is_some() && self.memory.unserved.is_so;
                if unserved { managed::with_archive(&self.settings, managed, order.lineage) } else { managed }
            }
            Wanted::Stopped { .. } => managed::managed(&self.settings, None, quiet, None),
        }
    }

    async fn look(&mut self) -> Seen {
        let at = clock::now();
        let control = control::read(&self.settings.data_dir).ok();
        let run = match run_state(&self.settings.data_dir) {
            Ok(RunState::Running(file)) if file.is_ready => Run::Running,
            Ok(RunState::Running(_)) => Run::Starting,
            Ok(_) if kill::anything_runs(&self.settings.data_dir) => Run::Remains,
            Ok(_) => Run::Stopped,
            Err(_) => Run::Starting,
        };
        let told = if run == Run::Running { self.ask(control.as_ref()).await } else { None };
        if run != Run::Running {
            self.session.forget();
        }
        if told.is_some() || run != Run::Running {
            self.answered_at = at;
        }
        let standby_signal = self.settings.data_dir.join("standby.signal").exists();
        // Of a standby that can't be asked yet, the control file tells how far it has got.
        let looks = run == Run::Stopped || run == Run::Starting && standby_signal;
        let stopped = (looks && self.refitting.is_none())
            .then(|| control.as_ref().map(|control| self.look_at_stopped(control)))
            .flatten();
        let lineage = told.as_ref().map(|told| told.position.lineage).or(stopped.map(|stopped| stopped.lineage));
        Seen {
            at,
            run,
            standby_signal,
            state: control.map(|control| control.state),
            stopped,
            told,
            answered_at: self.answered_at,
            history: self.history_of(lineage),
            unfinished: apply::is_unfinished(&self.settings),
            in_file: managed::read(&self.settings.data_dir).unwrap_or_default(),
            last_told: Some(self.last_told.clone()).filter(|text| !text.is_empty()),
            made_anew: self.made_anew,
        }
    }

    async fn ask(&mut self, control: Option<&ControlFile>) -> Option<Told> {
        let size = control?.wal_segment_size;
        // An order that comes meanwhile doesn't wait for a server that hangs.
        let look = tokio::select! {
            look = self.session.look(&self.settings, size) => look,
            _ = self.orders.changed() => { self.orders.mark_changed(); None }
        }?;
        let flushed = look.told.position.offset;
        if !look.told.in_recovery {
            let (_, coming) = self.boundary;
            if coming.0 > 0 && coming.0 <= flushed {
                self.boundary = (coming, look.boundary);
            } else if coming.0 == 0 {
                self.boundary.1 = look.boundary;
            }
        } else {
            self.boundary = (Lsn(0), Lsn(0));
        }
        Some(look.told)
    }

    fn look_at_stopped(&mut self, control: &ControlFile) -> Stopped {
        if let Some((known, stopped)) = &self.stopped
            && known == control
        {
            return *stopped;
        }
        let boundary = Some(self.boundary.0).filter(|at| at.0 > 0);
        let stopped = end_of_log::stopped(&self.settings.data_dir, control, boundary);
        self.boundary = (Lsn(0), Lsn(0));
        self.stopped = Some((control.clone(), stopped));
        stopped
    }

    fn history_of(&mut self, lineage: Option<Lineage>) -> History {
        let Some(lineage) = lineage else {
            return self.standing.last.as_ref().map(|report| report.history.clone()).unwrap_or_default();
        };
        if let Some((known, history)) = &self.history
            && *known == lineage
        {
            return history.clone();
        }
        let history = lineage::history(&self.settings.data_dir, lineage);
        // Without its file, which comes before its log, a later lineage would look like a first one: it is read again next time.
        if history.forks().len() > 1 || lineage.0 == 1 {
            self.history = Some((lineage, history.clone()));
        }
        history
    }

    /// Keeps in mind what was seen.
    fn note(&mut self, seen: &Seen) {
        if seen.run == Run::Running {
            self.stopped = None;
        }
        if seen.run == Run::Stopped {
            self.memory.told_to_end = None;
        }
        self.note_whether_served(seen);
        let Some(order) = &self.order else { return };
        let managed = self.managed_for(order);
        let settled = seen.told.as_ref().is_some_and(|told| told.in_force == managed);
        if !settled {
            self.memory.settled_since = None;
        } else if self.memory.settled_since.is_none() {
            self.memory.settled_since = Some(seen.at);
        }
        if let (Wanted::Primary { quorum, .. }, Some(told)) = (&order.wanted, &seen.told) {
            self.memory.begun |= !told.in_recovery;
            if !told.in_recovery && self.memory.came_out.is_none() {
                self.memory.came_out = Some((seen.at, told.position.offset));
            }
            let long = self.memory.settled_since.is_some_and(|since| seen.at - since >= plan::SETTLE);
            if long && self.standing.quorum != *quorum {
                self.standing.quorum = quorum.clone();
                self.standing.quorum_since = told.position.offset;
            }
        }
    }

    fn note_whether_served(&mut self, seen: &Seen) {
        let Some(Order { wanted: Wanted::Standby { follow: Some(with) }, lineage, .. }) = &self.order else { return };
        let fits = self.memory.fit.as_ref().is_none_or(|fit| fit.with == *with && fit.fork.is_none());
        // Who is apart until it was asked isn't told anything yet.
        let follows = seen.in_file.get(managed::PRIMARY_CONNINFO).is_some_and(|text| !text.is_empty());
        let was = self.memory.unserved.is_so;
        self.memory.unserved.note(seen, fits && follows && self.refitting.is_none());
        if was || !self.memory.unserved.is_so || self.settings.restore_command.is_some() {
            return;
        }
        let comes_from = match (&self.settings.archive, lineage) {
            (Some(_), Some(_)) => "it is read from the repository".to_owned(),
            _ => format!(
                "this configuration has no workload of the cluster's name, and no restore_command: `lifeboat cluster rejoin --member {} --anew` makes the data anew",
                self.settings.name
            ),
        };
        self.say(format!("{with} answers, and sends no log: it has removed what is needed here; {comes_from}"));
    }

    fn tell_report(&mut self, seen: &Seen) {
        self.standing.busy = self.refitting.is_some() || seen.unfinished;
        let report = report(seen, &self.standing);
        self.standing.last = Some(report.clone());
        // Nobody listens any more when the agent ends.
        let _ = self.reports.send(report);
    }

    fn say(&mut self, text: String) {
        if text != self.last_told {
            self.last_told.clone_from(&text);
            let _ = self.tell.send(text);
        }
    }

    async fn carry_out(&mut self, step: Step, seen: &Seen) {
        let done = match step {
            Step::Done | Step::Wait => Ok(()),
            Step::Stop(ending) => {
                self.told_to_end(ending, seen.at);
                apply::end(&self.settings, ending);
                Ok(())
            }
            Step::Settle(managed) => {
                self.memory.settled_since = None;
                apply::settle(&self.settings, &managed).map_err(|error| format!("write the settings: {error}"))
            }
            Step::BecomeStandby => apply::become_standby(&self.settings).map_err(|error| error.to_string()),
            Step::Start => {
                self.memory.started_at = Some(seen.at);
                let alone = matches!(&self.order, Some(Order { wanted: Wanted::Primary { .. }, .. }));
                self.memory.begun |= alone && !seen.standby_signal;
                apply::start(&self.settings).await
            }
            Step::Promote { lineage } => self.promote(lineage, seen).await,
            Step::Compare { with } => self.compare(with, seen).await,
            Step::Refit { to } => {
                self.refit(&to, seen);
                Ok(())
            }
        };
        if let Err(why) = done {
            self.say(why);
        }
    }

    fn told_to_end(&mut self, ending: Ending, now: Moment) {
        let first = match self.memory.told_to_end {
            Some((Ending::AtOnce | Ending::Kill, first, _)) if ending != Ending::Orderly => first,
            Some((Ending::Orderly, first, _)) if ending == Ending::Orderly => first,
            _ => now,
        };
        self.memory.told_to_end = Some((ending, first, now));
    }

    async fn promote(&mut self, lineage: Lineage, seen: &Seen) -> Result<(), String> {
        let Some(told) = &seen.told else { return Ok(()) };
        (self.memory.promoted_at, self.memory.begun) = (Some(seen.at), true);
        let client = self.session.client(&self.settings).await.map_err(|error| error.to_string())?;
        apply::promote(&self.settings, client, told.position, lineage).await
    }

    async fn compare(&mut self, with: MemberName, seen: &Seen) -> Result<(), String> {
        self.memory.compared_at = Some(seen.at);
        let (Some(end), Some(address)) = (seen.end(), self.settings.addresses.get(&with)) else { return Ok(()) };
        let patience = self.ask_patience;
        let asked = fit::fork(&self.settings, address, end, patience).await;
        self.ask_patience = if asked.is_ok() { fit::PATIENCE.0 } else { (patience * 2).min(fit::PATIENCE.1) };
        match asked {
            Ok(fork) => {
                self.memory.unserved.answered_at = Some(seen.at);
                self.memory.fit = Some(Fit { with, fork });
                Ok(())
            }
            Err(FitError::Unreachable(why)) => {
                tracing::debug!(%with, %why, "not compared");
                Ok(())
            }
            Err(error) => Err(format!("{with}: {error}")),
        }
    }

    fn refit(&mut self, to: &MemberName, seen: &Seen) {
        let Some(address) = self.settings.addresses.get(to).cloned() else { return };
        let fork = self.memory.fit.as_ref().and_then(|fit| fit.fork);
        let mut settings = self.settings.clone();
        if self.memory.from_primary {
            settings.remake = None;
        }
        let end =
            seen.stopped.map(|stopped| lifeboat_failover::Position { lineage: stopped.lineage, offset: stopped.end });
        let anew = self.memory.anew;
        self.say(match anew {
            true => format!("the data is made anew from {to}, as it was asked for"),
            false => format!("what is here and not on {to} is put aside, and taken away"),
        });
        self.refitting = Some(tokio::spawn(apply::refit(settings, address, fork, end, anew)));
    }

    async fn end_refitting(&mut self) {
        if !self.refitting.as_ref().is_some_and(JoinHandle::is_finished) {
            return;
        }
        let Some(task) = self.refitting.take() else { return };
        (self.memory.fit, self.stopped, self.history) = (None, None, None);
        match task.await {
            Ok(Ok(how)) => {
                self.made_anew += u64::from(how.is_new);
                (self.memory.anew, self.memory.from_primary, self.refit_pause) = (false, false, REFIT_PAUSE);
                let how = how.text;
                self.say(how);
            }
            Ok(Err(why)) => {
                // Each attempt costs the primary a copy: a reason that stays isn't asked about all the time.
                self.memory.refit_not_before = clock::now() + self.refit_pause;
                self.say(format!("can't follow: {why}; the next attempt is in {} s", self.refit_pause.as_secs()));
                self.refit_pause = (self.refit_pause * 2).min(REFIT_PAUSE_MAX);
            }
            Err(_) => self.say("rewinding was broken off".to_owned()),
        }
    }

    async fn mind_slots(&mut self, seen: &Seen) {
        let Some(told) = seen.told.as_ref().filter(|_| self.order.is_some()) else { return };
        let first = seen.is_primary()
            && self
                .settings
                .addresses
                .keys()
                .any(|name| *name != self.settings.name && !told.slots.contains_key(&managed::slot_name(name)));
        if !first && seen.at - self.slots_at < SLOTS_EVERY {
            return;
        }
        self.slots_at = seen.at;
        let changes = slots::changes(&self.settings, told, &self.positions.borrow().clone());
        for change in changes {
            let Ok(client) = self.session.client(&self.settings).await else { return };
            if let Err(error) = slots::carry_out(client, &change).await {
                self.say(format!("slot: {error}"));
            }
        }
    }

    /// Waits for the next look, an order, or the end of the server. Returns whether anybody is still interested.
    async fn rest(&mut self, pause: Duration) -> bool {
        let until = tokio::time::Instant::now() + pause;
        let ran = matches!(run_state(&self.settings.data_dir), Ok(RunState::Running(_)));
        loop {
            let next = (tokio::time::Instant::now() + DEATH_EVERY).min(until);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                changed = self.orders.changed() => {
                    self.orders.mark_changed();
                    return changed.is_ok();
                }
            }
            let runs = matches!(run_state(&self.settings.data_dir), Ok(RunState::Running(_)));
            if ran != runs || tokio::time::Instant::now() >= until {
                return !self.reports.is_closed();
            }
        }
    }
}
