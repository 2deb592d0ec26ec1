//! `[cluster.NAME]`: members of which one may write, and what this machine is among them.

use super::secret::SecretSource;
use super::section::{Findings, Section, texts_of};
use super::workload::read_conninfo;
use super::{LocationConfig, RouteConfig, location, route, values};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long a connection may be held.
const HOLDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The priority of a member of which nothing is said.
const PRIORITY: u32 = 100;

/// Where the lease lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseConfig {
    Etcd {
        endpoints: Vec<String>,
        user: Option<String>,
        password: Option<SecretSource>,
        /// PEM: who signed the servers' certificates.
        authority: Option<PathBuf>,
    },
    /// A location with conditional writes.
    Location(String),
    /// A directory of this machine: for members on one host.
    Directory(PathBuf),
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeConfig {
    Synchronous { needed: usize, continues_alone: bool },
    Asynchronous,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// One member, as the others must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its agent: `https://HOST:PORT`.
    pub agent: String,
    /// Host and port of its PostgreSQL; a witness has none.
    pub database: Option<(String, u16)>,
    pub region: Option<String>,
    /// Nought: never the primary by itself.
    pub priority: u32,
}

/// `lifeboat proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    pub primary: Option<SocketAddr>,
    pub read_only: Option<SocketAddr>,
    /// How long a connection waits for a primary.
    pub hold: Option<Duration>,
    /// A standby that is further behind gets no new connections.
    pub lag_max_bytes: Option<u64>,
    pub connections_max: Option<usize>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Which member this machine is; `None`: none, it only asks.
    pub member: Option<String>,
    pub members: BTreeMap<String, MemberConfig>,
    pub data_dir: Option<PathBuf>,
    /// A superuser's session with our own server.
    pub connection: Option<String>,
    pub password: Option<SecretSource>,
    pub bin_dir: Option<PathBuf>,
    /// What a standby adds to its primary's address.
    pub replication: Option<String>,
    pub restore_command: Option<String>,
    pub lease: LeaseConfig,
    pub mode: ModeConfig,
    pub loss_max_bytes: Option<u64>,
    /// Regions whose members never become the primary, by an operator's order neither.
    pub never_primary_in: Vec<String>,
    /// For members in different regions.
    pub is_wide: bool,
    pub listen: Option<SocketAddr>,
    pub token: SecretSource,
    pub tls: Option<TlsConfig>,
    pub state_dir: Option<PathBuf>,
    /// A device that resets the machine.
    pub watchdog: Option<PathBuf>,
    pub alarm: Option<Vec<String>>,
    pub proxy: Option<ProxyConfig>,
    /// What follows the primary outside.
    pub routes: BTreeMap<String, RouteConfig>,
}

/// Clusters, and the locations that hold leases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clusters {
    pub clusters: BTreeMap<String, ClusterConfig>,
    pub locations: BTreeMap<String, LocationConfig>,
}

/// Only what concerns clusters: a witness or a proxy needs no location and no passphrase.
pub(super) fn read_alone(top: &mut Section, findings: &mut Findings) -> Clusters {
    let mut locations = BTreeMap::new();
    let mut names = Vec::new();
    for (name, section) in top.subsections(findings, "location") {
        names.push(name.clone());
        locations.extend(location::read(section, findings).map(|location| (name, location)));
    }
    for other in ["encryption", "workload", "state_dir", "compression_level", "prune_after"] {
        top.value(other);
    }
    super::plan::ignore(top);
    Clusters { clusters: read_all(top, findings, &names), locations }
}

pub(super) fn read_all(
    top: &mut Section,
    findings: &mut Findings,
    locations: &[String],
) -> BTreeMap<String, ClusterConfig> {
    let sections = top.subsections(findings, "cluster");
    sections.into_iter().filter_map(|(name, section)| Some((name, read(section, findings, locations)?))).collect()
}

fn read(mut section: Section, findings: &mut Findings, locations: &[String]) -> Option<ClusterConfig> {
    let before = findings.problems.len();
    let members = read_members(&mut section, findings);
    let member = section.text(findings, "this_member", "the name of the member that this machine is");
    if let Some(name) = member.as_ref().filter(|name| !members.contains_key(*name)) {
        let known: Vec<&str> = members.keys().map(String::as_str).collect();
        let message =
            format!("`this_member` in {} is \"{name}\"; the members are {}", section.name(), known.join(", "));
        findings.problem(&section.span_of("this_member"), message);
    }
    let data_dir = section.absolute_path(findings, "data_dir");
    const LOCAL: &str = "how to reach our own server, such as \"host=/var/run/postgresql user=postgres\"";
    let has_database = member.as_ref().and_then(|name| members.get(name)).is_some_and(|own| own.database.is_some());
    let connection = read_conninfo(&mut section, findings, "connection", LOCAL, has_database);
    if has_database && !section.has("data_dir") {
        section.require(findings, "data_dir", "the data directory of this member", |_| None::<()>);
    }
    let password = section.secret(findings, "password");
    const STREAM: &str =
        "what a standby adds to its primary's address, such as \"user=replicator passfile=/etc/lifeboat/pgpass\"";
    let replication = read_conninfo(&mut section, findings, "replication", STREAM, false);
    let bin_dir = section.absolute_path(findings, "bin_dir");
    let restore_command = section.text(findings, "restore_command", "a command, as PostgreSQL writes it");
    let lease = read_lease(&mut section, findings, locations);
    let mode = read_mode(&mut section, findings);
    let loss_max =
        section.read(findings, "loss_max", "a size such as \"16MiB\"", |value| values::parse_size(value.as_str()?));
    let never_primary_in = read_barred(&mut section, findings, &members);
    let is_wide = read_is_wide(&mut section, findings);
    let listen = read_listen(&mut section, findings, member.is_some());
    let token = section.secret(findings, "token");
    if !section.has("token") {
        section.require(findings, "token", "{ file = \"/path\" }", |_| None::<()>);
    }
    let tls = read_tls(&mut section, findings);
    let state_dir = section.absolute_path(findings, "state_dir");
    let watchdog = section.absolute_path(findings, "watchdog");
    let alarm = super::synchronous::read_alarm(&mut section, findings);
    let proxy = read_proxy(&mut section, findings);
    let routes = section.subsections(findings, "route");
    let routes =
        routes.into_iter().filter_map(|(name, section)| Some((name, route::read(section, findings)?))).collect();
    section.finish(findings);
    if findings.problems.len() > before {
        return None;
    }
    Some(ClusterConfig {
        member,
        members,
        data_dir,
        connection,
        password,
        bin_dir,
        replication,
        restore_command,
        lease: lease?,
        mode,
        loss_max_bytes: loss_max,
        never_primary_in,
        is_wide,
        listen,
        token: token?,
        tls,
        state_dir,
        watchdog,
        alarm,
        proxy,
        routes,
    })
}

fn read_members(section: &mut Section, findings: &mut Findings) -> BTreeMap<String, MemberConfig> {
    let mut members = BTreeMap::new();
    for (name, mut member) in section.subsections(findings, "member") {
        let agent = member.require(findings, "agent", "https://HOST:PORT of its agent", |value| {
            let text = value.as_str()?;
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            let sound = !host.is_empty() && !host.contains(['/', '@', ' ']);
            sound.then(|| text.to_owned())
        });
        let database = member.read(findings, "database", "HOST:PORT of its PostgreSQL", |value| {
            let (host, port) = value.as_str()?.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = port.parse().ok().filter(|port| *port > 0)?;
            (!host.is_empty() && !host.contains([' ', '\''])).then(|| (host.to_owned(), port))
        });
        let region = member.text(findings, "region", "the name of a region");
        let priority = member.integer(findings, "priority", 0..1001);
        member.finish(findings);
        if let Some(agent) = agent {
            let priority = priority.and_then(|priority| u32::try_from(priority).ok()).unwrap_or(PRIORITY);
            members.insert(name, MemberConfig { agent, database, region, priority });
        }
    }
    let databases = members.values().filter(|member| member.database.is_some()).count();
    if databases == 0 && findings.problems.is_empty() {
        let message =
            format!("{} has no member with a database; expected sections {}", section.name(), member_sections(section));
        findings.problem(&section.span(), message);
    }
    members
}

fn read_is_wide(section: &mut Section, findings: &mut Findings) -> bool {
    let is_wide = section.read(findings, "timing", "\"local\" or \"regions\"", |value| match value.as_str()? {
        "local" => Some(false),
        "regions" => Some(true),
        _ => None,
    });
    is_wide.unwrap_or(false)
}

/// A region that no member has is a mistake: the rule would hold for nobody. So is one that holds for everybody.
fn read_barred(
    section: &mut Section,
    findings: &mut Findings,
    members: &BTreeMap<String, MemberConfig>,
) -> Vec<String> {
    const KEY: &str = "never_primary_in";
    let barred = section.read(findings, KEY, "a list of regions such as [\"eu-central-1\"]", texts_of);
    let barred: Vec<String> = barred.unwrap_or_default();
    let regions: std::collections::BTreeSet<&str> =
        members.values().filter_map(|member| member.region.as_deref()).collect();
    if let Some(unknown) = barred.iter().find(|region| !regions.contains(region.as_str())) {
        let known: Vec<&str> = regions.iter().copied().collect();
        let known = if known.is_empty() { "none has one".to_owned() } else { known.join(", ") };
        let message = format!("`{KEY}` in {} names {unknown:?}; the members' regions are: {known}", section.name());
        findings.problem(&section.span_of(KEY), message);
    }
    let open = |member: &MemberConfig| {
        member.database.is_some() && !member.region.as_ref().is_some_and(|region| barred.contains(region))
    };
    if !barred.is_empty() && !members.is_empty() && !members.values().any(open) {
        let message = format!("`{KEY}` in {} leaves no member that could be the primary", section.name());
        findings.problem(&section.span_of(KEY), message);
    }
    barred
}

fn member_sections(section: &Section) -> String {
    format!("{}.member.NAME]", section.name().trim_end_matches(']'))
}

fn read_lease(section: &mut Section, findings: &mut Findings, locations: &[String]) -> Option<LeaseConfig> {
    const EXPECTED: &str = "{ etcd = [\"https://etcd1:2379\"] }, { location = \"ohio\" } or { directory = \"/path\" }";
    let Some(value) = section.value("lease") else {
        return section.require(findings, "lease", EXPECTED, |_| None);
    };
    let Some(table) = value.get_ref().as_table() else {
        return section.read(findings, "lease", EXPECTED, |_| None);
    };
    let before = findings.problems.len();
    let mut inner = Section::new(format!("`lease` in {}", section.name()), table, value.span());
    let endpoints = inner.read(findings, "etcd", "a list of addresses such as \"https://etcd1:2379\"", |value| {
        texts_of(value).filter(|endpoints| !endpoints.is_empty())
    });
    let user = inner.text(findings, "user", "the name of a user");
    let password = inner.secret(findings, "password");
    let authority = inner.absolute_path(findings, "authority");
    let known = locations.join(", ");
    let location = inner.read(findings, "location", &format!("one of the locations: {known}"), |value| {
        value.as_str().filter(|name| locations.iter().any(|known| known == name)).map(str::to_owned)
    });
    let directory = inner.absolute_path(findings, "directory");
    inner.finish(findings);
    let stores = [
        endpoints.map(|endpoints| LeaseConfig::Etcd { endpoints, user, password, authority }),
        location.map(LeaseConfig::Location),
        directory.map(LeaseConfig::Directory),
    ];
    let mut stores: Vec<_> = stores.into_iter().flatten().collect();
    if stores.len() != 1 && findings.problems.len() == before {
        let count = if stores.is_empty() { "no store" } else { "more than one store" };
        findings
            .problem(&value.span(), format!("`lease` in {} names {count}; expected one of {EXPECTED}", section.name()));
    }
    stores.pop().filter(|_| findings.problems.len() == before)
}

fn read_mode(section: &mut Section, findings: &mut Findings) -> ModeConfig {
    let asynchronous =
        section.read(findings, "mode", "\"synchronous\" or \"asynchronous\"", |value| match value.as_str()? {
            "synchronous" => Some(false),
            "asynchronous" => Some(true),
            _ => None,
        });
    let needed = section.integer(findings, "needed", 1..100);
    let alone = section.read(findings, "when_alone", "\"wait\" or \"continue\"", |value| match value.as_str()? {
        "wait" => Some(false),
        "continue" => Some(true),
        _ => None,
    });
    if asynchronous == Some(true) {
        for key in ["needed", "when_alone"].into_iter().filter(|key| section.has(key)) {
            let message = format!("`{key}` in {} has a meaning only in synchronous mode", section.name());
            findings.problem(&section.span_of(key), message);
        }
        return ModeConfig::Asynchronous;
    }
    ModeConfig::Synchronous {
        needed: needed.and_then(|needed| usize::try_from(needed).ok()).unwrap_or(1),
        continues_alone: alone.unwrap_or(false),
    }
}

fn read_tls(section: &mut Section, findings: &mut Findings) -> Option<TlsConfig> {
    const EXPECTED: &str = "{ certificate = \"/path\", key = \"/path\", authority = \"/path\" }";
    let value = section.value("tls")?;
    let Some(table) = value.get_ref().as_table() else {
        return section.read(findings, "tls", EXPECTED, |_| None);
    };
    let mut inner = Section::new(format!("`tls` in {}", section.name()), table, value.span());
    let [certificate, key, authority] = ["certificate", "key", "authority"].map(|key| {
        if !inner.has(key) {
            inner.require(findings, key, "an absolute path", |_| None::<()>);
        }
        inner.absolute_path(findings, key)
    });
    inner.finish(findings);
    Some(TlsConfig { certificate: certificate?, key: key?, authority: authority? })
}

fn read_proxy(section: &mut Section, findings: &mut Findings) -> Option<ProxyConfig> {
    const EXPECTED: &str = "{ primary = \"127.0.0.1:5432\", read_only = \"127.0.0.1:5433\" }";
    let value = section.value("proxy")?;
    let Some(table) = value.get_ref().as_table() else {
        return section.read(findings, "proxy", EXPECTED, |_| None);
    };
    let mut inner = Section::new(format!("`proxy` in {}", section.name()), table, value.span());
    let [primary, read_only] = ["primary", "read_only"].map(|key| {
        inner.read(findings, key, "an address and a port, such as \"127.0.0.1:5432\"", |value| {
            value.as_str()?.parse().ok()
        })
    });
    let hold = inner.duration(findings, "hold", HOLDS, "a duration of \"1s\" to \"1h\", such as \"30s\"");
    let lag_max =
        inner.read(findings, "lag_max", "a size such as \"16MiB\"", |value| values::parse_size(value.as_str()?));
    let connections_max = inner.integer(findings, "connections_max", 1..1_000_001);
    inner.finish(findings);
    if primary.is_none() && read_only.is_none() {
        findings.problem(&value.span(), format!("`proxy` in {} listens nowhere; expected {EXPECTED}", section.name()));
    }
    let connections_max = connections_max.and_then(|most| usize::try_from(most).ok());
    Some(ProxyConfig { primary, read_only, hold, lag_max_bytes: lag_max, connections_max })
}

fn read_listen(section: &mut Section, findings: &mut Findings, is_member: bool) -> Option<SocketAddr> {
    let listen = section.read(findings, "listen", "an address and a port, such as \"127.0.0.1:7432\"", |value| {
        value.as_str()?.parse::<SocketAddr>().ok()
    });
    if is_member && !section.has("listen") {
        section.require(findings, "listen", "the address of the agent, such as \"127.0.0.1:7432\"", |_| None::<()>);
    }
    listen
}
