//! A cluster of the place: what its members, their lease store and their proxy are told. Text and command lines only.
//!
//! Not here: starting anything.

use crate::hosts::{ADDRESSES, CLIENTS, MEMBERS, address};
use crate::place::{PORT, Place};
use crate::process::which;
use crate::surroundings::Protected;
use std::path::{Path, PathBuf};

/// The name under which clients reach the primary: a server like another, behind the proxy.
pub const PROXY: &str = "proxy";
/// Everything of it that is no data, below the place.
pub const DIRECTORY: &str = "cluster";
/// Where the proxy listens on the clients' host.
pub const PROXY_ADDRESS: &str = "127.0.0.1:6432";
const AGENT_PORT: u16 = 7432;
const STORE_PORT: u16 = 2379;
const STORE_PEER_PORT: u16 = 2380;
/// A standby, a slot for each other member, and whoever makes one anew.
pub const SENDERS_MIN: i32 = 10;

/// Programs without which no cluster can be made, and what each is for.
const NEEDED: [(&str, &str); 4] = [
    ("ip", "makes hosts"),
    ("nsenter", "enters them"),
    ("openssl", "makes the agents' certificates"),
    ("etcd", "keeps the lease"),
];

/// Where etcd is, when all is there that a cluster needs.
///
/// # Errors
/// What is missing, and what helps.
pub fn needed(search_path: &[PathBuf], own_network: bool) -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("hosts of its own need root; run it as root, such as with sudo".into());
    }
    if !own_network {
        return Err("a cluster needs a network of its own; leave out --in-this-network".into());
    }
    let missing = NEEDED.iter().find(|(name, _)| which(name, search_path).is_none());
    if let Some((name, purpose)) = missing {
        return Err(format!("there is no `{name}` on PATH, which {purpose}; install it, or add its directory to PATH"));
    }
    which("etcd", search_path).ok_or_else(|| "there is no `etcd` on PATH".into())
}

/// What is said to all of them.
#[derive(Debug, Clone)]
pub struct Cluster<'a> {
    pub place: &'a Place,
    pub protected: &'a Protected,
    /// Who may do everything on the servers.
    pub superuser: String,
    /// Where PostgreSQL's programs are.
    pub bin_dir: PathBuf,
}

impl Cluster<'_> {
    /// The configuration of a member; without one, that of clients and operators.
    pub fn configuration(&self, member: Option<&str>) -> String {
        let (place, name) = (self.place.directory().display(), &self.protected.name);
        let directory = format!("{place}/{DIRECTORY}");
        let stores: Vec<String> = MEMBERS.iter().map(|member| format!("\"{}\"", store_url(member))).collect();
        let mut text = format!(
            "[cluster.{name}]\nlease = {{ etcd = [{}] }}\nmode = \"synchronous\"\nneeded = 1\nwhen_alone = \"wait\"\n\
             token = {{ file = \"{directory}/token\" }}\n\
             tls = {{ certificate = \"{directory}/member.pem\", key = \"{directory}/member.key\", authority = \"{directory}/ca.pem\" }}\n\
             alarm = {{ command = [\"{place}/alarm\"] }}\n",
            stores.join(", ")
        );
        let quoted = |text: String| toml::Value::from(text).to_string();
        match member {
            None => text.push_str(&format!("proxy = {{ primary = \"{PROXY_ADDRESS}\" }}\n")),
            Some(member) => {
                let (socket, superuser) = (self.place.socket_dir(member), &self.superuser);
                let connection = format!(
                    "host={} port={PORT} user={superuser} dbname={}",
                    socket.display(),
                    self.protected.database
                );
                text.push_str(&format!(
                    "this_member = \"{member}\"\nlisten = \"{}:{AGENT_PORT}\"\nstate_dir = \"{directory}/state-{member}\"\n\
                     data_dir = \"{}\"\nbin_dir = \"{}\"\nconnection = {}\nreplication = {}\n",
                    address(member),
                    self.place.data_dir(member).display(),
                    self.bin_dir.display(),
                    quoted(connection),
                    quoted(format!("user={superuser}")),
                ));
            }
        }
        for member in MEMBERS {
            let address = address(member);
            text.push_str(&format!(
                "[cluster.{name}.member.{member}]\nagent = \"https://{address}:{AGENT_PORT}\"\n\
                 database = \"{address}:{PORT}\"\nregion = \"region-{member}\"\n"
            ));
        }
        text
    }

    /// What a member's server is told besides what every server of the place is.
    pub fn settings(&self, member: &str) -> String {
        format!(
            "listen_addresses = '{}'\nunix_socket_directories = '{}'\narchive_mode = off\nshared_preload_libraries = ''\n\
             max_logical_replication_workers = 0\nwal_log_hints = on\nwal_keep_size = 256MB\n",
            address(member),
            self.place.socket_dir(member).display()
        )
    }
}

/// Whom a member's server lets in: its host's sockets are private, and nobody else is on the hosts' network.
pub fn access() -> String {
    format!(
        "local all all trust\nlocal replication all trust\nhost all all {ADDRESSES} trust\nhost replication all {ADDRESSES} trust\n"
    )
}

/// What a configuration is called.
pub fn config(place: &Place, host: &str) -> PathBuf {
    place.path(DIRECTORY).join(format!("{host}.toml"))
}

/// That of operators and clients.
pub fn clients_config(place: &Place) -> PathBuf {
    config(place, CLIENTS)
}

fn store_url(member: &str) -> String {
    format!("http://{}:{STORE_PORT}", address(member))
}

/// etcd's arguments, for a member of the lease store.
pub fn store_arguments(place: &Place, member: &str) -> Vec<String> {
    let peer = |member: &str| format!("http://{}:{STORE_PEER_PORT}", address(member));
    let peers: Vec<String> = MEMBERS.iter().map(|member| format!("{member}={}", peer(member))).collect();
    let data = place.path(DIRECTORY).join(format!("etcd-{member}"));
    let named = [
        ("--name", member.to_owned()),
        ("--initial-cluster", peers.join(",")),
        ("--listen-client-urls", store_url(member)),
        ("--advertise-client-urls", store_url(member)),
        ("--listen-peer-urls", peer(member)),
        ("--initial-advertise-peer-urls", peer(member)),
        ("--data-dir", data.display().to_string()),
    ];
    named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

/// What `openssl` is told, one call after the other: an authority, and a certificate for all hosts that it signed. Good for two days.
pub fn certificate_calls() -> [Vec<&'static str>; 3] {
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority =
        ["req", "-x509", "-days", "2", "-subj", "/CN=lifeboat rehearsal", "-keyout", "ca.key", "-out", "ca.pem"];
    let request = ["req", "-subj", "/CN=member", "-keyout", "member.key", "-out", "member.csr"];
    let sign = ["x509", "-req", "-days", "2", "-in", "member.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let signed = ["-CAcreateserial", "-extfile", "extensions", "-out", "member.pem"];
    [[&authority[..], &KEY].concat(), [&request[..], &KEY].concat(), [&sign[..], &signed].concat()]
}

/// What the certificate says: who has which address.
pub fn certificate_extensions() -> String {
    let names: Vec<String> = MEMBERS.iter().map(|member| format!("IP:{}", address(member))).collect();
    format!("subjectAltName={}\nbasicConstraints=critical,CA:FALSE\n", names.join(","))
}

/// Whether this is the command line of an agent.
pub fn is_agent(line: &str) -> bool {
    line.contains(" --config ") && line.ends_with(" agent")
}

/// Whether this is the command line of a member of the lease store.
pub fn is_store(line: &str) -> bool {
    line.split(' ').next().is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "etcd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_toml_and_names_nothing_outside() {
        let place = Place::new(Path::new("/scratch"), "1", None);
        let protected = Protected {
            name: "shop".into(),
            checks: Vec::new(),
            bin_dir: None,
            user: "postgres".into(),
            database: "shop".into(),
        };
        let (superuser, bin_dir) = ("postgres".to_owned(), PathBuf::from("/pg"));
        let cluster = Cluster { place: &place, protected: &protected, superuser, bin_dir };
        for member in [None, Some("a"), Some("c")] {
            let table: toml::Table = toml::from_str(&cluster.configuration(member)).unwrap();
            let shop = &table["cluster"]["shop"];
            assert_eq!(shop["member"].as_table().unwrap().len(), 3);
            assert_eq!(shop.get("this_member").and_then(toml::Value::as_str), member);
            assert_eq!(shop.get("proxy").is_some(), member.is_none());
        }
    }

    #[test]
    fn who_is_who() {
        for (line, agent, store) in [
            ("/usr/bin/lifeboat --config /p/cluster/a.toml agent", true, false),
            ("/usr/bin/lifeboat dead-man /p/state", false, false),
            ("/opt/etcd/etcd --name a", false, true),
            ("postgres: walsender etcd", false, false),
        ] {
            assert_eq!((is_agent(line), is_store(line)), (agent, store), "{line}");
        }
    }
}
