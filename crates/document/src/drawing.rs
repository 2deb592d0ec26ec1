//! From a picture to shapes, once for all that can draw them.
//!
//! Units: a drawing is [`WIDTH`] wide, text is 12 high. Colours are roles; whoever draws has a palette for paper, light and dark.

use crate::picture::{Bar, Calendar, Graph, Line, MarkKind, Picture};
use crate::text::one_line;

/// Of every drawing.
pub(crate) const WIDTH: f32 = 680.0;
const ROW: f32 = 34.0;
/// Wide enough for a typical character of the font at size 12.
const CHARACTER: f32 = 6.4;

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Text.
    Ink,
    /// Text that matters less.
    Faint,
    /// Lines of a grid, boxes that hold something.
    Grid,
    /// What was promised.
    Promise,
    /// Within it.
    Good,
    /// Not within it.
    Bad,
    /// Measured without a promise.
    Neutral,
    /// The ground of a box.
    Ground,
    /// Don't overlook this.
    Warning,
}

/// Where text stands relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One shape. Lengths from the left upper corner.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Rectangle { x: f32, y: f32, width: f32, height: f32, fill: Role },
    Path { points: Vec<(f32, f32)>, stroke: Role, width: f32, dashed: bool },
    Disk { x: f32, y: f32, radius: f32, fill: Role },
    Ring { x: f32, y: f32, radius: f32, stroke: Role },
    Words { x: f32, y: f32, text: String, role: Role, anchor: Anchor, small: bool },
}

/// Shapes, from the lowest to the highest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Drawing {
    pub height: f32,
    pub shapes: Vec<Shape>,
}

impl Drawing {
    pub(crate) fn of(picture: &Picture) -> Self {
        match picture {
            Picture::Bars(bars) => draw_bars(bars),
            Picture::Line(line) => draw_line(line),
            Picture::Calendar(calendar) => draw_calendar(calendar),
            Picture::Graph(graph) => draw_graph(graph),
        }
    }

    fn new() -> Self {
        Self { height: 0.0, shapes: Vec::new() }
    }

    fn words(&mut self, x: f32, y: f32, text: &str, role: Role, anchor: Anchor, room: f32) {
        let small = role == Role::Faint;
        let text = cut(text, if small { room * 12.0 / 10.5 } else { room });
        self.shapes.push(Shape::Words { x, y, text, role, anchor, small });
    }

    fn path(&mut self, points: Vec<(f32, f32)>, stroke: Role, width: f32) {
        self.shapes.push(Shape::Path { points, stroke, width, dashed: false });
    }

    fn dashed(&mut self, points: Vec<(f32, f32)>, stroke: Role) {
        self.shapes.push(Shape::Path { points, stroke, width: 1.5, dashed: true });
    }

    fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, fill: Role) {
        self.shapes.push(Shape::Rectangle { x, y, width, height, fill });
    }

    fn nothing_to_show() -> Self {
        let mut drawing = Self::new();
        drawing.height = 30.0;
        drawing.words(0.0, 20.0, "nothing was measured", Role::Faint, Anchor::Start, WIDTH);
        drawing
    }
}

/// What fits into the room, with a sign that there is more.
fn cut(text: &str, room: f32) -> String {
    let text = one_line(text);
    let most = ((room / CHARACTER) as usize).max(2);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A figure that can be drawn.
fn finite(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}

fn draw_bars(bars: &[Bar]) -> Drawing {
    // The promise stands at two thirds of the room for bars; what is more than half as much again ends in an arrow.
    const LEFT: f32 = 190.0;
    const AT_PROMISE: f32 = 190.0;
    const MOST: f32 = 285.0;
    const WORDS: f32 = LEFT + MOST + 12.0;
    if bars.is_empty() {
        return Drawing::nothing_to_show();
    }
    let mut drawing = Drawing::new();
    for (index, bar) in bars.iter().enumerate() {
        let top = index as f32 * ROW;
        let middle = top + ROW / 2.0;
        drawing.words(0.0, middle + 4.0, &bar.label, Role::Ink, Anchor::Start, LEFT - 10.0);
        drawing.rectangle(LEFT, top + 8.0, MOST, ROW - 16.0, Role::Ground);
        let promised = bar.promised.and_then(finite);
        match (bar.measured.and_then(finite), promised) {
            (Some(measured), Some(promised)) => {
                let share = if promised > 0.0 {
                    measured / promised
                } else if measured > 0.0 {
                    9.0
                } else {
                    0.0
                };
                let length = (AT_PROMISE * share.min(100.0) as f32).clamp(2.0, MOST);
                let role = if share <= 1.0 { Role::Good } else { Role::Bad };
                drawing.rectangle(LEFT, top + 8.0, length, ROW - 16.0, role);
                if length >= MOST {
                    drawing.path(
                        vec![(LEFT + MOST, middle - 6.0), (LEFT + MOST + 6.0, middle), (LEFT + MOST, middle + 6.0)],
                        role,
                        2.0,
                    );
                }
            }
            (Some(_), None) => drawing.rectangle(LEFT, top + 8.0, AT_PROMISE / 2.0, ROW - 16.0, Role::Neutral),
            (None, _) => drawing.words(LEFT + 6.0, middle + 4.0, "not measured", Role::Bad, Anchor::Start, 170.0),
        }
        if promised.is_some() {
            drawing.path(
                vec![(LEFT + AT_PROMISE, top + 3.0), (LEFT + AT_PROMISE, top + ROW - 3.0)],
                Role::Promise,
                2.5,
            );
        }
        drawing.words(WORDS, middle - 2.0, &bar.measured_words, Role::Ink, Anchor::Start, WIDTH - WORDS);
        let promised = format!("promised {}", bar.promised_words);
        drawing.words(WORDS, middle + 11.0, &promised, Role::Faint, Anchor::Start, WIDTH - WORDS);
    }
    drawing.height = bars.len() as f32 * ROW + 4.0;
    drawing
}

fn draw_line(line: &Line) -> Drawing {
    const LEFT: f32 = 70.0;
    const RIGHT: f32 = WIDTH - 70.0;
    const TOP: f32 = 30.0;
    const BOTTOM: f32 = 170.0;
    let points: Vec<_> =
        line.points.iter().filter(|point| finite(point.value).is_some() && point.at.is_finite()).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Drawing::nothing_to_show() };
    let promised = line.promised.as_ref().filter(|(value, _)| finite(*value).is_some());
    let highest = points.iter().map(|point| point.value).fold(0.0, f64::max);
    // A promise far above what is measured would press the line to the ground: it is named then, and not drawn.
    let drawn = promised.filter(|(value, _)| highest == 0.0 || *value <= highest * 20.0);
    let top = drawn.map_or(highest, |(value, _)| highest.max(*value)).max(f64::MIN_POSITIVE) * 1.1;
    let span = (last.at - first.at).max(f64::MIN_POSITIVE);
    let alone = last.at <= first.at;
    let x =
        |at: f64| if alone { (LEFT + RIGHT) / 2.0 } else { LEFT + (RIGHT - LEFT) * ((at - first.at) / span) as f32 };
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value / top) as f32;
    let mut drawing = Drawing::new();
    drawing.words(0.0, 14.0, &line.label, Role::Ink, Anchor::Start, 330.0);
    drawing.path(vec![(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], Role::Grid, 1.0);
    drawing.words(LEFT - 6.0, BOTTOM + 4.0, "0", Role::Faint, Anchor::End, 60.0);
    if let Some((value, words)) = promised {
        if drawn.is_some() {
            drawing.dashed(vec![(LEFT, y(*value)), (RIGHT, y(*value))], Role::Promise);
        }
        let where_it_is = if drawn.is_some() { "" } else { " (far above)" };
        drawing.words(WIDTH, 14.0, &format!("- - promised {words}{where_it_is}"), Role::Promise, Anchor::End, 330.0);
    }
    drawing.path(points.iter().map(|point| (x(point.at), y(point.value))).collect(), Role::Neutral, 2.0);
    let mut free_from = f32::MIN;
    for point in &points {
        let fits = promised.is_none_or(|(promised, _)| point.value <= *promised);
        let (x, y) = (x(point.at), y(point.value));
        let fill = if promised.is_none() {
            Role::Neutral
        } else if fits {
            Role::Good
        } else {
            Role::Bad
        };
        drawing.shapes.push(Shape::Disk { x, y, radius: 4.5, fill });
        // Words only where they don't lie on others.
        if x - 32.0 >= free_from {
            drawing.words(x, y - 9.0, &point.value_words, Role::Ink, Anchor::Middle, 90.0);
            drawing.words(x, BOTTOM + 18.0, &point.at_words, Role::Faint, Anchor::Middle, 90.0);
            free_from = x + 40.0;
        }
    }
    drawing.height = BOTTOM + 26.0;
    drawing
}

fn draw_calendar(calendar: &Calendar) -> Drawing {
    const LEFT: f32 = 200.0;
    const RIGHT: f32 = WIDTH - 10.0;
    const TOP: f32 = 24.0;
    const HEIGHT: f32 = 26.0;
    let span = calendar.to - calendar.from;
    if calendar.rows.is_empty() || !span.is_finite() || span <= 0.0 {
        return Drawing::nothing_to_show();
    }
    let x = |at: f64| LEFT + (RIGHT - LEFT) * ((at - calendar.from) / span).clamp(0.0, 1.0) as f32;
    let bottom = TOP + calendar.rows.len() as f32 * HEIGHT;
    let mut drawing = Drawing::new();
    let mut free_from = f32::MIN;
    for (at, words) in &calendar.ticks {
        drawing.path(vec![(x(*at), TOP - 4.0), (x(*at), bottom)], Role::Grid, 0.8);
        if x(*at) >= free_from {
            drawing.words(x(*at), 13.0, words, Role::Faint, Anchor::Start, 60.0);
            free_from = x(*at) + words.chars().count() as f32 * CHARACTER;
        }
    }
    for (index, row) in calendar.rows.iter().enumerate() {
        let middle = TOP + (index as f32 + 0.5) * HEIGHT;
        drawing.words(0.0, middle + 4.0, &row.label, Role::Ink, Anchor::Start, LEFT - 14.0);
        drawing.path(vec![(LEFT, middle), (RIGHT, middle)], Role::Grid, 0.8);
        for mark in row.marks.iter().filter(|mark| mark.at.is_finite()) {
            let (x, y) = (x(mark.at), middle);
            match mark.kind {
                MarkKind::Passed => drawing.shapes.push(Shape::Disk { x, y, radius: 5.5, fill: Role::Good }),
                MarkKind::Failed => {
                    drawing.path(vec![(x - 5.0, y - 5.0), (x + 5.0, y + 5.0)], Role::Bad, 2.5);
                    drawing.path(vec![(x - 5.0, y + 5.0), (x + 5.0, y - 5.0)], Role::Bad, 2.5);
                }
                MarkKind::Planned => drawing.shapes.push(Shape::Ring { x, y, radius: 5.0, stroke: Role::Faint }),
                MarkKind::Late => drawing.shapes.push(Shape::Ring { x, y, radius: 5.5, stroke: Role::Bad }),
            }
        }
    }
    if let Some(now) = calendar.now.filter(|now| (calendar.from..=calendar.to).contains(now)) {
        drawing.dashed(vec![(x(now), TOP - 4.0), (x(now), bottom)], Role::Promise);
    }
    let legend = bottom + 18.0;
    drawing.shapes.push(Shape::Disk { x: LEFT + 6.0, y: legend - 4.0, radius: 5.0, fill: Role::Good });
    drawing.words(LEFT + 16.0, legend, "passed", Role::Faint, Anchor::Start, 80.0);
    drawing.path(vec![(LEFT + 72.0, legend - 8.0), (LEFT + 80.0, legend)], Role::Bad, 2.5);
    drawing.path(vec![(LEFT + 72.0, legend), (LEFT + 80.0, legend - 8.0)], Role::Bad, 2.5);
    drawing.words(LEFT + 86.0, legend, "not passed", Role::Faint, Anchor::Start, 90.0);
    drawing.shapes.push(Shape::Ring { x: LEFT + 166.0, y: legend - 4.0, radius: 5.0, stroke: Role::Faint });
    drawing.words(LEFT + 176.0, legend, "planned", Role::Faint, Anchor::Start, 80.0);
    drawing.shapes.push(Shape::Ring { x: LEFT + 240.0, y: legend - 4.0, radius: 5.0, stroke: Role::Bad });
    drawing.words(LEFT + 250.0, legend, "late", Role::Faint, Anchor::Start, 80.0);
    drawing.words(LEFT + 294.0, legend, "- - today", Role::Promise, Anchor::Start, 100.0);
    drawing.height = legend + 8.0;
    drawing
}

fn draw_graph(graph: &Graph) -> Drawing {
    const BOX: f32 = 30.0;
    const GAP: f32 = 14.0;
    /// Boxes beside each other; more are cut into rows of their own.
    const COLUMNS: usize = 4;
    if graph.nodes.is_empty() {
        return Drawing::nothing_to_show();
    }
    let levels = graph.levels();
    let columns = levels.len().clamp(1, COLUMNS);
    let step = WIDTH / columns as f32;
    let width = (step - 46.0).min(210.0);
    let mut places = vec![(0.0, 0.0); graph.nodes.len()];
    let mut top = 0.0;
    for band in levels.chunks(COLUMNS) {
        let rows = band.iter().map(Vec::len).max().unwrap_or_default();
        for (column, level) in band.iter().enumerate() {
            for (row, node) in level.iter().enumerate() {
                places[*node] = (column as f32 * step, top + row as f32 * (BOX + GAP));
            }
        }
        top += rows as f32 * (BOX + GAP) + GAP;
    }
    let mut drawing = Drawing::new();
    for (from, to) in &graph.edges {
        let (Some(from), Some(to)) = (places.get(*from), places.get(*to)) else { continue };
        let (start, end) = ((from.0 + width, from.1 + BOX / 2.0), (to.0, to.1 + BOX / 2.0));
        drawing.path(vec![start, end], Role::Faint, 1.4);
        let length = ((end.0 - start.0).powi(2) + (end.1 - start.1).powi(2)).sqrt().max(1.0);
        let (dx, dy) = ((end.0 - start.0) / length, (end.1 - start.1) / length);
        let wing = |side: f32| (end.0 - 7.0 * dx + side * 4.0 * dy, end.1 - 7.0 * dy - side * 4.0 * dx);
        drawing.path(vec![wing(1.0), end, wing(-1.0)], Role::Faint, 1.4);
    }
    for (node, (x, y)) in graph.nodes.iter().zip(&places) {
        drawing.rectangle(*x, *y, width, BOX, Role::Ground);
        let corners = vec![(*x, *y), (x + width, *y), (x + width, y + BOX), (*x, y + BOX), (*x, *y)];
        drawing.path(corners, Role::Promise, 1.2);
        drawing.words(x + width / 2.0, y + BOX / 2.0 + 4.0, node, Role::Ink, Anchor::Middle, width - 8.0);
    }
    drawing.height = top;
    drawing
}
