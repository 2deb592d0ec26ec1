//! A cluster, as its agents tell: the same questions as `lifeboat cluster status`.

use super::observe::{follows, known, within};
use crate::cli::Global;
use crate::commands::cluster::status::{newest, primary};
use crate::commands::cluster::{Answers, Asking, read_file};
use crate::config::{ClusterConfig, Config, RouteKind};
use crate::failure::{Failure, FailureKind};
use jiff::Timestamp;
use lifeboat_agent::certificate;
use lifeboat_plan::model::Plan;
use lifeboat_plan::readiness::observed::{Cluster, Members};
use lifeboat_plan::readiness::{Limits, Seen};
use std::collections::BTreeMap;
use std::time::Duration;

/// Asks every agent of one cluster.
pub async fn look(global: &Global, config: &Config, name: &str, patience: Duration) -> Cluster {
    let section = &config.clusters[name];
    let asked = format!("the agents of cluster {name}");
    let answers = within(patience, &asked, async { Ok(Asking::of(global, Some(name))?.everybody().await) }).await;
    let (members, lease) = match &answers {
        Seen::Known(answers, evidence) => (
            Seen::Known(members(answers, section), evidence.clone()),
            lease(answers).map_or_else(
                || Seen::unknown("no agent answers", asked.clone()),
                |troubles| Seen::Known(troubles, evidence.clone()),
            ),
        ),
        _ => (
            follows(&answers).unwrap_or_else(|| Seen::absent("nobody was asked")),
            follows(&answers).unwrap_or_else(|| Seen::absent("nobody was asked")),
        ),
    };
    Cluster {
        name: name.to_owned(),
        limits: limits(&config.plan.plan, name),
        members,
        lease,
        tested: Seen::unknown("the ledger wasn't read", "runs"),
        routes: routes(section),
        certificates: certificates(section),
    }
}

/// Of the workload or group of the same name, else of the strictest tier that there is: nobody says whose cluster it is.
fn limits(plan: &Plan, name: &str) -> Limits {
    let strictest = plan.tiers.iter().min_by_key(|(_, tier)| (tier.objective.rto, tier.objective.rpo));
    let strictest = strictest.map(|(name, tier)| (name.as_str(), tier));
    Limits::of(plan.tier_of_workload(name).or_else(|| plan.tier_of_group(name)).or(strictest))
}

fn members(answers: &Answers, section: &ClusterConfig) -> Members {
    let leader = primary(answers);
    let mut seen = Members {
        primary: leader.map(|leader| leader.member.to_string()),
        able: Vec::new(),
        unable: Vec::new(),
        is_paused: newest(answers).is_some_and(|lease| lease.paused),
    };
    for (name, answer) in answers {
        let is_witness = section.members.get(name).is_some_and(|member| member.database.is_none());
        let status = match answer {
            Ok(status) => status,
            Err(error) => {
                seen.unable.push(format!("{name}: {error}"));
                continue;
            }
        };
        if is_witness || leader.is_some_and(|leader| leader.member == status.member) {
            continue;
        }
        let follows = leader.is_some_and(|leader| status.receives_from.as_ref() == Some(&leader.member));
        let same = leader.is_none_or(|leader| leader.system_id == status.system_id);
        match (status.in_maintenance, same, follows) {
            (true, _, _) => seen.unable.push(format!("{name} is in maintenance")),
            (_, false, _) => seen.unable.push(format!("{name} has another database")),
            (_, _, false) => seen.unable.push(format!("{name} doesn't receive from the primary")),
            (false, true, true) => seen.able.push(name.clone()),
        }
    }
    seen
}

/// None: nobody answers.
fn lease(answers: &Answers) -> Option<Vec<String>> {
    if answers.values().all(Result::is_err) {
        return None;
    }
    let Some(lease) = newest(answers) else { return Some(vec!["no agent has seen a lease".to_owned()]) };
    let mut troubles = Vec::new();
    if lease.state != "held" {
        troubles.push(format!("the lease of {} is {}", lease.holder, lease.state));
    }
    // Who renews it has an answer from its store.
    let holder = answers.values().flatten().find(|status| status.member == lease.holder);
    match holder.map(|holder| holder.holds_for_milliseconds) {
        Some(Some(left)) if left > 0 => {}
        Some(_) => troubles.push(format!("{} doesn't renew it: its store doesn't answer", lease.holder)),
        None => troubles.push(format!("{}, who holds it, doesn't answer", lease.holder)),
    }
    Some(troubles)
}

fn routes(section: &ClusterConfig) -> Seen<BTreeMap<String, f64>> {
    let times = section.routes.iter().filter_map(|(name, route)| match &route.kind {
        RouteKind::Dns { time_to_live, .. } | RouteKind::Route53 { time_to_live, .. } => {
            Some((name.clone(), time_to_live.as_secs_f64()))
        }
        RouteKind::Etcd { .. } | RouteKind::Consul { .. } | RouteKind::Command(_) | RouteKind::Elsewhere => None,
    });
    let times: BTreeMap<String, f64> = times.collect();
    match times.is_empty() {
        true => Seen::absent("no route has a time to live"),
        false => known(times, "`ttl` of each route"),
    }
}

fn certificates(section: &ClusterConfig) -> Seen<BTreeMap<String, f64>> {
    let Some(tls) = &section.tls else { return Seen::absent("the cluster has no `tls`") };
    let asked = "the end of each certificate";
    let mut days = BTreeMap::new();
    for path in [&tls.certificate, &tls.authority] {
        let read = read_file(path).and_then(|pem| {
            certificate::ends_at(&pem).map_err(|error| Failure::from_error(FailureKind::Usage, &error))
        });
        match read {
            Ok(end) => {
                let left = end.duration_since(Timestamp::now()).as_secs_f64() / 86_400.0;
                days.insert(path.display().to_string(), left);
            }
            Err(failure) => return Seen::unknown(format!("{}: {}", path.display(), failure.sentence()), asked),
        }
    }
    known(days, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_clusters;
    use lifeboat_agent::api::{LeaseView, Status};
    use lifeboat_agent::client::AskError;

    fn section() -> ClusterConfig {
        let text = "[cluster.shop]\nlease = { etcd = [\"http://127.0.0.1:1\"] }\ntoken = { env = \"T\" }\n\
            [cluster.shop.member.a]\nagent = \"http://a:1\"\ndatabase = \"a:5432\"\n\
            [cluster.shop.member.b]\nagent = \"http://b:1\"\ndatabase = \"b:5432\"\n\
            [cluster.shop.member.w]\nagent = \"http://w:1\"\n";
        parse_clusters("f", text).unwrap().clusters.remove("shop").unwrap()
    }

    fn status(name: &str, state: &str, follows: Option<&str>, holds: Option<u64>) -> Status {
        Status {
            cluster: "shop".into(),
            member: name.into(),
            region: None,
            state: state.into(),
            system_id: Some("7".into()),
            promised_epoch: 3,
            lease: Some(LeaseView {
                sequence: 1,
                epoch: 3,
                holder: "a".into(),
                state: "held".into(),
                paused: false,
                quorum: "nobody".into(),
                position: 0,
            }),
            holds_for_milliseconds: holds,
            database: "running".into(),
            timeline: None,
            position: None,
            replayed: None,
            replay_age_milliseconds: None,
            receives_from: follows.map(Into::into),
            members: Vec::new(),
            at_risk_bytes: None,
            commits_wait: false,
            kept_bytes: None,
            lost_slots: Vec::new(),
            in_maintenance: false,
            told: None,
            made_anew: 0,
        }
    }

    fn sound() -> Answers {
        [
            ("a", status("a", "primary", None, Some(9000))),
            ("b", status("b", "standby", Some("a"), None)),
            ("w", status("w", "witness", None, None)),
        ]
        .map(|(name, status)| (name.to_owned(), Ok(status)))
        .into()
    }

    fn silent() -> Result<Status, AskError> {
        Err(AskError::Refused { agent: "b".into(), why: "no token".into() })
    }

    #[test]
    fn a_sound_cluster() {
        let seen = members(&sound(), &section());
        assert_eq!((seen.primary.as_deref(), seen.able, seen.unable), (Some("a"), vec!["b".to_owned()], vec![]));
        assert_eq!(lease(&sound()), Some(vec![]));
    }

    #[test]
    fn what_breaks_in_a_cluster_is_named() {
        let mut answers = sound();
        answers.insert("b".into(), silent());
        let seen = members(&answers, &section());
        assert!(seen.able.is_empty() && seen.unable[0].starts_with("b: "), "{seen:?}");
        let mut stray = sound();
        stray.insert("b".into(), Ok(status("b", "standby", None, None)));
        assert_eq!(members(&stray, &section()).unable, ["b doesn't receive from the primary"]);
        let mut headless = sound();
        headless.insert("a".into(), silent());
        assert_eq!(members(&headless, &section()).primary, None);
        assert_eq!(lease(&headless), Some(vec!["a, who holds it, doesn't answer".to_owned()]));
        let mut unheld = sound();
        unheld.insert("a".into(), Ok(status("a", "primary", None, None)));
        assert_eq!(lease(&unheld), Some(vec!["a doesn't renew it: its store doesn't answer".to_owned()]));
        let nobody: Answers = ["a", "b"].map(|name| (name.to_owned(), silent())).into();
        assert_eq!(lease(&nobody), None);
    }
}
