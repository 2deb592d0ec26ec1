//! From which server a backup is taken: the standby, or its primary when the standby can't serve.
//!
//! A standby that lags, was promoted or is down would give a backup that is older than anybody believes, or none. With a
//! primary named beside it this is seen before anything is read, and what happens then is the user's choice.

use super::{BackupRequest, Fallback, Primary};
use crate::postgres::BackupError;
use lifeboat_postgres::connection::{Error, ErrorKind};
use lifeboat_postgres::inspection::{
    Lag, PrimaryState, ReplayState, close_segment, lag, observe_primary, observe_replay,
};
use std::time::{Duration, Instant};

/// How long a standby that isn't there yet is looked at. One that keeps up arrives in a fraction of a second, and one
/// that replays with a delay never does.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Why the standby isn't used.
#[derive(Debug)]
struct Unfit {
    why: String,
    /// What to do, when the primary isn't used instead.
    hint: &'static str,
}

/// The request as it shall be carried out: unchanged, or led to the primary, with a note that says so.
pub(super) async fn choose(request: &BackupRequest, notes: &mut Vec<String>) -> Result<BackupRequest, BackupError> {
    let Some(primary) = &request.primary else { return Ok(request.clone()) };
    let client = primary.connection.connect().await.map_err(BackupError::server)?;
    let state = observe_primary(&client).await.map_err(BackupError::server)?;
    refuse(&state)?;
    let Err(unfit) = look_at_standby(request, primary, &state).await? else { return Ok(request.clone()) };
    match primary.fallback {
        Fallback::Fail => Err(BackupError::refused(unfit.why, unfit.hint)),
        Fallback::Primary => {
            notes.push(format!("{}: this backup is from the primary", unfit.why));
            let connection = primary.connection.clone();
            // What lies in data_dir is the standby's.
            Ok(BackupRequest { connection, data_dir: None, primary: None, ..request.clone() })
        }
    }
}

/// Closes the primary's segment, in which a backup from a standby ended: a standby can't, and on an idle primary nobody
/// else would.
pub(super) async fn close_segment_of(primary: &Primary) -> Result<(), BackupError> {
    let client = primary.connection.connect().await.map_err(BackupError::server)?;
    close_segment(&client).await.map_err(BackupError::server)
}

fn refuse(state: &PrimaryState) -> Result<(), BackupError> {
    if state.in_recovery {
        return Err(BackupError::refused("the server that primary names is a standby", "name the primary in primary"));
    }
    if !state.full_page_writes {
        return Err(BackupError::refused(
            "full_page_writes is off on the primary: a backup may hold torn pages that nothing repairs",
            "alter system set full_page_writes = on; select pg_reload_conf(); on the primary",
        ));
    }
    if !state.may_switch_wal {
        return Err(BackupError::refused(
            format!(
                "role {} may not switch WAL files on the primary, so the end of a backup might never arrive",
                state.role
            ),
            format!(
                "grant execute on function pg_switch_wal() to \"{}\"; on the primary",
                state.role.replace('"', "\"\"")
            ),
        ));
    }
    Ok(())
}

/// The outer error is one that another server doesn't cure.
async fn look_at_standby(
    request: &BackupRequest,
    primary: &Primary,
    state: &PrimaryState,
) -> Result<Result<(), Unfit>, BackupError> {
    let down = |error: Error| match error.kind() {
        ErrorKind::Unreachable | ErrorKind::NotReady | ErrorKind::Lost => {
            let hint = "start the standby, or set fallback = \"primary\"";
            Ok(Err(Unfit { why: format!("the standby can't be asked ({error})"), hint }))
        }
        _ => Err(BackupError::server(error)),
    };
    let client = match request.connection.connect().await {
        Ok(client) => client,
        Err(error) => return down(error),
    };
    let begun = Instant::now();
    loop {
        let standby = match observe_replay(&client).await {
            Ok(standby) => standby,
            Err(error) => return down(error),
        };
        if standby.system_id != state.system_id {
            return Err(BackupError::refused(
                format!("connection leads to cluster {}, primary to cluster {}", standby.system_id, state.system_id),
                "make connection name a standby of the primary",
            ));
        }
        let patience = primary.max_lag.unwrap_or_default().min(CATCH_UP_PATIENCE);
        match judge(state, &standby, primary.max_lag, begun.elapsed() >= patience) {
            Some(verdict) => return Ok(verdict),
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// `None`: look again, it may be on its way. Pure.
fn judge(
    primary: &PrimaryState,
    standby: &ReplayState,
    allowed: Option<Duration>,
    is_late: bool,
) -> Option<Result<(), Unfit>> {
    if !standby.in_recovery {
        let hint = "name the servers anew in connection and primary, or set fallback = \"primary\"";
        return Some(Err(Unfit { why: "the standby is none: it was promoted".into(), hint }));
    }
    let Some(allowed) = allowed else { return Some(Ok(())) };
    let at_most = match lag(primary, standby, allowed) {
        Lag::Within => return Some(Ok(())),
        Lag::Behind { .. } if !is_late && !standby.is_paused => return None,
        Lag::Behind { at_most } => at_most,
    };
    let how_far = at_most.map_or("by an unknown time".to_owned(), |lag| format!("by up to {} s", lag.as_secs()));
    let paused = if standby.is_paused { ", because its replay is paused" } else { "" };
    let why = format!(
        "the standby is behind its primary {how_far}{paused}, and standby_max_lag allows {} s",
        allowed.as_secs()
    );
    Some(Err(Unfit { why, hint: "let the standby catch up, or set fallback = \"primary\"" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::{Lsn, SystemId};

    #[test]
    fn a_standby_on_its_way_is_waited_for_and_a_paused_one_is_not() {
        let primary = PrimaryState {
            system_id: SystemId(1),
            in_recovery: false,
            position: Some(Lsn(100)),
            full_page_writes: true,
            may_switch_wal: true,
            role: "lifeboat".into(),
            now: jiff::Timestamp::from_second(1000).ok(),
        };
        let standby = ReplayState {
            system_id: SystemId(1),
            in_recovery: true,
            replayed: Some(Lsn(50)),
            last_commit: jiff::Timestamp::from_second(100).ok(),
            is_paused: false,
        };
        let allowed = Some(Duration::from_secs(300));
        assert!(judge(&primary, &standby, allowed, false).is_none());
        assert!(
            matches!(judge(&primary, &standby, allowed, true), Some(Err(Unfit { why, .. })) if why.contains("900 s"))
        );
        assert!(matches!(judge(&primary, &standby, None, true), Some(Ok(()))));
        let paused = ReplayState { is_paused: true, ..standby.clone() };
        assert!(matches!(judge(&primary, &paused, allowed, false), Some(Err(_))));
        let promoted = ReplayState { in_recovery: false, ..standby };
        assert!(matches!(judge(&primary, &promoted, None, false), Some(Err(_))));
    }
}
