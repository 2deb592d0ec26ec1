//! Amounts, times and objections as people read them. Pure.

use crate::output::human;
use lifeboat_plan::cost::{Amount, Figure, Objection, Payback, Source, StrategyRow};
pub use lifeboat_plan::cost::{disruption_word as disruption, strategy_word as strategy};
use lifeboat_plan::money::Money;
use std::time::Duration;

/// At most ten characters: `9,999,999`, `12.3 M`; cents only below a hundred.
pub fn money(money: Money) -> String {
    let units = money.as_units();
    let large = |divisor: f64, letter: &str| format!("{:.1} {letter}", units / divisor);
    match units.abs() {
        0.0 => "0".to_owned(),
        amount if amount < 100.0 => format!("{money:.2}"),
        amount if amount < 9_999_999.5 => format!("{money:.0}"),
        amount if amount < 999.95e6 => large(1e6, "M"),
        amount if amount < 999.95e9 => large(1e9, "G"),
        amount if amount < 999.95e12 => large(1e12, "T"),
        _ => format!("{units:.1e}"),
    }
}

/// `1,000`, `≥1,000` where something is missing, `?` where all is.
pub fn amount(amount: &Amount, unicode: bool) -> String {
    match (amount.is_whole(), amount.known == Money::ZERO) {
        (true, _) => money(amount.known),
        (false, true) => "?".to_owned(),
        (false, false) => format!("{}{}", if unicode { "≥" } else { ">=" }, money(amount.known)),
    }
}

/// A remark behind a sum in which the strategy's own cost is missing: it looks cheaper than it is.
pub fn unpriced(row: &StrategyRow) -> &'static str {
    if row.own.is_whole() { "" } else { " + cost" }
}

/// How a figure is known, in at most 19 characters.
pub fn known(source: &Source) -> String {
    match source {
        Source::Measured { on, passed: true, .. } => format!("measured {on}"),
        Source::Measured { on, .. } => format!("failed {on}"),
        Source::Given => "assumed: given".to_owned(),
        Source::Promised(_) => "assumed: promised".to_owned(),
        Source::Usual => "assumed: usual".to_owned(),
        Source::Unknown => "not known".to_owned(),
    }
}

/// `4 h`, `0 s`, or that it isn't known.
pub fn time(time: Option<Duration>) -> String {
    match time {
        None => "?".to_owned(),
        Some(Duration::ZERO) => "0 s".to_owned(),
        Some(time) => human::duration(time),
    }
}

/// When a purchase has come back.
pub fn payback(payback: Payback) -> String {
    match payback {
        Payback::AtOnce => "at once".to_owned(),
        Payback::Never => "never".to_owned(),
        Payback::Years(years) if years > 999.0 => "> 999 y".to_owned(),
        Payback::Years(years) => format!("{years:.2} y"),
    }
}

/// Why a strategy won't do, as a sentence without its subject.
pub fn objection(objection: &Objection) -> String {
    match objection {
        Objection::Over { disruption: kind, promise, most, figure: Figure { time: Some(actual), source } } => {
            let what = if promise == "RPO" { "loses" } else { "takes" };
            let (actual, most) = (time(Some(*actual)), time(Some(*most)));
            format!("{}: {what} {actual} ({}), {promise} is {most}", disruption(*kind), known(source))
        }
        Objection::Over { disruption: kind, promise, most, .. } => {
            let what = if promise == "RPO" { "how much is lost" } else { "how long it takes" };
            format!("{}: {what} is not known, {promise} is {}", disruption(*kind), time(Some(*most)))
        }
        Objection::Slow { disruption: kind, rto, location, floor } => {
            let (floor, rto) = (time(Some(*floor)), time(Some(*rto)));
            let of = disruption(*kind);
            format!("{of}: no location gives the data back within the RTO of {rto}; {location} needs at least {floor}")
        }
    }
}

/// Lines of at most 100 characters, each but the first indented as far as the first's text.
pub fn wrapped(first: &str, text: &str) -> String {
    let indent = " ".repeat(first.chars().count());
    let (mut lines, mut line, mut is_empty) = (Vec::new(), first.to_owned(), true);
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines.join("\n")
}

/// One of a list.
pub fn bullet(text: &str) -> String {
    wrapped("  - ", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_fit_their_column() {
        for (units, text) in [
            (0, "0"),
            (5, "5.00"),
            (-50, "-50.00"),
            (1000, "1,000"),
            (-2865, "-2,865"),
            (9_999_999, "9,999,999"),
            (10_000_000, "10.0 M"),
            (4_000_000_000, "4.0 G"),
            (i64::MAX, "9.2e18"),
        ] {
            assert_eq!(money(Money::from_units(units)), text);
        }
        let some = Amount::known(Money::from_units(1000)) + Amount::missing("x");
        assert_eq!((amount(&some, true).as_str(), amount(&some, false).as_str()), ("≥1,000", ">=1,000"));
        assert_eq!(amount(&Amount::missing("x"), true), "?");
    }

    #[test]
    fn remarks_are_broken_between_words() {
        let text = bullet(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= 100) && text.lines().count() == 4, "{text}");
    }
}
