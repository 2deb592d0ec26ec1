//! What is told about standbys: a table of them, one of slots, what is wrong, and what would be lost.

use super::Question;
use crate::failure::Failure;
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use lifeboat_postgres::Lsn;
use lifeboat_postgres::standbys::{Finding, Loss, Sender, Severity, Slot, StandbyFacts};
use serde_json::{Value, json};

pub struct Report<'a> {
    pub question: &'a Question,
    pub facts: &'a StandbyFacts,
    pub findings: &'a [Finding],
    pub loss: Loss,
}

impl Report<'_> {
    pub fn show(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.document(&self.document());
        }
        output.text(&self.page(terminal_width(), output))
    }

    fn document(&self) -> Value {
        let end = self.facts.end;
        let behind = |position: Option<Lsn>| position.map(|position| end.bytes_since(position));
        let standby = |sender: &Sender| {
            let mut document = json!(sender);
            document["region"] = json!(self.region(sender));
            document["kind"] = json!(kind(sender));
            document["sent_behind_bytes"] = json!(behind(sender.sent));
            document["flushed_behind_bytes"] = json!(behind(sender.flushed));
            document["replayed_behind_bytes"] = json!(behind(sender.replayed));
            document
        };
        let finding = |finding: &Finding| {
            let mut document = json!(finding);
            document["severity"] = json!(finding.severity());
            document["sentence"] = json!(sentence(finding));
            document["hint"] = json!(advice(finding, &self.question.of));
            document
        };
        json!({
            "of": self.question.of,
            "primary": self.question.primary.to_string(),
            "cascading": self.facts.in_recovery,
            "end": end,
            "synchronous_standby_names": self.facts.synchronous_standby_names,
            "expected": self.question.expected,
            "standbys": self.facts.senders.iter().map(standby).collect::<Vec<_>>(),
            "slots": self.facts.slots,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "at_risk": self.loss,
            "healthy": self.findings.iter().all(|finding| finding.severity() != Severity::Bad),
        })
    }

    fn region(&self, sender: &Sender) -> Option<&String> {
        self.question.regions.get(&sender.name)
    }

    fn page(&self, width: Option<u16>, output: &Output) -> String {
        let Question { of, primary, .. } = self.question;
        let kind = if self.facts.in_recovery { "standby" } else { "primary" };
        let mut parts = vec![format!("{of}: {kind} {primary}, its log ends at {}", self.facts.end)];
        if self.facts.senders.is_empty() {
            parts.push("nobody follows".to_owned());
        } else {
            parts.push(self.standbys(width));
        }
        if !self.facts.slots.is_empty() {
            parts.push(self.slots(width));
        }
        if !self.findings.is_empty() {
            let line = |finding: &Finding| {
                let (word, tone) = match finding.severity() {
                    Severity::Bad => ("bad:", Tone::Bad),
                    Severity::Warning => ("warning:", Tone::Warning),
                };
                format!("{} {}\n  {}", output.paint(word, tone), sentence(finding), advice(finding, of))
            };
            parts.push(self.findings.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        parts.push(at_risk(&self.loss, output));
        parts.join("\n\n")
    }

    fn standbys(&self, width: Option<u16>) -> String {
        let has_regions = self.facts.senders.iter().any(|sender| self.region(sender).is_some());
        let mut columns = vec![Column::Left("name"), Column::Left("state"), Column::Left("sync")];
        if has_regions {
            columns.push(Column::Left("region"));
        }
        columns.extend(["sent", "flushed", "replayed", "write", "flush", "replay"].map(Column::Right));
        let row = |sender: &Sender| {
            let state = sender.state.clone().unwrap_or_else(|| "hidden".to_owned());
            let state =
                if sender.is_standby() || sender.state.is_none() { state } else { format!("{state} (receiver)") };
            let mut row = vec![sender.name.clone(), state, sender.sync_state.clone().unwrap_or_default()];
            if has_regions {
                row.push(self.region(sender).cloned().unwrap_or_default());
            }
            row.extend([sender.sent, sender.flushed, sender.replayed].map(|position| self.behind(position)));
            let lags = [sender.write_lag_seconds, sender.flush_lag_seconds, sender.replay_lag_seconds];
            row.extend(lags.map(|lag| seconds(lag, sender)));
            row
        };
        render(&columns, &self.facts.senders.iter().map(row).collect::<Vec<_>>(), width)
    }

    /// How far behind the end of the log.
    fn behind(&self, position: Option<Lsn>) -> String {
        position.map(|position| human::size(self.facts.end.bytes_since(position))).unwrap_or_default()
    }

    fn slots(&self, width: Option<u16>) -> String {
        let columns = [
            Column::Left("slot"),
            Column::Left("used by"),
            Column::Right("keeps"),
            Column::Left("log"),
            Column::Right("room left"),
        ];
        let row = |slot: &Slot| {
            let by = self.facts.senders.iter().find(|sender| sender.slot.as_deref() == Some(slot.name.as_str()));
            let by = match (by, slot.is_active) {
                (Some(sender), _) => sender.name.clone(),
                (None, true) => "another session".to_owned(),
                (None, false) => "nobody".to_owned(),
            };
            let room = slot.safe_bytes.map(|bytes| u64::try_from(bytes).map_or("none".to_owned(), human::size));
            vec![
                slot.name.clone(),
                by,
                slot.keeps_bytes.map(human::size).unwrap_or_default(),
                slot.wal_status.clone().unwrap_or_else(|| "not kept".to_owned()),
                room.unwrap_or_else(|| "not bounded".to_owned()),
            ]
        };
        render(&columns, &self.facts.slots.iter().map(row).collect::<Vec<_>>(), width)
    }
}

/// Of what doesn't lag the server says nothing once it is idle, and a receiver replays nothing.
fn seconds(lag: Option<f64>, sender: &Sender) -> String {
    match lag {
        Some(lag) => format!("{lag:.1} s"),
        None if sender.state.as_deref() == Some("streaming") => "idle".to_owned(),
        None => String::new(),
    }
}

fn kind(sender: &Sender) -> &'static str {
    match (&sender.state, sender.is_standby()) {
        (None, _) => "hidden",
        (_, true) => "standby",
        (_, false) => "receiver",
    }
}

fn at_risk(loss: &Loss, output: &Output) -> String {
    match loss {
        Loss::NothingAcknowledged => {
            "if the primary went now, no acknowledged write would be lost: commits wait for standbys".to_owned()
        }
        Loss::AtMost { standby, bytes: 0 } => {
            format!("if the primary went now, nothing would be lost: {standby} has all of its log")
        }
        Loss::AtMost { standby, bytes } => {
            format!("if the primary went now, {} of log would be lost: {standby} has the most", human::size(*bytes))
        }
        Loss::NobodyFollows => {
            output.paint("if the primary went now, no standby could take over: only what the repository has", Tone::Bad)
        }
        Loss::Hidden => "what would be lost if the primary went now can't be seen by this role".to_owned(),
    }
}

/// What is wrong.
pub fn sentence(finding: &Finding) -> String {
    match finding {
        Finding::SlotLost { slot, why } => {
            let why = why.iter().map(|why| format!(" ({why})")).collect::<String>();
            format!("slot {slot} is lost{why}: the primary no longer has log that its standby needs")
        }
        Finding::Missing { standby } => format!("standby {standby}, which the configuration names, doesn't follow"),
        Finding::SlotUnreserved { slot } => {
            format!("slot {slot} is about to be lost: the next checkpoint may remove log that its standby needs")
        }
        Finding::SlotUnused { slot, keeps_bytes, is_bounded } => {
            let bound = if *is_bounded { "" } else { ", and nothing bounds it" };
            format!(
                "nobody uses slot {slot}, which keeps {} of log on the primary's disk{bound}",
                human::size(*keeps_bytes)
            )
        }
        Finding::NotStreaming { standby, state } => format!("{standby} is connected and doesn't receive: {state}"),
        Finding::Hidden { standbys } => {
            let who = if *standbys == 1 { "1 standby is".to_owned() } else { format!("{standbys} standbys are") };
            format!("this role may not see how far {who} behind")
        }
    }
}

/// What to do about it.
pub fn advice(finding: &Finding, of: &str) -> String {
    match finding {
        Finding::SlotLost { slot, .. } => format!(
            "unless its standby gets on through the archive, make it anew; first select pg_drop_replication_slot('{slot}')"
        ),
        Finding::Missing { standby } => {
            format!("look at its log; to make it anew: lifeboat standby create {of} --name {standby} --to DIR")
        }
        Finding::SlotUnreserved { .. } => "raise max_slot_wal_keep_size, or let the standby catch up".into(),
        Finding::SlotUnused { slot, .. } => {
            format!("start its standby, or, if it is gone for good: select pg_drop_replication_slot('{slot}')")
        }
        Finding::NotStreaming { .. } => "look at its log".into(),
        Finding::Hidden { .. } => "grant pg_monitor to the role of the connection".into(),
    }
}
