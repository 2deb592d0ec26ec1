//! The picture as SVG, by hand: for each group a bar for each strategy, with the range of likelihoods, on an axis with its unit. Readable on
//! paper and in the dark: colors follow the reader's scheme, and the two parts differ in pattern, too.

use super::words;
use lifeboat_plan::cost::{Analysis, ScopeAnalysis, StrategyRow};
use lifeboat_plan::money::Money;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
/// Where the bars begin, and how long the longest is.
const LEFT: f64 = 150.0;
const LONG: f64 = 590.0;
const ROW: f64 = 30.0;

const STYLE: &str = "
  .page { fill: #ffffff } text { fill: #1a1a1a; font: 13px system-ui, sans-serif }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px }
  .protection { fill: #1f5fa8; stroke: #1f5fa8 } .loss { fill: url(#hatch); stroke: #b5482a }
  .hatch { stroke: #b5482a; stroke-width: 3 } .axis { stroke: #1a1a1a } .grid { stroke: #d4d4d4 } .range { stroke: #1a1a1a; stroke-width: 1.5 }
  @media screen and (prefers-color-scheme: dark) {
    .page { fill: #14171a } text { fill: #e8e8e8 } .protection { fill: #6fb1f5; stroke: #6fb1f5 } .loss { stroke: #f59a7a }
    .hatch { stroke: #f59a7a } .axis { stroke: #e8e8e8 } .grid { stroke: #3a3f45 } .range { stroke: #e8e8e8 }
  }
";

pub fn picture(analysis: &Analysis) -> String {
    let mut body = String::new();
    let mut top = 64.0;
    for scope in &analysis.scopes {
        top = panel(&mut body, analysis, scope, top);
    }
    let height = top + 8.0;
    let years = analysis.years;
    let plural = if years == 1 { "" } else { "s" };
    let title = format!("Cost of protection and expected loss over {years} year{plural}");
    let unit = escaped(analysis.currency.as_deref().unwrap_or("currency of the plan"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}, in {unit}</title>\n<style>{STYLE}</style>\n\
         <defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n\
         <rect class=\"protection\" x=\"16\" y=\"38\" width=\"14\" height=\"12\"/><text x=\"36\" y=\"49\">protection</text>\n\
         <rect class=\"loss\" x=\"120\" y=\"38\" width=\"14\" height=\"12\"/><text x=\"140\" y=\"49\">expected loss</text>\n\
         <path class=\"range\" fill=\"none\" d=\"M246 44h22m-22 -4v8m22 -8v8\"/><text x=\"276\" y=\"49\">from the lowest to the highest likelihood</text>\n\
         {body}</svg>\n"
    )
}

/// Draws one scope below `top`, and says where it ends.
fn panel(body: &mut String, analysis: &Analysis, scope: &ScopeAnalysis, top: f64) -> f64 {
    let name = scope.group.as_ref().map_or_else(|| "The whole plan".to_owned(), |group| format!("Group {group}"));
    let _ = writeln!(body, "<text class=\"title\" x=\"16\" y=\"{:.0}\">{}</text>", top + 24.0, escaped(&name));
    let most = scope.rows.iter().map(|row| row.total.high.known.as_units()).fold(0.0, f64::max);
    let step = step(most);
    let end = if step > 0.0 { (most / step).ceil() * step } else { 1.0 };
    let (first, last) = (top + 36.0, top + 36.0 + ROW * scope.rows.len() as f64);
    let mut tick = 0.0;
    while step > 0.0 && tick <= end + step / 2.0 {
        let x = LEFT + tick / end * LONG;
        let label = words::money(Money::from_float(tick).unwrap_or_default());
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{first:.0}\" y2=\"{last:.0}\"/><text class=\"small\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>",
            last + 16.0
        );
        tick += step;
    }
    let _ = writeln!(body, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{first:.0}\" y2=\"{last:.0}\"/>");
    for (number, row) in scope.rows.iter().enumerate() {
        bar(body, row, scope, first + ROW * number as f64, LONG / end);
    }
    let unit = escaped(analysis.currency.as_deref().unwrap_or("currency of the plan"));
    let _ = writeln!(
        body,
        "<text class=\"small\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{unit}, money of today, sum of the period</text>",
        LEFT + LONG / 2.0,
        last + 34.0
    );
    last + 44.0
}

fn bar(body: &mut String, row: &StrategyRow, scope: &ScopeAnalysis, y: f64, scale: f64) {
    let long = |units: f64| (units * scale).clamp(0.0, LONG);
    let [protection, total, low, high] = [&row.protection, &row.total.expected, &row.total.low, &row.total.high]
        .map(|amount| long(amount.known.as_units()));
    let chosen = scope.choice.as_ref().is_some_and(|choice| choice.cheapest == Some(row.strategy));
    let mark = if chosen { " ✓" } else { "" };
    let (base, middle) = (y + 19.0, y + 14.0);
    let _ = writeln!(
        body,
        "<text x=\"{:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{}{mark}</text>\
         <rect class=\"protection\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{protection:.1}\" height=\"16\"/>\
         <rect class=\"loss\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\"/>",
        LEFT - 8.0,
        words::strategy(row.strategy),
        y + 6.0,
        LEFT + protection,
        y + 6.0,
        (total - protection).max(0.0)
    );
    if high > low {
        let (from, to) = (LEFT + low, LEFT + high);
        let _ = writeln!(
            body,
            "<path class=\"range\" fill=\"none\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\"/>",
            middle - 4.0,
            middle - 4.0
        );
    }
    let text = match words::amount(&row.total.expected, true) {
        unknown if unknown == "?" => "not given".to_owned(),
        text => format!("{text}{}", words::unpriced(row)),
    };
    let at = LEFT + total.max(high) + 8.0;
    let _ = writeln!(body, "<text class=\"small\" x=\"{at:.1}\" y=\"{base:.0}\">{text}</text>");
}

/// Between two marks of the axis: 1, 2 or 5 of some power of ten, so that there are at most six.
fn step(most: f64) -> f64 {
    if !(most > 0.0 && most.is_finite()) {
        return 0.0;
    }
    let rough = most / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let fits = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    fits.unwrap_or(rough)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
