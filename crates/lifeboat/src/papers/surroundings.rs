//! What the papers say of the configuration: names, places, references. Secrets are not even read.

use crate::config::{
    ClusterConfig, Config, Credentials, LeaseConfig, LocationConfig, Media, ModeConfig, SecretSource, WorkloadConfig,
};
use lifeboat_report::{ClusterView, LocationView, MemberView, Surroundings, WorkloadView};
use std::path::Path;

pub(super) fn of(path: &Path, config: &Config) -> Surroundings {
    let text = std::fs::read(path).unwrap_or_default();
    let plan = serde_json::to_vec(&config.plan.plan).unwrap_or_default();
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let named = |name: &String| name.clone();
    Surroundings {
        configuration_file: path.display().to_string(),
        configuration_hash: hash(&text),
        plan_hash: hash(&plan),
        passphrase: words_of(&config.encryption.passphrase),
        workloads: config.workloads.iter().map(|(name, one)| (named(name), workload(one))).collect(),
        locations: config.locations.iter().map(|(name, one)| (named(name), location(one))).collect(),
        clusters: config.clusters.iter().map(|(name, one)| (named(name), cluster(one))).collect(),
    }
}

/// Where a secret is kept. Of a command only the program: arguments may say too much.
fn words_of(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("the file {}", path.display()),
        SecretSource::Environment(name) => format!("the environment variable {name}"),
        SecretSource::Command(words) => {
            format!("what the program {} prints", words.first().map(String::as_str).unwrap_or_default())
        }
    }
}

fn workload(config: &WorkloadConfig) -> WorkloadView {
    WorkloadView {
        data_dir: config.data_dir.as_ref().map(|path| path.display().to_string()),
        connection: config.connection.clone(),
        region: config.region.clone(),
        locations: config.locations.clone(),
        checks: config.check.clone(),
        is_synchronous: config.synchronous.is_some(),
        has_spool: config.synchronous.as_ref().is_some_and(|synchronous| synchronous.spool().is_some()),
    }
}

fn location(config: &LocationConfig) -> LocationView {
    let credentials = match &config.credentials {
        Credentials::Ambient => {
            "as the cloud's own tools find them (environment, profile, role); a directory needs none".to_owned()
        }
        Credentials::S3 { access_key_id, secret_access_key } => {
            format!("the id is {}, the key {}", words_of(access_key_id), words_of(secret_access_key))
        }
        Credentials::Azure { account, account_key } => {
            let key = account_key.as_ref().map_or_else(|| "the cloud's own tools".to_owned(), words_of);
            format!("account {account}, its key: {key}")
        }
        Credentials::Google { service_account_key } => {
            format!("the key of the service account is {}", words_of(service_account_key))
        }
    };
    let more_lines = match &config.credentials {
        Credentials::Ambient => Vec::new(),
        Credentials::S3 { .. } => vec![
            "access_key_id = { file = \"/etc/lifeboat/access-key-id\" }".to_owned(),
            "secret_access_key = { file = \"/etc/lifeboat/secret-access-key\" }".to_owned(),
        ],
        Credentials::Azure { account, .. } => {
            vec![
                format!("account = \"{account}\""),
                "account_key = { file = \"/etc/lifeboat/account-key\" }".to_owned(),
            ]
        }
        Credentials::Google { .. } => {
            vec!["service_account_key = { file = \"/etc/lifeboat/service-account.json\" }".to_owned()]
        }
    };
    LocationView {
        url: config.url.to_string(),
        endpoint: config.endpoint.clone(),
        region: config.region.clone(),
        media: match config.media {
            Media::Disk => "disk",
            Media::Object => "object",
            Media::Removable => "removable",
        }
        .to_owned(),
        is_immutable: config.immutable,
        credentials,
        more_lines,
    }
}

fn cluster(config: &ClusterConfig) -> ClusterView {
    let members = config.members.iter().map(|(name, member)| {
        let database = member.database.as_ref().map(|(host, port)| format!("{host}:{port}"));
        (name.clone(), MemberView { agent: member.agent.clone(), database, region: member.region.clone() })
    });
    ClusterView {
        members: members.collect(),
        lease: match &config.lease {
            LeaseConfig::Etcd { endpoints, .. } => format!("etcd at {}", endpoints.join(", ")),
            LeaseConfig::Location(name) => format!("the location {name}"),
            LeaseConfig::Directory(path) => format!("the directory {}", path.display()),
        },
        mode: match config.mode {
            ModeConfig::Synchronous { needed, continues_alone } => {
                let alone = if continues_alone { "; without any it goes on alone" } else { "" };
                format!("commits wait for {needed} standby{}{alone}", if needed == 1 { "" } else { "s" })
            }
            ModeConfig::Asynchronous => {
                "commits wait for no standby: what a standby lacks is lost when it takes over".to_owned()
            }
        },
    }
}
