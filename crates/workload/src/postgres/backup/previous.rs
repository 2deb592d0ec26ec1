//! The point that a backup is compared with.

use super::{BackupRequest, BackupType};
use crate::postgres::{BackupError, PostgresDetails};
use lifeboat_postgres::SystemId;
use lifeboat_repository::{Point, Repository};
use std::sync::Arc;

/// The newest point of the wanted type. One that can't be read is passed over with a note: comparing with an older one
/// only costs time. A point of another cluster ends it: two clusters under one name would destroy each other's history.
pub async fn find(
    repository: &Arc<Repository>,
    request: &BackupRequest,
    system_id: SystemId,
    notes: &mut Vec<String>,
) -> Result<Option<Point>, BackupError> {
    let mut seen_own = false;
    for header in repository.list_points(Some(&request.workload)).await?.into_iter().rev() {
        let mut reading = Vec::new();
        let point = match repository.read_point(&header.workload, &header.id, &mut reading).await {
            Ok(point) => point,
            Err(error) => {
                notes.push(format!("recovery point {} is passed over: {error}", header.id));
                continue;
            }
        };
        let details = PostgresDetails::of(&point)?;
        if !seen_own && details.system_id != system_id {
            return Err(BackupError::refused(
                format!(
                    "workload {} holds backups of cluster {}, but this server is cluster {system_id}",
                    request.workload, details.system_id
                ),
                "give the new cluster a workload name of its own; the old points stay restorable",
            ));
        }
        seen_own = true;
        let wanted = match request.backup_type {
            BackupType::Full => return Ok(None),
            BackupType::Incremental => true,
            BackupType::Differential => point.backup_type == "full",
        };
        if wanted {
            return Ok(Some(point));
        }
    }
    Ok(None)
}
