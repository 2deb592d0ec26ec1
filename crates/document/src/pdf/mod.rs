//! A document as a PDF of A4 pages: real text in fonts that are inside, an outline, links, pictures as vectors.
//!
//! Blocks become pieces that can't be cut ([`flow`]), pieces find their pages ([`pages`]), pages are painted ([`paint`]). Text in a script that
//! the fonts don't have (they have Latin, Greek, Cyrillic, Hebrew, Arabic and signs) shows as boxes, and is still found by search.

mod flow;
mod fonts;
mod lines;
mod pages;
mod paint;
mod table;

use crate::model::Document;

/// Why there is no PDF. Both are defects of the program.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// One of the fonts inside can't be read.
    #[error("the font {0} in the program can't be read")]
    Font(&'static str),
    /// The writer refused.
    #[error("write the PDF: {0}")]
    Write(String),
}

/// A4 in points.
const PAGE: (f32, f32) = (595.28, 841.89);
const MARGIN: f32 = 51.0;
/// Room for text across.
const ROOM: f32 = PAGE.0 - 2.0 * MARGIN;
/// Where the text of a page ends; the foot is below.
const BOTTOM: f32 = PAGE.1 - 60.0;

/// See the module.
pub(crate) fn render(document: &Document) -> Result<Vec<u8>, PdfError> {
    let fonts = fonts::Fonts::new()?;
    let pages = pages::fill(flow::pieces(document, &fonts));
    paint::paint(document, &pages, &fonts)
}
