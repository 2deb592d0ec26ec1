//! From the configuration's routes to what follows the primary, and to the ways that are verified.

use crate::commands::cluster::{Chosen, read_file};
use crate::config::{RouteKind, SecretSource};
use crate::failure::{Failure, FailureKind};
use lifeboat_agent::Outward;
use lifeboat_agent::lease::{EtcdSettings, Secret};
use lifeboat_agent::routing::{
    CommandRoute, ConsulRoute, ConsulSettings, DnsRoute, DnsSettings, EtcdRoute, KeyAlgorithm, Route53Route,
    Route53Settings, RouteTarget, Way,
};
use lifeboat_postgres::connection::Secret as ServerSecret;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One attempt to change a route.
const LIMIT: Duration = Duration::from_secs(5);
/// A program may have more to do.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Everything that has to follow.
pub fn outward(chosen: &Chosen) -> Result<Outward, Failure> {
    let mut outward = Outward::default();
    let secret = match &chosen.cluster.password {
        Some(source) => ServerSecret::Password(source.resolve()?.expose().to_owned()),
        None => ServerSecret::None,
    };
    for (name, route) in &chosen.cluster.routes {
        if let Some(target) = target(&chosen.name, name, &route.kind)? {
            outward.targets.push(target);
        }
        if let Some(conninfo) = &route.verify {
            let mut way = Way::new(name, conninfo, &secret)?;
            // Behind a proxy the server's own address is another, and that it is the primary is asked all the same.
            way.compare_address = !matches!(route.kind, RouteKind::Elsewhere | RouteKind::Command(_));
            outward.ways.push(way);
        }
    }
    Ok(outward)
}

fn resolved(source: &SecretSource) -> Result<Secret, Failure> {
    Ok(Secret::new(source.resolve()?.expose().to_owned()))
}

fn target(cluster: &str, name: &str, kind: &RouteKind) -> Result<Option<Arc<dyn RouteTarget>>, Failure> {
    let wrong = |error: lifeboat_agent::routing::RouteError| {
        Failure::from_error(FailureKind::Usage, &error)
            .while_doing(format!("understand [cluster.{cluster}.route.{name}]"))
    };
    Ok(Some(match kind {
        RouteKind::Elsewhere => return Ok(None),
        RouteKind::Command(words) => {
            let (program, arguments) =
                words.split_first().map(|(program, rest)| (program.clone(), rest.to_vec())).unwrap_or_default();
            Arc::new(CommandRoute::new(program, arguments, COMMAND_LIMIT))
        }
        RouteKind::Dns { server, zone, name, time_to_live, key_name, key, is_sha512 } => {
            let settings = DnsSettings {
                server: *server,
                zone: zone.clone(),
                name: name.clone(),
                time_to_live_seconds: seconds(*time_to_live),
                key_name: key_name.clone(),
                key: resolved(key)?,
                key_algorithm: if *is_sha512 { KeyAlgorithm::Sha512 } else { KeyAlgorithm::Sha256 },
            };
            Arc::new(DnsRoute::new(&settings, LIMIT).map_err(wrong)?)
        }
        RouteKind::Etcd { endpoints, user, password, authority } => {
            let password = password.as_ref().map(resolved).transpose()?;
            let settings = EtcdSettings {
                endpoints: endpoints.clone(),
                user: user.clone().map(|user| (user, password.unwrap_or_else(|| Secret::new(String::new())))),
                certificate_authority: authority.as_deref().map(read_file).transpose()?,
                ..EtcdSettings::default()
            };
            Arc::new(EtcdRoute::new(&settings, cluster, LIMIT)?)
        }
        RouteKind::Consul { url, token, service, authority } => {
            let settings = ConsulSettings {
                url: url.clone(),
                token: token.as_ref().map(resolved).transpose()?,
                service: service.clone().unwrap_or_default(),
                certificate_authority: authority.as_deref().map(read_file).transpose()?,
            };
            Arc::new(ConsulRoute::new(&settings, cluster, LIMIT).map_err(wrong)?)
        }
        RouteKind::Route53 { hosted_zone, name, time_to_live, endpoint, credentials } => {
            let credentials = match credentials {
                None => lifeboat_location::Credentials::Ambient,
                Some((id, secret)) => lifeboat_location::Credentials::Key {
                    id: id.resolve()?.expose().to_owned(),
                    secret: lifeboat_location::Secret::new(secret.resolve()?.expose()),
                    session_token: None,
                },
            };
            let environment: BTreeMap<String, String> =
                std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
            let settings = Route53Settings {
                hosted_zone: hosted_zone.clone(),
                name: name.clone(),
                time_to_live_seconds: seconds(*time_to_live),
                credentials,
                environment,
                endpoint: endpoint.clone(),
            };
            Arc::new(Route53Route::new(&settings, LIMIT).map_err(wrong)?)
        }
    }))
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
