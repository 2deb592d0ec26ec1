//! Could the server send its files, and could a standby be backed up beside its primary?

use super::Finding;
use crate::config::WorkloadConfig;
use crate::failure::{Failure, FailureKind};
use crate::rooms;
use lifeboat_postgres::inspection::{ServerFacts, observe_primary};
use lifeboat_postgres::replication::ReplicationClient;

/// Opens a session as a backup would: role, `pg_hba.conf` and free WAL senders are all in it.
pub async fn files_can_be_sent(subject: &str, workload: &WorkloadConfig) -> Finding {
    let attempt = async {
        let mut client = ReplicationClient::connect(&rooms::server(workload)?).await?;
        let identity = client.identify_system().await?;
        client.close().await;
        Ok::<_, Failure>(format!("the server of cluster {} would send its files", identity.system_id))
    };
    let hint = "a backup without data_dir needs a role with REPLICATION, a line for database replication in \
                pg_hba.conf, and a free WAL sender (max_wal_senders)";
    let attempt =
        attempt.await.map_err(|failure| if failure.hint.is_none() { failure.with_hint(hint) } else { failure });
    Finding::new(format!("{subject} sending"), attempt)
}

/// The primary of a standby: what a backup asks of it.
pub async fn primary(subject: &str, workload: &WorkloadConfig, standby: &ServerFacts) -> Finding {
    let attempt = async {
        let Some(primary) = rooms::primary(workload)? else { return Ok("there is none".to_owned()) };
        let client = primary.connection.connect().await?;
        let state = observe_primary(&client).await?;
        let refuse = |what: String, hint: &str| Err(Failure::new(FailureKind::Usage, what).with_hint(hint));
        if state.in_recovery {
            return refuse("the server that primary names is a standby".into(), "name the primary in primary");
        }
        if state.system_id != standby.system_id {
            let what = format!("primary leads to cluster {}, connection to {}", state.system_id, standby.system_id);
            return refuse(what, "make connection name a standby of the primary");
        }
        if !state.full_page_writes {
            let hint = "alter system set full_page_writes = on; select pg_reload_conf(); on the primary";
            return refuse("full_page_writes is off on the primary".into(), hint);
        }
        if !state.may_switch_wal {
            let what = format!("role {} may not switch WAL files on the primary", state.role);
            let role = state.role.replace('"', "\"\"");
            return refuse(what, &format!("grant execute on function pg_switch_wal() to \"{role}\"; on the primary"));
        }
        if !standby.in_recovery {
            let hint = "name the servers anew in connection and primary";
            return refuse("connection leads to a primary, and primary is set: the standby was promoted".into(), hint);
        }
        Ok("answers, and closes its WAL files for backups of the standby".to_owned())
    };
    Finding::new(format!("{subject} primary"), attempt.await)
}
