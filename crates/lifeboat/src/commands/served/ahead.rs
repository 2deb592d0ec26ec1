//! What replay will read is brought before it gets there.

use crate::failure::{Failure, FailureKind};
use crate::output::progress;
use lifeboat_mount::overlay::Overlay;
use lifeboat_recovery::instant;
use lifeboat_repository::{Progress, Repository};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

/// It goes on by itself. Dropped, it ends soon.
pub struct Ahead {
    is_to_end: Arc<AtomicBool>,
    bringing: JoinHandle<()>,
}

impl Ahead {
    /// Begins. What goes wrong is told once: a server goes on without it, only slower. Call within the runtime.
    pub fn begin(
        ahead: instant::Ahead,
        repository: Arc<Repository>,
        overlay: Arc<Overlay>,
        progress: Arc<progress::ForRooms>,
    ) -> Self {
        let is_to_end = Arc::new(AtomicBool::new(false));
        let is_told = is_to_end.clone();
        let bringing = tokio::spawn(async move {
            let brought = ahead.bring(repository, overlay, is_told.clone()).await;
            let failed = match brought {
                Ok(failed) => failed.map(|error| Failure::from_error(FailureKind::Unavailable, &error).sentence()),
                Err(error) => Some(Failure::from(error).sentence()),
            };
            if let Some(why) = failed.filter(|_| !is_told.load(Ordering::Relaxed)) {
                progress.warn(&format!("replay is not helped any more, and may be slow: {why}"));
            }
        });
        Self { is_to_end, bringing }
    }

    /// Nobody needs it any more.
    pub fn stop(&self) {
        self.is_to_end.store(true, Ordering::Relaxed);
    }

    /// Ends it, and returns when it has let go of everything.
    pub async fn end(mut self) {
        self.stop();
        let _ = (&mut self.bringing).await;
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop();
    }
}
