//! Who is called at night, and what becomes of it when nobody answers.

use lifeboat_drill::builtin;
use lifeboat_drill::engine::{Rehearsed, rehearse};
use lifeboat_drill::surroundings::{Production, Surroundings};
use lifeboat_plan::model::{Person, Plan, Role};
use lifeboat_plan::run::{Promised, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

fn person(page: Option<&[&str]>, deputy: Option<&str>) -> Person {
    Person {
        name: "N".into(),
        email: None,
        phone: None,
        deputy: deputy.map(str::to_owned),
        page: page.map(|words| words.iter().map(|word| (*word).to_owned()).collect()),
    }
}

async fn call(people: BTreeMap<String, Person>, line: &[&str], directory: &Path) -> Rehearsed {
    let role = Role {
        title: "decides".into(),
        people: line.iter().map(|name| (*name).to_owned()).collect(),
        escalate_after: Some(Duration::from_millis(300)),
    };
    let plan = Plan { people, roles: [("duty".to_owned(), role)].into(), ..Plan::default() };
    let around = Surroundings {
        program: "/bin/true".into(),
        config: directory.join("none.toml"),
        scratch_dir: directory.to_path_buf(),
        journal_dir: directory.join("journals"),
        account: None,
        workloads: vec![],
        group: None,
        production: Production::default(),
        copies: vec![],
        runbook_hash: String::new(),
        plan,
        left_out: vec![],
        own_network: false,
        keep: false,
        requested_by: "test".into(),
        approved_by: None,
        approver: None,
        participants: vec![],
        drill: None,
        host: "here".into(),
        versions: [].into(),
        configuration_hash: String::new(),
        promised: Promised { tier: None, rto_seconds: None, rpo_seconds: None },
        search_path: vec![],
    };
    let scenario = builtin::all().into_iter().find(|one| one.name == "nobody-answers").unwrap();
    let (_sender, interrupt) = tokio::sync::watch::channel(false);
    let parameters = [("role".to_owned(), "duty".to_owned())].into();
    rehearse(&scenario, &parameters, &around, &|_: &str| {}, interrupt).await
}

#[tokio::test]
async fn who_does_not_answer_is_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let people = [
        ("anna".to_owned(), person(Some(&["sleep", "100"]), Some("ben"))),
        ("ben".to_owned(), person(Some(&["false"]), None)),
        ("cleo".to_owned(), person(None, Some("dora"))),
        ("dora".to_owned(), person(Some(&["grep", "-q", "DRILL"]), None)),
    ];
    let done = call(people.into(), &["anna", "cleo"], scratch.path()).await;
    assert_eq!(done.run.verdict, Verdict::Passed, "{:#?}", done.run);
    let called: Vec<(&str, bool)> =
        done.called.iter().map(|one| (one.person.as_str(), one.answered_at.is_some())).collect();
    assert_eq!(called, [("anna", false), ("ben", false), ("cleo", false), ("dora", true)]);
    assert!(done.run.measured.others["answer_seconds"] >= 0.3, "{:?}", done.run.measured);
    assert_eq!(done.run.participants, ["dora"]);
    let left: Vec<_> = std::fs::read_dir(scratch.path().join("journals")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn nobody_is_not_somebody() {
    let scratch = tempfile::tempdir().unwrap();
    let people = [("anna".to_owned(), person(Some(&["false"]), None))];
    let done = call(people.into(), &["anna"], scratch.path()).await;
    assert_eq!(done.run.verdict, Verdict::Failed);
    assert!(done.run.entailed().1[0].contains("nobody answered: anna"), "{:?}", done.run.entailed());
}
