//! Checks of the server, and of the machine that a restore would run on.

use super::limits::defaults;
use super::observed::{Archiving, Observed, Room, Server, Workload};
use super::proof::spoken;
use super::{Figure, Opinion, Reading};
use jiff::civil::{Date, date};

fn each(observed: &Observed, read: impl Fn(&Workload) -> Reading) -> Vec<Reading> {
    observed.workloads.iter().map(read).collect()
}

fn of_server(observed: &Observed, judge: impl Fn(&Server) -> Opinion) -> Vec<Reading> {
    each(observed, |workload| workload.server.read(&workload.name, &judge))
}

fn version(number: u32) -> String {
    format!("PostgreSQL {}.{}", number / 10_000, number % 10_000)
}

pub fn reachable(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        workload
            .reachable
            .read(&workload.name, |troubles| Figure::none_of(troubles, "answers, as the cluster that it is"))
    })
}

pub fn archive_age(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        let limit = &workload.limits.rpo;
        workload.archiving.read(&workload.name, |Archiving { age_seconds, told, .. }| match age_seconds {
            Some(age) => Figure::of(*age, allowed(limit.seconds), &*limit.basis, told.clone()),
            None => Figure::never(allowed(limit.seconds), &*limit.basis, told.clone()),
        })
    })
}

/// An archive is never at the very end of the log. Where nothing may be lost commits wait for somebody else, and a minute is what
/// an archive of finished segments is asked for.
pub fn allowed(rpo_seconds: f64) -> f64 {
    if rpo_seconds > 0.0 { rpo_seconds } else { 60.0 }
}

pub fn archive_failures(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        workload.archiving.read(&workload.name, |archiving| {
            let failed = archiving.failed.iter().map(|what| format!(", the last of {what}")).collect::<String>();
            let why = match archiving.failures {
                0 => format!("{} has not failed since it last succeeded", archiving.way),
                count => format!("{} failed {count} times since it last succeeded{failed}", archiving.way),
            };
            Figure::of(archiving.failures as f64, 0.0, "always", why)
        })
    })
}

pub fn archive_settings(observed: &Observed) -> Vec<Reading> {
    of_server(observed, |server| Figure::none_of(&server.settings, "the settings let the log be kept"))
}

pub fn checksums(observed: &Observed) -> Vec<Reading> {
    of_server(observed, |server| {
        let word = if server.has_checksums { "with" } else { "without" };
        Figure::of(flag(server.has_checksums), 1.0, "always", format!("pages {word} checksums"))
    })
}

/// The last day on which each major version is mended: <https://www.postgresql.org/support/versioning/>.
const ENDS: [(u32, Date); 5] = [
    (14, date(2026, 11, 12)),
    (15, date(2027, 11, 11)),
    (16, date(2028, 11, 9)),
    (17, date(2029, 11, 8)),
    (18, date(2030, 11, 14)),
];

pub fn supported(observed: &Observed) -> Vec<Reading> {
    of_server(observed, |server| {
        let major = server.version_number / 10_000;
        let name = version(server.version_number);
        let newest = ENDS[ENDS.len() - 1].0;
        match ENDS.iter().find(|(known, _)| *known == major) {
            Some((_, end)) => {
                let days = days_until(observed.today, *end);
                let tense = if days < 0.0 { "ended" } else { "ends" };
                Figure::of(days, 0.0, "the end of its support", format!("{name}: its support {tense} on {end}"))
            }
            None if major < ENDS[0].0 => {
                Figure::never(0.0, "the end of its support", format!("{name} is older than what is supported"))
            }
            None => Opinion::Unknown(format!("{name} is newer than PostgreSQL {newest}, the newest known here")),
        }
    })
}

/// Negative: it was.
pub fn days_until(today: Date, day: Date) -> f64 {
    today.until(day).map_or(f64::NAN, |span| f64::from(span.get_days()))
}

pub fn programs(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        workload
            .programs
            .read(&workload.name, |missing| Figure::none_of(missing, "the programs of its version are here"))
    })
}

pub fn extensions(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        workload
            .extensions
            .read(&workload.name, |missing| Figure::none_of(missing, "its extensions and libraries are here"))
    })
}

pub fn room(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload| {
        workload.room.read(&workload.name, |Room { directory, needed_bytes, free_bytes }| {
            let needed = *needed_bytes as f64 * defaults::ROOM_RATIO;
            let why =
                format!("{} free in {directory}, a restore needs {}", gibibytes(*free_bytes as f64), gibibytes(needed));
            Figure::of(*free_bytes as f64, needed, "size of the newest point and a tenth", why)
        })
    })
}

pub fn gibibytes(bytes: f64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size as f64) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes / *size as f64),
        None => format!("{bytes:.0} B"),
    }
}

pub fn role(observed: &Observed) -> Vec<Reading> {
    of_server(observed, |server| {
        Figure::none_of(&server.excess, format!("role {} may do what it must, and no more", server.role))
    })
}

pub fn clock(observed: &Observed) -> Vec<Reading> {
    of_server(observed, |server| skew(server.clock_ahead_seconds, "the server's clock"))
}

pub fn skew(ahead_seconds: f64, whose: &str) -> Opinion {
    let off = ahead_seconds.abs();
    let word = if ahead_seconds < 0.0 { "behind" } else { "ahead of" };
    let why = format!("{whose} is {} {word} ours", spoken(off));
    Figure::of(off, defaults::CLOCK_SECONDS, "what leases and signatures bear", why)
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
