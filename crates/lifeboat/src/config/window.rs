//! The hours of the day in which a backup may run: `"22:00-06:00"`. Pure.
//!
//! Times are those of the wall clock, so a night on which clocks are changed is an hour longer or shorter.

use jiff::Zoned;
use jiff::civil::Time;
use std::fmt;

/// From one time of the day to another, on the next day if that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

impl Window {
    /// Reads `"22:00-06:00"`. An empty window is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let window = Self { from: time(from.trim())?, to: time(to.trim())? };
        (window.from != window.to).then_some(window)
    }

    fn holds(&self, now: Time) -> bool {
        match self.from < self.to {
            true => self.from <= now && now < self.to,
            false => self.from <= now || now < self.to,
        }
    }

    /// When it closes; `None` when it isn't open.
    pub fn closes_at(&self, now: &Zoned) -> Option<Zoned> {
        self.holds(now.time()).then(|| next(self.to, now)).flatten()
    }

    /// When it opens next.
    pub fn opens_at(&self, now: &Zoned) -> Option<Zoned> {
        next(self.from, now)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

/// `HH:MM`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i8>().ok()).flatten()
    };
    Time::new(two_digits(hour)?, two_digits(minute)?, 0, 0).ok()
}

/// The next moment at which the clock on the wall shows `time`.
fn next(time: Time, now: &Zoned) -> Option<Zoned> {
    let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
    if &today > now {
        return Some(today);
    }
    now.date().tomorrow().ok()?.to_datetime(time).to_zoned(now.time_zone().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_and_closes_by_the_clock_on_the_wall() {
        for (window, now, closes, opens) in [
            ("22:00-06:00", "2026-11-21T23:30", Some("2026-11-22T06:00"), "2026-11-22T22:00"),
            ("22:00-06:00", "2026-11-21T05:59", Some("2026-11-21T06:00"), "2026-11-21T22:00"),
            ("22:00-06:00", "2026-11-21T06:00", None, "2026-11-21T22:00"),
            ("22:00-06:00", "2026-11-21T22:00", Some("2026-11-22T06:00"), "2026-11-22T22:00"),
            ("01:00-05:30", "2026-11-21T03:00", Some("2026-11-21T05:30"), "2026-11-22T01:00"),
            ("01:00-05:30", "2026-11-21T00:59", None, "2026-11-21T01:00"),
            // Clocks go back an hour in this night.
            ("22:00-06:00", "2026-10-24T23:00", Some("2026-10-25T06:00"), "2026-10-25T22:00"),
        ] {
            let at = |text: &str| format!("{text}:00[Europe/Berlin]").parse::<Zoned>().unwrap();
            let window = Window::parse(window).unwrap();
            assert_eq!(window.closes_at(&at(now)), closes.map(at), "{window} {now}");
            assert_eq!(window.opens_at(&at(now)), Some(at(opens)), "{window} {now}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in
            ["", "22:00", "22:00-22:00", "24:00-06:00", "2:00-06:00", "22:00-06:60", "22-06", "22:00-06:00-07:00"]
        {
            assert_eq!(Window::parse(text), None, "{text}");
        }
        assert_eq!(Window::parse("22:00 - 06:00").unwrap().to_string(), "22:00-06:00");
    }
}
