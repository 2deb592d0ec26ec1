//! Pieces find their pages.
//!
//! Promise: a piece is never cut; a piece that wants to stay with the next one does, unless together they are longer than a page; the
//! header of a table stands above each part of it.

use super::lines::Placed;
use super::{BOTTOM, MARGIN};
use crate::drawing::{Role, Shape};
use std::rc::Rc;

/// What is painted, from the piece's left upper corner.
#[derive(Debug, Clone)]
pub(super) enum Ink {
    Words {
        y: f32,
        size: f32,
        placed: Placed,
    },
    Shape(Shape),
    /// The number of the page of the heading with this number, ending at `x`.
    PageOf {
        heading: usize,
        x: f32,
        y: f32,
        size: f32,
    },
}

/// What can't be cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub height: f32,
    /// Above it, except at the top of a page.
    pub space: f32,
    pub ink: Vec<Ink>,
    /// It stays with the next one.
    pub keeps_next: bool,
    /// It begins a page.
    pub breaks: bool,
    /// Headings that begin here, by number.
    pub heading: Option<usize>,
    /// What stands above it when it comes first on a page.
    pub header: Option<Rc<Piece>>,
}

impl Piece {
    pub(super) fn rectangle(&mut self, x: f32, width: f32, fill: Role) {
        self.ink.push(Ink::Shape(Shape::Rectangle { x, y: 0.0, width, height: self.height + 0.4, fill }));
    }

    pub(super) fn line(&mut self, points: Vec<(f32, f32)>, stroke: Role, width: f32) {
        self.ink.push(Ink::Shape(Shape::Path { points, stroke, width, dashed: false }));
    }
}

/// A page: pieces and where each begins.
pub(super) type Page = Vec<(f32, Piece)>;

/// See the module.
pub(super) fn fill(pieces: Vec<Piece>) -> Vec<Page> {
    let mut pages: Vec<Page> = vec![Vec::new()];
    let mut y = MARGIN;
    for index in 0..pieces.len() {
        let piece = &pieces[index];
        let is_first = pages.last().is_some_and(Vec::is_empty);
        let follows_kept = index > 0 && pieces[index - 1].keeps_next;
        let together = together(&pieces[index..]);
        let room = BOTTOM - MARGIN;
        // What was kept together with the one before was measured with it, unless both are too long for a page.
        let wanted = if follows_kept || together > room { piece.space + piece.height } else { together };
        let full = !is_first && y + wanted > BOTTOM;
        if full || (piece.breaks && !is_first) {
            pages.push(Vec::new());
            y = MARGIN;
            if let (Some(header), Some(page)) = (&piece.header, pages.last_mut()) {
                page.push((y, (**header).clone()));
                y += header.height;
            }
        } else if !is_first {
            y += piece.space;
        }
        if let Some(page) = pages.last_mut() {
            page.push((y, piece.clone()));
        }
        y += piece.height;
    }
    pages
}

/// The height of a piece and all that it stays with.
fn together(pieces: &[Piece]) -> f32 {
    let mut height = 0.0;
    for piece in pieces {
        height += piece.space + piece.height;
        if !piece.keeps_next {
            break;
        }
    }
    height
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(height: f32, keeps_next: bool) -> Piece {
        Piece { height, keeps_next, ..Piece::default() }
    }

    #[test]
    fn a_heading_goes_with_what_follows() {
        let room = BOTTOM - MARGIN;
        let pages = fill(vec![piece(room - 30.0, false), piece(20.0, true), piece(20.0, false)]);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        // More than a page can't be kept together, and is not lost either.
        let pages = fill(vec![piece(10.0, true), piece(room - 5.0, true), piece(room, false)]);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_table_has_its_header_on_every_page() {
        let header = Rc::new(piece(10.0, true));
        let mut pieces = vec![(*header).clone()];
        pieces.extend((0..90).map(|_| Piece { header: Some(header.clone()), ..piece(20.0, false) }));
        let pages = fill(pieces);
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|page| page[0].1.height == 10.0 && page[1].1.height == 20.0));
    }
}
