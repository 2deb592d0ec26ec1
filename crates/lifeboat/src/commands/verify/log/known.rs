//! Was a hole in a log known before?
//!
//! `prune` makes a hole grow: what it deletes today joins what it deleted last month, of which only a note is left. So a hole is known
//! when each part of it is: given up by the location's own records, or inside a hole that was noted. One byte more, and something
//! was lost that nobody has heard of.

use lifeboat_repository::{LogGap, LogStretch};

/// Whether nothing is missing in `hole` but what was given up, as stretches of the same log, and what was noted.
pub fn is_known(hole: &LogGap, given_up: &[(u64, u64)], noted: &[LogGap]) -> bool {
    let is_noted_in_words =
        |gap: &LogGap| gap.stretch.is_none() && gap.workload == hole.workload && gap.what == hole.what;
    if noted.iter().any(is_noted_in_words) {
        return true;
    }
    let Some(stretch) = &hole.stretch else { return false };
    let of_this_log = noted.iter().filter(|gap| gap.workload == hole.workload);
    let of_this_log = of_this_log.filter_map(|gap| gap.stretch.as_ref()).filter(|noted| noted.log == stretch.log);
    let mut known: Vec<(u64, u64)> = of_this_log.map(|noted| (noted.from, noted.to)).collect();
    known.extend(given_up);
    is_covered(stretch, known)
}

/// Whether the parts together cover all of it.
fn is_covered(stretch: &LogStretch, mut parts: Vec<(u64, u64)>) -> bool {
    parts.sort_unstable();
    let mut covered_to = stretch.from;
    for (from, to) in parts {
        if from > covered_to {
            break;
        }
        covered_to = covered_to.max(to);
    }
    covered_to >= stretch.to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(workload: &str, log: &str, from: u64, to: u64) -> LogGap {
        let stretch = Some(LogStretch { log: log.into(), from, to });
        LogGap { workload: workload.into(), what: format!("timeline 1, {from} to {to}"), stretch }
    }

    fn hole(from: u64, to: u64) -> LogGap {
        gap("shop", "7 1", from, to)
    }

    #[test]
    fn a_hole_is_known_when_each_part_of_it_is() {
        for (given_up, noted, expected, what) in [
            (&[][..], &[][..], false, "nobody knows of it"),
            (&[(20, 30), (30, 40), (40, 50)], &[], true, "all of it was given up"),
            (&[(20, 30), (40, 50)], &[], false, "a file in the middle was lost"),
            (&[], &[hole(20, 50)], true, "noted as it is"),
            (&[], &[hole(10, 60)], true, "noted larger: a part came back"),
            (&[(40, 50)], &[hole(20, 40)], true, "it grew at the end"),
            (&[(20, 30)], &[hole(30, 50)], true, "it grew at the beginning"),
            (&[], &[hole(40, 50), hole(20, 40)], true, "two that join"),
            (&[(30, 40)], &[hole(20, 30), hole(40, 50)], true, "what lay between two was given up"),
            (&[(30, 40)], &[hole(20, 30)], false, "larger than both at the end"),
            (&[(40, 50)], &[hole(30, 40)], false, "larger than both at the beginning"),
            (&[], &[hole(20, 30), hole(40, 50)], false, "what lay between two was lost"),
            (&[], &[hole(20, 35), hole(34, 50)], true, "two that overlap"),
            (&[(10, 60)], &[hole(0, 15)], true, "files begin and end where they like"),
        ] {
            assert_eq!(is_known(&hole(20, 50), given_up, noted), expected, "{what}");
        }
    }

    #[test]
    fn what_is_noted_of_another_log_says_nothing() {
        for other in [gap("shop", "7 2", 20, 50), gap("shop", "8 1", 20, 50), gap("mill", "7 1", 20, 50)] {
            assert!(!is_known(&hole(20, 50), &[], std::slice::from_ref(&other)), "{other:?}");
            assert!(!is_known(&hole(20, 50), &[(40, 50)], &[other]));
        }
    }

    #[test]
    fn an_older_note_has_only_words() {
        let json = r#"{ "workload": "shop", "what": "timeline 1, 20 to 50" }"#;
        let old: LogGap = serde_json::from_str(json).unwrap();
        assert_eq!(old.stretch, None);
        let noted = [old];
        assert!(is_known(&hole(20, 50), &[], &noted));
        for other in [hole(20, 60), LogGap { workload: "mill".into(), ..hole(20, 50) }] {
            assert!(!is_known(&other, &[], &noted), "{other:?}");
        }
    }
}
