//! The picture in the terminal: what protection costs, and behind it the expected loss, to scale.

use super::words;
use lifeboat_plan::cost::ScopeAnalysis;
use std::fmt::Write;

/// So wide are the longest bars.
const WIDTH: f64 = 60.0;

/// One line for each strategy of which anything is known.
pub fn bars(scope: &ScopeAnalysis, unicode: bool) -> String {
    let (full, shaded) = if unicode { ("█", "░") } else { ("#", "-") };
    let rows = || scope.rows.iter().filter(|row| row.total.expected.known.micros() > 0);
    let most = rows().map(|row| row.total.expected.known.as_units()).fold(0.0, f64::max);
    let mut text = String::new();
    for row in rows() {
        let long = |units: f64| (units / most * WIDTH).round().clamp(0.0, WIDTH) as usize;
        let all = long(row.total.expected.known.as_units());
        let protection = long(row.protection.known.as_units()).min(all);
        let _ = writeln!(
            text,
            "{:<14}  {}{} {}{}",
            words::strategy(row.strategy),
            full.repeat(protection),
            shaded.repeat(all - protection),
            words::amount(&row.total.expected, unicode),
            words::unpriced(row)
        );
    }
    if !text.is_empty() {
        let _ = writeln!(text, "{:<14}  {full} protection  {shaded} expected loss", "");
    }
    text
}
