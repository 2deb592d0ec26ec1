//! The cleanup, which always comes, and the verdict.

use super::{Planned, Rehearsal, Rehearsed, plan};
use crate::journal::{remove_place, undo};
use crate::process::end;
use crate::words::{fill_action, spoken};
use jiff::Timestamp;
use lifeboat_plan::run::Phase;

impl Rehearsal<'_> {
    /// Takes everything away; each step is tried, whatever became of the one before.
    pub(super) async fn finish(mut self) -> Rehearsed {
        if let Some(canary) = self.canary.take() {
            self.writes = canary.writes();
            canary.stop().await;
        }
        self.health = None;
        if self.place.directory().exists() {
            self.own_cleanup().await;
        }
        self.end_background().await;
        self.take_back().await;
        self.remove_hosts().await;
        let kept = self.clear().await;
        let run = self.run();
        run.ended_at = Timestamp::now();
        run.verdict = run.entailed().0;
        Rehearsed { run: self.journal.run, called: self.called, kept }
    }

    /// The steps of the scenario.
    async fn own_cleanup(&mut self) {
        let planned = plan(self.scenario, self.around.workloads.len());
        let cleanup: Vec<Planned> = planned.into_iter().filter(|one| one.phase == Phase::Cleanup).collect();
        for one in cleanup {
            let filled = fill_action(&one.step.action, &self.meanings_of(one.workload));
            // Something that never came to be needs no cleaning.
            let Ok(action) = filled else { continue };
            let current = self.began(&one, spoken(&action));
            let limit = Self::limit_of(&one);
            let seen = tokio::time::timeout(limit, self.act(&one, &action, limit)).await;
            let seen = seen.unwrap_or_else(|_| super::record::Seen { is_late: true, ..Default::default() });
            self.note(current, seen);
        }
    }

    async fn end_background(&mut self) {
        for (planned, started_at, mut child) in std::mem::take(&mut self.background) {
            // One that ended by itself wasn't there when it was needed.
            let ended = child.try_wait().ok().flatten();
            let wrong = match ended {
                Some(status) => Some(format!("it ended by itself with {status}: {}", self.last_words(&planned))),
                None => end(child).await.err().map(|error| error.to_string()),
            };
            if let Some(why) = wrong {
                let name = format!("{}, in the background", planned.step.name);
                self.note_own(planned.phase, &name, started_at, Some(why));
            }
        }
    }

    /// What other systems did is taken back, last first.
    async fn take_back(&mut self) {
        let commands = std::mem::take(&mut self.journal.undo);
        if commands.is_empty() {
            return;
        }
        let started_at = Timestamp::now();
        let undone = tokio::task::spawn_blocking(move || undo(&commands)).await;
        let wrong = undone.map_or_else(|error| Some(error.to_string()), Result::err);
        self.note_own(Phase::Cleanup, "take back what other systems did", started_at, wrong);
    }

    /// With everything that runs in them.
    async fn remove_hosts(&mut self) {
        // They are made after the place, and stay with it.
        if !self.scenario.has_cluster() || self.around.keep || !self.place.directory().exists() {
            return;
        }
        let (started_at, hosts) = (Timestamp::now(), self.hosts.clone());
        let removed = tokio::task::spawn_blocking(move || hosts.remove()).await;
        let wrong = removed.map_or_else(|error| Some(error.to_string()), Result::err);
        for mut child in std::mem::take(&mut self.in_hosts) {
            // It was killed; somebody must take note.
            let _ = child.try_wait();
        }
        self.note_own(Phase::Cleanup, "end what runs in the hosts, and remove them", started_at, wrong);
    }

    /// Ends servers, removes the place, forgets it.
    async fn clear(&mut self) -> Option<std::path::PathBuf> {
        let directory = self.place.directory().to_path_buf();
        if !directory.exists() {
            let _ = self.journal.remove(&self.around.journal_dir);
            return None;
        }
        let started_at = Timestamp::now();
        if self.around.keep {
            let why =
                "it was asked to stay; `lifeboat drill cleanup` removes it once this process has ended".to_owned();
            self.note_own(Phase::Cleanup, "remove the place", started_at, Some(why));
            self.write_journal();
            return Some(directory);
        }
        let place = directory.clone();
        let removed = tokio::task::spawn_blocking(move || remove_place(&place)).await;
        let wrong = match removed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        for (_, mut child) in std::mem::take(&mut self.servers) {
            // It was ended; somebody must take note.
            let _ = child.try_wait();
        }
        let is_gone = wrong.is_none();
        self.note_own(Phase::Cleanup, "end the servers and remove the place", started_at, wrong);
        if is_gone {
            let _ = self.journal.remove(&self.around.journal_dir);
            return None;
        }
        self.write_journal();
        Some(directory)
    }
}
