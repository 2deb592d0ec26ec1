//! Clusters whose log is cut into smaller or larger segments than usual.

use crate::exactness::{Protected, protect};
use crate::ledger::{Moment, lsn_text};
use crate::load::must_balance;
use crate::random::Random;
use crate::world::Plan;
use anyhow::{Result, ensure};

async fn segments_of(mib: u32) -> Result<()> {
    let mut random = Random::new();
    let plan = Plan::new(15).cluster(|builder| builder.wal_segment_size_mib(mib));
    let Protected { world, ledger, earliest_lsn, .. } = protect(plan).await?;
    let lsn = random.between(earliest_lsn, ledger.last().lsn);
    let copy = world.restore(&["--lsn", &lsn_text(lsn), "--exclusive"]).await?;
    ledger.judge(&copy, Moment::Lsn(lsn)).await?;
    must_balance(&copy).await?;
    drop(copy);
    let copy = world.restore(&[]).await?;
    let (all, _) = ledger.judge(&copy, Moment::End).await?;
    ensure!(all > 0, "nothing was written");
    let size = copy.sql("show wal_segment_size").await?;
    ensure!(size == Some(format!("{mib}MB")), "the copy's segments have {size:?}");
    must_balance(&copy).await
}

/// Guards: names of segments are computed with the cluster's own segment size.
#[tokio::test(flavor = "multi_thread")]
async fn segments_of_1_mib() -> Result<()> {
    segments_of(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_64_mib() -> Result<()> {
    segments_of(64).await
}
