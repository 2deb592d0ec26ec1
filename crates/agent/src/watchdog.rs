//! The machine's own last resort: a device that resets it when nobody has written to it for a while (`/dev/watchdog`; the kernel's
//! `Documentation/watchdog/watchdog-api.rst`).
//!
//! It is fed by the process that ends the database, while there is a deadline: if that process hangs with everything else, or can't end the database,
//! the machine is reset. How long it may go unfed is the driver's setting, and should be shorter than the lease. `V`, written last, is what
//! drivers take for an orderly end.

use lifeboat_failover::Moment;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Drivers' shortest time is a second.
const FEED_EVERY: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(crate) struct Watchdog {
    path: Option<PathBuf>,
    open: Option<File>,
    fed_at: Moment,
}

impl Watchdog {
    /// `None`: the machine has none.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, open: None, fed_at: Moment::default() }
    }

    /// While `armed` it is fed, and begins to be on the first call; `overdue`: what should have ended hasn't, and it is fed no more.
    pub fn look(&mut self, now: Moment, armed: bool, overdue: bool) {
        let Some(path) = &self.path else { return };
        if !armed {
            return self.stop();
        }
        if overdue || self.open.is_some() && now - self.fed_at < FEED_EVERY {
            return;
        }
        if self.open.is_none() {
            // Opening it begins the count. One that can't be opened was told of at the agent's start.
            self.open = File::options().append(true).open(path).ok();
        }
        if let Some(device) = &mut self.open {
            let _ = device.write_all(b"\0");
            self.fed_at = now;
        }
    }

    /// Ends the count.
    pub fn stop(&mut self) {
        if let Some(mut device) = self.open.take() {
            let _ = device.write_all(b"V");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_while_armed_and_ended_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("watchdog");
        std::fs::write(&path, "").expect("a stand-in");
        let written = || std::fs::read(&path).expect("what was written");
        let at = |milliseconds: u64| Moment(Duration::from_millis(1_000 + milliseconds));
        let mut watchdog = Watchdog::new(Some(path.clone()));
        watchdog.look(at(0), false, false);
        assert_eq!(written(), b"", "nothing is counted before there is a deadline");
        watchdog.look(at(10), true, false);
        watchdog.look(at(20), true, false);
        watchdog.look(at(270), true, false);
        assert_eq!(written(), b"\0\0");
        watchdog.look(at(600), true, true);
        watchdog.look(at(900), true, true);
        assert_eq!(written(), b"\0\0", "what didn't end isn't covered up");
        watchdog.look(at(1_000), true, false);
        watchdog.look(at(1_010), false, false);
        assert_eq!(written(), b"\0\0\0V");
        watchdog.look(at(1_020), true, false);
        assert_eq!(written(), b"\0\0\0V\0", "and begins again");
    }
}
