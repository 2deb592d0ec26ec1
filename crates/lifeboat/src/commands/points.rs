//! `lifeboat points`: recovery points, and the windows in which every moment can be reached.

mod axis;
pub(super) mod held;
mod picture;

use super::check::spoken_currency;
use super::{find_named, load_config};
use crate::cli::{Global, PointsArguments};
use crate::config::{Config, Media, UnknownKeys};
use crate::damage;
use crate::failure::Failure;
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use crate::removable::{Currency, currency};
use crate::rooms;
use jiff::Timestamp;
use lifeboat_postgres::SystemId;
use lifeboat_recovery::{Lane, Observed, Unusable, Window, lanes, observe, spoken, unusable, windows};
use lifeboat_repository::{Findings, HoldRecord, MarkedPoint, Point, Silent, Standing, Verification};
use lifeboat_workload::postgres::PostgresDetails;
use picture::{Dot, Frame, Piece, Proved, Track};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// On a terminal, older points than these are only counted.
const ROWS_MAX: usize = 20;

pub fn run(global: &Global, arguments: &PointsArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    if let Some(location) = &arguments.from {
        find_named("location", location, &config.locations)?;
    }
    let names: Vec<String> = match &arguments.workload {
        Some(name) => vec![find_named("workload", name, &config.workloads).map(|_| name.clone())?],
        None => config.workloads.keys().cloned().collect(),
    };
    let runtime = rooms::runtime()?;
    let (mut all_points, mut all_windows, mut all_disks) = (Vec::new(), Vec::new(), Vec::new());
    let mut all_damage: BTreeMap<String, Findings> = BTreeMap::new();
    for name in &names {
        let seen = runtime.block_on(look(&config, name, arguments.from.as_deref(), output))?;
        if output.is_json() {
            all_points.extend(seen.points.iter().map(|shown| shown.document()));
            all_disks.extend(seen.disks.iter().map(|(disk, currency)| disk_document(name, disk, currency)));
            all_damage.extend(seen.damage.iter().map(|findings| (findings.location.clone(), findings.clone())));
            all_windows.extend(seen.windows.iter().map(|window| window_document(name, window)));
        } else {
            tell(name, &seen, arguments.all, output)?;
            tell_disks(&seen.disks, output)?;
            let now = Timestamp::now();
            seen.damage.iter().filter_map(|findings| damage::spoken(findings, now)).for_each(|failure| {
                output.warn(&failure.message);
                failure.hint.iter().for_each(|hint| output.hint(hint));
            });
        }
    }
    if output.is_json() {
        let all_damage: Vec<Value> = all_damage.values().map(damage_document).collect();
        return output.document(&json!({
            "points": all_points,
            "windows": all_windows,
            "removable": all_disks,
            "damage": all_damage,
        }));
    }
    Ok(())
}

/// A point with what was found out about it.
struct Shown {
    point: Point,
    details: PostgresDetails,
    locations: Vec<String>,
    verification: Option<Verification>,
    standing: Standing,
    unusable: Option<Unusable>,
    holds: Vec<HoldRecord>,
}

struct Seen {
    points: Vec<Shown>,
    windows: Vec<Window>,
    /// One for each cluster whose log is stored.
    lanes: Vec<(SystemId, Vec<Lane>)>,
    /// Removable locations of the workload, and how far behind they are.
    disks: Vec<(String, Currency)>,
    /// What was found wrong in the locations of the workload.
    damage: Vec<Findings>,
}

async fn look(config: &Config, name: &str, from: Option<&str>, output: &Output) -> Result<Seen, Failure> {
    let locations = super::wal::locations(config, name, from);
    let repository = rooms::open_attached(config, &locations, output).await?;
    let Observed { known, points, notes, .. } = observe(&repository, name, None, &Silent).await?;
    notes.iter().for_each(|note| output.warn(note));
    let mut broken: Vec<Unusable> = known.logs.iter().flat_map(|log| unusable(&known.points, log)).collect();
    let mut shown = Vec::new();
    let mut held = repository.holds(Some(name)).await?;
    for (id, (point, details)) in points {
        let (holds, others) = held.into_iter().partition(|record| record.point == id);
        held = others;
        let summary = known.points.iter().find(|summary| summary.id == id);
        let verification = repository.latest_verification(name, &id).await?;
        let standing = repository.standing(name, &id).await?.unwrap_or_default();
        let unusable = broken.iter().position(|unusable| unusable.point == id).map(|at| broken.swap_remove(at));
        let locations = summary.map(|summary| summary.locations.clone()).unwrap_or_default();
        shown.push(Shown { point, details, locations, verification, standing, unusable, holds });
    }
    let records = repository.sync_records().await?;
    let marked = |shown: &Shown| MarkedPoint { workload: name.to_owned(), point: shown.point.id.clone() };
    let listed: Vec<MarkedPoint> = shown.iter().map(marked).collect();
    let of_workload = config.workloads.get(name).map(|workload| workload.locations.as_slice()).unwrap_or_default();
    let is_removable =
        |location: &&String| config.locations.get(*location).is_some_and(|location| location.media == Media::Removable);
    let disks = of_workload.iter().filter(is_removable);
    let disks = disks.map(|disk| (disk.clone(), currency(records.get(disk), listed.iter()))).collect();
    let windows = known.logs.iter().flat_map(|log| windows(&known.points, log)).collect();
    let lanes = known.logs.iter().map(|log| (log.system_id, lanes(&known.points, log))).collect();
    let mut known = repository.findings().await;
    let wanted = of_workload.iter().filter(|location| from.is_none_or(|from| from == *location));
    let damage = wanted.filter_map(|location| known.remove(location)).filter(|findings| !findings.is_clean()).collect();
    Ok(Seen { points: shown, windows, lanes, disks, damage })
}

/// Without what is kept for programs that restore: it is long, and says nothing to others.
fn shown_of(verification: &Verification) -> Value {
    let mut document = json!(verification);
    if let Some(details) = document["details"].as_object_mut() {
        details.remove("read");
    }
    document
}

impl Shown {
    fn document(&self) -> Value {
        json!({
            "id": self.point.id,
            "workload": self.point.workload,
            "type": self.point.backup_type,
            "time": self.details.stopped_at,
            "lsn_start": self.details.lsn_start,
            "lsn_stop": self.details.lsn_stop,
            "timeline": self.details.timeline,
            "bytes": self.point.bytes,
            "bytes_stored": self.point.bytes_stored,
            "locations": self.locations,
            "pages_bad": self.details.bad_pages.len(),
            "usable": self.unusable.is_none(),
            "verified_at": self.verification.as_ref().map(|verification| verification.verified_at),
            "verification": self.verification.as_ref().map(shown_of),
            "standing": self.standing,
            "holds": self.holds.iter().map(held::document).collect::<Vec<Value>>(),
        })
    }

    fn row(&self, now: Timestamp, output: &Output) -> Vec<String> {
        let state = match (&self.unusable, self.details.bad_pages.len(), &self.standing) {
            (Some(unusable), ..) => output.paint(&format!("no WAL from {}", unusable.missing_from), Tone::Bad),
            (None, bad @ 1.., _) => output.paint(&format!("{bad} damaged pages"), Tone::Bad),
            (None, 0, Standing { failed: Some(proof), .. }) => {
                output.paint(&format!("FAILED ({}) {}", proof.level, human::age(proof.at, now)), Tone::Bad)
            }
            (None, 0, Standing { passed: Some(proof), .. }) => {
                output.paint(&format!("verified ({}) {}", proof.level, human::age(proof.at, now)), Tone::Good)
            }
            (None, 0, _) => output.paint("not verified", Tone::Faint),
        };
        let is_held = self.holds.iter().any(|record| held::is_wanted(record, now));
        vec![
            self.point.id.to_string(),
            self.point.backup_type.clone(),
            human::age(self.details.stopped_at, now),
            human::size(self.point.bytes),
            human::size(self.point.bytes_stored),
            self.details.timeline.to_string(),
            self.locations.join(" "),
            if is_held { format!("{state}, held") } else { state },
        ]
    }

    fn dot(&self) -> Dot {
        let is_bad = self.unusable.is_some() || !self.details.bad_pages.is_empty() || self.standing.failed.is_some();
        let proved = match self.standing.passed.as_ref().map(|proof| proof.level.as_str()) {
            _ if is_bad => Proved::Bad,
            Some("boot") => Proved::Boot,
            Some("data") => Proved::Data,
            Some(_) => Proved::Structure,
            None => Proved::Nothing,
        };
        Dot { at: self.details.stopped_at, backup_type: self.point.backup_type.clone(), proved }
    }
}

fn tracks(system_id: SystemId, lanes: &[Lane], points: &[Shown]) -> Vec<Track> {
    let track = |lane: &Lane| {
        let here = |shown: &&Shown| shown.details.system_id == system_id && shown.details.timeline == lane.timeline;
        Track {
            timeline: lane.timeline.0,
            parent: lane.parent.map(|(parent, at)| (parent.0, at)),
            stretches: lane.stretches.clone(),
            dots: points.iter().filter(here).map(Shown::dot).collect(),
        }
    };
    lanes.iter().map(track).collect()
}

/// One picture for each cluster: the line of time is the same, the positions have nothing to do with each other.
fn tell_picture(seen: &Seen, now: Timestamp, output: &Output) -> Result<(), Failure> {
    let glyphs = if crate::output::is_unicode_wanted() { picture::LINES } else { picture::ASCII };
    let zone = jiff::tz::TimeZone::system();
    let frame = Frame { width: terminal_width(), glyphs, now, zone };
    for (system_id, lanes) in &seen.lanes {
        let lines = picture::draw(&tracks(*system_id, lanes, &seen.points), &frame);
        if lines.is_empty() {
            continue;
        }
        output.text("")?;
        if seen.lanes.len() > 1 {
            output.text(&format!("  cluster {system_id}"))?;
        }
        for line in lines {
            let paint = |piece: &Piece| piece.tone.map_or(piece.text.clone(), |tone| output.paint(&piece.text, tone));
            output.text(&line.iter().map(paint).collect::<String>())?;
        }
    }
    Ok(())
}

fn window_document(workload: &str, window: &Window) -> Value {
    json!({
        "workload": workload,
        "timeline": window.timeline,
        "from": window.from,
        "to": window.to,
        "lsn_from": window.lsn_from,
        "lsn_to": window.lsn_to,
        "points": window.points,
    })
}

fn disk_document(workload: &str, disk: &str, currency: &Currency) -> Value {
    let (synced_at, behind) = match currency {
        Currency::Never => (None, None),
        Currency::Synced { at, behind } => (Some(at), Some(behind)),
    };
    json!({ "workload": workload, "location": disk, "synced_at": synced_at, "points_behind": behind })
}

fn damage_document(findings: &Findings) -> Value {
    let Findings { location, found_at, damaged, left_out, .. } = findings;
    json!({ "location": location, "looked_at": found_at, "damaged": damaged, "left_out": left_out })
}

fn tell_disks(disks: &[(String, Currency)], output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    for (name, currency) in disks {
        output.text(&format!("{name}: {}", spoken_currency(currency, now)))?;
    }
    Ok(())
}

fn tell(name: &str, seen: &Seen, all: bool, output: &Output) -> Result<(), Failure> {
    output.text(name)?;
    if seen.points.is_empty() {
        output.text("  no recovery points")?;
        output.hint(&format!("`lifeboat backup {name}` makes one"));
        return Ok(());
    }
    let now = Timestamp::now();
    // Whoever reads from a pipe gets every line.
    let hidden = match terminal_width().filter(|_| !all) {
        Some(_) => seen.points.len().saturating_sub(ROWS_MAX),
        None => 0,
    };
    let rows: Vec<Vec<String>> = seen.points[hidden..].iter().map(|shown| shown.row(now, output)).collect();
    let columns = [
        Column::Left("point"),
        Column::Left("type"),
        Column::Left("age"),
        Column::Right("size"),
        Column::Right("stored"),
        Column::Right("timeline"),
        Column::Left("locations"),
        Column::Left("state"),
    ];
    output.text(&render(&columns, &rows, terminal_width()))?;
    if hidden > 0 {
        let oldest = human::age(seen.points[0].details.stopped_at, now);
        output.text(&format!(
            "and {hidden} older points, the first {oldest}: `lifeboat points {name} --all` lists them"
        ))?;
    }
    for shown in &seen.points {
        for record in &shown.holds {
            output.text(&format!("{}: {}", shown.point.id, held::sentence(record, now)))?;
        }
    }
    tell_picture(seen, now, output)?;
    output.text("\nevery moment can be reached")?;
    let zone = jiff::tz::TimeZone::system();
    for window in &seen.windows {
        let (from, to) = (spoken(window.from, Some(&zone)), spoken(window.to, Some(&zone)));
        output.text(&format!(
            "  from {from}\n    to {to}   timeline {}, {} to {}",
            window.timeline, window.lsn_from, window.lsn_to
        ))?;
    }
    if seen.windows.is_empty() {
        output.text("  nowhere: no point has all the write-ahead log that it needs")?;
    }
    Ok(())
}
