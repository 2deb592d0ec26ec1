//! Shapes as inline SVG. Colours are classes: the page decides what they are in the light, in the dark and on paper.

use crate::drawing::{Anchor, Drawing, Role, Shape, WIDTH};
use crate::picture::Picture;
use crate::text::escaped;
use std::fmt::Write;

/// A picture with its text alternative. `name` is unique in the page.
pub(crate) fn render(picture: &Picture, name: &str) -> String {
    let drawing = Drawing::of(picture);
    let words = escaped(&crate::text::one_line(&picture.in_words()));
    let mut out = format!(
        "<svg role=\"img\" aria-labelledby=\"{name}\" viewBox=\"-6 -2 {} {:.0}\" xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"{name}\">{words}</title>\n",
        WIDTH + 12.0,
        drawing.height + 4.0
    );
    for shape in &drawing.shapes {
        // Writing to a string can't go wrong.
        let _ = writeln!(out, "{}", one(shape));
    }
    out.push_str("</svg>\n");
    out
}

fn one(shape: &Shape) -> String {
    match shape {
        Shape::Rectangle { x, y, width, height, fill } => {
            format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"f-{}\"/>",
                class(*fill)
            )
        }
        Shape::Path { points, stroke, width, dashed } => {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let dashes = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            format!(
                "<polyline points=\"{}\" class=\"s-{}\" stroke-width=\"{width:.1}\"{dashes}/>",
                points.join(" "),
                class(*stroke)
            )
        }
        Shape::Disk { x, y, radius, fill } => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"f-{}\"/>", class(*fill))
        }
        Shape::Ring { x, y, radius, stroke } => {
            format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"s-{}\" stroke-width=\"2\"/>",
                class(*stroke)
            )
        }
        Shape::Words { x, y, text, role, anchor, small } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let size = if *small { "10.5" } else { "12" };
            format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" class=\"f-{}\">{}</text>",
                class(*role),
                escaped(text)
            )
        }
    }
}

fn class(role: Role) -> &'static str {
    match role {
        Role::Ink => "ink",
        Role::Faint => "faint",
        Role::Grid => "grid",
        Role::Promise => "promise",
        Role::Good => "good",
        Role::Bad => "bad",
        Role::Neutral => "neutral",
        Role::Ground => "ground",
        Role::Warning => "warning",
    }
}
