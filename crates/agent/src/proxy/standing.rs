//! What of a route table decides about a connection: where it may go, and whether it may stay. Pure.

use super::{ProxySettings, Role};
use crate::routing::{Endpoint, RouteTable};
use lifeboat_failover::{Epoch, MemberName};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whom a session is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub endpoint: Endpoint,
    pub epoch: Epoch,
    pub is_primary: bool,
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    /// Its server takes nobody any more, and ends sessions itself; it gets some time for that.
    Drains,
    Ends,
}

/// Whether two tables send everybody to the same places: what else is in them changes all the time, and wakes no session.
pub(super) fn same_places(one: &RouteTable, other: &RouteTable) -> bool {
    let standbys =
        |table: &RouteTable| table.standbys.iter().map(|standby| standby.endpoint.clone()).collect::<Vec<_>>();
    (one.epoch, &one.primary) == (other.epoch, &other.primary) && standbys(one) == standbys(other)
}

/// Whether a session with `server` may go on.
pub(super) fn verdict(table: &RouteTable, server: &Server) -> Verdict {
    let name = &server.endpoint.name;
    let is_primary = table.primary.as_ref().is_some_and(|primary| primary.name == *name);
    if server.is_primary {
        return match &table.primary {
            // Also the same member: in another epoch it is another life of it.
            _ if table.epoch != server.epoch => Verdict::Ends,
            None => Verdict::Drains,
            Some(_) if is_primary => Verdict::Stays,
            Some(_) => Verdict::Ends,
        };
    }
    // A standby outlives a change of the primary, unless it became it. Who isn't listed while a new one is made may be listed soon.
    let listed = table.standbys.iter().any(|standby| standby.endpoint.name == *name);
    if is_primary || (table.epoch > server.epoch && table.primary.is_some() && !listed) {
        Verdict::Ends
    } else {
        Verdict::Stays
    }
}

/// Who may serve a new connection. The first that can be reached is taken; among standbys whoever has the least connections.
pub(super) fn candidates(table: &RouteTable, role: Role, settings: &ProxySettings) -> Candidates {
    let server =
        |endpoint: &Endpoint, is_primary| Server { endpoint: endpoint.clone(), epoch: table.epoch, is_primary };
    let primary = table.primary.as_ref().map(|endpoint| server(endpoint, true));
    if role == Role::Primary {
        return Candidates { standbys: Vec::new(), primary };
    }
    let is_near = |bytes, lag| {
        settings.lag_bytes_max.is_none_or(|most| bytes <= most) && settings.lag_max.is_none_or(|most| lag <= most)
    };
    let near = table.standbys.iter().filter(|standby| standby.streaming && is_near(standby.lag_bytes, standby.lag));
    Candidates {
        standbys: near.map(|standby| server(&standby.endpoint, false)).collect(),
        primary: primary.filter(|_| settings.primary_serves_reads),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidates {
    pub standbys: Vec<Server>,
    /// When no standby can.
    pub primary: Option<Server>,
}

/// A standby that couldn't be reached is asked after all others for so long: a dead one costs an attempt now and then, and not one for each connection.
const SHUNNED: Duration = Duration::from_secs(3);

/// How many connections each standby has, and whether it could be reached.
#[derive(Debug, Default)]
pub(super) struct Load(Mutex<BTreeMap<MemberName, Burden>>);

#[derive(Debug, Default)]
struct Burden {
    connections: usize,
    unreachable: Option<Instant>,
}

/// One connection of a standby, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place<'a> {
    load: &'a Load,
    name: MemberName,
}

impl Load {
    /// Takes the least loaded out of `among`, and counts for it. Choosing and counting are one step: many that come at once spread.
    pub fn least(&self, among: &mut Vec<Server>) -> Option<(Server, Place<'_>)> {
        let mut load = self.lock();
        let of = |server: &Server| {
            load.get(&server.endpoint.name).map_or((false, 0), |burden| (burden.is_shunned(), burden.connections))
        };
        let least = (0..among.len()).min_by_key(|place| of(&among[*place]))?;
        let server = among.remove(least);
        let name = server.endpoint.name.clone();
        load.entry(name.clone()).or_default().connections += 1;
        Some((server, Place { load: self, name }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberName, Burden>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burden {
    fn is_shunned(&self) -> bool {
        self.unreachable.is_some_and(|since| since.elapsed() < SHUNNED)
    }
}

impl Place<'_> {
    /// Gives it up, because nobody is there.
    pub fn unreachable(self) {
        self.load.lock().entry(self.name.clone()).or_default().unreachable = Some(Instant::now());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut load = self.load.lock();
        if let Some(burden) = load.get_mut(&self.name) {
            burden.connections -= 1;
            if burden.connections == 0 && !burden.is_shunned() {
                load.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::StandbyEndpoint;

    fn endpoint(name: &str) -> Endpoint {
        Endpoint { name: name.into(), host: name.into(), port: 5432 }
    }

    fn standby(name: &str, lag_bytes: u64, lag: u64, streaming: bool) -> StandbyEndpoint {
        StandbyEndpoint { endpoint: endpoint(name), lag_bytes, lag: Duration::from_millis(lag), streaming }
    }

    fn table(epoch: u64, primary: Option<&str>, standbys: &[&str]) -> RouteTable {
        let standbys = standbys.iter().map(|name| standby(name, 0, 0, true)).collect();
        let primary = primary.map(endpoint);
        RouteTable { epoch: Epoch(epoch), primary, standbys, ..RouteTable::nowhere("shop", "a".into()) }
    }

    #[test]
    fn who_stays() {
        use Verdict::*;
        let server = |name: &str, is_primary| Server { endpoint: endpoint(name), epoch: Epoch(5), is_primary };
        let (primary, standby) = (server("a", true), server("b", false));
        for (now, of_primary, of_standby) in [
            (table(5, Some("a"), &["b"]), Stays, Stays),
            (table(5, None, &["b"]), Drains, Stays),
            (table(5, Some("a"), &[]), Stays, Stays),
            (table(6, None, &[]), Ends, Stays),
            (table(6, Some("a"), &["b"]), Ends, Stays),
            (table(6, Some("a"), &["c"]), Ends, Ends),
            (table(6, Some("b"), &["a"]), Ends, Ends),
            (table(5, Some("c"), &["b"]), Ends, Stays),
        ] {
            assert_eq!((verdict(&now, &primary), verdict(&now, &standby)), (of_primary, of_standby), "{now:?}");
        }
    }

    #[test]
    fn lag_moves_nobody() {
        let (here, mut there) = (table(1, Some("a"), &["b"]), table(1, Some("a"), &["b"]));
        (there.version, there.standbys[0].lag_bytes, there.standbys[0].streaming) = (9, 77, false);
        assert!(same_places(&here, &there));
        there.standbys[0].endpoint.port += 1;
        for other in [there, table(2, Some("a"), &["b"]), table(1, None, &["b"]), table(1, Some("a"), &[])] {
            assert!(!same_places(&here, &other), "{other:?}");
        }
    }

    #[test]
    fn who_may_serve() {
        let mut table = table(1, Some("a"), &[]);
        table.standbys = vec![
            standby("near", 100, 10, true),
            standby("apart", 0, 0, false),
            standby("behind", 101, 10, true),
            standby("late", 100, 11, true),
        ];
        let mut settings =
            ProxySettings { lag_bytes_max: Some(100), lag_max: Some(Duration::from_millis(10)), ..Default::default() };
        let names = |settings: &ProxySettings, role| {
            let found = candidates(&table, role, settings);
            let primary = found.primary.into_iter();
            found.standbys.into_iter().chain(primary).map(|server| server.endpoint.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&settings, Role::Primary), ["a"]);
        assert_eq!(names(&settings, Role::ReadOnly), ["near", "a"]);
        settings.primary_serves_reads = false;
        assert_eq!(names(&settings, Role::ReadOnly), ["near"]);
        (settings.lag_bytes_max, settings.lag_max) = (None, None);
        assert_eq!(names(&settings, Role::ReadOnly), ["near", "behind", "late"]);
    }

    #[test]
    fn the_least_loaded_is_chosen_and_forgotten_when_it_is_left() {
        let load = Load::default();
        let among =
            || ["a", "b"].map(|name| Server { endpoint: endpoint(name), epoch: Epoch(1), is_primary: false }).to_vec();
        let choose =
            || load.least(&mut among()).map(|(server, place)| (server.endpoint.name.to_string(), place)).expect("two");
        let (first, second, third) = (choose(), choose(), choose());
        assert_eq!((first.0.as_str(), second.0.as_str(), third.0.as_str()), ("a", "b", "a"));
        drop((first, third));
        assert_eq!(choose().0, "a");
        drop(second);
        assert!(load.lock().is_empty());
        // Whom nobody reached comes last, however few it has.
        choose().1.unreachable();
        let (first, second) = (choose(), choose());
        assert_eq!((first.0.as_str(), second.0.as_str()), ("b", "b"));
    }
}
