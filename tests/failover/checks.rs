//! What must hold after any fault. Pure: from what clients saw and what is there at the end to what is wrong with it.

use crate::history::{Operation, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rows `(client, number)`.
pub type Rows = BTreeSet<(i32, i32)>;

/// At most so many findings of a kind are told.
const TOLD_MAX: usize = 5;

pub fn told(what: &str, found: Vec<String>) -> Option<String> {
    let count = found.len();
    let some: Vec<String> = found.into_iter().take(TOLD_MAX).collect();
    (count > 0).then(|| format!("{count} {what}: {}", some.join("; ")))
}

/// What was acknowledged and isn't there.
pub fn lost(history: &[Operation], rows: &Rows) -> Option<String> {
    let lost = history.iter().filter(|operation| operation.is_ok() && !rows.contains(&operation.row()));
    told("acknowledged and lost", lost.map(|operation| format!("{operation:?}")).collect())
}

/// What was refused and is there all the same.
pub fn refused_and_there(history: &[Operation], rows: &Rows) -> Option<String> {
    let refused = |operation: &&Operation| matches!(operation.outcome, Outcome::Refused { .. });
    let there = history.iter().filter(refused).filter(|operation| rows.contains(&operation.row()));
    told("refused and there", there.map(|operation| format!("{operation:?}")).collect())
}

/// Rows of these clients that none of them asked for.
pub fn never_asked(history: &[Operation], rows: &Rows) -> Option<String> {
    let asked: Rows = history.iter().map(Operation::row).collect();
    let clients: BTreeSet<i32> = history.iter().map(|operation| operation.client).collect();
    let strange = rows.iter().filter(|row| clients.contains(&row.0) && !asked.contains(row));
    told("that nobody asked for", strange.map(|row| format!("{row:?}")).collect())
}

/// Two that acknowledge: an insert that was asked for after a later timeline had acknowledged one, and was acknowledged on an earlier one; or
/// one timeline on which two servers acknowledged.
pub fn acknowledged_by_two(history: &[Operation]) -> Option<String> {
    let mut first: BTreeMap<u32, Duration> = BTreeMap::new();
    let mut servers: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
    let oks = || {
        history.iter().filter_map(|operation| match operation.outcome {
            Outcome::Ok { server, timeline } => Some((operation, server, timeline)),
            _ => None,
        })
    };
    for (operation, server, timeline) in oks() {
        let earliest = first.entry(timeline).or_insert(operation.ended);
        *earliest = operation.ended.min(*earliest);
        servers.entry(timeline).or_default().insert(server);
    }
    let mut found: Vec<String> = servers
        .into_iter()
        .filter(|(_, servers)| servers.len() > 1)
        .map(|(timeline, servers)| format!("timeline {timeline} on servers {servers:?}"))
        .collect();
    found.extend(oks().filter_map(|(operation, _, timeline)| {
        let (later, at) = first.range(timeline + 1..).find(|(_, at)| **at < operation.asked)?;
        Some(format!("{operation:?}, though timeline {later} acknowledged at {at:?}"))
    }));
    told("acknowledged by two", found)
}

/// A timeline's file: what it says of the ones before it, `(timeline, the position where it was left)`.
pub type Ancestors = Vec<(u32, u64)>;

/// Reads a history file as PostgreSQL writes it: `1<tab>0/3000000<tab>reason`.
pub fn ancestors(text: &str) -> Option<Ancestors> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let timeline = words.next()?.parse().ok()?;
            let (high, low) = words.next()?.split_once('/')?;
            let position = (u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?;
            Some((timeline, position))
        })
        .collect()
}

/// A path that goes back, or leaves out a timeline on which something was acknowledged.
pub fn path_is_wrong(history: &[Operation], timeline: u32, ancestors: &Ancestors) -> Option<String> {
    let path: Vec<(u32, u64)> = ancestors.iter().copied().chain([(timeline, u64::MAX)]).collect();
    let mut found: Vec<String> = path
        .windows(2)
        .filter(|pair| pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1)
        .map(|pair| format!("{:?} before {:?}", pair[0], pair[1]))
        .collect();
    let on_path: BTreeSet<u32> = path.iter().map(|(timeline, _)| *timeline).collect();
    let acknowledged = history.iter().filter_map(|operation| match operation.outcome {
        Outcome::Ok { timeline, .. } => Some(timeline),
        _ => None,
    });
    let acknowledged: BTreeSet<u32> = acknowledged.collect();
    let left_out = acknowledged.difference(&on_path);
    found.extend(
        left_out.map(|timeline| format!("timeline {timeline} acknowledged, and isn't on the path {on_path:?}")),
    );
    told("wrong with the timelines", found)
}

/// Members that hold something else than the first.
pub fn members_differ(members: &[(String, Rows)]) -> Option<String> {
    let (first, others) = members.split_first()?;
    let differs = others.iter().filter(|(_, rows)| *rows != first.1).map(|(name, rows)| {
        let (missing, more) = (first.1.difference(rows).count(), rows.difference(&first.1).count());
        format!("{name} lacks {missing} rows of {} and has {more} others", first.0)
    });
    told("members that differ", differs.collect())
}

/// The longest time between `from` and `to` in which nothing was acknowledged: from the last one before it to the first one after it.
pub fn without_a_write(history: &[Operation], from: Duration, to: Duration) -> Duration {
    let mut ended: Vec<Duration> =
        history.iter().filter(|operation| operation.is_ok()).map(|operation| operation.ended).collect();
    ended.sort();
    let begun = ended.iter().rev().find(|at| **at <= from).copied().unwrap_or(from);
    let inside = ended.iter().copied().filter(|at| *at > from);
    let mut longest = Duration::ZERO;
    let mut before = begun;
    for at in inside.chain([to]) {
        if before >= to {
            break;
        }
        longest = longest.max(at.saturating_sub(before));
        before = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn operation(number: i32, asked: u64, ended: u64, outcome: Outcome) -> Operation {
        Operation { client: 1, number, asked: at(asked), ended: at(ended), outcome }
    }

    fn ok(number: i32, asked: u64, ended: u64, server: usize, timeline: u32) -> Operation {
        operation(number, asked, ended, Outcome::Ok { server, timeline })
    }

    #[test]
    fn each_check_can_fail() {
        let refused = operation(2, 20, 30, Outcome::Refused { code: "25006".into() });
        let unknown = operation(3, 30, 40, Outcome::Unknown { why: "cut off".into() });
        let history = [ok(1, 0, 10, 0, 1), refused, unknown];
        let good: [Rows; 2] = [[(1, 1)].into(), [(1, 1), (1, 3), (2, 7)].into()];
        for rows in good {
            assert_eq!(lost(&history, &rows), None);
            assert_eq!(refused_and_there(&history, &rows), None);
            assert_eq!(never_asked(&history, &rows), None);
        }
        assert!(lost(&history, &[(1, 3)].into()).is_some());
        assert!(refused_and_there(&history, &[(1, 1), (1, 2)].into()).is_some());
        assert!(never_asked(&history, &[(1, 1), (1, 4)].into()).is_some());
    }

    #[test]
    fn two_that_acknowledge_are_found() {
        let before = ok(1, 0, 10, 0, 1);
        let after = ok(2, 50, 60, 1, 3);
        assert_eq!(acknowledged_by_two(&[before.clone(), after.clone()]), None);
        // Asked for before, told late: it was confirmed before the other began.
        assert_eq!(acknowledged_by_two(&[before.clone(), after.clone(), ok(3, 55, 80, 0, 1)]), None);
        assert!(acknowledged_by_two(&[before.clone(), after.clone(), ok(3, 61, 80, 0, 1)]).is_some());
        assert!(acknowledged_by_two(&[before, after, ok(3, 61, 80, 0, 3)]).is_some(), "two servers, one timeline");
    }

    #[test]
    fn a_path_that_goes_back_or_leaves_something_out_is_found() {
        let text = "1\t0/3000000\tno recovery target specified\n\n3\t1/4000000\tno recovery target specified\n";
        let path = ancestors(text).expect("a history");
        assert_eq!(path, [(1, 0x300_0000), (3, 0x1_0400_0000)]);
        assert_eq!(ancestors("x\t0/3\n"), None);
        let history = [ok(1, 0, 10, 0, 1), ok(2, 50, 60, 1, 3)];
        assert_eq!(path_is_wrong(&history, 4, &path), None);
        assert!(path_is_wrong(&history, 4, &vec![(1, 5)]).is_some(), "3 is left out");
        assert!(path_is_wrong(&history, 4, &vec![(3, 5), (1, 6)]).is_some(), "an earlier one after a later one");
        assert!(path_is_wrong(&history, 4, &vec![(1, 7), (3, 6)]).is_some(), "left before it began");
    }

    #[test]
    fn members_with_other_rows_are_found() {
        let member = |name: &str, rows: &[(i32, i32)]| (name.to_owned(), rows.iter().copied().collect::<Rows>());
        assert_eq!(members_differ(&[member("a", &[(1, 1)]), member("b", &[(1, 1)])]), None);
        for other in [&[][..], &[(1, 1), (1, 2)], &[(1, 2)]] {
            assert!(members_differ(&[member("a", &[(1, 1)]), member("b", other)]).is_some());
        }
    }

    #[test]
    fn the_longest_silence_is_measured() {
        let history = [ok(1, 0, 100, 0, 1), ok(2, 0, 200, 0, 1), ok(3, 0, 2_200, 1, 2), ok(4, 0, 2_300, 1, 2)];
        assert_eq!(without_a_write(&history, at(150), at(2_400)), at(2_000));
        assert_eq!(without_a_write(&history, at(250), at(2_400)), at(2_000), "from the last one before");
        assert_eq!(without_a_write(&history, at(250), at(1_000)), at(2_000), "to the first one after");
        assert_eq!(without_a_write(&history, at(2_250), at(9_000)), at(6_700), "or the end");
        assert_eq!(without_a_write(&[], at(0), at(500)), at(500));
    }
}
