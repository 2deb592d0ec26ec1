//! A document as a value, and what it looks like: Markdown, HTML, PDF.
//!
//! Promise: the same document gives the same bytes, everywhere and always: no clock, no font of the machine, no network. Whatever stands in a
//! field is text, and is shown as text: it can't become markup, a script, or a command that looks like another one.
//! What is made needs nothing to be read: one file, pictures inside.
//!
//! Not here: what a document is about, and where it is written to.

mod drawing;
mod html;
mod markdown;
mod model;
mod pdf;
mod picture;
mod svg;
mod text;

pub use model::{Align, Block, Document, NoticeKind, Span, Step, Table, Text};
pub use pdf::PdfError;
pub use picture::{Bar, Calendar, CalendarRow, Graph, Line, LinePoint, Mark, MarkKind, Picture};

impl Document {
    /// As Markdown: pictures become tables.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// As one HTML file.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// As a PDF, A4.
    pub fn pdf(&self) -> Result<Vec<u8>, PdfError> {
        pdf::render(self)
    }
}
