//! The plan of the configuration, and where in the files each thing stands.
//!
//! Promise: each thing of a plan is well formed, and stands in one place only. What doesn't make sense as a whole is found by
//! `plan check`, which is told the places by this.

mod include;
mod people;
mod places;
mod promises;
mod protection;
mod reader;
mod vendor;

pub(super) use include::{Fetch, fetch};
pub use places::Place;

use super::UnknownKeys;
use super::secret::SecretSource;
use super::section::{Findings, Section};
use lifeboat_plan::model::Plan;
use places::Lines;
use reader::Reader;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What belongs to the plan, and so may stand in an included file.
pub(super) const SECTIONS: [&str; 10] =
    ["plan", "process", "tier", "group", "risk", "person", "role", "vendor_step", "drill", "scenario"];

/// What must stand in the main file.
const MAIN_ONLY: [&str; 7] =
    ["location", "encryption", "workload", "cluster", "state_dir", "compression_level", "prune_after"];

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanConfig {
    pub plan: Plan,
    /// By path: `process.checkout` for the section, `process.checkout.tier` for a key in it (the section's line when it is not in the
    /// file), `process.checkout.groups.shop` for a word of a list. [`PlanConfig::place`] looks further up for what is not here.
    pub places: BTreeMap<String, Place>,
    /// The name and the text of each file that has sections [scenario.NAME], for whoever reads scenarios.
    pub scenario_files: Vec<(String, String)>,
    /// Values of headers that are secret, by vendor step and header; those of what takes a step back by `STEP.undo`.
    pub vendor_secrets: BTreeMap<(String, String), SecretSource>,
    /// What strategies cost, and what is expected of them: a file beside the configuration, or wherever its path says.
    pub assumptions: Option<PathBuf>,
    /// Prices of storage, in such a file.
    pub price_book: Option<PathBuf>,
    /// The files that `include` named, in the order of reading, as they are shown.
    pub included: Vec<String>,
}

impl PlanConfig {
    /// Where a thing stands; else what it belongs to.
    pub fn place(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// The scenarios that the configuration defines.
    pub fn scenario_names(&self) -> impl Iterator<Item = &str> {
        let names = self.places.keys().filter_map(|path| path.strip_prefix("scenario."));
        names.filter(|name| !name.contains('.'))
    }
}

/// Lets sections of the plan be, for whoever needs none.
pub(super) fn ignore(top: &mut Section) {
    top.value("include");
    for section in SECTIONS {
        top.value(section);
    }
}

/// The plan of the main file and of what it includes.
pub(super) fn read(top: &mut Section, findings: &mut Findings, fetch: &Fetch) -> PlanConfig {
    let before = findings.problems.len();
    let mut config = PlanConfig::default();
    let lines = Lines::of(findings.file, findings.text);
    for kind in ["location", "workload", "cluster"] {
        lines.note_key(&mut config.places, top, kind);
    }
    read_part(top, findings, &mut config);
    include::read(top, findings, &mut config, fetch);
    // Where a mistake must stop nothing, a plan with one counts as none: half a plan promises something else.
    if findings.problems.len() == before {
        return config;
    }
    if findings.unknown_keys == UnknownKeys::RefuseButInPlan {
        let problems = findings.problems.split_off(before);
        findings.warnings.extend(problems);
    }
    PlanConfig::default()
}

/// The sections of one file.
fn read_part(top: &mut Section, findings: &mut Findings, config: &mut PlanConfig) {
    let lines = Lines::of(findings.file, findings.text);
    read_general(top, findings, config, &lines);
    let mut kind = Part { top, findings, config, lines: &lines };
    kind.each("process", |reader, name, config| {
        config.plan.processes.extend(promises::process(reader).map(|process| (name, process)));
    });
    kind.each("tier", |reader, name, config| {
        config.plan.tiers.extend(promises::tier(reader).map(|tier| (name, tier)));
    });
    kind.each("group", |reader, name, config| {
        config.plan.groups.extend(protection::group(reader).map(|group| (name, group)));
    });
    kind.each("risk", |reader, name, config| {
        config.plan.risks.extend(protection::risk(reader).map(|risk| (name, risk)));
    });
    kind.each("person", |reader, name, config| {
        config.plan.people.extend(people::person(reader).map(|person| (name, person)));
    });
    kind.each("role", |reader, name, config| {
        config.plan.roles.extend(people::role(reader).map(|role| (name, role)));
    });
    kind.each("vendor_step", |reader, name, config| {
        let step = vendor::step(reader, &name, &mut config.vendor_secrets);
        config.plan.vendor_steps.extend(step.map(|step| (name, step)));
    });
    kind.each("drill", |reader, name, config| {
        config.plan.drills.extend(protection::drill(reader).map(|drill| (name, drill)));
    });
    read_scenarios(top, findings, config, &lines);
}

/// A file that is being read.
struct Part<'p, 'a, 't, 'f> {
    top: &'p mut Section<'a, 't>,
    findings: &'p mut Findings<'f>,
    config: &'p mut PlanConfig,
    lines: &'p Lines<'f>,
}

impl Part<'_, '_, '_, '_> {
    /// Each section of a kind, once.
    fn each(&mut self, kind: &'static str, mut read: impl FnMut(&mut Reader, String, &mut PlanConfig)) {
        for (name, section) in self.top.subsections(self.findings, kind) {
            let path = format!("{kind}.{name}");
            if is_twice(self.findings, self.config, &path, &section) {
                continue;
            }
            self.lines.note(&mut self.config.places, &path, &section);
            let mut reader = Reader::new(section, self.findings);
            read(&mut reader, name, self.config);
            let missing = reader.finish();
            self.lines.note_missing(&mut self.config.places, &path, &missing);
        }
    }
}

fn is_twice(findings: &mut Findings, config: &PlanConfig, path: &str, section: &Section) -> bool {
    let Some(place) = config.places.get(path) else { return false };
    let message = format!(
        "{} stands already in {}:{}; a section has one place: remove one, or give it another name",
        section.name(),
        place.file,
        place.line
    );
    findings.problem(&section.span(), message);
    true
}

fn read_general(top: &mut Section, findings: &mut Findings, config: &mut PlanConfig, lines: &Lines) {
    let Some(section) = top.section(findings, "plan") else { return };
    if is_twice(findings, config, "plan", &section) {
        return;
    }
    lines.note(&mut config.places, "plan", &section);
    let mut reader = Reader::new(section, findings);
    promises::general(&mut reader, &mut config.plan);
    for (key, path) in [("assumptions", &mut config.assumptions), ("price_book", &mut config.price_book)] {
        *path = reader.text(key, "the path of a file, such as \"costs.toml\"").map(PathBuf::from);
    }
    let missing = reader.finish();
    lines.note_missing(&mut config.places, "plan", &missing);
}

/// Only which there are; what they say, others read.
fn read_scenarios(top: &mut Section, findings: &mut Findings, config: &mut PlanConfig, lines: &Lines) {
    let sections = top.subsections(findings, "scenario");
    if !sections.is_empty() {
        config.scenario_files.push((findings.file.to_owned(), findings.text.to_owned()));
    }
    for (name, section) in sections {
        let path = format!("scenario.{name}");
        if !is_twice(findings, config, &path, &section) {
            lines.note(&mut config.places, &path, &section);
        }
    }
}
