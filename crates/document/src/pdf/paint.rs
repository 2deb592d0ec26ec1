//! Pages become a PDF.

use super::fonts::{Fonts, Run, Style};
use super::pages::{Ink, Page};
use super::{MARGIN, PAGE, PdfError, ROOM};
use crate::drawing::{Role, Shape};
use crate::model::Document;
use crate::text::one_line;
use krilla::action::{Action, LinkAction};
use krilla::annotation::{Annotation, LinkAnnotation, Target};
use krilla::color::rgb;
use krilla::destination::XyzDestination;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke, StrokeDash};
use krilla::surface::Surface;
use std::collections::BTreeMap;

/// Where a heading is: page, and height on it.
type Headings = BTreeMap<usize, (usize, f32)>;

pub(super) fn paint(document: &Document, pages: &[Page], fonts: &Fonts) -> Result<Vec<u8>, PdfError> {
    let found = find_headings(pages);
    let headings = document.headings();
    let anchors: BTreeMap<&str, (usize, f32)> = headings
        .iter()
        .enumerate()
        .filter_map(|(number, (_, _, anchor))| Some((anchor.as_str(), *found.get(&number)?)))
        .collect();
    let mut pdf = krilla::Document::new();
    for (index, content) in pages.iter().enumerate() {
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| PdfError::Write("no page".to_owned()))?;
        let mut page = pdf.start_page_with(settings);
        let mut links = Vec::new();
        let mut surface = page.surface();
        for (y, piece) in content {
            for ink in &piece.ink {
                paint_ink(&mut surface, fonts, ink, *y, &found, &mut links);
            }
        }
        paint_foot(&mut surface, fonts, &document.footer, index + 1, pages.len());
        surface.finish();
        for (rectangle, to) in links {
            let target = match to.strip_prefix('#') {
                Some(anchor) => anchors.get(anchor).map(|(page, y)| Target::Destination(destination(*page, *y).into())),
                None => Some(Target::Action(Action::Link(LinkAction::new(to.clone())))),
            };
            if let Some(target) = target {
                page.add_annotation(Annotation::new_link(LinkAnnotation::new(rectangle, target), Some(to)));
            }
        }
        page.finish();
    }
    pdf.set_outline(outline(&headings, &found));
    let title = one_line(&document.title);
    pdf.set_metadata(Metadata::new().title(title).language("en".to_owned()).creator("lifeboat".to_owned()));
    pdf.finish().map_err(|error| PdfError::Write(format!("{error:?}")))
}

fn destination(page: usize, y: f32) -> XyzDestination {
    XyzDestination::new(page, Point::from_xy(MARGIN, y))
}

fn find_headings(pages: &[Page]) -> Headings {
    let pieces = pages.iter().enumerate().flat_map(|(page, content)| content.iter().map(move |piece| (page, piece)));
    pieces.filter_map(|(page, (y, piece))| Some((piece.heading?, (page, (y - 6.0).max(0.0))))).collect()
}

/// Sections below their chapter.
fn outline(headings: &[(u8, String, String)], found: &Headings) -> Outline {
    let mut outline = Outline::new();
    let mut chapter: Option<OutlineNode> = None;
    for (number, (level, text, _)) in headings.iter().enumerate().filter(|(_, (level, _, _))| *level <= 2) {
        let Some((page, y)) = found.get(&number) else { continue };
        let node = OutlineNode::new(one_line(text), destination(*page, *y));
        match &mut chapter {
            Some(chapter) if *level > 1 => chapter.push_child(node),
            _ => {
                if let Some(done) = chapter.replace(node) {
                    outline.push_child(done);
                }
            }
        }
    }
    if let Some(last) = chapter {
        outline.push_child(last);
    }
    outline
}

fn paint_ink(
    surface: &mut Surface,
    fonts: &Fonts,
    ink: &Ink,
    top: f32,
    found: &Headings,
    links: &mut Vec<(Rect, String)>,
) {
    match ink {
        Ink::Words { y, size, placed } => {
            let x = MARGIN + placed.x;
            let wide = placed.run.width * size;
            words(surface, fonts, &placed.run, (x, top + y), *size, placed.role);
            if let Some(to) = &placed.link {
                links.extend(
                    Rect::from_xywh(x, top + y - size, wide.max(1.0), size * 1.25).map(|area| (area, to.clone())),
                );
            }
        }
        Ink::PageOf { heading, x, y, size } => {
            let number = found.get(heading).map(|(page, _)| (page + 1).to_string()).unwrap_or_default();
            let run = fonts.shape(Style::Regular, &number);
            let x = MARGIN + x - run.width * size;
            words(surface, fonts, &run, (x, top + y), *size, Role::Faint);
        }
        Ink::Shape(shape) => paint_shape(surface, shape, top),
    }
}

fn words(surface: &mut Surface, fonts: &Fonts, run: &Run, (x, y): (f32, f32), size: f32, role: Role) {
    if run.glyphs.is_empty() {
        return;
    }
    surface.set_stroke(None);
    surface.set_fill(Some(fill(role)));
    surface.draw_glyphs(Point::from_xy(x, y), &run.glyphs, fonts.written(run.style), &run.text, size, false);
}

fn paint_foot(surface: &mut Surface, fonts: &Fonts, footer: &str, number: usize, count: usize) {
    const SIZE: f32 = 7.6;
    let y = PAGE.1 - 32.0;
    let pages = fonts.shape(Style::Regular, &format!("{number} / {count}"));
    let room = ROOM - pages.width * SIZE - 20.0;
    let mut text: String = one_line(footer).chars().take(140).collect();
    let mut run = fonts.shape(Style::Regular, &text);
    while run.width * SIZE > room && text.pop().is_some() {
        run = fonts.shape(Style::Regular, &text);
    }
    words(surface, fonts, &run, (MARGIN, y), SIZE, Role::Faint);
    words(surface, fonts, &pages, (PAGE.0 - MARGIN - pages.width * SIZE, y), SIZE, Role::Faint);
}

fn paint_shape(surface: &mut Surface, shape: &Shape, top: f32) {
    let mut path = PathBuilder::new();
    match shape {
        Shape::Rectangle { x, y, width, height, .. } => {
            let Some(rectangle) = Rect::from_xywh(MARGIN + x, top + y, width.max(0.1), height.max(0.1)) else { return };
            path.push_rect(rectangle);
        }
        Shape::Path { points, .. } => {
            for (index, (x, y)) in points.iter().enumerate() {
                match index {
                    0 => path.move_to(MARGIN + x, top + y),
                    _ => path.line_to(MARGIN + x, top + y),
                }
            }
        }
        Shape::Disk { x, y, radius, .. } | Shape::Ring { x, y, radius, .. } => {
            circle(&mut path, MARGIN + x, top + y, *radius);
        }
        // Text was shaped before.
        Shape::Words { .. } => return,
    }
    let Some(path) = path.finish() else { return };
    match shape {
        Shape::Rectangle { fill: role, .. } | Shape::Disk { fill: role, .. } => {
            surface.set_stroke(None);
            surface.set_fill(Some(fill(*role)));
        }
        Shape::Path { stroke: role, width, dashed, .. } => {
            surface.set_fill(None);
            surface.set_stroke(Some(stroke(*role, *width, *dashed)));
        }
        Shape::Ring { stroke: role, .. } => {
            surface.set_fill(None);
            surface.set_stroke(Some(stroke(*role, 1.4, false)));
        }
        Shape::Words { .. } => return,
    }
    surface.draw_path(&path);
}

/// Four curves; the factor is the usual one.
fn circle(path: &mut PathBuilder, x: f32, y: f32, radius: f32) {
    let bend = radius * 0.5523;
    path.move_to(x + radius, y);
    path.cubic_to(x + radius, y + bend, x + bend, y + radius, x, y + radius);
    path.cubic_to(x - bend, y + radius, x - radius, y + bend, x - radius, y);
    path.cubic_to(x - radius, y - bend, x - bend, y - radius, x, y - radius);
    path.cubic_to(x + bend, y - radius, x + radius, y - bend, x + radius, y);
    path.close();
}

fn color(role: Role) -> rgb::Color {
    let (red, green, blue) = match role {
        Role::Ink => (0x1d, 0x24, 0x30),
        Role::Faint => (0x5b, 0x66, 0x75),
        Role::Grid => (0xc3, 0xcb, 0xd6),
        Role::Promise => (0x1f, 0x4e, 0x9c),
        Role::Good => (0x1c, 0x7a, 0x45),
        Role::Bad => (0xb3, 0x26, 0x1e),
        Role::Neutral => (0x4a, 0x6f, 0xa5),
        Role::Ground => (0xee, 0xf1, 0xf5),
        Role::Warning => (0x8a, 0x5a, 0x00),
    };
    rgb::Color::new(red, green, blue)
}

fn fill(role: Role) -> Fill {
    Fill { paint: color(role).into(), opacity: NormalizedF32::ONE, rule: Default::default() }
}

fn stroke(role: Role, width: f32, dashed: bool) -> Stroke {
    let dash = dashed.then(|| StrokeDash { array: vec![3.5, 3.0], offset: 0.0 });
    Stroke { paint: color(role).into(), width, dash, ..Stroke::default() }
}
