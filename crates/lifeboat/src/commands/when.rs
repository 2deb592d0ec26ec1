//! `lifeboat when`: which transaction dropped a table, emptied it, deleted from it, or changed the answer to a condition.

mod answers;
mod condition;
mod question;
mod tell;

use super::restore::restore_command;
use super::{find_named, load_config, wal};
use crate::cli::{DeedArguments, Global, WhenArguments};
use crate::config::{Config, UnknownKeys, nearest};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, progress};
use crate::{interrupt, rooms, target};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_postgres::TimelineId;
use lifeboat_recovery::when::{Deed, Finding, Found, Looked, Search, TableName, WantedTable, find};
use lifeboat_recovery::{Action, Target, TimelineChoice, Wanted, spoken};
use std::collections::BTreeSet;

/// Transactions that deleted fewer rows than one in so many of the largest are left out.
const DELETED_SHARE_MIN: u64 = 100;
/// So many others are named in a hint.
const NAMES_MAX: usize = 8;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Dropped,
    Deleted,
    Truncated,
}

impl Asked {
    /// None when it is a condition that is asked.
    fn of(arguments: &DeedArguments) -> Option<(Self, &str)> {
        let DeedArguments { dropped, deleted_from, truncated, sql: _ } = arguments;
        let given = [(Self::Dropped, dropped), (Self::Deleted, deleted_from), (Self::Truncated, truncated)];
        let mut given = given.into_iter().filter_map(|(asked, table)| Some((asked, table.as_deref()?)));
        given.next()
    }

    fn is_met_by(self, deed: &Deed) -> bool {
        match self {
            Self::Dropped => matches!(deed, Deed::Dropped | Deed::DroppedWithDatabase | Deed::FileGone),
            Self::Deleted => matches!(deed, Deed::Deleted { .. }),
            Self::Truncated => matches!(deed, Deed::Truncated | Deed::FileGone),
        }
    }

    fn said(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Deleted => "deleted from",
            Self::Truncated => "truncated",
        }
    }
}

pub fn run(global: &Global, arguments: &WhenArguments, output: &Output) -> Result<(), Failure> {
    let (zone, now) = (TimeZone::system(), Timestamp::now());
    let time = |option: &str, text: &Option<String>| {
        text.as_ref().map(|text| target::time_of(option, text, now, &zone)).transpose()
    };
    let (since, until) = (time("--since", &arguments.since)?, time("--until", &arguments.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Failure::new(FailureKind::Usage, "--since is later than --until")
            .with_hint("give the earlier of the two to --since"));
    }
    let asked = match Asked::of(&arguments.deed) {
        Some((asked, table)) => Some((asked, wanted_table(table, arguments)?)),
        None => None,
    };
    let condition = arguments.deed.sql.as_deref().map(condition::checked).transpose()?;
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let workload = &arguments.workload;
    find_named("workload", workload, &config.workloads)?;
    if let Some(location) = &arguments.from {
        find_named("location", location, &config.locations)?;
    }
    let line = Wanted {
        target: Target::Latest,
        inclusive: false,
        timeline: arguments.timeline.map_or(TimelineChoice::default(), |id| TimelineChoice::Exactly(TimelineId(id))),
        point: None,
        location: arguments.from.clone(),
        zone: Some(zone),
        restore_command: restore_command(&config_path, workload)?,
        action: Action::Promote,
        archives: false,
    };
    let Some((asked, table)) = asked else {
        let condition = condition.expect("the command line demands one of them");
        let database = arguments.database.clone();
        let wish = condition::Wish { workload, condition, database, since, until, line };
        return condition::run(&config, &config_path, wish, output);
    };
    search(&config, workload, (asked, Search { table, since, until, line }), output)
}

fn wanted_table(table: &str, arguments: &WhenArguments) -> Result<WantedTable, Failure> {
    WantedTable::parse(table, arguments.database.as_deref()).map_err(|error| {
        Failure::from_error(FailureKind::Usage, &error).with_hint("write table or schema.table, as in SQL")
    })
}

/// Looks through the log, and tells.
fn search(config: &Config, workload: &str, (asked, search): (Asked, Search), output: &Output) -> Result<(), Failure> {
    let default_database = rooms::user_and_database(&config.workloads[workload]).1;
    rooms::runtime()?.block_on(async {
        let _ = interrupt::ends(output, "nothing was changed; a later --since reads less", || {});
        let locations = wal::locations(config, workload, search.line.location.as_deref());
        let repository = rooms::open_repository(config, &locations, output).await?;
        let progress = progress::for_rooms(output, workload);
        let found = find(&repository, workload, &search, &*progress).await;
        progress.finish();
        let found = found?;
        found.notes.iter().for_each(|note| output.warn(note));
        let looked = looked(&found, &search, workload)?;
        let table = the_table(&found, &search, workload)?;
        let chosen = choose(&found.findings, asked);
        if chosen.is_empty() {
            return Err(nothing(&found, &looked, &table, asked));
        }
        tell::tell(
            &tell::Told {
                asked,
                workload,
                default_database: &default_database,
                table: &table,
                found: &found,
                looked,
                search: &search,
            },
            &chosen,
            output,
        )
    })
}

/// The log that was looked at, if it is what was asked for.
fn looked(found: &Found, search: &Search, workload: &str) -> Result<Looked, Failure> {
    let nothing = |message: String| {
        Failure::new(FailureKind::NotFound, message)
            .with_hint(format!("`lifeboat points {workload}` shows from when to when the log is there"))
    };
    let looked = found.looked.filter(|looked| looked.to > looked.from);
    let looked =
        looked.ok_or_else(|| nothing(format!("there is no recovery point of {workload} with log to look into")))?;
    match (search.until, search.since, looked.last_at) {
        (Some(until), ..) if until < looked.from_time => Err(nothing(format!(
            "the oldest recovery point that can be looked into is of {}, later than --until",
            spoken(looked.from_time, search.line.zone.as_ref())
        ))),
        (_, Some(since), Some(last)) if last < since => Err(nothing(format!(
            "the last transaction in the log ended at {}, earlier than --since",
            spoken(last, search.line.zone.as_ref())
        ))),
        _ => Ok(looked),
    }
}

/// The one table that is meant.
fn the_table(found: &Found, search: &Search, workload: &str) -> Result<TableName, Failure> {
    let matching: Vec<&TableName> = found.matching.iter().collect();
    if let [only] = matching[..] {
        return Ok(only.clone());
    }
    let listed = |names: &mut dyn Iterator<Item = String>| names.take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    if !matching.is_empty() {
        let mut names = matching.iter().map(|name| format!("{name} in database {}", name.database));
        let message = format!("{} could be any of {} tables: {}", search.table, matching.len(), listed(&mut names));
        return Err(Failure::new(FailureKind::Usage, message).with_hint("say which: schema.table, and --database NAME"));
    }
    if let Some(database) = search.table.database.as_ref().filter(|name| !found.databases.contains(*name)) {
        let failure = Failure::new(FailureKind::NotFound, format!("{workload} has no database {database:?}"));
        return Err(failure.with_hint(format!("there are {}", listed(&mut found.databases.iter().cloned()))));
    }
    let message = format!("no table of {workload} was named {} in the log that was looked at", search.table);
    let in_database =
        |name: &&TableName| search.table.database.as_ref().is_none_or(|database| *database == name.database);
    let known: BTreeSet<&TableName> = found.tables.iter().filter(in_database).collect();
    let near = nearest(&search.table.table, known.iter().map(|name| name.table.as_str()));
    let hint = match near {
        Some(near) => {
            let alike = known.iter().filter(|name| name.table == near);
            format!("did you mean {}?", listed(&mut alike.map(|name| format!("{name} in database {}", name.database))))
        }
        None if known.is_empty() => {
            "no table is known there; an earlier --since, or another --timeline, may know one".into()
        }
        None => format!("there are {}", listed(&mut known.iter().map(|name| name.to_string()))),
    };
    Err(Failure::new(FailureKind::NotFound, message).with_hint(hint))
}

/// What answers the question. Of deletions, those that count beside the largest.
fn choose(findings: &[Finding], asked: Asked) -> Vec<&Finding> {
    let answers = || findings.iter().filter(|finding| asked.is_met_by(&finding.deed));
    let least = match asked {
        Asked::Deleted => answers().map(|finding| finding.deed.weight()).max().unwrap_or_default() / DELETED_SHARE_MIN,
        _ => 0,
    };
    answers().filter(|finding| finding.deed.weight() > least).collect()
}

/// Why there is no answer, and what else was seen.
fn nothing(found: &Found, looked: &Looked, table: &TableName, asked: Asked) -> Failure {
    let (from, to) = (spoken(looked.from_time, None), looked.last_at.map(|at| format!(" to {}", spoken(at, None))));
    let message = format!(
        "no transaction that {} {table} was found in the log from {from}{}",
        asked.said(),
        to.unwrap_or_default()
    );
    let one = |finding: &Finding| {
        let ended = finding.at.map(|at| format!(" at {}", spoken(at, None))).unwrap_or_default();
        format!("transaction {}{ended} {} it", finding.xid, tell::past(&finding.deed))
    };
    let others: Vec<String> = found.findings.iter().rev().take(NAMES_MAX).map(one).collect();
    let aborted = found.aborted.iter().rev().filter(|finding| asked.is_met_by(&finding.deed));
    let aborted: Vec<String> =
        aborted.take(NAMES_MAX).map(|finding| format!("{}, and was rolled back", one(finding))).collect();
    let seen = [others, aborted].concat();
    let hint = match seen.is_empty() {
        true => "it may be older than the log, on another line of history (--timeline), or not archived yet: \
                 `select pg_switch_wal()` sends what is open"
            .to_owned(),
        false => format!("but {}", seen.join("; ")),
    };
    Failure::new(FailureKind::NotFound, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::Lsn;

    fn finding(deed: Deed) -> Finding {
        let table = TableName { database: "app".into(), schema: "public".into(), table: "orders".into() };
        Finding {
            deed,
            table,
            xid: 700,
            committed: true,
            at: Some("2026-11-21T10:00:00Z".parse().unwrap()),
            lsn: Lsn(100),
            restore_lsn: Lsn(100),
            timeline: TimelineId(1),
            rows_estimated: None,
        }
    }

    #[test]
    fn deletions_count_beside_the_largest() {
        let rows = [1, 9, 10, 11, 1000, 0];
        let findings: Vec<Finding> = rows.map(|rows| finding(Deed::Deleted { rows })).into();
        let rows = |finding: &&Finding| match finding.deed {
            Deed::Deleted { rows } => rows,
            _ => 0,
        };
        let chosen: Vec<u64> = choose(&findings, Asked::Deleted).iter().map(rows).collect();
        assert_eq!(chosen, [11, 1000]);
        let few: Vec<Finding> = [1, 2].map(|rows| finding(Deed::Deleted { rows })).into();
        assert_eq!(choose(&few, Asked::Deleted).len(), 2);
        assert!(choose(&findings, Asked::Dropped).is_empty());
    }
}
