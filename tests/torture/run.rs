//! One world from its making to its end: step after step, and what each found.

use crate::actions::{Action, Circumstances};
use crate::checks;
use crate::ledger::{Clients, now};
use crate::model::Model;
use crate::places::{Fault, NAMES};
use crate::random::Random;
use crate::sql;
use crate::tally::Tally;
use crate::world::{Running, Shape, World};
use anyhow::{Context, Result};
use lifeboat_components::servers::Mode;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How often everything is healed and must be whole.
pub const STEPS_BETWEEN_SETTLING: u64 = 7;

pub struct Run {
    pub world: World,
    pub model: Model,
    pub tally: Tally,
    pub receiver: Option<Running>,
    seed: u64,
}

/// What happens to the server or to this machine in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    /// `kill -9` of the server.
    Crash,
    Restart,
    /// The directory of local state is lost.
    Forget,
    /// The archiver's commands are killed after so many milliseconds.
    KillPush(u64),
    /// `wal receive` is killed and started again.
    KillReceiver,
}

/// The kind of world that a seed makes.
pub fn shape(seed: u64, major: Option<u16>) -> Shape {
    let mut random = Random::of(seed, 0);
    let chosen = random.weighted(&[(60, 15), (20, 18), (7, 14), (6, 16), (7, 17)]);
    let streams = random.chance(25);
    Shape { major: major.unwrap_or(chosen), streams, checksums: random.chance(80) }
}

impl Run {
    pub async fn begin(root: &Path, seed: u64, shape: Shape) -> Result<Self> {
        let mut world = World::create(root, shape)?;
        for name in ["fast", "slow"] {
            let place = world.make_directory(&format!("spaces/{name}"))?;
            world.sql(&format!("create tablespace {name} location '{}'", place.display())).await?;
            let oid = world.sql(&format!("select oid::text from pg_tablespace where spcname = '{name}'")).await?;
            world.spaces.push((oid.context("oid of a tablespace")?, place));
        }
        sql::prepare(&world.cluster).await?;
        let ledger = Clients::start(&world.cluster, 2).await?.stop().await?;
        let mut model = Model::begin(&world.cluster).await?;
        model.told(ledger);
        let mut run = Self { world, model, tally: Tally::default(), receiver: None, seed };
        run.receive().await?;
        let first = Action::Backup { kind: "full", accelerator: None };
        let ran = first.start(&run.world, 0, SystemTime::now())?.wait()?;
        run.tally.ran(first.name(), ran.code);
        first.judge(&ran, &Circumstances::default())?;
        Ok(run)
    }

    /// One step. What it did, in a line or a few.
    pub async fn step(&mut self, number: u64) -> Result<()> {
        let mut random = Random::of(self.seed, number);
        if number.is_multiple_of(STEPS_BETWEEN_SETTLING) {
            eprintln!("step {number}: settle");
            self.settle(&mut random).await?;
            if random.chance(50) && !self.world.shape.streams {
                eprintln!("step {number}: back in place");
                self.back_in_place(&mut random).await?;
            } else if random.chance(60) {
                self.damage(&mut random)?;
            }
            return self.check(&mut random).await;
        }
        self.move_faults(&mut random)?;
        self.act(number, &mut random).await?;
        self.check(&mut random).await
    }

    /// Faults come and go. One place at least always works.
    fn move_faults(&mut self, random: &mut Random) -> Result<()> {
        for name in NAMES {
            if random.chance(40) && self.world.places.faults.contains_key(name) {
                eprintln!("  healed: {name}");
                self.world.places.heal(name)?;
            }
        }
        if !random.chance(35) || self.world.places.faults.len() > 1 {
            return Ok(());
        }
        let (name, fault) = random.weighted(&[
            (20, ("near", Fault::Away)),
            (30, ("small", Fault::Full)),
            (10, ("bucket", Fault::Bucket(Mode::Status(500)))),
            (5, ("bucket", Fault::Bucket(Mode::Status(403)))),
            (10, ("bucket", Fault::Bucket(Mode::Hang))),
            (10, ("bucket", Fault::Bucket(Mode::Reset))),
            (15, ("bucket", Fault::Bucket(Mode::Slow(120)))),
        ]);
        let is_damaged = self.world.places.damage.is_some();
        if self.world.places.faults.contains_key(name) || is_damaged {
            return Ok(());
        }
        self.tally.count(&format!("fault {fault:?}"));
        match fault {
            Fault::Bucket(mode) if !matches!(mode, Mode::Slow(_)) && random.chance(60) => {
                let writes = random.below(12) as u32;
                eprintln!("  fault: {name} {mode:?} after {writes} writes");
                self.world.places.inject_after_writes(writes, mode);
            }
            fault => {
                eprintln!("  fault: {name} {fault:?}");
                self.world.places.inject(name, fault)?;
            }
        }
        Ok(())
    }

    fn circumstances(&self) -> Circumstances {
        let places = &self.world.places;
        Circumstances {
            broken: NAMES.iter().copied().filter(|name| !places.works(name)).collect(),
            damaged: places.damage.as_ref().map(|damage| damage.place),
            crashed: false,
            unheard: false,
            moved: false,
            others: Vec::new(),
        }
    }

    fn event(&self, random: &mut Random) -> Event {
        let push = Event::KillPush(random.below(500));
        match random.below(100) {
            0..5 => Event::Crash,
            5..8 => Event::Restart,
            8..12 => Event::Forget,
            12..24 if !self.world.shape.streams => push,
            12..32 if self.world.shape.streams => Event::KillReceiver,
            _ => Event::Nothing,
        }
    }

    /// One or two commands, with clients at work and statements meanwhile.
    async fn act(&mut self, number: u64, random: &mut Random) -> Result<()> {
        let mut actions = vec![Action::random(random)];
        if random.chance(35) {
            actions.push(Action::random(random));
        }
        let mut kills = Vec::new();
        for action in &actions {
            kills.push(random.chance(28).then(|| action.usual().mul_f64(random.below(1100) as f64 / 1000.0)));
        }
        let event = self.event(random);
        let batches = 1 + random.below(3);
        eprintln!("step {number}: {actions:?} kills {kills:?} {event:?}");
        self.receive().await?;
        let mut around = self.circumstances();
        around.crashed = event == Event::Crash || event == Event::Restart;
        // The receiver goes with the server, and comes back.
        around.unheard = self.world.shape.streams && (around.crashed || event == Event::KillReceiver);
        if event == Event::Forget {
            let _ = std::fs::remove_dir_all(self.world.path("state"));
        }
        if let Event::KillPush(milliseconds) = event {
            std::fs::write(self.world.path("kill-after"), format!("0.{milliseconds:03}"))?;
        }
        let is_backed_up = actions.iter().any(|action| matches!(action, Action::Backup { .. }));
        let clients = Clients::start(&self.world.cluster, 2).await?;
        let step_begun = SystemTime::now();
        let mut running = Vec::new();
        for (at, action) in actions.iter().enumerate() {
            action.announce(&mut self.model, now());
            let child = action.start(&self.world, at, step_begun)?;
            kills[at].into_iter().for_each(|moment| child.kill_at(moment));
            running.push((*action, child));
        }
        for _ in 0..batches {
            around.moved |= self.batch(random, is_backed_up).await?;
        }
        let _ = std::fs::remove_file(self.world.path("kill-after"));
        self.strike(event).await?;
        for (at, (action, mut child)) in running.into_iter().enumerate() {
            let mut around = around.clone();
            around.others =
                actions.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other).collect();
            let ran = loop {
                match child.poll()? {
                    Some(ran) => break ran,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            eprintln!("  {} -> {}", ran.shown, ran.code.map_or("killed".into(), |code| code.to_string()));
            self.tally.ran(action.name(), ran.code);
            self.tally.deleted(&ran);
            if ran.code.is_some() || kills[at].is_none() {
                action.judge(&ran, &around).with_context(|| format!("{action:?}"))?;
            }
        }
        self.world.end_orphans()?;
        let ledger = clients.stop().await?;
        self.model.told(ledger);
        self.tally.count("steps");
        // What is in the log so far is to be archived, whatever is wrong with some of the places.
        if random.chance(60) {
            self.archive_all().await?;
        }
        Ok(())
    }

    /// What happens to the server.
    async fn strike(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Crash => {
                self.world.cluster.kill()?;
                self.world.cluster.start()?;
            }
            Event::Restart => self.world.cluster.restart()?,
            Event::KillReceiver => {
                if let Some(mut receiver) = self.receiver.take() {
                    let ran = receiver.kill()?;
                    self.tally.ran("wal receive", ran.code);
                }
                self.receive().await?;
            }
            _ => {}
        }
        if event != Event::Nothing {
            let name = format!("{event:?}");
            self.tally.count(name.split('(').next().unwrap_or_default());
        }
        Ok(())
    }

    /// Statements, and the moment after them. True when databases came, went or moved.
    pub async fn batch(&mut self, random: &mut Random, is_backed_up: bool) -> Result<bool> {
        let begun = self.model.leave(&self.world.cluster).await?;
        let spaces = ["fast".to_owned(), "slow".to_owned()];
        let done = sql::batch(&self.world.cluster, random, &spaces, is_backed_up).await?;
        eprintln!("  moment {} after {}", self.model.moments.len(), done.shown.chars().take(150).collect::<String>());
        self.tally.count("batches of statements");
        let moved = done.shown.contains(" database ");
        self.model.arrive(&self.world.cluster, begun, Some(done), random.chance(30)).await?;
        Ok(moved)
    }

    /// In worlds that stream their log: somebody receives it.
    pub async fn receive(&mut self) -> Result<()> {
        if !self.world.shape.streams {
            return Ok(());
        }
        if let Some(receiver) = &mut self.receiver {
            let Some(ran) = receiver.poll_for_ever()? else { return Ok(()) };
            self.tally.ran("wal receive", ran.code);
            ran.must_end(&[5])?;
        }
        self.receiver = Some(self.world.spawn("lifeboat.toml", &["wal", "receive", "shop"], None)?);
        self.until("the receiver is connected", "select count(*) = 1 from pg_replication_slots where active").await
    }

    /// Waits until a query answers `t`.
    pub async fn until(&mut self, what: &str, query: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.world.sql(query).await?;
            if answer.as_deref() == Some("t") {
                return Ok(());
            }
            if let Some(ran) = self.receiver.as_mut().map(Running::poll_for_ever).transpose()?.flatten() {
                anyhow::bail!("the receiver ended before {what}: {ran:#?}");
            }
            anyhow::ensure!(
                begun.elapsed() < Duration::from_secs(150),
                "waited in vain until {what} ({query}):\n{}",
                crate::world::end_of(&self.world.cluster.log())
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is reachable, against what must be; and something restored and compared.
    async fn check(&mut self, random: &mut Random) -> Result<()> {
        self.model.ask_archived(&self.world.cluster, self.world.shape.streams).await?;
        let all_readable = NAMES.iter().all(|name| self.world.places.is_readable(name));
        if all_readable {
            let found = checks::reachable(&self.world, None)?;
            checks::nothing_is_missing(&self.model, &found)?;
            self.tally.count("looks at what must be reachable");
        }
        if random.chance(5) {
            checks::refuses_the_future(&self.world, &mut self.tally)?;
        }
        if self.world.places.damage.is_some() && random.chance(35) {
            checks::restore_from_damaged(&self.world, &self.model, random, &mut self.tally).await?;
        }
        let shown = checks::restore_something(&self.world, &self.model, random, &mut self.tally).await?;
        eprintln!("  exact: {shown}");
        Ok(())
    }
}
