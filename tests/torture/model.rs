//! What must be true: moments with all that the cluster held at each, what was acknowledged as archived, and who was told what.
//!
//! Kept outside of the cluster and of Lifeboat. A moment is a state between two batches of statements; it lasts until the
//! next batch begins, so any time and any position in between means the same contents.

use crate::contents::{Contents, connect, rows};
use crate::ledger::{self, Ledger, now, parse_lsn};
use crate::random::Random;
use crate::sql::Done;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lifeboat_components::TestCluster;
use serde_json::Value;
use std::collections::BTreeMap;

/// A state that was.
#[derive(Debug, Clone)]
pub struct Moment {
    pub number: usize,
    pub timeline: u32,
    /// Where the log was before the statements that led here.
    pub begun_lsn: u64,
    /// From this position and this time (microseconds since 1970) on ...
    pub lsn: u64,
    pub at: u64,
    /// ... to these.
    pub until: Option<(u64, u64)>,
    pub xid: Option<u32>,
    /// A restore point that was made in it, and where.
    pub name: Option<(String, u64)>,
    pub contents: Contents,
}

/// A window as `points --json` tells it.
#[derive(Debug, Clone)]
pub struct Window {
    pub timeline: u32,
    pub from: u64,
    pub to: u64,
    pub lsn_from: u64,
    pub lsn_to: u64,
}

/// A recovery point, likewise.
#[derive(Debug, Clone)]
pub struct Point {
    pub id: String,
    pub timeline: u32,
    pub lsn_stop: u64,
    pub is_usable: bool,
    pub locations: Vec<String>,
}

/// What `points --json` says.
#[derive(Debug, Clone, Default)]
pub struct Reachable {
    pub points: Vec<Point>,
    pub windows: Vec<Window>,
}

#[derive(Debug)]
pub struct Model {
    pub moments: Vec<Moment>,
    pub timeline: u32,
    /// Of each timeline: its ancestors and where each was left.
    pub histories: BTreeMap<u32, Vec<(u32, u64)>>,
    /// Of each timeline: up to where the server was told that its log is stored.
    pub archived: BTreeMap<u32, u64>,
    ledgers: Vec<(u32, Ledger)>,
    /// Moments before this time may have been given up with their log.
    pub given_up_before: u64,
}

/// Where the log is, and what time it is.
async fn here(cluster: &TestCluster) -> Result<(u64, u64)> {
    let client = connect(cluster, "postgres").await?;
    let found = rows(&client, "select pg_current_wal_insert_lsn(), 0").await?;
    Ok((parse_lsn(&found[0][0])?, now()))
}

impl Model {
    /// Begins with what is there.
    pub async fn begin(cluster: &TestCluster) -> Result<Self> {
        let mut model = Self {
            moments: Vec::new(),
            timeline: 1,
            histories: BTreeMap::from([(1, Vec::new())]),
            archived: BTreeMap::new(),
            ledgers: Vec::new(),
            given_up_before: 0,
        };
        let begun = model.leave(cluster).await?;
        model.arrive(cluster, begun, None, false).await?;
        Ok(model)
    }

    /// Before something is done: the last moment ends here.
    pub async fn leave(&mut self, cluster: &TestCluster) -> Result<u64> {
        let (lsn, at) = here(cluster).await?;
        if let Some(last) = self.moments.last_mut().filter(|last| last.timeline == self.timeline) {
            last.until = Some((lsn, at));
        }
        Ok(lsn)
    }

    /// After it: a new moment.
    pub async fn arrive(
        &mut self,
        cluster: &TestCluster,
        begun_lsn: u64,
        done: Option<Done>,
        is_named: bool,
    ) -> Result<()> {
        let (lsn, at) = here(cluster).await?;
        let contents = Contents::of(cluster, false).await?;
        let number = self.moments.len();
        let mut name = None;
        if is_named {
            let text = format!("moment {number}");
            let made = cluster.sql(&format!("select pg_create_restore_point('{text}')")).await?;
            // A restore point alone isn't flushed, and would be lost in a crash; a commit after it is.
            cluster.sql("select pg_logical_emit_message(true, 'torture', 'flush')").await?;
            name = Some((text, parse_lsn(&made.context("position of a restore point")?)?));
        }
        let xid = done.and_then(|done| done.xid);
        let timeline = self.timeline;
        self.moments.push(Moment { number, timeline, begun_lsn, lsn, at, until: None, xid, name, contents });
        Ok(())
    }

    /// What clients were told on the current timeline.
    pub fn told(&mut self, ledger: Ledger) {
        self.ledgers.push((self.timeline, ledger));
    }

    /// What they were told, as far as it lies on the way to a timeline.
    pub fn ledger_of(&self, timeline: u32) -> Ledger {
        let mut all = Ledger::default();
        for (of, ledger) in &self.ledgers {
            let entries = ledger.entries.iter().filter(|entry| {
                let left = self.left(timeline, *of);
                let known = entry.acknowledged.map(|known| known.lsn);
                *of == timeline || left.is_some_and(|left| known.is_some_and(|lsn| lsn <= left))
            });
            all.entries.extend(entries.cloned());
        }
        all
    }

    /// Where the way to `timeline` leaves `ancestor`.
    fn left(&self, timeline: u32, ancestor: u32) -> Option<u64> {
        self.histories.get(&timeline)?.iter().find(|(of, _)| *of == ancestor).map(|(_, left)| *left)
    }

    /// Whether a moment lies on the way to a timeline.
    pub fn is_on_path(&self, timeline: u32, moment: &Moment) -> bool {
        timeline == moment.timeline || self.left(timeline, moment.timeline).is_some_and(|left| moment.lsn <= left)
    }

    /// Whether a window holds a moment.
    pub fn is_in(&self, window: &Window, moment: &Moment) -> bool {
        let within = window.lsn_from <= moment.lsn && moment.lsn <= window.lsn_to;
        within && self.is_on_path(window.timeline, moment)
    }

    /// Asks the server what it was told about its log.
    pub async fn ask_archived(&mut self, cluster: &TestCluster, streams: bool) -> Result<()> {
        let client = connect(cluster, "postgres").await?;
        let query = match streams {
            true => "select coalesce(max(flush_lsn)::text, '0/0'), '' from pg_stat_replication",
            false => "select '0/0', coalesce(last_archived_wal, '') from pg_stat_archiver",
        };
        let found = rows(&client, query).await?;
        let mut position = (self.timeline, parse_lsn(&found[0][0])?);
        if let Some(name) = found[0][1].get(..24).filter(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            let number = |range| u64::from_str_radix(&name[range], 16);
            // Segments of 1 MiB; of a history file's segment only what is before it is certain.
            let whole = u64::from(found[0][1].len() == 24);
            position =
                (u32::from_str_radix(&name[..8], 16)?, (number(8..16)? << 32) + ((number(16..24)? + whole) << 20));
        }
        let known = self.archived.entry(position.0).or_default();
        *known = (*known).max(position.1);
        Ok(())
    }

    /// Every moment that must be reachable and isn't: it lies after a point that is kept, and its log was acknowledged.
    pub fn missing(&self, found: &Reachable) -> Vec<String> {
        let must = |moment: &&Moment| {
            let archived = self.archived.get(&moment.timeline).is_some_and(|archived| moment.lsn <= *archived);
            let after =
                |point: &Point| point.is_usable && point.lsn_stop <= moment.lsn && self.is_before(point, moment);
            archived && moment.at >= self.given_up_before && found.points.iter().any(after)
        };
        let is_missing = |moment: &&Moment| {
            // An insert position may lie a page's head behind the end of the last record.
            let nearly = |window: &Window| {
                window.lsn_from <= moment.lsn
                    && moment.lsn <= window.lsn_to + 48
                    && self.is_on_path(window.timeline, moment)
            };
            !found.windows.iter().any(nearly)
        };
        let tell = |moment: &Moment| {
            format!("moment {} (timeline {}, {}, at {})", moment.number, moment.timeline, text(moment.lsn), moment.at)
        };
        self.moments.iter().filter(must).filter(is_missing).map(tell).collect()
    }

    /// Commits that were acknowledged before the end of a window and lie behind its log: it promises too much.
    pub fn promised_too_much(&self, found: &Reachable) -> Vec<String> {
        let mut lost = Vec::new();
        // A window of one instant is its point, and promises no time.
        for window in found.windows.iter().filter(|window| window.from < window.to) {
            for entry in self.ledger_of(window.timeline).entries {
                let known = entry.acknowledged.filter(|known| known.at < window.to && known.lsn != u64::MAX);
                if known.is_some() && entry.sent_lsn >= window.lsn_to {
                    lost.push(format!("{entry:?} and {window:?}"));
                }
            }
        }
        lost
    }

    /// Whether a point lies on the way to a moment, at or before it.
    fn is_before(&self, point: &Point, moment: &Moment) -> bool {
        point.timeline == moment.timeline
            || self.left(moment.timeline, point.timeline).is_some_and(|left| point.lsn_stop <= left)
    }

    /// The moment whose contents a point has when it is consistent, if it is one of those known.
    pub fn at_point(&self, point: &Point) -> Option<&Moment> {
        let covers = |moment: &&Moment| {
            let end = moment.until.map_or(u64::MAX, |(lsn, _)| lsn);
            moment.timeline == point.timeline && (moment.lsn..=end).contains(&point.lsn_stop)
        };
        self.moments.iter().find(covers)
    }

    /// Compares a copy with what the cluster held.
    pub async fn compare(&self, copy: &TestCluster, moment: &Moment, ledger_at: ledger::Moment) -> Result<()> {
        Contents::of(copy, true).await?.must_be(&moment.contents)?;
        self.ledger_of(moment.timeline).judge(copy, ledger_at).await.map(drop)
    }

    /// The server became a primary on a new timeline, whose history file says how.
    pub fn promoted(&mut self, cluster: &TestCluster, timeline: u32) -> Result<()> {
        let path = cluster.data_dir().join(format!("pg_wal/{timeline:08X}.history"));
        let history = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, parse_lsn(words.next()?).ok()?))
        };
        let ancestors: Vec<(u32, u64)> = history.lines().filter_map(line).collect();
        ensure!(!ancestors.is_empty(), "{} is empty: {history:?}", path.display());
        self.histories.insert(timeline, ancestors);
        self.timeline = timeline;
        Ok(())
    }

    /// A moment in one of the windows: often one of the newest, often any.
    pub fn choose<'a>(&'a self, found: &'a Reachable, random: &mut Random) -> Option<(&'a Moment, &'a Window)> {
        let in_some = |moment: &'a Moment| {
            found.windows.iter().find(|window| self.is_in(window, moment)).map(|window| (moment, window))
        };
        let all: Vec<_> = self.moments.iter().filter_map(in_some).collect();
        let newest = &all[all.len().saturating_sub(4)..];
        let from = if random.chance(40) { newest } else { &all[..] };
        random.pick(from).copied()
    }
}

impl Reachable {
    pub fn of(document: &Value) -> Result<Self> {
        let list = |name: &str| document[name].as_array().cloned().with_context(|| format!("{name} in {document}"));
        let points = list("points")?.iter().map(point).collect::<Result<_>>()?;
        let windows = list("windows")?.iter().map(window).collect::<Result<_>>()?;
        Ok(Self { points, windows })
    }
}

fn time(value: &Value) -> Result<u64> {
    let time: Timestamp = value.as_str().context("a time")?.parse()?;
    Ok(u64::try_from(time.as_microsecond())?)
}

fn position(value: &Value) -> Result<u64> {
    parse_lsn(value.as_str().context("a position")?)
}

fn number(value: &Value) -> Result<u32> {
    Ok(u32::try_from(value.as_u64().context("a number")?)?)
}

fn point(value: &Value) -> Result<Point> {
    let locations = value["locations"].as_array().context("locations")?;
    ensure!(value["pages_bad"] == 0, "pages of a sound cluster were called bad: {value}");
    Ok(Point {
        id: value["id"].as_str().context("id")?.to_owned(),
        timeline: number(&value["timeline"])?,
        lsn_stop: position(&value["lsn_stop"])?,
        is_usable: value["usable"] == true,
        locations: locations.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
    })
}

fn window(value: &Value) -> Result<Window> {
    Ok(Window {
        timeline: number(&value["timeline"])?,
        from: time(&value["from"])?,
        to: time(&value["to"])?,
        lsn_from: position(&value["lsn_from"])?,
        lsn_to: position(&value["lsn_to"])?,
    })
}

/// A position as people write it.
pub fn text(lsn: u64) -> String {
    ledger::lsn_text(lsn)
}
