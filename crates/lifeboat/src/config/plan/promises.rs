//! `[plan]`, `[process.NAME]`, `[tier.NAME]`: what the business does, and what it is promised.

use super::reader::Reader;
use crate::config::section::{Section, describe};
use jiff::civil::Date;
use lifeboat_plan::model::{Disruption, Impact, Objective, Plan, Process, Strategy, Tier};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

const STRATEGIES: [(&str, Strategy); 6] = [
    ("backup_restore", Strategy::BackupRestore),
    ("point_in_time", Strategy::PointInTime),
    ("pilot_light", Strategy::PilotLight),
    ("warm_standby", Strategy::WarmStandby),
    ("hot_standby", Strategy::HotStandby),
    ("active_active", Strategy::ActiveActive),
];

/// Words for kinds of disruption.
pub(super) const DISRUPTIONS: [(&str, Disruption); 6] = [
    ("corruption", Disruption::Corruption),
    ("ransomware", Disruption::Ransomware),
    ("instance", Disruption::Instance),
    ("site", Disruption::Site),
    ("network", Disruption::Network),
    ("dependency", Disruption::Dependency),
];

pub(super) fn general(reader: &mut Reader, plan: &mut Plan) {
    plan.organisation = reader.text("organisation", "the name of the organisation");
    plan.currency = {
        let expected = "three capital letters, such as \"EUR\"";
        reader.section.read(reader.findings, "currency", expected, |value| {
            let text = value.as_str()?;
            (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())).then(|| text.to_owned())
        })
    };
    plan.review_within = reader.time("review_within", 24 * HOUR, "a time of a day or more, such as \"365d\"");
}

/// Who owns a thing, and when it was looked at.
pub(super) fn owner(reader: &mut Reader) -> (Option<String>, Option<Date>) {
    (reader.name("owner", "a person"), reader.date("reviewed"))
}

pub(super) fn process(reader: &mut Reader) -> Option<Process> {
    let title = reader.title("title", "what it does, such as \"Orders are taken\"");
    let (owner, reviewed) = owner(reader);
    let maximum_tolerable_downtime =
        reader.time("maximum_tolerable_downtime", SECOND, "a time of a second or more, such as \"8h\"");
    Some(Process {
        owner,
        approver: reader.name("approver", "a person"),
        reviewed,
        tier: reader.name("tier", "a tier"),
        users: reader.section.integer(reader.findings, "users", 0..10_000_000_001),
        peaks: reader.lines("peaks", "a list of texts, such as [\"Fridays, 16:00 to 20:00\"]"),
        cost_per_hour: reader.amount("cost_per_hour"),
        impacts: impacts(reader),
        data_loss_cost_per_hour: reader.amount("data_loss_cost_per_hour"),
        recovery_cost: reader.amount("recovery_cost"),
        maximum_tolerable_downtime,
        groups: reader.set("groups", "groups"),
        depends_on: reader.set("depends_on", "processes"),
        workaround: reader.prose("workaround", "what people do meanwhile, in words"),
        title: title?,
    })
}

fn impacts(reader: &mut Reader) -> Vec<Impact> {
    const EXPECTED: &str = "a list such as [{ after = \"4h\", cost = 20000, words = \"customers go elsewhere\" }]";
    let Some(value) = reader.section.value("impacts") else { return Vec::new() };
    let name = reader.section.name().to_owned();
    let Some(items) = value.get_ref().as_array() else {
        reader.section.read(reader.findings, "impacts", EXPECTED, |_| None::<()>);
        return Vec::new();
    };
    let mut found = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let title = format!("`impacts` number {} in {name}", number + 1);
        match item.get_ref().as_table() {
            Some(table) => found.extend(impact(reader, Section::new(title, table, item.span()))),
            None => {
                let what = describe(item.get_ref());
                reader.findings.problem(&item.span(), format!("{title} is {what}; expected {EXPECTED}"));
            }
        }
    }
    found
}

fn impact(outer: &mut Reader, section: Section) -> Option<Impact> {
    const AFTER: &str = "a time of a second or more, such as \"4h\"";
    let mut reader = Reader::new(section, outer.findings);
    if !reader.section.has("after") {
        reader.section.require(reader.findings, "after", AFTER, |_| None::<()>);
    }
    let after = reader.time("after", SECOND, AFTER);
    let (cost, words) = (reader.amount("cost"), reader.text("words", "what it means"));
    if !reader.section.has("cost") && !reader.section.has("words") {
        let message = format!("{} says nothing; expected `cost`, `words` or both", reader.section.name());
        reader.problem("after", message);
    }
    reader.finish();
    Some(Impact { after: after?, cost, words })
}

const RTO_EXPECTED: &str = "a time of a second or more, such as \"4h\"";
const RPO_EXPECTED: &str = "a time such as \"15m\"; \"0s\" when nothing may be lost";

pub(super) fn tier(reader: &mut Reader) -> Option<Tier> {
    for (key, expected) in [("rto", RTO_EXPECTED), ("rpo", RPO_EXPECTED)] {
        if !reader.section.has(key) {
            reader.section.require(reader.findings, key, expected, |_| None::<()>);
        }
    }
    let rto = reader.time("rto", SECOND, RTO_EXPECTED);
    let rpo = reader.time("rpo", Duration::ZERO, RPO_EXPECTED);
    let drill_every = reader.time("drill_every", HOUR, "a time of an hour or more, such as \"90d\"");
    let strategy = reader.choice("strategy", &STRATEGIES);
    let rank = reader.section.integer(reader.findings, "rank", 0..1001).and_then(|rank| u32::try_from(rank).ok());
    let mut by_disruption = BTreeMap::new();
    for (key, kind) in DISRUPTIONS {
        const EXPECTED: &str = "a table such as { rto = \"4h\", rpo = \"1h\" }";
        let Some(mut inner) = reader.inner(key, EXPECTED) else { continue };
        let own = (inner.time("rto", SECOND, RTO_EXPECTED), inner.time("rpo", Duration::ZERO, RPO_EXPECTED));
        if !inner.section.has("rto") && !inner.section.has("rpo") {
            let message = format!("{} promises nothing; expected `rto`, `rpo` or both", inner.section.name());
            inner.problem(key, message);
        }
        inner.finish();
        // What isn't said for this kind is as for all.
        if let (Some(rto), Some(rpo)) = (own.0.or(rto), own.1.or(rpo)) {
            by_disruption.insert(kind, Objective { rto, rpo });
        }
    }
    Some(Tier { objective: Objective { rto: rto?, rpo: rpo? }, by_disruption, drill_every, strategy, rank })
}
