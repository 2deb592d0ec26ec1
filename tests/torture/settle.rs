//! The quiet between: everything is healed as the documents say, and then it must be whole; and what needs that quiet,
//! damage to one object and a restore in place of the original.

use crate::actions::{Action, Circumstances};
use crate::checks::{self, Target};
use crate::contents::Contents;
use crate::places::NAMES;
use crate::random::Random;
use crate::run::Run;
use crate::world::start_to_the_end;
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// For so long `verify` takes a file of the log that others have for one that is on its way; and a second.
const ON_ITS_WAY: Duration = Duration::from_secs(181);

impl Run {
    /// Heals everything; a backup, a copy where needed, and all is well: every byte verifies, the latest is restored.
    pub async fn settle(&mut self, random: &mut Random) -> Result<()> {
        for name in NAMES {
            self.world.places.heal(name)?;
        }
        self.repair()?;
        self.receive().await?;
        let document = self.command("backup incr", &["backup", "shop", "--json"])?;
        ensure!(document["pages_bad"] == 0, "{document}");
        self.archive_all().await?;
        self.must_be_whole()?;
        if random.chance(60) {
            self.prune_in_two_phases(random)?;
        }
        let found = checks::reachable(&self.world, None)?;
        for point in &found.points {
            ensure!(point.is_usable, "point {point:?} can't be restored, and all is healed");
        }
        let everywhere = found.points.iter().filter(|point| point.locations.len() == NAMES.len()).count();
        ensure!(everywhere > 0, "no point is everywhere, and all is healed: {found:#?}");
        let from = random.pick(&NAMES).copied();
        let shown = checks::restore_latest(&self.world, &self.model, from, random, &mut self.tally).await?;
        eprintln!("  settled, exact: {shown}");
        self.tally.count("settled");
        Ok(())
    }

    /// What is damaged comes back from another place, or is given up when all others have pruned it meanwhile.
    fn repair(&mut self) -> Result<()> {
        let Some(damage) = self.world.places.damage.take() else { return Ok(()) };
        let ran = self.world.run(&["repair", "--json"])?;
        self.tally.ran("repair", ran.code);
        eprintln!("  repaired: {damage:?} -> {:?}", ran.code);
        if ran.code == Some(4) {
            self.command("repair --give-up", &["repair", "--give-up", "--json"])?;
        } else {
            ran.must_end(&[0])?;
        }
        Ok(())
    }

    /// Marks, lets the time of grace pass, and deletes: every byte that is left must verify.
    fn prune_in_two_phases(&mut self, random: &mut Random) -> Result<()> {
        for _ in 0..2 {
            let action = Action::thorough_prune(random);
            // Whole seconds: what was written in this one must be older than the next.
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let ran = action.start(&self.world, 0, SystemTime::now())?.wait()?;
            self.tally.ran(action.name(), ran.code);
            self.tally.deleted(&ran);
            action.judge(&ran, &Circumstances::default())?;
        }
        self.must_be_whole()
    }

    /// Every byte verifies; a place that is behind is completed by `copy`, as the message says.
    fn must_be_whole(&mut self) -> Result<()> {
        // A receiver goes on storing pieces of the log, in one place after the other.
        let looks = if self.world.shape.streams { 5 } else { 2 };
        for look in 1..=looks {
            let ran = self.world.run(&["verify", "shop", "--data", "--json"])?;
            self.tally.ran("verify --data", ran.code);
            if ran.code != Some(4) || look == looks {
                return ran.must_end(&[0]).map(drop);
            }
            Action::Verify { level: "--data", from: None }.judge(&ran, &Circumstances::default())?;
            self.tally.count("places that were behind and healed by copy");
            for [from, to] in [["near", "small"], ["small", "bucket"], ["bucket", "near"], ["near", "small"]] {
                self.command("copy", &["copy", "--from", from, "--to", to, "--json"])?;
            }
        }
        Ok(())
    }

    fn command(&mut self, name: &'static str, arguments: &[&str]) -> Result<Value> {
        let ran = self.world.run(arguments)?;
        self.tally.ran(name, ran.code);
        ran.must_end(&[0])?.json()
    }

    /// All log so far is stored.
    pub async fn archive_all(&mut self) -> Result<()> {
        let ask = "select pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_wal_insert_lsn()::text";
        let client = crate::contents::connect(&self.world.cluster, "postgres").await?;
        let found = crate::contents::rows(&client, ask).await?.swap_remove(0);
        // Something must be in the segment, or the switch does nothing.
        self.world.sql("select pg_create_restore_point('here')").await?;
        self.world.sql("select pg_switch_wal()").await?;
        let query = match self.world.shape.streams {
            true => format!("select coalesce(bool_or(flush_lsn >= '{}'), false) from pg_stat_replication", found[1]),
            false => {
                format!("select coalesce(left(last_archived_wal, 24) >= '{}', false) from pg_stat_archiver", found[0])
            }
        };
        self.until("everything is archived", &query).await?;
        self.model.ask_archived(&self.world.cluster, self.world.shape.streams).await
    }

    /// One object in one place is not what it was. It must be found.
    pub fn damage(&mut self, random: &mut Random) -> Result<()> {
        let Some(damage) = self.world.places.damage(random)? else { return Ok(()) };
        eprintln!("  damaged: {damage:?}");
        self.tally.count(if damage.was_removed { "objects removed" } else { "bits flipped" });
        let mut ran = self.world.run(&["verify", "shop", "--data", "--json"])?;
        self.tally.ran("verify --data", ran.code);
        if damage.was_removed && ran.code == Some(0) && ran.json()?["arriving"][damage.place].as_u64() > Some(0) {
            // All others got it a moment ago, so it looks like a file that is on its way here; but not for long.
            self.tally.count("log files that seemed to be on their way");
            std::thread::sleep(ON_ITS_WAY);
            ran = self.world.run(&["verify", "shop", "--data", "--json"])?;
            self.tally.ran("verify --data", ran.code);
        }
        if damage.was_removed && damage.key.starts_with("index/") && ran.code == Some(0) {
            // Every pack that a point needs is listed by another fragment, in this place as in the others: each was looked at by itself.
            self.tally.count("fragments of the index removed that nobody needs");
            self.world.places.damage = None;
            return Ok(());
        }
        ensure!(ran.code == Some(4), "{damage:?} was not found: {ran:#?}");
        let document = ran.json()?;
        let names: Vec<&str> = ["bad", "behind"]
            .iter()
            .flat_map(|list| document[list].as_array().into_iter().flatten())
            .filter_map(|one| one["location"].as_str())
            .collect();
        ensure!(names.contains(&damage.place), "{damage:?}, and it names others: {document}");
        ensure!(names.iter().all(|name| *name == damage.place), "{damage:?}, and it names others too: {document}");
        ensure!(damage.was_removed || document["bad"] != Value::Array(Vec::new()), "{damage:?} isn't bad: {document}");
        Ok(())
    }

    /// The accident on the very machine: the original is taken back to a moment, and goes on from there.
    pub async fn back_in_place(&mut self, random: &mut Random) -> Result<()> {
        let found = checks::reachable(&self.world, None)?;
        let Some((moment, window)) = self.model.choose(&found, random) else { return Ok(()) };
        let (moment, window) = (moment.clone(), window.clone());
        self.model.leave(&self.world.cluster).await?;
        match random.chance(70) {
            true => self.world.cluster.stop(Shutdown::Fast)?,
            false => self.world.cluster.kill()?,
        }
        let data = self.world.cluster.data_dir().display().to_string();
        let target = Target::random(&moment, &window, random);
        let timeline = window.timeline.to_string();
        let mut arguments = vec!["restore", "shop", "--json", "--as-primary", "--timeline", &timeline, "--to", &data];
        arguments.extend(target.arguments.iter().map(String::as_str));
        eprintln!("  back to moment {} by {arguments:?}", moment.number);
        if random.chance(25) {
            let mut running = self.world.spawn("lifeboat.toml", &arguments, None)?;
            // The moment is the fault that is injected: nothing is waited for.
            std::thread::sleep(std::time::Duration::from_millis(random.below(1200)));
            let ran = running.kill()?;
            self.tally.ran("restore in place", ran.code);
        }
        let ran = self.world.run(&arguments)?;
        self.tally.ran("restore in place", ran.code);
        ran.must_end(&[0])?;
        start_to_the_end(&mut self.world.cluster).await?;
        let name = self.world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").await?.context("a name")?;
        let line = u32::from_str_radix(&name[..8], 16)?;
        Contents::of(&self.world.cluster, true).await?.must_be(&moment.contents)?;
        self.model.ledger_of(moment.timeline).judge(&self.world.cluster, target.ledger_at).await?;
        self.model.promoted(&self.world.cluster, line)?;
        let begun = self.model.leave(&self.world.cluster).await?;
        self.model.arrive(&self.world.cluster, begun, None, true).await?;
        self.tally.count("restores in place of the original");
        // From here on the line is protected: by the log alone only after the next point on it.
        let action = Action::Backup { kind: "incr", accelerator: None };
        let ran = action.start(&self.world, 0, SystemTime::now())?.wait()?;
        self.tally.ran(action.name(), ran.code);
        action.judge(&ran, &Circumstances::default())?;
        Ok(())
    }
}
