//! Who is called: can they be reached, does somebody stand in, and does anything lead to them.

use super::{Look, listed};
use std::collections::BTreeSet;

impl Look<'_> {
    pub(super) fn people(&mut self) {
        let plan = self.plan;
        for (name, person) in &plan.people {
            let path = format!("person.{name}");
            if person.email.is_none() && person.phone.is_none() {
                let what = "there is no way to reach them: neither `email` nor `phone`";
                self.problem(&path, "no-contact", what, "phone = \"+49 30 1234567\"");
            } else if person.phone.is_none() && person.page.is_none() && self.is_called(name) {
                let what = "they are called in a recovery, and mail may be what is down: there is no `phone`";
                self.warning(
                    format!("{path}.phone"),
                    "no-phone",
                    what,
                    "phone = \"+49 30 1234567\", or a `page` command",
                );
            }
            if person.deputy.as_ref() == Some(name) {
                let what = "they are their own deputy";
                self.problem(format!("{path}.deputy"), "own-deputy", what, "name somebody else");
            }
        }
        self.nobody_leads_to();
        for (name, role) in &plan.roles {
            let path = format!("role.{name}");
            match &role.people[..] {
                [] => self.problem(
                    format!("{path}.people"),
                    "role-empty",
                    "nobody has it",
                    "people = [\"NAME\", \"NAME\"]",
                ),
                [only] if plan.people.get(only).is_some_and(|person| person.deputy.is_none()) => {
                    let what = format!("only `{only}` has it, and nobody stands in");
                    let hint = format!("a second name, or `deputy` in [person.{only}]");
                    self.problem(format!("{path}.people"), "one-person", what, hint);
                }
                _ => {}
            }
            if !role.people.is_empty() && role.escalate_after.is_none() {
                let what = "nothing says when the next one is called";
                self.warning(format!("{path}.escalate_after"), "no-escalation", what, "escalate_after = \"15m\"");
            }
        }
        if plan.roles.is_empty() {
            let what = "there is no role: nobody knows who decides and who does";
            let hint = "begin with who decides whether to fail over: [role.NAME]";
            self.warning("plan", "no-role", what, hint);
        }
    }

    /// Whether a role or a deputy's place makes them answer.
    fn is_called(&self, person: &str) -> bool {
        self.plan.roles.values().any(|role| role.people.iter().any(|name| name == person))
    }

    fn nobody_leads_to(&mut self) {
        let plan = self.plan;
        let processes = plan.processes.values().flat_map(|process| [&process.owner, &process.approver]);
        let risks = plan.risks.values().map(|risk| &risk.owner);
        let drills = plan.drills.values().flat_map(|drill| [&drill.owner, &drill.approver]);
        let mut named: BTreeSet<&str> = processes.chain(risks).chain(drills).flatten().map(String::as_str).collect();
        named.extend(plan.drills.values().flat_map(|drill| &drill.participants).map(String::as_str));
        named.extend(plan.roles.values().flat_map(|role| &role.people).map(String::as_str));
        // A deputy of oneself, or of somebody to whom nothing leads either, is no way.
        let mut open: Vec<&str> = named.iter().copied().collect();
        while let Some(name) = open.pop() {
            let deputy = plan.people.get(name).and_then(|person| person.deputy.as_deref());
            open.extend(deputy.filter(|deputy| named.insert(deputy)));
        }
        let lost: Vec<&str> = plan.people.keys().map(String::as_str).filter(|name| !named.contains(name)).collect();
        for name in lost {
            let hint = format!(
                "give them a role, or remove them; there are the roles {}",
                listed(plan.roles.keys().map(String::as_str))
            );
            let hint = if plan.roles.is_empty() { "give them a role, or remove them".to_owned() } else { hint };
            self.warning(format!("person.{name}"), "unused", "nothing in the plan names them", hint);
        }
    }
}
