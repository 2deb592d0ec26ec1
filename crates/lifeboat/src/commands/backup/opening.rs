//! A workload's opening hours for backups: refused or waited for outside, stopped when they are over.
//!
//! A backup that is stopped is no recovery point, but nothing of it is lost: the packs it stored are found by the next
//! one, which only reads on from there.

use crate::config::Window;
use crate::failure::{Failure, FailureKind};
use crate::interrupt;
use crate::output::Output;
use jiff::Zoned;
use lifeboat_workload::postgres::BackupError;
use std::time::Duration;
use tokio::sync::watch;

/// The machine may sleep, and its clock may be set: look at the clock again at least so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Until the window is open, or a refusal. When it closes.
pub async fn wait(name: &str, window: &Window, waits: bool, output: &Output) -> Result<Zoned, Failure> {
    let opens_at = |now: &Zoned| window.opens_at(now).unwrap_or_else(|| now.clone());
    let now = Zoned::now();
    if let Some(closes_at) = window.closes_at(&now) {
        return Ok(closes_at);
    }
    let when = opens_at(&now).strftime("%Y-%m-%d %H:%M").to_string();
    if !waits {
        let message = format!("backups of {name} run in its window, {window}; it opens at {when}");
        return Err(Failure::new(FailureKind::Unavailable, message).with_hint("add --wait-for-window to wait for it"));
    }
    output.hint(&format!("waiting for the window of {name}, which opens at {when}"));
    let mut asked = interrupt::signal();
    loop {
        let now = Zoned::now();
        if let Some(closes_at) = window.closes_at(&now) {
            return Ok(closes_at);
        }
        tokio::select! {
            () = tokio::time::sleep(until(&now, &opens_at(&now)).min(LOOK_INTERVAL)) => {}
            Ok(_) = asked.wait_for(|asked| *asked) => {
                return Err(Failure::new(FailureKind::Unavailable, "interrupted while waiting for the window"));
            }
        }
    }
}

/// Becomes true when somebody asks for the end, and when the window closes. Call within the runtime.
pub fn closing(mut asked: watch::Receiver<bool>, closes_at: Option<Zoned>) -> watch::Receiver<bool> {
    let Some(closes_at) = closes_at else { return asked };
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let now = Zoned::now();
            if now >= closes_at {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(until(&now, &closes_at).min(LOOK_INTERVAL)) => {}
                Ok(_) = asked.wait_for(|asked| *asked) => break,
            }
        }
        sender.send_replace(true);
        // Kept: a channel without its sender would look as if nobody could ask any more.
        sender.closed().await;
    });
    receiver
}

/// What to say of a backup that failed: when the window is over, that was the reason.
pub fn failure(error: BackupError, name: &str, window: Option<&Window>) -> Failure {
    let over = window.filter(|window| window.closes_at(&Zoned::now()).is_none());
    match (&error, over) {
        (BackupError::Interrupted, Some(window)) => {
            let message = format!("the window of {name}, {window}, was over before the backup was complete");
            Failure::new(FailureKind::Unavailable, message)
                .with_hint("what was stored stays: the next backup goes on from it; if this goes on, widen `window`")
        }
        _ => error.into(),
    }
}

fn until(now: &Zoned, then: &Zoned) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backup_is_asked_to_end_when_the_window_closes_or_somebody_says_so() {
        let limit = Duration::from_secs(20);
        let (_asking, asked) = watch::channel(false);
        let soon = Zoned::now().checked_add(Duration::from_millis(50)).unwrap();
        let mut closing = super::closing(asked, Some(soon.clone()));
        tokio::time::timeout(limit, closing.wait_for(|asked| *asked)).await.expect("it closes").unwrap();
        assert!(Zoned::now() >= soon);

        let (asking, asked) = watch::channel(false);
        let late = Zoned::now().checked_add(Duration::from_secs(3600)).unwrap();
        let mut closing = super::closing(asked, Some(late));
        assert!(!*closing.borrow());
        asking.send_replace(true);
        tokio::time::timeout(limit, closing.wait_for(|asked| *asked)).await.expect("somebody asked").unwrap();
    }
}
