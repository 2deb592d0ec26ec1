//! Blocks become pieces.

use super::fonts::{Fonts, Style};
use super::lines::{Line, Placed, Setting, lines_of, size_of};
use super::pages::{Ink, Piece};
use super::{ROOM, table};
use crate::drawing::{Anchor, Drawing, Role, Shape, WIDTH};
use crate::model::{Block, Document, NoticeKind, Step, Text};
use crate::picture::Picture;
use crate::text::{lines, one_line};

const BODY: Setting = Setting { size: 9.6, role: Role::Ink, bold: false };
const FAINT: Setting = Setting { size: 8.8, role: Role::Faint, bold: false };
const LEADING: f32 = 13.6;
const CODE_SIZE: f32 = 8.2;
const CODE_SIZE_MIN: f32 = 6.2;
const CODE_LEADING: f32 = 11.4;
/// Blocks of at most so many lines aren't cut.
const WHOLE_LINES_MAX: usize = 14;

/// Paints a line.
pub(super) fn put(ink: &mut Vec<Ink>, line: &Line, x: f32, y: f32, setting: Setting) {
    for placed in &line.runs {
        let placed = Placed { x: x + placed.x, ..placed.clone() };
        ink.push(Ink::Words { y, size: size_of(placed.run.style, setting), placed });
    }
}

/// See the module.
pub(super) fn pieces(document: &Document, fonts: &Fonts) -> Vec<Piece> {
    let mut pieces = cover(document, fonts);
    let mut heading = 0;
    let mut breaks = true;
    for block in &document.blocks {
        let mut made = match block {
            Block::Heading { level, text, .. } => {
                heading += 1;
                heading_of(fonts, *level, text, heading - 1)
            }
            Block::PageBreak => {
                breaks = true;
                continue;
            }
            other => of_block(other, fonts),
        };
        if let Some(first) = made.first_mut() {
            first.breaks |= std::mem::take(&mut breaks);
        }
        pieces.extend(made);
    }
    pieces
}

fn of_block(block: &Block, fonts: &Fonts) -> Vec<Piece> {
    match block {
        Block::Heading { .. } | Block::PageBreak => Vec::new(),
        Block::Paragraph(text) => running(fonts, text, 0.0, BODY, 5.0),
        Block::List(items) => items.iter().flat_map(|item| item_of(fonts, item)).collect(),
        Block::Steps(steps) => {
            steps.iter().enumerate().flat_map(|(index, step)| step_of(fonts, index + 1, step)).collect()
        }
        Block::Table(table) if table.rows.is_empty() || table.columns.is_empty() => table::empty(fonts, table),
        Block::Table(table) => table::pieces(fonts, table),
        Block::Notice { kind, text } => notice(fonts, *kind, text),
        Block::Code(text) => code(fonts, text, 0.0),
        Block::Picture { caption, picture } => picture_of(fonts, caption, picture),
    }
}

fn cover(document: &Document, fonts: &Fonts) -> Vec<Piece> {
    let title = Setting { size: 25.0, role: Role::Ink, bold: true };
    let mut pieces = vec![Piece { height: 60.0, ..Piece::default() }];
    let lines = lines_of(fonts, &Text::from(document.title.as_str()), ROOM, title);
    pieces.extend(lines.iter().take(6).map(|line| one(line, 0.0, title, 31.0)));
    if let Some(subtitle) = &document.subtitle {
        let setting = Setting { size: 13.0, role: Role::Faint, bold: false };
        let lines = lines_of(fonts, &Text::from(subtitle.as_str()), ROOM, setting);
        pieces.extend(lines.iter().map(|line| one(line, 0.0, setting, 18.0)));
    }
    pieces.push(Piece { height: 18.0, ..Piece::default() });
    for (name, value) in &document.facts {
        let names = lines_of(fonts, &Text::from(name.as_str()), 125.0, FAINT);
        let values = lines_of(fonts, value, ROOM - 135.0, BODY);
        for index in 0..names.len().max(values.len()) {
            let mut piece = Piece { height: LEADING + 1.0, ..Piece::default() };
            for (lines, x, setting) in [(&names, 0.0, FAINT), (&values, 135.0, BODY)] {
                if let Some(line) = lines.get(index) {
                    put(&mut piece.ink, line, x, 10.0, setting);
                }
            }
            pieces.push(piece);
        }
    }
    pieces.extend(contents(document, fonts));
    pieces
}

fn contents(document: &Document, fonts: &Fonts) -> Vec<Piece> {
    let headings = document.headings();
    if headings.len() < 3 {
        return Vec::new();
    }
    let mut pieces = vec![Piece { height: 26.0, ..Piece::default() }];
    for (number, (level, text, anchor)) in headings.into_iter().enumerate().filter(|(_, (level, _, _))| *level <= 2) {
        let setting = Setting { size: if level == 1 { 9.8 } else { 9.0 }, role: Role::Ink, bold: level == 1 };
        let left = if level == 1 { 0.0 } else { 14.0 };
        let text = Text::new().link(text, format!("#{anchor}"));
        let Some(mut line) = lines_of(fonts, &text, ROOM - left - 40.0, setting).into_iter().next() else { continue };
        line.runs.iter_mut().for_each(|placed| placed.role = Role::Ink);
        let mut piece = one(&line, left, setting, if level == 1 { 15.5 } else { 13.0 });
        piece.ink.push(Ink::PageOf { heading: number, x: ROOM, y: 10.5, size: setting.size });
        pieces.push(piece);
    }
    pieces
}

fn one(line: &Line, x: f32, setting: Setting, leading: f32) -> Piece {
    let mut piece = Piece { height: leading, ..Piece::default() };
    put(&mut piece.ink, line, x, setting.size * 0.95 + 1.0, setting);
    piece
}

fn heading_of(fonts: &Fonts, level: u8, text: &Text, number: usize) -> Vec<Piece> {
    let (size, leading, space) = match level {
        0 | 1 => (17.0, 22.0, 26.0),
        2 => (12.6, 17.0, 17.0),
        _ => (10.4, 14.5, 11.0),
    };
    let setting = Setting { size, role: Role::Ink, bold: true };
    let mut pieces: Vec<Piece> =
        lines_of(fonts, text, ROOM, setting).iter().map(|line| one(line, 0.0, setting, leading)).collect();
    for piece in &mut pieces {
        piece.keeps_next = true;
    }
    if let Some(first) = pieces.first_mut() {
        first.space = space;
        first.heading = Some(number);
    }
    if let Some(last) = pieces.last_mut() {
        if level <= 1 {
            last.line(vec![(0.0, leading + 1.0), (ROOM, leading + 1.0)], Role::Grid, 1.2);
        }
        last.height += 4.0;
    }
    pieces
}

/// Lines of running text; the first two and the last two stay together.
fn running(fonts: &Fonts, text: &Text, left: f32, setting: Setting, space: f32) -> Vec<Piece> {
    let leading = setting.size * LEADING / BODY.size;
    let mut pieces: Vec<Piece> =
        lines_of(fonts, text, ROOM - left, setting).iter().map(|line| one(line, left, setting, leading)).collect();
    let count = pieces.len();
    for (index, piece) in pieces.iter_mut().enumerate() {
        piece.keeps_next = count > 1 && (index == 0 || index + 2 == count);
        piece.space = if index == 0 { space } else { 0.0 };
    }
    pieces
}

fn item_of(fonts: &Fonts, item: &Text) -> Vec<Piece> {
    let mut pieces = running(fonts, item, 14.0, BODY, 2.5);
    if let Some(first) = pieces.first_mut() {
        first.ink.push(Ink::Shape(Shape::Disk { x: 5.0, y: 7.0, radius: 1.7, fill: Role::Ink }));
    }
    pieces
}

fn step_of(fonts: &Fonts, number: usize, step: &Step) -> Vec<Piece> {
    const LEFT: f32 = 36.0;
    let mut pieces = running(fonts, &step.text, LEFT, BODY, 7.0);
    if let Some(first) = pieces.first_mut() {
        let line =
            lines_of(fonts, &Text::from(format!("{number}.")), 20.0, BODY).into_iter().next().unwrap_or_default();
        put(&mut first.ink, &line, 16.0 - line.width, 10.0, BODY);
        let corners = vec![(21.0, 2.6), (29.4, 2.6), (29.4, 11.0), (21.0, 11.0), (21.0, 2.6)];
        first.line(corners, Role::Ink, 0.9);
    }
    if let Some(text) = &step.code {
        pieces.extend(code(fonts, text, LEFT));
    }
    if let Some(after) = &step.after {
        pieces.extend(running(fonts, after, LEFT, FAINT, 2.5));
    }
    // A step is read as a whole.
    let count = pieces.len();
    if count <= WHOLE_LINES_MAX {
        pieces.iter_mut().take(count - 1).for_each(|piece| piece.keeps_next = true);
    } else if let Some(first) = pieces.first_mut() {
        first.keeps_next = true;
    }
    pieces
}

fn notice(fonts: &Fonts, kind: NoticeKind, text: &Text) -> Vec<Piece> {
    let role = match kind {
        NoticeKind::Note => Role::Promise,
        NoticeKind::Warning => Role::Warning,
        NoticeKind::Alarm => Role::Bad,
    };
    let mut whole = Text::new().strong(format!("{}:", kind.word())).plain(" ");
    whole.0.extend(text.0.iter().cloned());
    let set = lines_of(fonts, &whole, ROOM - 24.0, BODY);
    boxed(set.iter().map(|line| one(line, 12.0, BODY, LEADING)).collect(), 0.0, Some(role))
}

fn code(fonts: &Fonts, text: &str, left: f32) -> Vec<Piece> {
    let lines = lines(text);
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default().max(1);
    let (room, character) = (ROOM - left - 16.0, fonts.shape(Style::Mono, "m").width);
    // Cut, a command would be copied as two: rather smaller, as long as it can be read.
    let size = (room / (longest as f32 * character)).clamp(CODE_SIZE_MIN, CODE_SIZE);
    // The longest fits by the choice of size: a rounding must not cut its last character off.
    let most = ((room / (character * size) + 0.01) as usize).max(10);
    let mut pieces = Vec::new();
    for line in lines {
        let characters: Vec<char> = line.chars().collect();
        let cut: Vec<String> = match characters.is_empty() {
            true => vec![String::new()],
            false => characters.chunks(most).map(|part| part.iter().collect()).collect(),
        };
        for part in cut {
            let run = fonts.shape(Style::Mono, &part);
            let placed = Placed { x: left + 8.0, run, role: Role::Ink, link: None };
            let ink = vec![Ink::Words { y: 8.6, size, placed }];
            pieces.push(Piece { height: CODE_LEADING, ink, ..Piece::default() });
        }
    }
    boxed(pieces, left, None)
}

/// Lines on a ground, with some room above and below.
fn boxed(mut pieces: Vec<Piece>, left: f32, bar: Option<Role>) -> Vec<Piece> {
    let count = pieces.len();
    let whole = count <= WHOLE_LINES_MAX;
    let edge = || Piece { height: 4.0, ..Piece::default() };
    pieces.insert(0, Piece { space: 4.0, keeps_next: true, ..edge() });
    pieces.push(Piece { ..edge() });
    for (index, piece) in pieces.iter_mut().enumerate() {
        piece.keeps_next |= (whole && index < count + 1) || index == count;
        let over = std::mem::take(&mut piece.ink);
        piece.rectangle(left, ROOM - left, Role::Ground);
        if let Some(role) = bar {
            piece.rectangle(left, 3.5, role);
        }
        piece.ink.extend(over);
    }
    pieces.push(Piece { height: 2.0, ..Piece::default() });
    pieces
}

fn picture_of(fonts: &Fonts, caption: &Text, picture: &Picture) -> Vec<Piece> {
    let drawing = Drawing::of(picture);
    // As wide as the page; one that would be higher than most of it becomes smaller.
    let scale = (ROOM / WIDTH).min(560.0 / drawing.height.max(1.0));
    let ink = drawing.shapes.into_iter().map(|shape| scaled(fonts, shape, scale)).collect();
    let drawn = Piece { height: drawing.height * scale + 2.0, space: 8.0, ink, keeps_next: true, ..Piece::default() };
    let mut pieces = vec![drawn];
    pieces.extend(running(fonts, caption, 0.0, FAINT, 2.0));
    pieces.push(Piece { height: 4.0, ..Piece::default() });
    pieces
}

fn scaled(fonts: &Fonts, shape: Shape, by: f32) -> Ink {
    Ink::Shape(match shape {
        Shape::Rectangle { x, y, width, height, fill } => {
            Shape::Rectangle { x: x * by, y: y * by, width: width * by, height: height * by, fill }
        }
        Shape::Path { points, stroke, width, dashed } => {
            let points = points.into_iter().map(|(x, y)| (x * by, y * by)).collect();
            Shape::Path { points, stroke, width: width * by, dashed }
        }
        Shape::Disk { x, y, radius, fill } => Shape::Disk { x: x * by, y: y * by, radius: radius * by, fill },
        Shape::Ring { x, y, radius, stroke } => Shape::Ring { x: x * by, y: y * by, radius: radius * by, stroke },
        Shape::Words { x, y, text, role, anchor, small } => {
            let size = if small { 10.5 } else { 12.0 } * by;
            let run = fonts.shape(Style::Regular, &one_line(&text));
            let shift = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => run.width * size / 2.0,
                Anchor::End => run.width * size,
            };
            return Ink::Words { y: y * by, size, placed: Placed { x: x * by - shift, run, role, link: None } };
        }
    })
}
