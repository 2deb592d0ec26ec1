//! What would have been lost: production is asked at the fault where its log ends, and what was behind what survived is counted afterwards.

use crate::engine::{Rehearsal, Seen};
use crate::loss::{ARRIVAL_SECONDS_MAX, Bounds, Counted, Ends, Loss, loss, together};
use crate::scenario::With;
use lifeboat_plan::run::{LossMethod, Phase};
use lifeboat_postgres::Lsn;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A location far away, or a server that doesn't answer, is waited for so long.
const ENDS_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether the log has arrived.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Rehearsal<'_> {
    /// Asks where the log of every workload ends, if that will be needed. Nothing fails here: what isn't known is kept with its reason.
    pub(super) async fn assume_loss(&mut self, limit: Duration) -> Value {
        if !self.scenario.counts_loss() {
            return Value::Null;
        }
        let mut said = Vec::new();
        let is_first = !self.run().steps.iter().any(|step| step.phase == Phase::Fault);
        for number in 0..self.around.workloads.len() {
            let words = ["drill".to_owned(), "ends".into(), self.around.workloads[number].name.clone()];
            let ends = self.asked::<Ends>(&words, ENDS_PATIENCE.min(limit)).await;
            let unknown = |why: String| Ends { archive_unknown: Some(why), ..Ends::default() };
            let ends = ends.unwrap_or_else(unknown);
            said.push(format!("{}: {}", self.around.workloads[number].name, ends.said()));
            self.ends.insert(number, ends);
        }
        // Asking took a while, and nobody who recovers would do it: their clock begins now. Where something broke before, it goes on.
        if is_first {
            self.fault_begins();
        }
        said.join("; ").into()
    }

    /// What the restored server lacks of what its workload had committed by the fault.
    pub(super) async fn count_loss(&mut self, server: &str, workload: usize) -> Seen {
        let begun = Instant::now();
        let seen = self.judge_loss(server, workload).await;
        self.counting += begun.elapsed();
        seen
    }

    async fn judge_loss(&mut self, server: &str, workload: usize) -> Seen {
        let Some(ends) = self.ends.get(&workload).cloned() else {
            return Seen::wrong("nobody was asked at the fault where the log ends");
        };
        let restored = match self.replayed_to(server).await {
            Ok(restored) => restored,
            Err(why) => return Seen::wrong(why),
        };
        let found = match ends.bounds(restored) {
            Some(bounds) => match self.counted_when_there(workload, bounds).await {
                Ok(counted) => loss(&ends, restored, Some(&counted)),
                Err(why) => Loss::Unknown(format!("the log up to the fault could not be read: {why}")),
            },
            None => loss(&ends, restored, None),
        };
        let (lost, seconds, said) = (found.lost(), found.seconds(), found.said());
        (self.tell)(&format!("   {said}"));
        let is_incomplete = matches!(found, Loss::Incomplete { .. });
        self.losses.insert(workload, found);
        let all = (0..self.around.workloads.len()).map(|number| self.losses.get(&number));
        let (loss_seconds, writes_lost) = together(all);
        let measured = &mut self.run().measured;
        (measured.loss_seconds, measured.writes_lost) = (loss_seconds, writes_lost);
        measured.loss_method = writes_lost.map(|_| LossMethod::Log);
        let value = json!({"lost": lost, "seconds": seconds, "said": said, "ends": ends, "restored": restored});
        Seen { value, wrong: is_incomplete.then_some(said), ..Seen::default() }
    }

    /// Where the recovery of a server ended. It says so as long as it runs, whatever was written since.
    async fn replayed_to(&self, server: &str) -> Result<Lsn, String> {
        let client = self.session(server, None).await?;
        let row = client.query_one("select pg_last_wal_replay_lsn()::text", &[]).await;
        let row = row.map_err(|error| crate::canary::said(&error))?;
        let text: Option<String> = row.try_get(0).map_err(|error| error.to_string())?;
        let text = text.ok_or_else(|| format!("server {server} has replayed no log since it was started"))?;
        text.parse::<Lsn>().map_err(|error| error.to_string())
    }

    /// Production goes on, so its log arrives; or it doesn't, and then only what was in a location at the fault can be counted.
    async fn counted_when_there(&mut self, workload: usize, bounds: Bounds) -> Result<Counted, String> {
        let deadline = Instant::now() + Duration::from_secs(ARRIVAL_SECONDS_MAX);
        loop {
            // What a location can't give now, it may in a second.
            let counted = self.count_between(workload, bounds).await;
            if let Ok(counted) = counted
                && counted.covered
            {
                return Ok(counted);
            }
            if Instant::now() + LOOK_EVERY > deadline {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.count_between(workload, Bounds { until: bounds.stored, ..bounds }).await
    }

    async fn count_between(&mut self, workload: usize, bounds: Bounds) -> Result<Counted, String> {
        let Some(archive) = self.ends.get(&workload).and_then(|ends| ends.archive) else {
            return Err("where the log in the locations ended is not known".into());
        };
        let mut words = vec!["drill".to_owned(), "lost".into(), self.around.workloads[workload].name.clone()];
        for (option, value) in [
            ("--survived", bounds.survived.to_string()),
            ("--stored", bounds.stored.to_string()),
            ("--until", bounds.until.to_string()),
            ("--timeline", archive.timeline.to_string()),
        ] {
            words.extend([option.to_owned(), value]);
        }
        self.asked(&words, ENDS_PATIENCE).await
    }

    /// What a hidden command of ours answers that only reads, with the real configuration.
    async fn asked<T: serde::de::DeserializeOwned>(&mut self, words: &[String], limit: Duration) -> Result<T, String> {
        let mut command = self.our_command(words, With::Production);
        command.args(["--json", "--quiet"]);
        let ended = self.run_to_end(command, limit).await.map_err(|seen| seen.wrong.unwrap_or_default())?;
        if ended.is_late {
            return Err(format!("nothing after {} s", limit.as_secs()));
        }
        match ended.code {
            Some(0) => {
                serde_json::from_value::<T>(ended.value()).map_err(|error| format!("read what it answered: {error}"))
            }
            _ => Err(ended.said()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_null_in_what_is_handed_over() {
        let ends = Ends { production_unknown: Some("why".into()), ..Ends::default() };
        let written = json!(ends);
        assert_eq!(written["production"], Value::Null);
        assert_eq!(serde_json::from_value::<Ends>(written).unwrap(), ends);
    }
}
