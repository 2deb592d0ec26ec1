//! What is recovered, in which order, how long it took the last time, and the commands.

use super::RunbookInput;
use crate::input::{Evidence, WorkloadView, newest};
use crate::words::{command, disruption, duration, quoted, seconds, strategy};
use lifeboat_document::{Bar, Document, Graph, NoticeKind, Picture, Step, Text};
use lifeboat_plan::model::{Group, OnFailure, Tier, VendorAction, VendorStep};
use std::collections::{BTreeMap, BTreeSet};

/// A group as it stands here: one of the plan, or a workload that is in none.
struct Part<'a> {
    name: String,
    title: String,
    tier: Option<(&'a str, &'a Tier)>,
    workloads: BTreeSet<&'a str>,
    group: Option<&'a Group>,
}

/// By tier, the most critical first; what nobody promised anything for comes last.
fn parts(input: &RunbookInput) -> Vec<Part<'_>> {
    let plan = &input.plan;
    let mut parts: Vec<Part> = plan
        .groups
        .iter()
        .map(|(name, group)| Part {
            name: name.clone(),
            title: group.title.clone().unwrap_or_else(|| name.clone()),
            tier: plan.tier_of_group(name),
            workloads: group.workloads.iter().map(String::as_str).collect(),
            group: Some(group),
        })
        .collect();
    let alone = input.surroundings.workloads.keys().filter(|name| plan.groups_of(name).is_empty());
    parts.extend(alone.map(|name| Part {
        name: name.clone(),
        title: format!("{name} (in no group of the plan)"),
        tier: None,
        workloads: [name.as_str()].into(),
        group: None,
    }));
    parts.sort_by_key(|part| match part.tier {
        Some((_, tier)) => (0, tier.rank.unwrap_or(u32::MAX), tier.objective.rto, part.name.clone()),
        None => (1, 0, Default::default(), part.name.clone()),
    });
    parts
}

fn last_measured<'a>(input: &'a RunbookInput, part: &Part) -> Option<&'a Evidence> {
    newest(&input.runs, |run| {
        run.is_of_all(&part.name, &part.workloads) && run.run.measured.fault_to_healthy_seconds.is_some()
    })
}

pub(super) fn overview(document: &mut Document, input: &RunbookInput) {
    document.chapter("What is recovered, in this order", "order");
    let parts = parts(input);
    let rows = parts.iter().map(|part| {
        let promised = part.tier.map(|(_, tier)| tier.objective);
        let last = last_measured(input, part);
        let never = || Text::new().strong("never rehearsed");
        vec![
            Text::new().link(part.title.clone(), format!("#group-{}", part.name)),
            part.tier.map_or_else(|| "none".into(), |(name, _)| name.into()),
            promised.map_or_else(|| "nothing".to_owned(), |objective| duration(objective.rto)).into(),
            last.map_or_else(never, Evidence::rta),
            promised.map_or_else(|| "nothing".to_owned(), |objective| duration(objective.rpo)).into(),
            last.map_or_else(never, Evidence::rpa),
        ]
    });
    let columns = ["Group", "Tier", ">Back within (RTO)", "Measured (RTA)", ">Lost at most (RPO)", "Measured (RPA)"];
    document.table(&columns, rows.collect(), "There is nothing to recover: the configuration has no workload.");
    let bars = parts.iter().filter_map(|part| {
        let rto = part.tier.map(|(_, tier)| tier.objective.rto.as_secs_f64());
        let last = last_measured(input, part);
        let measured = last.and_then(|last| last.run.measured.fault_to_healthy_seconds);
        (rto.is_some() || measured.is_some()).then(|| Bar {
            label: part.title.clone(),
            promised: rto,
            measured,
            promised_words: rto.map_or_else(|| "nothing".to_owned(), seconds),
            measured_words: match (measured, last) {
                (Some(measured), Some(last)) => format!("{}, entry {}", seconds(measured), last.source()),
                _ => "never rehearsed".to_owned(),
            },
        })
    });
    let bars: Vec<Bar> = bars.collect();
    if !bars.is_empty() {
        document.picture("Time to recover: the line is what was promised (tier, in the configuration), the bar what the last drill took.", Picture::Bars(bars));
    }
}

pub(super) fn add(document: &mut Document, input: &RunbookInput) {
    for part in parts(input) {
        document.chapter(part.title.clone(), &format!("group-{}", part.name));
        describe(document, input, &part);
        rehearsed(document, input, &part);
        let order = order(&part);
        if order.len() > 1 {
            document.picture("From the left to the right: what comes before what.", picture(&part, &order));
        }
        document.subsection("Steps");
        document.steps(order.iter().map(|name| step(input, name)).collect());
        health(document, input, &part);
    }
}

fn describe(document: &mut Document, input: &RunbookInput, part: &Part) {
    let plan = &input.plan;
    let titles: Vec<String> = match part.group {
        Some(_) => plan.processes_of(&part.name).iter().map(|name| plan.processes[*name].title.clone()).collect(),
        None => Vec::new(),
    };
    let mut text = Text::new()
        .plain("Workloads: ")
        .strong(part.workloads.iter().copied().collect::<Vec<_>>().join(", "))
        .plain(". ");
    text = match titles.is_empty() {
        true => text.plain("No process of the plan needs it."),
        false => text.plain("Without it these stop: ").strong(titles.join(", ")).plain("."),
    };
    document.paragraph(text);
    let Some((name, tier)) = part.tier else {
        document.notice(NoticeKind::Warning, "Nothing is promised for it: it belongs to no tier.");
        return;
    };
    let mut text =
        Text::new().plain("Promised (tier ").strong(name).plain("): back within ").strong(duration(tier.objective.rto));
    text = text.plain(", at most ").strong(duration(tier.objective.rpo)).plain(" lost");
    for (kind, objective) in &tier.by_disruption {
        text = text.plain(format!(
            "; when {}: {} and {}",
            disruption(*kind),
            duration(objective.rto),
            duration(objective.rpo)
        ));
    }
    if let Some(how) = tier.strategy {
        text = text.plain(format!(". Prepared by: {}", strategy(how)));
    }
    document.paragraph(text.plain("."));
}

fn rehearsed(document: &mut Document, input: &RunbookInput, part: &Part) {
    // What a part of it took says nothing about the whole.
    let whole = newest(&input.runs, |run| run.is_of_all(&part.name, &part.workloads));
    let of_a_part = newest(&input.runs, |run| run.concerns(&part.name, &part.workloads));
    if let (None, Some(last)) = (whole, of_a_part) {
        let what = format!("{} of {} on {}", last.run.scenario, last.run.workloads.join(", "), last.day());
        let text = Text::new().strong("Rehearsed in part only: ").plain(format!("{what} (entry {}).", last.source()));
        document.notice(NoticeKind::Warning, text.plain(" How long the whole takes was never measured."));
        return;
    }
    match whole {
        Some(last) => {
            let verdict = if last.passed() { "passed" } else { "did not pass" };
            let text = Text::new()
                .plain("Last rehearsed: ")
                .strong(format!("{} on {}", last.run.scenario, last.day()))
                .plain(format!(", entry {}, which {verdict}. RTA ", last.source()))
                .text(last.rta())
                .plain(", RPA ")
                .text(last.rpa())
                .plain(".");
            match last.passed() {
                true => document.paragraph(text),
                false => document.notice(NoticeKind::Alarm, text),
            }
        }
        None => document.notice(
            NoticeKind::Alarm,
            Text::marked("**Never rehearsed.** How long it takes and what is lost was never measured."),
        ),
    }
}

/// Workloads and vendor steps, each after those that come before it; by name where nothing is said.
fn order<'a>(part: &Part<'a>) -> Vec<&'a str> {
    let vendor = part.group.into_iter().flat_map(|group| group.vendor_steps.iter().map(String::as_str));
    let mut left: BTreeSet<&str> = part.workloads.iter().copied().chain(vendor).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let waits = |name: &str| {
            let before = part.group.and_then(|group| group.after.get(name));
            before.is_some_and(|before| before.iter().any(|other| other != name && left.contains(other.as_str())))
        };
        // In a circle there is no right order: then by name.
        let next = left.iter().copied().find(|name| !waits(name)).or_else(|| left.first().copied());
        let Some(next) = next else { break };
        left.remove(next);
        order.push(next);
    }
    order
}

fn picture(part: &Part, order: &[&str]) -> Picture {
    let at = |name: &str| order.iter().position(|found| *found == name);
    let after = part.group.map(|group| &group.after).into_iter().flatten();
    let edges =
        after.flat_map(|(to, before)| before.iter().filter_map(move |from| Some((at(from)?, at(to)?)))).collect();
    Picture::Graph(Graph { nodes: order.iter().map(|name| (*name).to_owned()).collect(), edges })
}

fn step(input: &RunbookInput, name: &str) -> Step {
    match (input.surroundings.workloads.get(name), input.plan.vendor_steps.get(name)) {
        (Some(workload), _) => restore_step(input, name, workload),
        (None, Some(vendor)) => vendor_step(name, vendor),
        (None, None) => Step {
            text: Text::new().strong(name).plain(
                ": the plan names it, and the configuration has neither a workload nor a vendor step of that name.",
            ),
            ..Step::default()
        },
    }
}

fn restore_step(input: &RunbookInput, name: &str, workload: &WorkloadView) -> Step {
    let commands = restore_commands(input, name, workload);
    let last = newest(&input.runs, |run| run.run.workloads == [name] && run.run.measured.restore_seconds.is_some());
    let after = match last.and_then(|last| Some((last, last.run.measured.restore_seconds?))) {
        Some((last, took)) => Text::new().plain("Took ").strong(seconds(took)).plain(format!(
            " on {} (entry {}).",
            last.day(),
            last.source()
        )),
        None => Text::from("How long it takes was never measured."),
    };
    Step { text: Text::new().plain("Bring back ").strong(name).plain(":"), code: Some(commands), after: Some(after) }
}

/// To the newest moment, from the location that is least likely to have burned with it.
pub(super) fn restore_commands(input: &RunbookInput, name: &str, workload: &WorkloadView) -> String {
    let from = input
        .surroundings
        .farthest_first(workload)
        .first()
        .map(|name| format!(" --from {}", quoted(name)))
        .unwrap_or_default();
    let to = quoted(workload.data_dir.as_deref().unwrap_or("DIRECTORY"));
    let name = quoted(name);
    format!(
        "lifeboat points {name}\nlifeboat restore {name} --to {to}{from} --as-primary --dry-run\nlifeboat restore {name} --to {to}{from} --as-primary\npg_ctl start -D {to}"
    )
}

fn vendor_step(name: &str, step: &VendorStep) -> Step {
    let follows = match step.on_failure {
        OnFailure::Stop => "stop here and decide",
        OnFailure::Continue => "note it and go on",
        OnFailure::Rollback => "take back what was done so far, last first",
    };
    let mut after = Text::new().plain(format!("At most {}. When it goes wrong: {follows}.", duration(step.time_limit)));
    if let Some(undo) = &step.undo {
        after = after.plain(" Taken back by: ").code(vendor_action(undo));
    }
    Step {
        text: Text::new().strong(step.title.clone()).plain(format!(" (vendor step {name}):")),
        code: Some(vendor_action(&step.action)),
        after: Some(after),
    }
}

fn vendor_action(action: &VendorAction) -> String {
    match action {
        VendorAction::Command(words) => command(words),
        VendorAction::Http { method, url, body, headers, expected_status } => {
            let shown = format!("curl -X {}", quoted(method));
            let headers: Vec<String> =
                headers.keys().map(|name| format!(" -H {}", quoted(&format!("{name}: ...")))).collect();
            let body = body.as_ref().map(|_| " --data @BODY").unwrap_or_default();
            format!(
                "{shown}{}{body} {}   # expect {expected_status}",
                headers.concat(),
                quoted(&crate::words::without_user(url))
            )
        }
    }
}

fn health(document: &mut Document, input: &RunbookInput, part: &Part) {
    let own = part.workloads.iter().flat_map(|name| {
        let checks = input.surroundings.workloads.get(*name).into_iter().flat_map(|workload| &workload.checks);
        checks.map(move |query| (*name, query))
    });
    let empty = BTreeMap::new();
    let more = part.group.map_or(&empty, |group| &group.health);
    let more = more.iter().flat_map(|(name, queries)| queries.iter().map(move |query| (name.as_str(), query)));
    let rows: Vec<Vec<Text>> =
        own.chain(more).map(|(name, query)| vec![name.into(), Text::new().code(query.clone())]).collect();
    document.subsection("Is it well again?");
    document.paragraph("Each question returns true:");
    document.table(
        &["Workload", "Question"],
        rows,
        "No question is in the configuration: nothing but a person can say whether it is well again.",
    );
}
