//! From the preparation to the last question.

use super::record::Seen;
use super::{Planned, Rehearsal, plan};
use crate::health::{Questions, Watch};
use crate::scenario::Health;
use crate::server;
use crate::words::{fill, fill_action, spoken};
use jiff::Timestamp;
use lifeboat_plan::model::OnFailure;
use lifeboat_plan::run::{LossMethod, Outcome, Phase};
use std::time::{Duration, Instant};

/// Between two tries of a step that waits for something, and between two looks at the abort conditions.
const TRY_EVERY: Duration = Duration::from_millis(300);
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// After the recovery the application's own question is waited for no longer.
const HEALTHY_PATIENCE: Duration = Duration::from_secs(60);
/// One look at an abort condition.
const WATCH_PATIENCE: Duration = Duration::from_secs(10);

impl Rehearsal<'_> {
    /// All steps but the cleanup. Ends early when somebody asks for it, or the time is over.
    pub(super) async fn carry_out(&mut self) {
        let limit = self.scenario.time_limit;
        let mut interrupt = self.interrupt.clone();
        let why = tokio::select! {
            () = self.steps() => None,
            () = tokio::time::sleep(limit) => Some(format!("it took longer than {} s", limit.as_secs())),
            asked = interrupt.wait_for(|asked| *asked) => {
                // Nobody can ask any more; the steps were dropped with it.
                Some(if asked.is_ok() { "somebody interrupted it" } else { "whoever watched it is gone" }.to_owned())
            }
        };
        let Some(why) = why else { return };
        (self.tell)(&format!("broken off: {why}"));
        self.run().aborted.get_or_insert(why);
        if let Some(current) = self.current.take() {
            self.note(current, Seen { is_late: true, ..Seen::default() });
        }
    }

    async fn steps(&mut self) {
        let planned: Vec<Planned> = plan(self.scenario, self.around.workloads.len())
            .into_iter()
            .filter(|one| one.phase != Phase::Cleanup)
            .collect();
        let mut stopped = false;
        let mut looked = Instant::now();
        for (number, one) in planned.iter().enumerate() {
            if stopped || self.journal.run.aborted.is_some() || self.journal.run.refused.is_some() {
                self.skip(one);
                continue;
            }
            if one.phase == Phase::Fault && self.fault_at.is_none() {
                self.fault_begins();
            }
            let outcome = self.one(one).await;
            let counts = one.step.counts && outcome != Outcome::Held;
            if counts && one.phase == Phase::Before {
                self.run().refused = Some(format!("it was not steady before: {} did not hold", one.step.name));
            }
            stopped = counts && one.step.on_failure != OnFailure::Continue;
            let fault_is_over =
                one.phase == Phase::Fault && planned.get(number + 1).is_none_or(|next| next.phase != Phase::Fault);
            if fault_is_over && !stopped {
                self.watch_health();
            }
            if self.fault_at.is_some() && looked.elapsed() >= WATCH_EVERY {
                self.look_at_abort_conditions().await;
                looked = Instant::now();
            }
        }
        self.measure(stopped).await;
    }

    pub(crate) fn fault_begins(&mut self) {
        let now = Timestamp::now();
        self.fault_at = Some((now, Instant::now()));
        self.meanings.insert("fault_time".into(), now.to_string());
    }

    /// One step: done, again where it waits, judged, written down.
    async fn one(&mut self, planned: &Planned) -> Outcome {
        let action = match fill_action(&planned.step.action, &self.meanings_of(planned.workload)) {
            Ok(action) => action,
            Err(name) => {
                let current = self.began(planned, spoken(&planned.step.action));
                return self.note(current, Seen::wrong(format!("{{{name}}} is not known yet")));
            }
        };
        let current = self.began(planned, spoken(&action));
        self.current = Some(current.clone());
        let limit = Self::limit_of(planned);
        let deadline = Instant::now() + limit;
        let mut seen;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            seen = match tokio::time::timeout(left, self.act(planned, &action, left)).await {
                Ok(seen) => seen,
                Err(_) => Seen {
                    wrong: Some(format!("nothing after {} s", limit.as_secs_f64())),
                    is_late: true,
                    ..Seen::default()
                },
            };
            if !planned.step.until || seen.is_late || self.holds(planned, &seen) {
                break;
            }
            if Instant::now() + TRY_EVERY > deadline {
                seen.is_late = true;
                break;
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        self.current = None;
        self.note(current, seen)
    }

    fn holds(&self, planned: &Planned, seen: &Seen) -> bool {
        use crate::scenario::tolerance::part;
        let step = &planned.step;
        let looked_at = step.path.as_ref().map_or(Some(&seen.value), |path| part(&seen.value, path));
        let refused = step.tolerance.as_ref().is_some_and(|tolerance| tolerance.refuses(looked_at).is_some());
        let keeps = step.keeps.values().all(|path| part(&seen.value, path).is_some_and(|part| !part.is_null()));
        seen.wrong.is_none() && !refused && keeps
    }

    /// From the end of the fault on the application is asked.
    fn watch_health(&mut self) {
        self.health = self.questions().map(Watch::begin);
    }

    fn questions(&self) -> Option<Questions> {
        if self.around.workloads.is_empty() {
            return None;
        }
        let usual = Health { server: "restored".into(), queries: Vec::new() };
        let health = self.scenario.health.as_ref().unwrap_or(&usual);
        let mut questions = Questions::new();
        let all =
            if self.scenario.phases.values().flatten().any(|step| step.each) { self.around.workloads.len() } else { 1 };
        for (number, protected) in self.around.workloads.iter().enumerate().take(all) {
            let meanings = self.meanings_of(number);
            let server = meanings.get(&health.server).unwrap_or(&health.server);
            let target = server::target(&self.place, server, protected).ok()?;
            let mut own = if health.queries.is_empty() { protected.checks.clone() } else { health.queries.clone() };
            // Of a cluster it is asked whether it can be written to, and what the workload's owner asks.
            if self.scenario.has_cluster() {
                own.extend(protected.checks.iter().cloned());
            }
            let mut queries: Vec<String> =
                own.iter().map(|query| fill(query, &meanings).unwrap_or_else(|_| query.clone())).collect();
            if queries.is_empty() {
                queries.push("select true".into());
            }
            questions.push((target, queries));
        }
        Some(questions)
    }

    async fn look_at_abort_conditions(&mut self) {
        for step in &self.scenario.abort_unless {
            let planned = Planned { phase: Phase::After, step: step.clone(), workload: 0 };
            let Ok(action) = fill_action(&step.action, &self.meanings_of(0)) else { continue };
            let seen = tokio::time::timeout(WATCH_PATIENCE, self.act(&planned, &action, WATCH_PATIENCE)).await;
            let held = seen.is_ok_and(|seen| self.holds(&planned, &seen));
            if !held {
                self.run().aborted = Some(format!("abort condition: {} did not hold", step.name));
                return;
            }
        }
    }

    /// What the whole took. The application's own question counts, like every other that is asked afterwards.
    async fn measure(&mut self, stopped: bool) {
        let Some((_, begun)) = self.fault_at else { return };
        if let Some(mut watch) = self.health.take() {
            let patience =
                if stopped || self.journal.run.aborted.is_some() { Duration::ZERO } else { HEALTHY_PATIENCE };
            let started_at = Timestamp::now();
            let healthy_at = watch.wait(patience).await;
            self.run().measured.fault_to_healthy_seconds = healthy_at.map(|at| at.duration_since(begun).as_secs_f64());
            let wrong = healthy_at.is_none().then(|| "it never was, after the fault".to_owned());
            self.note_own(Phase::After, "the application's own question is answered rightly", started_at, wrong);
        }
        if !stopped {
            let healthy = self.run().measured.fault_to_healthy_seconds.unwrap_or_default();
            let validated = begun.elapsed().saturating_sub(self.counting).as_secs_f64();
            self.run().measured.fault_to_validated_seconds = Some(validated.max(healthy));
        }
    }

    /// What the canary was promised is looked for on this server.
    pub(crate) async fn count(&mut self, server: &str) -> Seen {
        if let Some(canary) = self.canary.take() {
            self.writes = canary.writes();
            canary.stop().await;
        }
        let fault_at = self.fault_at.map_or_else(Timestamp::now, |(at, _)| at);
        let found = async {
            let client = self.session(server, None).await?;
            crate::canary::present(&client).await
        };
        let present = match found.await {
            Ok(present) => present,
            Err(why) => return Seen::wrong(why),
        };
        // Who restores goes back before the fault; a cluster goes on.
        let loss = crate::canary::loss(&self.writes, &present, fault_at, self.scenario.has_cluster());
        let measured = &mut self.run().measured;
        measured.writes_checked = Some(loss.checked);
        measured.writes_lost = Some(loss.lost);
        measured.loss_seconds = loss.seconds;
        measured.loss_method = Some(LossMethod::Canary);
        let value = serde_json::json!({"checked": loss.checked, "lost": loss.lost, "seconds": loss.seconds});
        match loss.checked {
            0 => Seen { value, wrong: Some("the canary wrote nothing before the fault".into()), ..Seen::default() },
            _ => Seen::of(value),
        }
    }
}
