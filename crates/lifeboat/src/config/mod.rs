//! `lifeboat.toml`: from text to values that can be relied on.
//!
//! Promise: what [`parse`] returns is whole and consistent, and when it isn't, *every* problem is reported, with its
//! line. Nothing here connects anywhere; secrets stay references until somebody needs them.

mod cluster;
mod find;
mod freshness;
mod location;
mod plan;
mod problem;
mod route;
mod secret;
mod section;
mod standby;
mod synchronous;
mod values;
mod window;
mod workload;

pub use cluster::{ClusterConfig, Clusters, LeaseConfig, MemberConfig, ModeConfig, ProxyConfig, TlsConfig};
pub use find::{LoadError, Loaded, load, load_clusters, search};
pub use freshness::VerifyWithin;
pub use location::{Credentials, LocationConfig, LocationUrl, Media, RemovableConfig, Store};
pub use plan::{Place, PlanConfig};
pub use problem::{Problem, Problems};
pub use route::{RouteConfig, RouteKind};
pub use secret::{Secret, SecretError, SecretSource};
pub use standby::{Fallback, PrimaryConfig};
pub use synchronous::{SyncKeeping, SynchronousConfig};
pub use values::{RATE_EXPECTED, nearest, parse_duration, parse_rate, parse_size};
pub use window::Window;
pub use workload::{Checkpoint, WorkloadConfig};

use section::{Findings, Section, syntax_error};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeTable;

/// The level of zstd when nothing is said: the knee of its curve.
const COMPRESSION_LEVEL: i32 = 3;
const PRUNE_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
const PRUNE_AFTER_BOUNDS: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(366 * 24 * 3600));

/// After this many problems the rest is probably the same one.
const PROBLEMS_SHOWN_MAX: usize = 50;

/// What to do about a key that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// An error: a misspelt setting is a setting that doesn't work.
    Refuse,
    /// The same, but for the plan: whoever writes down a risk must not stop the backup of the night.
    RefuseButInPlan,
    /// A warning, for `restore`: the file may be newer than the program, and nothing may stop a restore. So is any
    /// other problem, as long as the passphrase and one location are sound; what is not sound is left out.
    Warn,
}

/// How data is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionConfig {
    pub passphrase: SecretSource,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// At least one.
    pub locations: BTreeMap<String, LocationConfig>,
    pub encryption: EncryptionConfig,
    /// May be empty: a restore needs none.
    pub workloads: BTreeMap<String, WorkloadConfig>,
    /// Members of which one may write.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// What the business promises.
    pub plan: PlanConfig,
    /// Where caches are kept; they can be deleted at any time.
    pub state_dir: Option<PathBuf>,
    /// zstd, 1 to 19.
    pub compression_level: i32,
    /// How long what is given up stays before it is deleted.
    pub prune_after: Duration,
}

/// A configuration, and what could be overlooked in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub config: Config,
    /// Unknown keys and whatever else was wrong, where that is not refused.
    pub warnings: Vec<Problem>,
}

/// Reads the text of a configuration. `file` is its name for messages. What it includes is left out.
pub fn parse(file: &str, text: &str, unknown_keys: UnknownKeys) -> Result<Parsed, Problems> {
    parse_including(file, text, unknown_keys, &|_| Ok(Vec::new()))
}

/// The same with what it includes, which `included` gives.
pub fn parse_including(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
    included: &plan::Fetch,
) -> Result<Parsed, Problems> {
    let mut findings = Findings { text, file, unknown_keys, problems: Vec::new(), warnings: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        syntax_error(&mut findings, error);
        return Err(Problems(findings.problems));
    }
    let mut top = Section::new("the file", root.get_ref(), root.span());
    let config = read(&mut top, &mut findings, included);
    top.finish(&mut findings);
    let in_order = |mut problems: Vec<Problem>| {
        // This file first, and its included ones by name.
        let place = |problem: &Problem| {
            let of_others = (problem.file != file).then(|| problem.file.clone());
            (of_others, problem.line.unwrap_or(usize::MAX))
        };
        problems.sort_by_key(place);
        problems.truncate(PROBLEMS_SHOWN_MAX);
        problems
    };
    let Findings { problems, mut warnings, .. } = findings;
    match config {
        Some(config) if problems.is_empty() || unknown_keys == UnknownKeys::Warn && !config.locations.is_empty() => {
            warnings.extend(problems);
            Ok(Parsed { config, warnings: in_order(warnings) })
        }
        _ => Err(Problems(in_order(problems))),
    }
}

/// Reads only what concerns clusters.
pub fn parse_clusters(file: &str, text: &str) -> Result<Clusters, Problems> {
    let unknown_keys = UnknownKeys::Refuse;
    let mut findings = Findings { text, file, unknown_keys, problems: Vec::new(), warnings: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        syntax_error(&mut findings, error);
        return Err(Problems(findings.problems));
    }
    let mut top = Section::new("the file", root.get_ref(), root.span());
    let clusters = cluster::read_alone(&mut top, &mut findings);
    top.finish(&mut findings);
    if findings.problems.is_empty() { Ok(clusters) } else { Err(Problems(findings.problems)) }
}

fn read(top: &mut Section, findings: &mut Findings, included: &plan::Fetch) -> Option<Config> {
    let mut locations = BTreeMap::new();
    let mut names = Vec::new();
    for (name, section) in top.subsections(findings, "location") {
        names.push(name.clone());
        let span = section.span_of("url");
        let Some(location) = location::read(section, findings) else { continue };
        let same = locations.iter().find(|(_, other): &(&String, &LocationConfig)| same_place(other, &location));
        if let Some((other, _)) = same {
            let message =
                format!("[location.{name}] is the same place as [location.{other}]; two copies there are one");
            findings.problem(&span, message);
        }
        locations.insert(name, location);
    }
    if names.is_empty() && top.value("location").is_none_or(|value| value.get_ref().is_table()) {
        findings.missing("no location; expected at least one section [location.NAME] with its `url`".to_owned());
    }
    let encryption = read_encryption(top, findings);
    let sections = top.subsections(findings, "workload");
    let workloads = sections
        .into_iter()
        .filter_map(|(name, section)| Some((name, workload::read(section, findings, &names)?)))
        .collect();
    let clusters = cluster::read_all(top, findings, &names);
    let state_dir = top.absolute_path(findings, "state_dir");
    let level = top.integer(findings, "compression_level", 1..20);
    let prune_after =
        top.duration(findings, "prune_after", PRUNE_AFTER_BOUNDS, "a time of 1 hour to 1 year, such as \"3d\"");
    let plan = plan::read(top, findings, included);
    Some(Config {
        locations,
        encryption: encryption?,
        workloads,
        clusters,
        plan,
        state_dir,
        compression_level: level.and_then(|level| i32::try_from(level).ok()).unwrap_or(COMPRESSION_LEVEL),
        prune_after: prune_after.unwrap_or(PRUNE_AFTER),
    })
}

/// Same url, and same server behind it.
fn same_place(one: &LocationConfig, other: &LocationConfig) -> bool {
    one.url == other.url && one.endpoint == other.endpoint
}

fn read_encryption(top: &mut Section, findings: &mut Findings) -> Option<EncryptionConfig> {
    let Some(value) = top.value("encryption") else {
        let advice = "expected a section [encryption] with passphrase = { file = \"/path\" }";
        findings.missing(format!("no encryption; {advice}"));
        return None;
    };
    let Some(table) = value.get_ref().as_table() else {
        top.read(findings, "encryption", "a section [encryption]", |_| None::<()>);
        return None;
    };
    let mut section = Section::new("[encryption]", table, value.span());
    let passphrase = section.secret(findings, "passphrase");
    if section.value("passphrase").is_none() {
        section.require(findings, "passphrase", "{ file = \"/path\" }", |_| None::<()>);
    }
    section.finish(findings);
    Some(EncryptionConfig { passphrase: passphrase? })
}

/// What was decided, in one hash: of every setting as it was understood, so that comments, order and the places of caches don't
/// count; secrets are references, and stay such. BLAKE3 in hexadecimal. What was proven of another one isn't proven of this.
pub fn fingerprint(config: &Config) -> String {
    let mut decided = config.clone();
    decided.state_dir = None;
    decided.plan.places.clear();
    blake3::hash(format!("{decided:?}").as_bytes()).to_hex().to_string()
}
