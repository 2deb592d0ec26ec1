//! A time axis that fits a number of columns: which column a moment has, and round times under the line. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

/// Between two labels.
const SPACE: usize = 2;
/// A picture of no time at all has no axis: one moment is drawn in the middle of an hour.
const SPAN_MIN: SignedDuration = SignedDuration::from_mins(1);

/// Where moments are.
#[derive(Debug)]
pub struct Axis {
    from: Timestamp,
    to: Timestamp,
    columns: usize,
    zone: TimeZone,
}

/// Distances between ticks, the smallest first.
fn steps() -> Vec<Span> {
    let minutes = [1, 2, 5, 10, 15, 30].map(|minutes| Span::new().minutes(minutes));
    let hours = [1, 2, 3, 6, 12].map(|hours| Span::new().hours(hours));
    let days = [1, 2, 7, 14].map(|days| Span::new().days(days));
    let months = [1, 2, 3, 6].map(|months| Span::new().months(months));
    let years = [1, 2, 5, 10, 50, 100].map(|years| Span::new().years(years));
    minutes.into_iter().chain(hours).chain(days).chain(months).chain(years).collect()
}

impl Axis {
    /// An axis over these moments, and up to now unless that would leave most of it empty. `None` without moments.
    pub fn over(moments: &[Timestamp], now: Timestamp, columns: usize, zone: &TimeZone) -> Option<Self> {
        let (first, last) = (*moments.iter().min()?, *moments.iter().max()?);
        let known = last.duration_since(first).max(SignedDuration::from_hours(1));
        let to = if now > last && now.duration_since(last) <= known { now } else { last };
        let (from, to) = match to.duration_since(first) < SPAN_MIN {
            true => (first.checked_sub(SPAN_MIN).ok()?, to.checked_add(SPAN_MIN).ok()?),
            false => (first, to),
        };
        Some(Self { from, to, columns: columns.max(1), zone: zone.clone() })
    }

    /// The column of a moment; what lies outside is at the edge.
    pub fn column(&self, at: Timestamp) -> usize {
        let whole = self.to.duration_since(self.from).as_secs_f64();
        let part = at.duration_since(self.from).as_secs_f64();
        let last = (self.columns - 1) as f64;
        (part / whole * last).round().clamp(0.0, last) as usize
    }

    /// The line with its ticks, and the labels under them.
    pub fn rows(&self, tick: char, axis: char) -> [String; 2] {
        let ticks = steps().iter().map(|step| self.ticks(step)).find(|ticks| self.fits(ticks)).unwrap_or_default();
        let (mut line, mut labels) = (vec![axis; self.columns], vec![' '; self.columns]);
        for (column, label) in ticks {
            line[column] = tick;
            for (at, character) in (column..).zip(label.chars()) {
                labels[at] = character;
            }
        }
        [line, labels].map(|row| row.into_iter().collect::<String>().trim_end().to_owned())
    }

    /// Round times with their columns. A first tick within a day says its day, and so does the first of each other one.
    fn ticks(&self, step: &Span) -> Vec<(usize, String)> {
        let mut ticks = Vec::new();
        let Some(mut at) = self.first(step) else { return ticks };
        let is_of_day = step.get_years() == 0 && step.get_months() == 0 && step.get_days() == 0;
        let mut day = None;
        while at.timestamp() <= self.to && ticks.len() <= self.columns {
            let format = match step {
                step if step.get_years() > 0 => "%Y",
                step if step.get_months() > 0 => "%b %Y",
                _ if is_of_day && day == Some(at.date()) => "%H:%M",
                _ if is_of_day => "%b %-d %H:%M",
                _ => "%b %-d",
            };
            if at.timestamp() >= self.from {
                day = Some(at.date());
                ticks.push((self.column(at.timestamp()), at.strftime(format).to_string()));
            }
            match at.checked_add(*step) {
                Ok(next) if next > at => at = next,
                _ => break,
            }
        }
        // What would stand over the edge is left out.
        ticks.retain(|(column, label)| column + label.len() <= self.columns);
        ticks
    }

    /// A round time at or before the beginning.
    fn first(&self, step: &Span) -> Option<Zoned> {
        let from = self.from.to_zoned(self.zone.clone());
        let (year, month) = (from.year(), from.month());
        let date = match step {
            step if step.get_years() > 0 => jiff::civil::date(year - year.rem_euclid(step.get_years()), 1, 1),
            step if step.get_months() > 0 => {
                let months = i8::try_from(step.get_months()).ok()?;
                jiff::civil::date(year, month - (month - 1) % months, 1)
            }
            step if step.get_days() >= 7 => {
                let monday = from.date().weekday().to_monday_zero_offset();
                from.date().checked_sub(Span::new().days(monday)).ok()?
            }
            _ => from.date(),
        };
        let midnight: DateTime = date.to_datetime(jiff::civil::Time::midnight());
        let mut at = midnight.to_zoned(self.zone.clone()).ok()?;
        // From midnight in steps of the day, so that the times are round in this zone.
        while step.get_days() == 0 && step.get_months() == 0 && step.get_years() == 0 {
            let next = at.checked_add(*step).ok()?;
            if next.timestamp() >= self.from {
                break;
            }
            at = next;
        }
        Some(at)
    }

    fn fits(&self, ticks: &[(usize, String)]) -> bool {
        let apart = ticks.windows(2).all(|pair| pair[0].0 + pair[0].1.len() + SPACE <= pair[1].0);
        apart && ticks.len() < self.columns
    }
}
