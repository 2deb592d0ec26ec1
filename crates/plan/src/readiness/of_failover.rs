//! Checks of standbys, clusters, and where clients go.

use super::limits::defaults;
use super::observed::{Cluster, Follower, Followers, Observed, Slot, Workload};
use super::of_server::gibibytes;
use super::proof::spoken;
use super::{Figure, Limit, Opinion, Reading, Seen};
use std::collections::BTreeMap;

/// Of what slots may keep, so much must still be free.
const SLOT_FREE_RATIO: f64 = 0.2;

fn each(observed: &Observed, judge: impl Fn(&Workload, &Followers) -> Opinion) -> Vec<Reading> {
    let read = |workload: &Workload| workload.followers.read(&workload.name, |followers| judge(workload, followers));
    observed.workloads.iter().map(read).collect()
}

fn of_clusters(observed: &Observed, read: impl Fn(&Cluster) -> Reading) -> Vec<Reading> {
    if observed.clusters.is_empty() {
        let none = Seen::<()>::absent("no cluster is configured");
        return vec![none.read("all", |()| Opinion::Skip(String::new()))];
    }
    observed.clusters.iter().map(read).collect()
}

pub fn lag(observed: &Observed) -> Vec<Reading> {
    each(observed, |workload, followers| {
        let limit = &workload.limits.rpo;
        let most = super::of_server::allowed(limit.seconds);
        if !followers.missing.is_empty() {
            let why = format!("{} doesn't follow", followers.missing.join(", "));
            return Figure::never(most, &*limit.basis, why);
        }
        if let Some(hidden) = followers.standbys.iter().find(|follower| follower.lag_seconds.is_none()) {
            return Opinion::Unknown(format!("how late {} replays can't be seen", hidden.name));
        }
        let late = |follower: &&Follower| follower.lag_seconds.map(|lag| (lag * 1000.0) as u64);
        match followers.standbys.iter().max_by_key(late) {
            None => Opinion::Skip("nobody follows, and nobody is named in `standbys`".into()),
            Some(latest) => {
                let lag = latest.lag_seconds.unwrap_or_default();
                let behind = gibibytes(latest.behind_bytes.unwrap_or_default() as f64);
                let why = format!("{} replays {} late, {behind} behind", latest.name, spoken(lag));
                Figure::of(lag, most, &*limit.basis, why)
            }
        }
    })
}

pub fn slots(observed: &Observed) -> Vec<Reading> {
    each(observed, |_, followers| {
        if followers.slots.is_empty() {
            return Opinion::Skip("the server has no replication slot".into());
        }
        let wrong: Vec<String> = followers.slots.iter().filter_map(trouble).collect();
        Figure::none_of(&wrong, format!("{} slots keep what their users need", followers.slots.len()))
    })
}

fn trouble(slot: &Slot) -> Option<String> {
    let name = &slot.name;
    match slot.state.as_deref() {
        Some("lost") => return Some(format!("slot {name} is lost: log that its user needs is gone")),
        Some("unreserved") => return Some(format!("slot {name} is about to be lost")),
        _ => {}
    }
    let (safe, keep) = (slot.safe_bytes?, slot.keep_bytes.filter(|keep| *keep > 0)?);
    let ratio = safe as f64 / keep as f64;
    (ratio < SLOT_FREE_RATIO)
        .then(|| format!("slot {name} has {:.0} % left of what it may keep", ratio.max(0.0) * 100.0))
}

pub fn synchronous(observed: &Observed) -> Vec<Reading> {
    let read = |workload: &Workload| {
        if !workload.limits.nothing_may_be_lost {
            let none = Seen::<()>::absent("its RPO isn't nought, so commits needn't wait");
            return none.read(&workload.name, |()| Opinion::Skip(String::new()));
        }
        let fine = "commits wait for somebody who is there";
        match &workload.followers {
            Seen::Absent { .. } => Seen::Known((), super::Evidence::default()).read(&workload.name, |()| {
                Figure::none_of(&["its RPO is nought, and nobody follows that commits could wait for".to_owned()], fine)
            }),
            seen => seen.read(&workload.name, |followers| Figure::none_of(&followers.waits, fine)),
        }
    };
    observed.workloads.iter().map(read).collect()
}

pub fn promotable(observed: &Observed) -> Vec<Reading> {
    let read = |workload: &Workload| {
        let fine = "same cluster, settings at least those of the primary";
        workload.promotion.read(&workload.name, |against| Figure::none_of(against, fine))
    };
    observed.workloads.iter().map(read).collect()
}

pub fn primary(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        cluster.members.read(&cluster.name, |members| {
            let (count, why) = match &members.primary {
                Some(name) => (1.0, format!("{name} is the primary")),
                None => (0.0, "no agent says that there is a primary".to_owned()),
            };
            Figure::of(count, 1.0, "always", why)
        })
    })
}

pub fn redundant(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        cluster.members.read(&cluster.name, |members| {
            if members.is_paused {
                return Figure::of(0.0, 1.0, "always", "the cluster is paused: nobody takes over")
                    .with_advice(format!("`lifeboat cluster resume {}`", cluster.name));
            }
            let why = match (members.able.is_empty(), members.unable.is_empty()) {
                (_, false) => members.unable.join("; "),
                (true, true) => "no member follows the primary".to_owned(),
                (false, true) => format!("{} could take over, every member answers", members.able.join(", ")),
            };
            let (able, others) = (members.able.len(), members.able.len() + members.unable.len());
            let opinion = Figure::of(able as f64, others.max(1) as f64, "every other member", why);
            // Somebody could take over, and it isn't as it should be.
            if able == 0 { opinion } else { opinion.as_warning() }
        })
    })
}

pub fn lease(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        cluster.lease.read(&cluster.name, |troubles| Figure::none_of(troubles, "the lease is held, and renewed"))
    })
}

pub fn tested(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        let limit = &cluster.limits.drill_every;
        cluster.tested.read(&cluster.name, |proof| match proof {
            Some(proof) => proof.opinion("failover drill", limit, observed.at, &observed.stamp),
            None => Figure::never(limit.seconds, &*limit.basis, "no failover was rehearsed yet"),
        })
    })
}

pub fn route(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        let limit = route_limit(&cluster.limits.rto);
        cluster.routes.read(&cluster.name, |routes| {
            worst(routes, true, "there is no route with a time to live", |name, ttl| {
                let why = format!("clients may remember the address of route {name} for {}", spoken(ttl));
                Figure::of(ttl, limit.seconds, limit.basis.clone(), why)
            })
        })
    })
}

/// A tenth of the RTO, and five minutes at most.
fn route_limit(rto: &Limit) -> Limit {
    let tenth = rto.seconds * defaults::ROUTE_OF_RTO;
    match tenth < defaults::ROUTE_SECONDS {
        true => Limit { seconds: tenth, basis: format!("a tenth of {}", rto.basis) },
        false => Limit { seconds: defaults::ROUTE_SECONDS, basis: "5 minutes at most".into() },
    }
}

pub fn certificates(observed: &Observed) -> Vec<Reading> {
    of_clusters(observed, |cluster| {
        cluster.certificates.read(&cluster.name, |certificates| {
            worst(certificates, false, "there is no certificate", |file, days| {
                let why = match days {
                    days if days < 0.0 => format!("{file} ended {:.0} days ago", -days),
                    days => format!("{file} ends in {days:.0} days"),
                };
                Figure::of(days, defaults::CERTIFICATE_DAYS, "30 days by default", why)
            })
        })
    })
}

/// The largest of them, or the smallest.
fn worst(
    figures: &BTreeMap<String, f64>,
    is_largest: bool,
    none: &str,
    judge: impl FnOnce(&str, f64) -> Opinion,
) -> Opinion {
    let found = match is_largest {
        true => figures.iter().max_by(|a, b| a.1.total_cmp(b.1)),
        false => figures.iter().min_by(|a, b| a.1.total_cmp(b.1)),
    };
    found.map_or_else(|| Opinion::Skip(none.to_owned()), |(name, figure)| judge(name, *figure))
}
