//! That somebody wants the end: by Ctrl-C, or a signal. Told once, and for ever.

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// See the module.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Begins to listen. Within the runtime.
    ///
    /// # Errors
    /// When signals can't be listened to.
    pub fn listen() -> Result<Self> {
        let (told, ending) = watch::channel(false);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        for kind in kinds {
            let (told, mut signals) = (told.clone(), signal(kind).context("listen to signals")?);
            tokio::spawn(async move {
                signals.recv().await;
                told.send_replace(true);
            });
        }
        Ok(Self(ending))
    }

    pub fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// # Errors
    /// When it is wanted.
    pub fn check(&self) -> Result<()> {
        if self.is_wanted() {
            bail!("ended before everything was there");
        }
        Ok(())
    }

    /// Waits for it.
    pub async fn wanted(&mut self) {
        if self.0.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
