//! Ctrl-C and `kill`: the first asks the work to end cleanly, the second ends the process.

use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use tokio::sync::watch;

/// For commands that can't stop in the middle but may end anywhere: when somebody asks for the end, cleans up, says so
/// as every failure is said, and ends the process. Call within the runtime.
pub fn ends(output: &Output, hint: &'static str, clean_up: impl FnOnce() + Send + 'static) -> Ending {
    let (mut asked, as_json) = (signal(), output.is_json());
    let ending = Ending(asked.clone());
    tokio::spawn(async move {
        if asked.wait_for(|asked| *asked).await.is_err() {
            return;
        }
        let _ = tokio::task::spawn_blocking(clean_up).await;
        let failure = Failure::new(FailureKind::Unavailable, "interrupted").with_hint(hint);
        failure.tell(as_json);
        #[expect(clippy::disallowed_methods, reason = "what can't be stopped has no way back to main")]
        std::process::exit(failure.kind.exit_code().into());
    });
    ending
}

/// Whether the process is about to end.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns at once, or never when somebody asked for the end: cleaning up makes the work fail, and that failure is
    /// nobody's news.
    pub async fn hold(&self) {
        if *self.0.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

/// Becomes true when somebody asks for the end. Call within the runtime.
pub fn signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            // Without a handler the signal ends the process, which is safe too.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sender.send_replace(true);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Whoever asks twice doesn't want to wait for anything; the repository is made to survive it.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    receiver
}
