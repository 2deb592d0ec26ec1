//! What a copy's replay will read is brought before it gets there. It is only a help, and nothing that goes wrong in it is told: what of
//! the point it could not have is noted where it was asked for.

use crate::instant::Ahead;
use lifeboat_mount::overlay::Overlay;
use lifeboat_repository::Repository;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// It goes on by itself. Dropped, it ends, and that is waited for.
pub struct Helped {
    is_to_end: Arc<AtomicBool>,
    bringing: Option<JoinHandle<()>>,
}

impl Helped {
    /// Begins. Call within the runtime.
    pub fn begin(ahead: Ahead, repository: Arc<Repository>, overlay: Arc<Overlay>) -> Self {
        let is_to_end = Arc::new(AtomicBool::new(false));
        let is_told = is_to_end.clone();
        let bringing = Handle::current().spawn(async move {
            match ahead.bring(repository, overlay, is_told).await {
                Ok(None) => {}
                Ok(Some(error)) => tracing::debug!("replay is not helped with all of it: {}", error.in_words()),
                Err(error) => tracing::debug!(%error, "replay is not helped any more"),
            }
        });
        Self { is_to_end, bringing: Some(bringing) }
    }

    /// Nobody needs it any more.
    pub fn stop(&self) {
        self.is_to_end.store(true, Ordering::Relaxed);
    }
}

impl Drop for Helped {
    fn drop(&mut self) {
        self.stop();
        if let Some(bringing) = self.bringing.take() {
            let _ = Handle::current().block_on(bringing);
        }
    }
}
