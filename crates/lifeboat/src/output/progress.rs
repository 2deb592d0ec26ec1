//! What is going on: a bar on a terminal, a line every few seconds elsewhere, nothing when quiet. Always on stderr.

use super::human;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal: a job of an hour leaves some hundred lines in a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Somebody who is told how far it is. Called from many threads.
pub trait Progress: Send + Sync {
    /// A step begins. `total_bytes` when it is known; it may grow by [`Progress::expect`].
    fn begin(&self, what: &str, total_bytes: Option<u64>);
    /// The total is now known, or known better.
    fn expect(&self, total_bytes: u64);
    /// So many bytes more are done.
    fn advance(&self, bytes: u64);
    /// The step is over.
    fn end(&self);
}

/// The right one for this output.
pub fn start(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::new())
    } else {
        Box::new(Lines::default())
    }
}

/// For `--quiet`.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total_bytes: Option<u64>) {}
    fn expect(&self, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

/// For a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        Self(bar)
    }

    fn style(&self, total: bool) {
        let template = if total {
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        } else {
            "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.0.set_style(style);
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total_bytes: Option<u64>) {
        self.0.reset();
        self.0.set_message(what.to_owned());
        self.style(total_bytes.is_some());
        if let Some(total) = total_bytes {
            self.0.set_length(total);
        }
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    fn expect(&self, total_bytes: u64) {
        self.style(true);
        self.0.set_length(total_bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn end(&self) {
        self.0.disable_steady_tick();
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// For a log.
#[derive(Debug, Default)]
struct Lines(Mutex<Option<Step>>);

#[derive(Debug)]
struct Step {
    what: String,
    done: u64,
    total: Option<u64>,
    began: Instant,
    told: Instant,
}

impl Lines {
    fn with(&self, act: impl FnOnce(&mut Option<Step>)) {
        // A panic elsewhere leaves at worst a wrong figure on stderr.
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Progress for Lines {
    fn begin(&self, what: &str, total_bytes: Option<u64>) {
        let now = Instant::now();
        let step = Step { what: what.to_owned(), done: 0, total: total_bytes, began: now, told: now };
        tell(&line(&step, Duration::ZERO));
        self.with(|current| *current = Some(step));
    }

    fn expect(&self, total_bytes: u64) {
        self.with(|current| {
            if let Some(step) = current {
                step.total = Some(total_bytes);
            }
        });
    }

    fn advance(&self, bytes: u64) {
        self.with(|current| {
            let Some(step) = current else { return };
            step.done = step.done.saturating_add(bytes);
            if step.told.elapsed() >= LINE_INTERVAL {
                step.told = Instant::now();
                tell(&line(step, step.began.elapsed()));
            }
        });
    }

    fn end(&self) {
        self.with(|current| {
            if let Some(step) = current.take() {
                tell(&format!("{}, done", line(&Step { total: None, ..step }, step.began.elapsed())));
            }
        });
    }
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// `read shop: 1.0 GiB of 4.0 GiB, 102.4 MiB/s, 30.0 s left`.
fn line(step: &Step, elapsed: Duration) -> String {
    let mut line = match step.total {
        Some(total) => format!("{}: {} of {}", step.what, human::size(step.done), human::size(total)),
        None if step.done == 0 => step.what.clone(),
        None => format!("{}: {}", step.what, human::size(step.done)),
    };
    let seconds = elapsed.as_secs_f64();
    if step.done > 0 && seconds > 0.0 {
        let rate = step.done as f64 / seconds;
        line.push_str(&format!(", {}/s", human::size(rate as u64)));
        if let Some(left) = step.total.and_then(|total| total.checked_sub(step.done)).filter(|left| *left > 0) {
            let left = Duration::try_from_secs_f64(left as f64 / rate).unwrap_or(Duration::MAX);
            line.push_str(&format!(", {} left", human::duration(left)));
        }
    }
    line
}

/// What the rooms report to: phases become steps, warnings go to stderr.
pub struct ForRooms {
    steps: Box<dyn Progress>,
    what: String,
    output: super::Output,
}

/// Progress of `what` for the rooms.
pub fn for_rooms(output: &super::Output, what: &str) -> std::sync::Arc<ForRooms> {
    std::sync::Arc::new(ForRooms { steps: start(output.is_quiet()), what: what.to_owned(), output: output.clone() })
}

impl ForRooms {
    /// The work is over.
    pub fn finish(&self) {
        self.steps.end();
    }
}

impl lifeboat_repository::Progress for ForRooms {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.steps.end();
        self.steps.begin(&format!("{}: {name}", self.what), total_bytes);
    }

    fn advance(&self, bytes: u64) {
        self.steps.advance(bytes);
    }

    fn warn(&self, message: &str) {
        self.output.warn(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_bytes_rate_and_time_left() {
        let now = Instant::now();
        let step = |done, total| Step { what: "read shop".into(), done, total, began: now, told: now };
        let ten = Duration::from_secs(10);
        assert_eq!(line(&step(0, Some(4 << 30)), Duration::ZERO), "read shop: 0 B of 4.0 GiB");
        assert_eq!(line(&step(1 << 30, Some(4 << 30)), ten), "read shop: 1.0 GiB of 4.0 GiB, 102.4 MiB/s, 30.0 s left");
        assert_eq!(line(&step(1 << 30, None), ten), "read shop: 1.0 GiB, 102.4 MiB/s");
        assert_eq!(line(&step(5, Some(4)), ten), "read shop: 5 B of 4 B, 0 B/s");
    }
}
