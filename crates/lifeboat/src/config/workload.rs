//! `[workload.NAME]`: a thing that is protected.

use super::UnknownKeys;
use super::freshness::{self, VerifyWithin};
use super::secret::SecretSource;
use super::section::{Findings, Section};
use super::standby::PrimaryConfig;
use super::synchronous::{self, SynchronousConfig};
use super::window::Window;
use lifeboat_plan::retention::Keep;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// How often the unfinished end of the log is sent when nothing is said: the most that a lost site loses.
const WAL_TAIL_INTERVAL: Duration = Duration::from_secs(1);

const CONNECTION_EXPECTED: &str = "how to reach PostgreSQL, such as \"host=/var/run/postgresql user=postgres\"";

/// How PostgreSQL takes the checkpoint that a backup begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checkpoint {
    /// At once; costs I/O for a moment.
    #[default]
    Fast,
    /// Over the usual interval; the backup begins minutes later.
    Spread,
}

/// A PostgreSQL cluster that is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// `None`: it isn't on this machine, and the server sends its files.
    pub data_dir: Option<PathBuf>,
    /// As libpq writes it: `host=… port=… user=…`. Holds no password.
    pub connection: String,
    pub password: Option<SecretSource>,
    /// Names of the locations that get a copy. All of them when the file says nothing.
    pub locations: Vec<String>,
    /// The region that the database runs in, as the locations name theirs.
    pub region: Option<String>,
    /// `None`: every point is kept.
    pub keep: Option<Keep>,
    /// Where a location keeps something else than `keep` says.
    pub keep_in: BTreeMap<String, Option<Keep>>,
    /// Queries that must each return true after a test restore.
    pub check: Vec<String>,
    /// Where PostgreSQL's programs are; found by version when nothing is said.
    pub bin_dir: Option<PathBuf>,
    /// The replication slot that `wal receive` uses.
    pub slot: Option<String>,
    /// Bytes per second that a backup may read.
    pub max_rate_bytes_per_second: Option<u64>,
    /// The hours in which a backup may run.
    pub window: Option<Window>,
    /// Threads that read and compress, 1 to 64. One for each processor when nothing is said.
    pub workers: Option<usize>,
    pub checkpoint: Checkpoint,
    /// Whether files that look as they did at the parent point are left unread.
    pub skips_unchanged_files: bool,
    /// Whether the log is asked what changed since the parent point.
    pub trusts_log: bool,
    /// How often the unfinished end of the log is sent.
    pub wal_tail_interval: Duration,
    /// Whether the server compresses the files that it sends.
    pub compresses_on_server: bool,
    /// Whose standby it is.
    pub primary: Option<PrimaryConfig>,
    /// The standbys that must be there, by their `application_name`.
    pub standbys: Vec<String>,
    /// What a commit waits for under `wal receive --sync`.
    pub synchronous: Option<SynchronousConfig>,
    /// How old the newest recovery point may be.
    pub backup_within: Option<Duration>,
    /// How long ago a verification may have passed.
    pub verify_within: VerifyWithin,
    /// Program and arguments, run when somebody must look.
    pub alarm: Option<Vec<String>>,
}

/// Reads one section. `None` when there were problems; they are in the findings.
pub(super) fn read(mut section: Section, findings: &mut Findings, locations: &[String]) -> Option<WorkloadConfig> {
    let before = findings.problems.len();
    section.require(findings, "kind", "\"postgres\"", |value| (value.as_str()? == "postgres").then_some(()));
    let data_dir = section.absolute_path(findings, "data_dir");
    let connection = read_conninfo(&mut section, findings, "connection", CONNECTION_EXPECTED, true);
    let password = section.secret(findings, "password");
    let chosen = read_locations(&mut section, findings, locations);
    let region = section.text(findings, "region", "the name of a region");
    let keep = read_keep(&mut section, findings, "keep").flatten();
    let keep_in = read_keep_in(&mut section, findings, chosen.as_deref().unwrap_or(locations));
    let check = section.texts(
        findings,
        "check",
        "a list of queries, none of them empty, such as [\"select count(*) > 0 from orders\"]",
    );
    let bin_dir = section.absolute_path(findings, "bin_dir");
    let slot = read_slot(&mut section, findings);
    let max_rate = section.rate(findings, "max_rate");
    let window = section.read(findings, "window", "two times of the day, such as \"22:00-06:00\"", |value| {
        Window::parse(value.as_str()?)
    });
    let workers = section.integer(findings, "workers", 1..65);
    let checkpoint = read_either(&mut section, findings, "checkpoint", ["fast", "spread"]);
    let unchanged = read_either(&mut section, findings, "unchanged_files", ["read", "skip"]);
    let changed = read_either(&mut section, findings, "changed_blocks", ["read", "wal"]);
    let range = (Duration::from_millis(100), Duration::from_secs(3600));
    let synchronous = synchronous::read(&mut section, findings, chosen.as_deref().unwrap_or(locations));
    let alarm = synchronous::read_alarm(&mut section, findings);
    let interval =
        section.duration(findings, "wal_tail_interval", range, "a duration of \"100ms\" to \"1h\", such as \"1s\"");
    let backup_within = freshness::read_backup_within(&mut section, findings);
    let verify_within = freshness::read_verify_within(&mut section, findings);
    let compresses_on_server = super::standby::read_compression(&mut section, findings);
    let primary = super::standby::read(&mut section, findings);
    let standbys = section.texts(findings, "standbys", "a list of names, such as [\"ohio\"]");
    skipping_needs_files(&section, findings, unchanged == Some(true));
    section.finish(findings);
    // Where a mistake must stop nothing, all that could be read counts.
    if findings.problems.len() > before && findings.unknown_keys != UnknownKeys::Warn {
        return None;
    }
    Some(WorkloadConfig {
        data_dir,
        connection: connection.unwrap_or_default(),
        password,
        locations: chosen.unwrap_or_else(|| locations.to_vec()),
        region,
        keep,
        keep_in,
        check: check.unwrap_or_default(),
        bin_dir,
        slot,
        max_rate_bytes_per_second: max_rate,
        window,
        workers: workers.and_then(|workers| usize::try_from(workers).ok()),
        checkpoint: if checkpoint == Some(true) { Checkpoint::Spread } else { Checkpoint::Fast },
        skips_unchanged_files: unchanged.unwrap_or(false),
        trusts_log: changed.unwrap_or(true),
        wal_tail_interval: interval.unwrap_or(WAL_TAIL_INTERVAL),
        compresses_on_server,
        primary,
        standbys: standbys.unwrap_or_default(),
        synchronous,
        backup_within,
        verify_within,
        alarm,
    })
}

/// What the server sends can't be left unread.
fn skipping_needs_files(section: &Section, findings: &mut Findings, skips: bool) {
    if !section.has("data_dir") && skips {
        let message = format!("`unchanged_files = \"skip\"` in {} needs `data_dir`", section.name());
        findings.problem(&section.span_of("unchanged_files"), message);
    }
}

fn read_slot(section: &mut Section, findings: &mut Findings) -> Option<String> {
    section.read(findings, "slot", "1 to 63 of a-z, 0-9 and `_`, as PostgreSQL allows", |value| {
        let text = value.as_str()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        (plain && (1..=63).contains(&text.len())).then(|| text.to_owned())
    })
}

/// A connection string in `key`. Refused when it holds a password.
pub(super) fn read_conninfo(
    section: &mut Section,
    findings: &mut Findings,
    key: &'static str,
    expected: &str,
    is_required: bool,
) -> Option<String> {
    let value = section.value(key).and_then(|value| value.get_ref().as_str());
    let compact: String = value.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let in_words = compact.replace(" =", "=").split(' ').any(|word| word.starts_with("password="));
    let authority = compact.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let in_url =
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || compact.contains("?password=");
    if in_words || in_url || compact.contains("&password=") {
        let message = format!(
            "`{key}` in {} holds a password; give it by reference: password = {{ file = \"/path\" }}",
            section.name()
        );
        findings.problem(&section.span_of(key), message);
        return None;
    }
    if !is_required && !section.has(key) {
        return None;
    }
    section.require(findings, key, expected, |value| {
        let text = value.as_str()?;
        (!text.contains(['\0', '\n']) && text.contains(['=', ':'])).then(|| text.to_owned())
    })
}

fn read_locations(section: &mut Section, findings: &mut Findings, known: &[String]) -> Option<Vec<String>> {
    let named = section.texts(findings, "locations", "a list of names, such as [\"local\"]")?;
    let span = section.span_of("locations");
    if named.is_empty() {
        findings.problem(&span, format!("`locations` in {} is an empty list; leave it out for all", section.name()));
    }
    for (number, name) in named.iter().enumerate() {
        if named[..number].contains(name) {
            findings.problem(&span, format!("`locations` in {} names `{name}` twice", section.name()));
        } else if !known.contains(name) {
            let advice = match super::values::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            let name = super::section::shown(name);
            findings.problem(
                &span,
                format!("`locations` in {} names `{name}`, which is no location; {advice}", section.name()),
            );
        }
    }
    Some(named)
}

/// Least and most for `within` and `window`.
const KEEP_TIMES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(100 * 366 * 24 * 3600));

/// A policy: `None` when there is none or it is wrong, `Some(None)` when it keeps everything.
fn read_keep(section: &mut Section, findings: &mut Findings, key: &'static str) -> Option<Option<Keep>> {
    let value = section.value(key)?;
    let name = format!("`{key}` in {}", section.name());
    policy(findings, &name, value)
}

fn policy(findings: &mut Findings, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Keep>> {
    const EXPECTED: &str = "a table such as { last = 3, daily = 7 }, or \"all\"";
    let Some(table) = value.get_ref().as_table() else {
        if value.get_ref().as_str() == Some("all") {
            return Some(None);
        }
        let found = super::section::describe(value.get_ref());
        findings.problem(&value.span(), format!("{name} is {found}; expected {EXPECTED}"));
        return None;
    };
    let before = findings.problems.len();
    let mut inner = Section::new(name, table, value.span());
    let mut count = |key| inner.integer(findings, key, 0..100_001).unwrap_or(0);
    let [last, hourly, daily, weekly, monthly, yearly] =
        ["last", "hourly", "daily", "weekly", "monthly", "yearly"].map(&mut count);
    let mut time = |key| {
        let time = inner.duration(findings, key, KEEP_TIMES, "a time of 1 hour to 100 years, such as \"14d\"")?;
        jiff::SignedDuration::try_from(time).ok()
    };
    let keep = Keep { last, hourly, daily, weekly, monthly, yearly, within: time("within"), window: time("window") };
    inner.finish(findings);
    if keep == Keep::default() && findings.problems.len() == before {
        findings.problem(&value.span(), format!("{name} would keep nothing; leave it out to keep everything"));
    }
    Some(Some(keep))
}

/// `keep_in = { ohio = { monthly = 24 }, local = "all" }`.
fn read_keep_in(
    section: &mut Section,
    findings: &mut Findings,
    locations: &[String],
) -> BTreeMap<String, Option<Keep>> {
    let mut policies = BTreeMap::new();
    let Some(value) = section.value("keep_in") else { return policies };
    let Some(table) = value.get_ref().as_table() else {
        section.read(findings, "keep_in", "a table such as { ohio = { monthly = 24 } }", |_| None::<()>);
        return policies;
    };
    for (key, value) in table {
        let location: &str = key.get_ref();
        let name = format!("`keep_in.{}` in {}", super::section::shown(location), section.name());
        if !locations.iter().any(|known| known == location) {
            let advice = match super::values::nearest(location, locations.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", locations.join(", ")),
            };
            findings.problem(&key.span(), format!("{name}: the workload has no copy there; {advice}"));
        }
        if let Some(policy) = policy(findings, &name, value) {
            policies.insert(location.to_owned(), policy);
        }
    }
    policies
}

impl WorkloadConfig {
    /// What is kept of it in a location; `None`: everything.
    pub fn keep_at(&self, location: &str) -> Option<&Keep> {
        self.keep_in.get(location).map_or(self.keep.as_ref(), Option::as_ref)
    }
}

/// One of two words: whether it is the second.
fn read_either(
    section: &mut Section,
    findings: &mut Findings,
    key: &'static str,
    [first, second]: [&str; 2],
) -> Option<bool> {
    let expected = format!("\"{first}\" or \"{second}\"");
    section.read(findings, key, &expected, |value| {
        let word = value.as_str()?;
        (word == first || word == second).then_some(word == second)
    })
}
