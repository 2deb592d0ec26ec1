//! Are the locations there, do they do what they promise, and is it the same repository everywhere?

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::human;
use crate::{removable, rooms};
use lifeboat_repository::{Replica, Repository};

/// A store's clock may differ by this much before signatures begin to be refused.
const SKEW_SECONDS_MAX: f64 = 60.0;
/// Below this a directory is nearly full.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Every location, and the repository in all of them.
pub async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A disk in a drawer is expected to be away; how old its copy is, is judged elsewhere.
    let (names, _) = removable::attached(config, &rooms::all_locations(config));
    for name in &names {
        match rooms::replicas(config, std::slice::from_ref(name)) {
            Ok(replicas) => {
                for replica in &replicas {
                    findings.extend(look_at(replica).await);
                    findings.push(open(config, replica).await);
                }
            }
            Err(failure) => findings.push(Finding::new(format!("location {name}"), Err(failure))),
        }
    }
    findings.push(same_repository(config).await);
    findings
}

async fn look_at(replica: &Replica) -> Vec<Finding> {
    let subject = format!("location {}", replica.name);
    let capabilities = match replica.location.probe().await {
        Ok(capabilities) => capabilities,
        Err(error) => return vec![Finding::new(subject, Err(Failure::from(lifeboat_repository::Error::from(error))))],
    };
    let mut findings =
        vec![Finding::new(&subject, Ok(format!("{} can be written, read and listed", replica.location.address())))];
    if !capabilities.conditional_create {
        let what = "the store accepts conditional writes and ignores them";
        findings.push(Finding::warning(
            &subject,
            what,
            "backups are safe there, because names carry hashes; leases are not",
        ));
    }
    if let Some(skew) = capabilities.clock_skew_seconds.filter(|skew| skew.abs() > SKEW_SECONDS_MAX) {
        let what = format!("the store's clock differs from ours by {skew:.0} s");
        findings.push(Finding::warning(&subject, what, "set this machine's clock (ntp)"));
    }
    if let Ok(Some(free)) = replica.location.free_space().await
        && free < FREE_BYTES_MIN
    {
        let what = format!("only {} are free", human::size(free));
        findings.push(Finding::warning(&subject, what, "make room before the next backup"));
    }
    findings
}

async fn open(config: &Config, replica: &Replica) -> Finding {
    let subject = format!("repository in {}", replica.name);
    let opened = async {
        let passphrase = rooms::passphrase(config)?;
        let repository = Repository::open(vec![replica.clone()], &passphrase, config.compression_level).await?;
        Ok(format!("opens with the passphrase, key {}", repository.key_fingerprint()?.0))
    };
    Finding::new(subject, opened.await)
}

async fn same_repository(config: &Config) -> Finding {
    let together = async {
        let (names, _) = removable::attached(config, &rooms::all_locations(config));
        let replicas = rooms::replicas(config, &names)?;
        let repository = Repository::open(replicas, &rooms::passphrase(config)?, config.compression_level).await?;
        Ok(format!("{}, the same in {} of {} locations", repository.id(), repository.replicas().len(), names.len()))
    };
    Finding::new("repository", together.await)
}
