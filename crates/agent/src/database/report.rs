//! From what was seen to what the member is told. Pure.

use super::seen::{Run, Seen};
use lifeboat_failover::{Activity, MemberName, Position, Quorum, Report};

/// What only the keeper knows.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The last order that is carried out.
    pub order: u64,
    /// Something is done with the data directory: it is being rewound, or made anew.
    pub busy: bool,
    /// What commits wait for, as it was last seen in force, and from which offset on.
    pub quorum: Quorum,
    pub quorum_since: u64,
    /// What was last told, for a server that hangs.
    pub last: Option<Report>,
}

pub fn report(seen: &Seen, standing: &Standing) -> Report {
    let (activity, position) = match (&seen.told, seen.run) {
        _ if standing.busy => (Activity::Preparing, position_before(standing)),
        (Some(told), Run::Running) if told.in_recovery => {
            let from = told
                .receiver
                .as_ref()
                .map(|receiver| receiver.from.clone().unwrap_or_else(|| MemberName::from("somebody who is no member")));
            let received_at = told.receiver.as_ref().map_or(seen.at, |receiver| receiver.received_at);
            (Activity::Standby { from, received_at }, told.position)
        }
        (Some(told), Run::Running) => {
            let (quorum, quorum_since) = (standing.quorum.clone(), standing.quorum_since);
            (Activity::Primary { confirmed: told.confirmed.clone(), quorum, quorum_since }, told.position)
        }
        (_, Run::Stopped) => {
            use lifeboat_postgres::control::ClusterState;
            let orderly = matches!(seen.state, Some(ClusterState::ShutDown | ClusterState::ShutDownInRecovery));
            let position = seen.stopped.map_or_else(
                || position_before(standing),
                |stopped| Position { lineage: stopped.lineage, offset: stopped.position },
            );
            (Activity::Stopped { orderly, standby: seen.standby_signal }, position)
        }
        // It hangs: what it last said, and when. One that never said anything is being started.
        (None, Run::Running) => match &standing.last {
            Some(last) if last.is_primary() || last.is_standby() => (last.activity.clone(), last.position),
            _ => (Activity::Preparing, position_before(standing)),
        },
        (_, Run::Starting | Run::Remains) => (Activity::Preparing, position_before(standing)),
    };
    Report { order: standing.order, activity, position, history: seen.history.clone(), answered_at: seen.answered_at }
}

fn position_before(standing: &Standing) -> Position {
    standing.last.as_ref().map(|last| last.position).unwrap_or_default()
}
