//! `[cluster.NAME.route.NAME]`: what follows the primary outside of the cluster.

use super::secret::SecretSource;
use super::section::{Findings, Section, texts_of};
use super::workload::read_conninfo;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const TIMES_TO_LIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// What clients bear, and resolvers honour.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteKind {
    /// RFC 2136, signed with a shared key.
    Dns {
        server: SocketAddr,
        zone: String,
        name: String,
        time_to_live: Duration,
        key_name: String,
        key: SecretSource,
        /// `hmac-sha256` or `hmac-sha512`.
        is_sha512: bool,
    },
    Etcd {
        endpoints: Vec<String>,
        user: Option<String>,
        password: Option<SecretSource>,
        authority: Option<PathBuf>,
    },
    Consul {
        url: String,
        token: Option<SecretSource>,
        service: Option<String>,
        authority: Option<PathBuf>,
    },
    Route53 {
        hosted_zone: String,
        name: String,
        time_to_live: Duration,
        endpoint: Option<String>,
        credentials: Option<(SecretSource, SecretSource)>,
    },
    Command(Vec<String>),
    /// Nothing: somebody else follows, such as a proxy; it is only verified.
    Elsewhere,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    pub kind: RouteKind,
    /// As clients go: tried with a write after every change.
    pub verify: Option<String>,
}

const KINDS: &str = "\"dns\", \"etcd\", \"consul\", \"route53\", \"command\" or \"elsewhere\"";

pub(super) fn read(mut section: Section, findings: &mut Findings) -> Option<RouteConfig> {
    let before = findings.problems.len();
    let known = ["dns", "etcd", "consul", "route53", "command", "elsewhere"];
    let kind =
        section.require(findings, "kind", KINDS, |value| known.into_iter().find(|known| value.as_str() == Some(known)));
    let kind = match kind {
        Some("dns") => dns(&mut section, findings),
        Some("etcd") => etcd(&mut section, findings),
        Some("consul") => consul(&mut section, findings),
        Some("route53") => route53(&mut section, findings),
        Some("command") => section.require(findings, "command", "a list: program and arguments", |value| {
            texts_of(value).filter(|words| !words.is_empty()).map(RouteKind::Command)
        }),
        Some(_) => Some(RouteKind::Elsewhere),
        None => None,
    };
    let expected = "how a client connects, such as \"host=db.shop.example user=lifeboat dbname=postgres\"";
    let is_required = kind == Some(RouteKind::Elsewhere);
    let verify = read_conninfo(&mut section, findings, "verify", expected, is_required);
    if kind.is_some() {
        section.finish(findings);
    }
    kind.filter(|_| findings.problems.len() == before).map(|kind| RouteConfig { kind, verify })
}

fn name_of(section: &mut Section, findings: &mut Findings, key: &'static str) -> Option<String> {
    section.require(findings, key, "a name with its zone, such as \"db.shop.example\"", |value| {
        let text = value.as_str()?;
        let is_name = text.contains('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        is_name.then(|| text.to_owned())
    })
}

fn time_to_live(section: &mut Section, findings: &mut Findings) -> Duration {
    section
        .duration(findings, "ttl", TIMES_TO_LIVE, "a duration of \"1s\" to \"24h\", such as \"5s\"")
        .unwrap_or(TIME_TO_LIVE)
}

fn dns(section: &mut Section, findings: &mut Findings) -> Option<RouteKind> {
    let server = section.require(findings, "server", "the zone's server, such as \"10.0.0.53:53\"", |value| {
        value.as_str()?.parse().ok()
    });
    let (zone, name) = (name_of(section, findings, "zone"), name_of(section, findings, "name"));
    let time_to_live = time_to_live(section, findings);
    let key_name =
        section.require(findings, "key_name", "the name of the key", |value| value.as_str().map(str::to_owned));
    let key = section.secret(findings, "key");
    if !section.has("key") {
        section.require(findings, "key", "{ file = \"/path\" }", |_| None::<()>);
    }
    let is_sha512 =
        section.read(findings, "algorithm", "\"hmac-sha256\" or \"hmac-sha512\"", |value| match value.as_str()? {
            "hmac-sha256" => Some(false),
            "hmac-sha512" => Some(true),
            _ => None,
        });
    Some(RouteKind::Dns {
        server: server?,
        zone: zone?,
        name: name?,
        time_to_live,
        key_name: key_name?,
        key: key?,
        is_sha512: is_sha512.unwrap_or(false),
    })
}

fn etcd(section: &mut Section, findings: &mut Findings) -> Option<RouteKind> {
    let endpoints =
        section.require(findings, "endpoints", "a list of addresses such as \"https://etcd1:2379\"", |value| {
            texts_of(value).filter(|endpoints| !endpoints.is_empty())
        });
    let user = section.text(findings, "user", "the name of a user");
    let password = section.secret(findings, "password");
    let authority = section.absolute_path(findings, "authority");
    Some(RouteKind::Etcd { endpoints: endpoints?, user, password, authority })
}

fn consul(section: &mut Section, findings: &mut Findings) -> Option<RouteKind> {
    let url = section.require(findings, "url", "http://HOST:PORT or https://HOST of Consul", |value| {
        let text = value.as_str()?;
        (text.starts_with("http://") || text.starts_with("https://")).then(|| text.to_owned())
    });
    let token = section.secret(findings, "token");
    let service = section.text(findings, "service", "the name of the service");
    let authority = section.absolute_path(findings, "authority");
    Some(RouteKind::Consul { url: url?, token, service, authority })
}

fn route53(section: &mut Section, findings: &mut Findings) -> Option<RouteKind> {
    let hosted_zone = section.require(findings, "hosted_zone", "such as \"Z0123456789ABCDEFGHIJ\"", |value| {
        let text = value.as_str()?;
        (!text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())).then(|| text.to_owned())
    });
    let name = name_of(section, findings, "name");
    let time_to_live = time_to_live(section, findings);
    let endpoint = section.text(findings, "endpoint", "http://HOST:PORT or https://HOST");
    let id = section.secret(findings, "access_key_id");
    let secret = section.secret(findings, "secret_access_key");
    if id.is_some() != secret.is_some() {
        let message = format!("{} needs `access_key_id` and `secret_access_key`, or neither", section.name());
        findings.problem(&section.span(), message);
    }
    Some(RouteKind::Route53 {
        hosted_zone: hosted_zone?,
        name: name?,
        time_to_live,
        endpoint,
        credentials: id.zip(secret),
    })
}
