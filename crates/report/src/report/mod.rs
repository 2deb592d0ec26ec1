//! The report: promised against measured, what was rehearsed and what never, what is open, and which evidence answers which clause.
//!
//! Promise: each figure stands beside its source. No word here says that a law or a standard is met: that is for whoever judges, with the entries.

mod calendar;
mod coverage;
mod promised;
mod standards;

use crate::input::{Evidence, Surroundings, entry};
use crate::words::{day, seconds};
use jiff::Timestamp;
use jiff::civil::Date;
use lifeboat_document::{Document, NoticeKind, Text};
use lifeboat_plan::model::Plan;
use lifeboat_plan::run::Verdict;

/// What the report is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportInput {
    /// What was decided.
    pub plan: Plan,
    /// What the configuration says besides.
    pub surroundings: Surroundings,
    /// Every run, oldest first.
    pub runs: Vec<Evidence>,
    /// Runs before it are not shown.
    pub since: Option<Date>,
    /// The moment for which it is made.
    pub now: Timestamp,
    /// What was learnt, open or closed.
    pub findings: Vec<Finding>,
    /// What happened for real.
    pub incidents: Option<Incidents>,
    /// What `lifeboat ready` said last.
    pub readiness: Option<Readiness>,
    /// What downtime and protection cost: name, amount, and where the figure is from.
    pub costs: Vec<(String, String, String)>,
    /// Number and name of the ledger's newest entry.
    pub ledger_head: Option<(u64, String)>,
    /// How many entries the ledger has of each kind that no run is: `incident`, `page`, `ready`; with the newest entry.
    pub other_entries: Vec<(String, usize, String)>,
}

/// Something learnt, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// In one sentence.
    pub what: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Until when.
    pub due: Option<Date>,
    /// When it was closed.
    pub closed: Option<Date>,
    /// The entry that it is from.
    pub source: String,
}

/// What happened for real, in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Incidents {
    /// How many.
    pub count: usize,
    /// Mean time to recovery, in seconds. `None`: fewer than two are over.
    pub mean_to_recovery_seconds: Option<f64>,
    /// Mean time between failures, in seconds. `None`: too few to say.
    pub mean_between_seconds: Option<f64>,
    /// The entries that they are from.
    pub sources: Vec<String>,
}

/// An answer of `lifeboat ready`.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// When.
    pub at: Timestamp,
    /// Whether all was ready.
    pub is_ready: bool,
    /// By area: ready, not ready, unknown, skipped.
    pub areas: Vec<(String, [usize; 4])>,
    /// The entry that it is from.
    pub source: String,
}

impl ReportInput {
    fn shown_runs(&self) -> Vec<&Evidence> {
        self.runs.iter().filter(|run| self.is_shown(run)).collect()
    }

    fn is_shown(&self, run: &Evidence) -> bool {
        self.since.is_none_or(|since| run.day() >= since.to_string())
    }

    /// The day for which it is made, as `2026-11-03`.
    fn today(&self) -> String {
        day(self.now)
    }
}

/// See the module.
pub fn report(input: &ReportInput) -> Document {
    let whose = input.plan.organisation.as_deref().map(|whose| format!(" of {whose}")).unwrap_or_default();
    let mut document = Document {
        title: format!("Recovery report{whose}"),
        subtitle: Some("What was promised, what was measured, what is missing".into()),
        facts: facts(input),
        footer: format!("Recovery report{whose}, {}", input.today()),
        blocks: Vec::new(),
    };
    document.chapter("In short", "short");
    document.list(promised::in_short(input));
    promised::add(&mut document, input);
    scenarios(&mut document, input);
    coverage::add(&mut document, input);
    findings(&mut document, input);
    incidents(&mut document, input);
    readiness(&mut document, input);
    costs(&mut document, input);
    calendar::add(&mut document, input);
    standards::add(&mut document, input);
    not_shown(&mut document, input);
    document
}

fn facts(input: &ReportInput) -> Vec<(String, Text)> {
    let head = match &input.ledger_head {
        Some((number, hash)) => Text::new().plain(format!("entry {number}, ")).code(hash.clone()),
        None => Text::from("no entry: the ledger is empty"),
    };
    vec![
        ("Made for".into(), Text::from(input.today())),
        ("Since".into(), Text::from(input.since.map_or_else(|| "the first run".to_owned(), |since| since.to_string()))),
        ("Runs in it".into(), Text::from(input.shown_runs().len().to_string())),
        ("Head of the ledger".into(), head),
        ("Hash of the configuration".into(), Text::new().code(input.surroundings.configuration_hash.clone())),
        ("Hash of the plan".into(), Text::new().code(input.surroundings.plan_hash.clone())),
    ]
}

pub(crate) fn verdict(verdict: Verdict) -> Text {
    match verdict {
        Verdict::Passed => "passed".into(),
        Verdict::Failed => Text::new().strong("failed"),
        Verdict::CleanupFailed => Text::new().strong("cleanup failed"),
        Verdict::Aborted => Text::new().strong("broken off"),
        Verdict::Refused => Text::new().strong("refused"),
    }
}

/// The last run of each scenario.
fn scenarios(document: &mut Document, input: &ReportInput) {
    document.chapter("The last drill of each scenario", "scenarios");
    let runs = input.shown_runs();
    let mut names: Vec<&str> = runs.iter().map(|run| run.run.scenario.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names.into_iter().filter_map(|name| {
        let of_it: Vec<&&Evidence> = runs.iter().filter(|run| run.run.scenario == name).collect();
        let last = of_it.last()?;
        let passed = of_it.iter().filter(|run| run.passed()).count();
        let figure = |value: Option<f64>| Text::from(value.map_or_else(|| "not measured".to_owned(), seconds));
        Some(vec![
            Text::new().strong(name),
            last.day().into(),
            verdict(last.run.verdict),
            figure(last.run.measured.fault_to_healthy_seconds),
            figure(last.run.measured.loss_seconds),
            format!("{passed} of {}", of_it.len()).into(),
            last.source().into(),
        ])
    });
    let columns = ["Scenario", "Day", "Verdict", ">RTA", ">RPA", ">Passed", "Entry of the last"];
    document.table(&columns, rows.collect(), "No drill was run in this time.");
    let failed = runs.iter().filter(|run| !run.passed());
    let reasons: Vec<Text> = failed
        .map(|run| {
            Text::new()
                .strong(format!("{} on {} (entry {}): ", run.run.scenario, run.day(), run.source()))
                .plain(run.run.entailed().1.join("; "))
        })
        .collect();
    if !reasons.is_empty() {
        document.section("Why some did not pass", "reasons");
        document.list(reasons);
    }
}

fn findings(document: &mut Document, input: &ReportInput) {
    document.chapter("What was learnt", "findings");
    let today = input.today();
    let mut open: Vec<&Finding> = input.findings.iter().filter(|finding| finding.closed.is_none()).collect();
    open.sort_by_key(|finding| (finding.due.is_none(), finding.due));
    let closed = input.findings.len() - open.len();
    let rows = open.into_iter().map(|finding| {
        let due = finding.due.map(|due| due.to_string());
        let state = match &due {
            Some(due) if *due < today => Text::new().strong("late"),
            Some(_) => "open".into(),
            None => Text::new().strong("no day was set"),
        };
        vec![
            finding.what.as_str().into(),
            finding.owner.as_deref().map_or_else(|| Text::new().strong("nobody"), Text::from),
            due.unwrap_or_default().into(),
            state,
            finding.source.as_str().into(),
        ]
    });
    document.table(&["Finding", "Owner", "Until", "State", "Entry"], rows.collect(), "No finding is open.");
    document
        .paragraph(format!("Closed: {closed} of {} (entries of the kinds drill and learnt).", input.findings.len()));
}

fn incidents(document: &mut Document, input: &ReportInput) {
    document.chapter("What happened for real", "incidents");
    let Some(incidents) = &input.incidents else {
        document.paragraph(
            "No incident was kept. That is not the same as that there was none: `lifeboat incident` keeps them."
                .replace('`', ""),
        );
        return;
    };
    let figure =
        |value: Option<f64>, why: &str| Text::from(value.map_or_else(|| format!("not measured: {why}"), seconds));
    let sources = || Text::from(incidents.sources.join(", "));
    let rows = vec![
        vec!["Incidents".into(), incidents.count.to_string().into(), sources()],
        vec![
            "Mean time to recovery (MTTR)".into(),
            figure(incidents.mean_to_recovery_seconds, "fewer than two are over"),
            sources(),
        ],
        vec![
            "Mean time between failures (MTBF)".into(),
            figure(incidents.mean_between_seconds, "too few to say"),
            sources(),
        ],
    ];
    document.table(&["", ">Figure", "Entries"], rows, "");
}

fn readiness(document: &mut Document, input: &ReportInput) {
    document.chapter("Readiness", "readiness");
    let Some(readiness) = &input.readiness else {
        document.notice(
            NoticeKind::Warning,
            Text::marked("Readiness was never kept in the ledger. `lifeboat ready --keep` asks, and keeps it."),
        );
        return;
    };
    let word = if readiness.is_ready { "ready" } else { "not ready" };
    document.paragraph(
        Text::new()
            .plain(format!("On {}: ", day(readiness.at)))
            .strong(word)
            .plain(format!(" (entry {}).", readiness.source)),
    );
    let rows = readiness.areas.iter().map(|(name, counts)| {
        std::iter::once(name.as_str().into()).chain(counts.iter().map(|count| count.to_string().into())).collect()
    });
    document.table(
        &["Area", ">Ready", ">Not ready", ">Unknown", ">Skipped"],
        rows.collect(),
        "It was kept without its checks.",
    );
}

fn costs(document: &mut Document, input: &ReportInput) {
    if input.costs.is_empty() {
        return;
    }
    document.chapter("Cost", "cost");
    let rows = input
        .costs
        .iter()
        .map(|(name, amount, source)| vec![name.as_str().into(), amount.as_str().into(), source.as_str().into()]);
    document.table(&["", ">Amount", "From"], rows.collect(), "");
}

fn not_shown(document: &mut Document, input: &ReportInput) {
    document.chapter("What this does not show", "limits");
    let mut limits: Vec<Text> = [
        "That a law or standard is met. It shows what was done and measured; whether that is enough is for whoever judges.",
        "That the next recovery takes as long as the last drill: a drill has the size, load and people of its day.",
        "That nothing else can go wrong: what was never rehearsed is listed under Coverage.",
        "Estimates as measurements: how often something happens, and what an hour costs, was said by people and stands in the plan.",
        "Who was right about what a process needs: promises are those of the plan.",
    ]
    .into_iter()
    .map(Text::from)
    .collect();
    let mut said: Vec<&str> =
        input.shown_runs().iter().flat_map(|run| run.run.does_not_show.iter().map(String::as_str)).collect();
    said.sort_unstable();
    said.dedup();
    limits.extend(said.into_iter().map(|limit| Text::new().plain("Said by drills: ").plain(limit)));
    document.list(limits);
    let head =
        input.ledger_head.as_ref().map(|(number, hash)| entry(*number, hash)).unwrap_or_else(|| "none".to_owned());
    document.paragraph(Text::new().plain(format!("Each entry is signed and chained up to the head, {head}. Whoever has one location and the public key can verify it: ")).code("lifeboat ledger verify").plain("."));
}
