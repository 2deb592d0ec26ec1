//! What happened, with times: what the agents wrote into their journals, and the proxy into its log.

use crate::script::NAMES;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning.
    pub at: Duration,
    pub who: String,
    pub text: String,
    pub epoch: Option<u64>,
    pub kind: Kind,
}

/// What it means for who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody noticed that something is wrong with the primary.
    Detected,
    /// Somebody wants to be the primary: who wasn't told to has noticed, too.
    Candidate,
    /// The lease was taken.
    Decided,
    Promoted,
    /// The proxy leads clients elsewhere.
    Routed,
    Other,
}

#[derive(Deserialize)]
struct Entry {
    at_milliseconds: u64,
    member: String,
    what: String,
    epoch: Option<u64>,
    text: String,
}

/// Reads what was added since the last time.
pub struct Journals {
    tails: Vec<Tail>,
    proxy: Tail,
    begun: Instant,
    /// The beginning by the clock of the wall, since its epoch.
    begun_at: Duration,
}

struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Whole lines only.
    fn lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut text)
        });
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if read.is_err() || whole == 0 {
            return Vec::new();
        }
        self.read += whole as u64;
        String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect()
    }
}

impl Journals {
    pub fn new(scratch: &Path, begun: Instant) -> Self {
        let tail = |name: &&str| Tail::new(scratch.join(name).join("state/journal.jsonl"));
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            tails: NAMES.iter().map(tail).collect(),
            proxy: Tail::new(scratch.join("proxy.log")),
            begun,
            begun_at: now.saturating_sub(begun.elapsed()),
        }
    }

    /// What came since, in no order.
    pub fn read(&mut self) -> Vec<Event> {
        let begun_at = self.begun_at;
        let entries = self.tails.iter_mut().flat_map(Tail::lines);
        let mut events: Vec<Event> = entries.filter_map(|line| of_agent(&line, begun_at)).collect();
        let now = self.begun.elapsed();
        events.extend(self.proxy.lines().iter().filter_map(|line| of_proxy(line, now)));
        events
    }
}

fn of_agent(line: &str, begun_at: Duration) -> Option<Event> {
    let entry: Entry = serde_json::from_str(line).ok()?;
    let at = Duration::from_millis(entry.at_milliseconds).saturating_sub(begun_at);
    let to = entry.text.split_once(" → ").and_then(|(_, rest)| rest.split(':').next()).unwrap_or_default();
    let kind = match (entry.what.as_str(), to) {
        ("suspected", _) | ("state", "demoting") => Kind::Detected,
        ("state", "candidate") => Kind::Candidate,
        ("lease taken", _) => Kind::Decided,
        ("state", "primary") => Kind::Promoted,
        _ => Kind::Other,
    };
    let text = if entry.what == "state" { entry.text } else { format!("{}: {}", entry.what, entry.text) };
    Some(Event { at, who: entry.member, text, epoch: entry.epoch, kind })
}

/// `epoch 3: ohio (10.213.1.12:5432)`; a line may begin with what the program says before every line.
fn of_proxy(line: &str, now: Duration) -> Option<Event> {
    let (_, rest) = line.split_once("epoch ")?;
    let (epoch, to) = rest.split_once(": ")?;
    let to = to.split(" (").next().unwrap_or(to);
    let (text, kind) = match to.starts_with("nowhere") {
        true => ("new connections wait".to_owned(), Kind::Other),
        false => (format!("clients go to {to}"), Kind::Routed),
    };
    Some(Event { at: now, who: "proxy".into(), text, epoch: epoch.parse().ok(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_are_read() {
        let line = r#"{"at_milliseconds":5200,"member":"ohio","what":"state","text":"standby → candidate: the primary has vanished"}"#;
        let event = of_agent(line, Duration::from_secs(4)).expect("an entry");
        assert_eq!((event.at, event.kind), (Duration::from_millis(1_200), Kind::Candidate));
        assert_eq!(event.text, "standby → candidate: the primary has vanished");
        let line =
            r#"{"at_milliseconds":5300,"member":"ohio","what":"lease taken","epoch":2,"text":"the lease is ours"}"#;
        let event = of_agent(line, Duration::ZERO).expect("an entry");
        assert_eq!((event.epoch, event.kind), (Some(2), Kind::Decided));
        assert_eq!(of_agent("{\"at_mill", Duration::ZERO), None);
    }

    #[test]
    fn the_proxys_lines_are_read() {
        let now = Duration::from_secs(3);
        let event = of_proxy("epoch 3: ohio (10.213.1.12:5432)", now).expect("a change");
        assert_eq!((event.epoch, event.text.as_str()), (Some(3), "clients go to ohio"));
        let event = of_proxy("epoch 3: nowhere: new connections wait", now).expect("a change");
        assert_eq!(event.text, "new connections wait");
        assert_eq!(of_proxy("127.0.0.1:5 leads to the primary of shop", now), None);
    }
}
