//! What the stream doesn't tell: settings under which commits can't end or don't wait, a slot about to be lost.

use super::super::error::describe;
use super::alarm::Health;
use super::{ReceiveOptions, ReceiveProgress};
use lifeboat_postgres::connection::{Result, Target};
use lifeboat_postgres::inspection::synchronous::{self, Trouble, observe};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks, unless the patience is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the server again and again, for ever. That it can't be asked is told once; the stream has its own alarm.
pub(crate) async fn watch(
    target: &Target,
    options: &ReceiveOptions,
    patience: Duration,
    health: &Health,
    progress: &dyn ReceiveProgress,
) {
    let mut was_told = false;
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY.min(patience)).await;
        match look(target, &options.slot, patience).await {
            Ok(trouble) => {
                // What blocks or loses is told at once. That commits don't wait yet is how every setup begins.
                let is_grave = matches!(trouble, Some(Trouble::RemoteApply { .. } | Trouble::Slot { .. }));
                let seen_at = trouble.as_ref().map(|_| since.unwrap_or_else(Instant::now));
                since = seen_at;
                let is_old = seen_at.is_some_and(|at| at.elapsed() >= patience);
                let trouble = trouble.filter(|_| is_grave || is_old);
                health.server(trouble.map(|trouble| (trouble.what(&options.slot), trouble.hint(&options.slot))));
                was_told = false;
            }
            Err(error) if !was_told => {
                let why = describe(&error);
                progress.problem(&format!("can't ask the server about its settings, only the stream tells: {why}"));
                was_told = true;
            }
            Err(_) => {}
        }
    }
}

/// The worst that is wrong.
async fn look(target: &Target, slot: &str, patience: Duration) -> Result<Option<Trouble>> {
    let client = target.connect().await?;
    let facts = observe(&client, slot).await?;
    let troubles = synchronous::troubles(&facts, slot, true, patience);
    // Whether we are connected we know ourselves. Sessions that wait because we are slow have another alarm.
    let ours = |trouble: &Trouble| !matches!(trouble, Trouble::NotConnected);
    Ok(troubles.into_iter().find(ours))
}
