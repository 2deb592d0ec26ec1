//! Worked examples of incidents: steps that become one value, and figures that can be reckoned by hand.

use super::*;
use jiff::SignedDuration;

/// Hours after a moment.
fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
}

fn opened(began: i64, detected: Option<i64>) -> Event {
    Event::Opened(Opened {
        what: "the primary is gone".into(),
        processes: vec!["checkout".into()],
        group: None,
        workloads: Vec::new(),
        disruption: Some(Disruption::Instance),
        began_at: at(began),
        detected_at: detected.map(at),
    })
}

fn closed(incident: &str, recovered: i64, writes_lost: Option<u64>) -> Event {
    Event::Closed { incident: incident.into(), what: None, recovered_at: at(recovered), writes_lost }
}

fn noted(incident: &str, began: Option<i64>, detected: Option<i64>) -> Event {
    let what = "more is known".into();
    Event::Noted { incident: incident.into(), what, began_at: began.map(at), detected_at: detected.map(at) }
}

fn folded(steps: Vec<(&str, Event)>) -> (Vec<Incident>, Vec<(String, StepError)>) {
    fold(steps.into_iter().enumerate().map(|(number, (id, event))| (id.to_owned(), at(number as i64), event)))
}

#[test]
fn steps_become_one_incident() {
    let (incidents, refused) =
        folded(vec![("a", opened(10, None)), ("b", noted("a", Some(5), Some(12))), ("c", closed("a", 65, Some(0)))]);
    assert_eq!(refused, []);
    let [only] = &incidents[..] else { panic!("{incidents:?}") };
    assert_eq!((only.opened.began_at, only.opened.detected_at), (at(5), Some(at(12))));
    assert_eq!((only.outage_seconds(), only.writes_lost), (Some(60.0 * 3600.0), Some(0)));
    assert_eq!(only.notes, [(at(1), "more is known".to_owned())]);
}

#[test]
fn a_step_that_cannot_be_is_left_out_with_the_reason() {
    let before = |what| StepError::Before { what, began_at: at(10) };
    let table = [
        (closed("x", 20, None), StepError::Unknown("x".into())),
        (noted("x", None, None), StepError::Unknown("x".into())),
        (closed("a", 9, None), before("it would be over")),
        (noted("a", None, Some(9)), before("it would be noticed")),
        (opened(10, Some(9)), before("it would be noticed")),
    ];
    for (step, error) in table {
        let (incidents, refused) = folded(vec![("a", opened(10, None)), ("b", step)]);
        assert_eq!(refused, [("b".to_owned(), error)]);
        assert_eq!((incidents.len(), incidents[0].recovered_at), (1, None));
    }
    let twice = vec![("a", opened(10, None)), ("b", closed("a", 20, None)), ("c", closed("a", 30, None))];
    let (incidents, refused) = folded(twice);
    assert_eq!((incidents[0].recovered_at, &refused[0].1), (Some(at(20)), &StepError::Over("a".into())));
    let late = vec![("a", opened(10, None)), ("b", closed("a", 20, None)), ("c", noted("a", Some(25), None))];
    assert_eq!(folded(late).1[0].1, StepError::Before { what: "it would be over", began_at: at(25) });
}

/// Of 1000 hours: down from 100 to 160, and from 500 to 520; noticed after 10 and 4 minutes.
#[test]
fn figures_of_a_worked_example() {
    let (incidents, _) = folded(vec![
        ("a", opened(100, Some(110))),
        ("b", closed("a", 160, Some(7))),
        ("c", opened(500, Some(504))),
        ("d", closed("c", 520, None)),
    ]);
    let figures = figures(&incidents, &[], at(0), at(1000));
    assert_eq!(figures.mttr_seconds, Some(40.0 * 3600.0));
    assert_eq!(figures.longest_seconds, Some(60.0 * 3600.0));
    assert_eq!(figures.mttd_seconds, Some(7.0 * 3600.0));
    assert_eq!(figures.mtbf_seconds, Some(460.0 * 3600.0), "920 hours of operation, two failures");
    assert_eq!(figures.availability, Some(0.92));
    assert_eq!((figures.writes_lost, figures.writes_lost_unknown), (7, 1));
    assert_eq!((figures.incidents, figures.open), (2, 0));
}

#[test]
fn too_few_say_nothing() {
    let none = figures(&[], &[], at(0), at(1000));
    assert_eq!((none.mttr_seconds, none.mtbf_seconds, none.longest_seconds), (None, None, None));
    assert_eq!(none.availability, Some(1.0));
    assert_eq!(figures(&[], &[], at(0), at(23)).availability, None, "less than a day");
    let (one, _) = folded(vec![("a", opened(100, None)), ("b", closed("a", 160, None))]);
    let one = figures(&one, &[], at(0), at(1000));
    assert_eq!((one.mttr_seconds, one.mtbf_seconds, one.mttd_seconds), (None, None, None));
    assert_eq!(one.longest_seconds, Some(60.0 * 3600.0));
}

#[test]
fn incidents_at_the_same_time_are_down_once_and_open_ones_last() {
    let (incidents, _) = folded(vec![
        ("a", opened(100, None)),
        ("b", opened(120, None)),
        ("c", closed("a", 160, None)),
        ("d", closed("b", 140, None)),
        ("e", opened(900, None)),
    ]);
    let all = figures(&incidents, &[], at(0), at(1000));
    assert_eq!(all.availability, Some(0.84), "60 and 100 hours");
    assert_eq!((all.incidents, all.open), (3, 1));
    assert_eq!(all.mttr_seconds, Some(40.0 * 3600.0), "what isn't over has no time yet");
    let part = figures(&incidents, &[], at(130), at(330));
    assert_eq!((part.incidents, part.availability), (0, Some(0.85)), "it began before, and was still down");
}

#[test]
fn an_event_is_one_flat_document() {
    let text = serde_json::to_value(closed("a", 20, None)).unwrap();
    assert_eq!(text["event"], "closed");
    assert!(text["writes_lost"].is_null(), "nobody knows, which is not nought");
    assert_eq!(serde_json::from_value::<Event>(text).unwrap(), closed("a", 20, None));
    let text = serde_json::to_value(opened(5, None)).unwrap();
    assert_eq!((&text["event"], &text["disruption"]), (&"opened".into(), &"instance".into()));
    assert_eq!(serde_json::from_value::<Event>(text).unwrap(), opened(5, None));
}
