//! Names that lead nowhere, and circles.

use super::Look;
use crate::nearest;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of things, by the names that there are.
struct Names<'n> {
    /// In a sentence: `a person`.
    one: &'static str,
    names: Vec<&'n str>,
}

impl<'n> Names<'n> {
    fn of<T>(one: &'static str, all: &'n BTreeMap<String, T>) -> Self {
        Self { one, names: all.keys().map(String::as_str).collect() }
    }

    fn and(mut self, one: &'static str, more: impl IntoIterator<Item = &'n String>) -> Self {
        self.one = one;
        self.names.extend(more.into_iter().map(String::as_str));
        self
    }
}

impl Look<'_> {
    pub(super) fn references(&mut self) {
        self.of_processes();
        self.of_groups();
        self.of_people();
        self.of_drills();
        self.process_circles();
        self.group_circles();
    }

    /// A name must be one of these.
    fn must_be(&mut self, path: String, name: &str, among: &Names) {
        if among.names.contains(&name) {
            return;
        }
        let hint = match nearest(name, among.names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if among.names.is_empty() => "there is none yet".to_owned(),
            None => format!("there are {}", among.names.join(", ")),
        };
        self.problem(path, "unknown-name", format!("`{name}` is not {}", among.one), hint);
    }

    fn of_processes(&mut self) {
        let plan = self.plan;
        let people = Names::of("a person", &plan.people);
        let tiers = Names::of("a tier", &plan.tiers);
        let groups = Names::of("a group", &plan.groups);
        let processes = Names::of("a process", &plan.processes);
        for (name, process) in &plan.processes {
            for (key, person) in [("owner", &process.owner), ("approver", &process.approver)] {
                if let Some(person) = person {
                    self.must_be(format!("process.{name}.{key}"), person, &people);
                }
            }
            if let Some(tier) = &process.tier {
                self.must_be(format!("process.{name}.tier"), tier, &tiers);
            }
            for group in &process.groups {
                self.must_be(format!("process.{name}.groups.{group}"), group, &groups);
            }
            for other in &process.depends_on {
                self.must_be(format!("process.{name}.depends_on.{other}"), other, &processes);
            }
        }
        for (name, risk) in &plan.risks {
            for process in &risk.processes {
                self.must_be(format!("risk.{name}.processes.{process}"), process, &processes);
            }
            if let Some(owner) = &risk.owner {
                self.must_be(format!("risk.{name}.owner"), owner, &people);
            }
        }
    }

    fn of_groups(&mut self) {
        let (plan, context) = (self.plan, self.context);
        let tiers = Names::of("a tier", &plan.tiers);
        let workloads = Names::of("a workload", &context.workloads);
        let steps = Names::of("a vendor step", &plan.vendor_steps);
        for (name, group) in &plan.groups {
            if let Some(tier) = &group.tier {
                self.must_be(format!("group.{name}.tier"), tier, &tiers);
            }
            for workload in &group.workloads {
                self.must_be(format!("group.{name}.workloads.{workload}"), workload, &workloads);
            }
            for step in &group.vendor_steps {
                self.must_be(format!("group.{name}.vendor_steps.{step}"), step, &steps);
            }
            let own =
                Names { one: "a workload of this group", names: group.workloads.iter().map(String::as_str).collect() };
            for workload in group.health.keys() {
                self.must_be(format!("group.{name}.health.{workload}"), workload, &own);
            }
            let own = own.and("a workload or vendor step of this group", &group.vendor_steps);
            for (later, earlier) in &group.after {
                self.must_be(format!("group.{name}.after.{later}"), later, &own);
                for other in earlier {
                    self.must_be(format!("group.{name}.after.{later}.{other}"), other, &own);
                }
            }
            for both in group.workloads.intersection(&group.vendor_steps) {
                let what = format!("`{both}` is a workload and a vendor step: `after` can't tell them apart");
                self.problem(
                    format!("group.{name}.vendor_steps.{both}"),
                    "name-twice",
                    what,
                    "give the vendor step another name",
                );
            }
        }
    }

    fn of_people(&mut self) {
        let plan = self.plan;
        let people = Names::of("a person", &plan.people);
        for (name, person) in &plan.people {
            if let Some(deputy) = &person.deputy {
                self.must_be(format!("person.{name}.deputy"), deputy, &people);
            }
        }
        for (name, role) in &plan.roles {
            for person in &role.people {
                self.must_be(format!("role.{name}.people.{person}"), person, &people);
            }
            if plan.people.contains_key(name) {
                let what = format!("`{name}` is a role and a person: a drill that names it may mean either");
                self.problem(format!("role.{name}"), "name-twice", what, "give one of them another name");
            }
        }
    }

    fn of_drills(&mut self) {
        let (plan, context) = (self.plan, self.context);
        let people = Names::of("", &plan.people).and("a person or a role", plan.roles.keys());
        let targets = Names::of("", &context.workloads).and("", plan.groups.keys());
        let targets = targets.and("a workload, a group or a cluster", &context.clusters);
        for (name, drill) in &plan.drills {
            if let Some(target) = &drill.target {
                self.must_be(format!("drill.{name}.target"), target, &targets);
            }
            for (key, person) in [("owner", &drill.owner), ("approver", &drill.approver)] {
                if let Some(person) = person {
                    self.must_be(format!("drill.{name}.{key}"), person, &people);
                }
            }
            for person in &drill.participants {
                self.must_be(format!("drill.{name}.participants.{person}"), person, &people);
            }
            if let Some(scenarios) = &context.scenarios {
                let scenarios = Names { one: "a scenario", names: scenarios.iter().map(String::as_str).collect() };
                self.must_be(format!("drill.{name}.scenario"), &drill.scenario, &scenarios);
            }
        }
    }

    fn process_circles(&mut self) {
        let edges = self.plan.processes.iter().map(|(name, process)| (name.as_str(), &process.depends_on)).collect();
        for circle in circles(&edges) {
            let [first, next] = [circle[0], circle[1 % circle.len()]];
            let what = format!("each waits for the other: {}", around(&circle));
            let hint = "remove the one that can begin without the other, or make one process of them";
            self.problem(format!("process.{first}.depends_on.{next}"), "circle", what, hint);
        }
    }

    fn group_circles(&mut self) {
        for (name, group) in &self.plan.groups {
            let edges = group.after.iter().map(|(later, earlier)| (later.as_str(), earlier)).collect();
            for circle in circles(&edges) {
                let [first, next] = [circle[0], circle[1 % circle.len()]];
                let what = format!("no order is possible: {} (each after the next)", around(&circle));
                let hint = "remove one of these from `after`: what can start first?";
                self.problem(format!("group.{name}.after.{first}.{next}"), "circle", what, hint);
            }
        }
    }
}

fn around(circle: &[&str]) -> String {
    format!("{} → {}", circle.join(" → "), circle[0])
}

/// Every circle, once, beginning with its first name; of several that share a thing, one for each way back.
pub(super) fn circles<'n>(edges: &BTreeMap<&'n str, &'n BTreeSet<String>>) -> Vec<Vec<&'n str>> {
    let mut done = BTreeSet::new();
    let mut found: Vec<Vec<&str>> = Vec::new();
    for start in edges.keys().copied() {
        if !done.insert(start) {
            continue;
        }
        // Each step of the way: a thing, and those that it waits for which weren't looked at yet.
        let after =
            |name: &str| edges.get(name).map(|names| names.iter().rev().map(String::as_str).collect::<Vec<_>>());
        let mut way = vec![(start, after(start).unwrap_or_default())];
        while let Some((_, rest)) = way.last_mut() {
            let Some(next) = rest.pop() else {
                way.pop();
                continue;
            };
            if let Some(begin) = way.iter().position(|(name, _)| *name == next) {
                let mut circle: Vec<&str> = way[begin..].iter().map(|(name, _)| *name).collect();
                let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or_default();
                circle.rotate_left(first);
                if !found.contains(&circle) {
                    found.push(circle);
                }
            } else if done.insert(next) {
                way.push((next, after(next).unwrap_or_default()));
            }
        }
    }
    found
}
