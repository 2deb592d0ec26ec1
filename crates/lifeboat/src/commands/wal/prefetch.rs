//! `lifeboat wal prefetch`: what `wal fetch` leaves behind in the background, so that replay doesn't wait.

use super::locations;
use crate::cli::{Global, WorkloadOption};
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use lifeboat_workload::postgres::wal::{PREFETCH_PATIENCE, PREFETCH_SEGMENTS, PrefetchSeat, WalArchive, prefetch};

pub fn run(
    global: &Global,
    name: &str,
    of: &WorkloadOption,
    from: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let workload = rooms::workload_name(&config, of.workload.as_deref())?;
    let spool = rooms::spool(&config, &workload)?;
    let segment =
        name.parse().map_err(|error| Failure::from_error(FailureKind::Usage, &error as &dyn std::error::Error))?;
    let Some(seat) = PrefetchSeat::take(&spool)? else { return Ok(()) };
    rooms::runtime()?.block_on(async {
        let repository = rooms::open_attached(&config, &locations(&config, &workload, from), output).await?;
        if let Some(archive) = WalArchive::of_workload(repository, &workload).await? {
            prefetch(archive.into(), seat, segment, &spool, PREFETCH_SEGMENTS, PREFETCH_PATIENCE).await?;
        }
        Ok(())
    })
}
