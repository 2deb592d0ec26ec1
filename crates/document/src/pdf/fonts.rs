//! The fonts inside the program, and text shaped with them.

use super::PdfError;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use rustybuzz::{Direction, Face, UnicodeBuffer};

/// Which font.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Regular,
    Bold,
    Mono,
}

const SOURCES: [(&str, &[u8]); 3] = [
    ("DejaVu Sans Condensed", include_bytes!("../../fonts/DejaVuSansCondensed.ttf")),
    ("DejaVu Sans Condensed Bold", include_bytes!("../../fonts/DejaVuSansCondensed-Bold.ttf")),
    ("DejaVu Sans Mono", include_bytes!("../../fonts/DejaVuSansMono.ttf")),
];

/// The fonts, ready to shape and to write.
pub(super) struct Fonts {
    shaped: Vec<Face<'static>>,
    written: Vec<Font>,
}

/// Text with the places of its glyphs.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub style: Style,
    pub text: String,
    pub glyphs: Vec<KrillaGlyph>,
    /// For a size of 1.
    pub width: f32,
}

impl Fonts {
    pub(super) fn new() -> Result<Self, PdfError> {
        let mut fonts = Self { shaped: Vec::new(), written: Vec::new() };
        for (name, bytes) in SOURCES {
            fonts.shaped.push(Face::from_slice(bytes, 0).ok_or(PdfError::Font(name))?);
            fonts.written.push(Font::new(bytes.into(), 0).ok_or(PdfError::Font(name))?);
        }
        Ok(fonts)
    }

    pub(super) fn written(&self, style: Style) -> Font {
        self.written[style as usize].clone()
    }

    /// Text of one direction, on one line.
    pub(super) fn shape(&self, style: Style, text: &str) -> Run {
        let face = &self.shaped[style as usize];
        let scale = 1.0 / face.units_per_em() as f32;
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        let is_reversed = buffer.direction() == Direction::RightToLeft;
        let shaped = rustybuzz::shape(face, &[], buffer);
        // The text of a glyph goes from its cluster to the next one in the order of the text.
        let mut starts: Vec<usize> = shaped.glyph_infos().iter().map(|info| info.cluster as usize).collect();
        if is_reversed {
            starts.reverse();
        }
        starts.push(text.len());
        let end_of = |start: usize| starts[starts.partition_point(|found| *found <= start).min(starts.len() - 1)];
        let positions = shaped.glyph_positions().iter().zip(shaped.glyph_infos());
        let glyphs: Vec<KrillaGlyph> = positions
            .map(|(at, info)| {
                let start = info.cluster as usize;
                let scaled = |units: i32| units as f32 * scale;
                let (x_advance, y_advance) = (scaled(at.x_advance), scaled(at.y_advance));
                let id = GlyphId::new(info.glyph_id);
                KrillaGlyph::new(
                    id,
                    x_advance,
                    scaled(at.x_offset),
                    scaled(at.y_offset),
                    y_advance,
                    start..end_of(start),
                    None,
                )
            })
            .collect();
        let width = glyphs.iter().map(|glyph| glyph.x_advance).sum();
        Run { style, text: text.to_owned(), glyphs, width }
    }
}

/// Whether text begins with a letter that is read from the right.
pub(super) fn is_from_right(text: &str) -> bool {
    let from_right = |c: char| matches!(c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}');
    text.chars().find(|c| c.is_alphabetic()).is_some_and(from_right)
}
