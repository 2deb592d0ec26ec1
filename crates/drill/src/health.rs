//! When the application works again: its own question is asked all the time from the fault on.

use lifeboat_postgres::connection::Target;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two questions: an answer is measured that finely.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Servers, and what each must answer with true.
pub type Questions = Vec<(Target, Vec<String>)>;

/// Somebody who asks until everything is answered rightly.
#[derive(Debug)]
pub struct Watch {
    healthy_at: Arc<Mutex<Option<Instant>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to ask.
    pub fn begin(questions: Questions) -> Self {
        let healthy_at = Arc::<Mutex<Option<Instant>>>::default();
        let noted = healthy_at.clone();
        let task = tokio::spawn(async move {
            while !is_healthy(&questions).await {
                tokio::time::sleep(ASK_EVERY).await;
            }
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        });
        Self { healthy_at, task }
    }

    /// When everything was first answered rightly.
    pub fn healthy_at(&self) -> Option<Instant> {
        *self.healthy_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for that, but not for ever.
    pub async fn wait(&mut self, limit: Duration) -> Option<Instant> {
        let _ = tokio::time::timeout(limit, &mut self.task).await;
        self.healthy_at()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether all is answered with true now.
pub async fn is_healthy(questions: &Questions) -> bool {
    for (target, queries) in questions {
        let Ok(client) = target.connect().await else { return false };
        for query in queries {
            let answer = client.query_one(query, &[]).await;
            if !answer.is_ok_and(|row| row.try_get::<_, bool>(0).unwrap_or(false)) {
                return false;
            }
        }
    }
    true
}
