//! What a document is made of.
//!
//! Promise: there is no field for markup. Where emphasis or code is wanted it is a value of its own, so text that came from a
//! configuration or from outside stays text.

use crate::picture::Picture;

/// A whole document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// On the cover, and in the reader's window.
    pub title: String,
    /// Below it.
    pub subtitle: Option<String>,
    /// On the cover, one a line: what it is made from, its hashes, its date.
    pub facts: Vec<(String, Text)>,
    /// At the foot of every page, before the page's number.
    pub footer: String,
    /// In the order of reading.
    pub blocks: Vec<Block>,
}

/// One part of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// 1 to 3. An anchor is what a [`Span::Link`] to `#anchor` finds.
    Heading {
        /// 1: a chapter.
        level: u8,
        /// What it says.
        text: Text,
        /// Letters, digits, hyphens, points and underscores; what else is in it is left out.
        anchor: Option<String>,
    },
    /// Running text.
    Paragraph(Text),
    /// Unordered.
    List(Vec<Text>),
    /// Numbered, each with a box to check.
    Steps(Vec<Step>),
    /// With headers that are repeated on every page.
    Table(Table),
    /// Set apart.
    Notice {
        /// How loudly.
        kind: NoticeKind,
        /// What it says.
        text: Text,
    },
    /// To be copied as it is.
    Code(String),
    /// With what it shows in words below it.
    Picture {
        /// What it shows.
        caption: Text,
        /// The picture.
        picture: Picture,
    },
    /// What follows begins on a new sheet of paper.
    PageBreak,
}

/// How loudly something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// Good to know.
    Note,
    /// Don't overlook this.
    Warning,
    /// Something is wrong.
    Alarm,
}

impl NoticeKind {
    /// The word before it: colour alone says nothing on a grey printer.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Note => "Note",
            Self::Warning => "Warning",
            Self::Alarm => "Attention",
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What.
    pub text: Text,
    /// What to type.
    pub code: Option<String>,
    /// How long it took, what is seen when it worked.
    pub after: Option<Text>,
}

/// Rows below headers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Header and alignment of each column.
    pub columns: Vec<(String, Align)>,
    /// Cells that are missing are empty, what is too much is not shown.
    pub rows: Vec<Vec<Text>>,
    /// What is said where there are no rows.
    pub when_empty: String,
}

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// Words.
    #[default]
    Left,
    /// Figures.
    Right,
    /// Marks.
    Center,
}

/// Text with emphasis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(pub Vec<Span>);

/// A piece of text of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// As it is.
    Plain(String),
    /// Said loudly.
    Strong(String),
    /// To be typed, or a name of something.
    Code(String),
    /// `to` is `#anchor`, or an address with http, https, mailto or tel; another one is not a link and only its text is shown.
    Link {
        /// What is shown.
        text: String,
        /// Where it leads.
        to: String,
    },
}

impl Span {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Strong(text) | Self::Code(text) | Self::Link { text, .. } => text,
        }
    }
}

impl Text {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds plain text.
    #[must_use]
    pub fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Plain(text.into()));
        self
    }

    /// Adds loud text.
    #[must_use]
    pub fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Strong(text.into()));
        self
    }

    /// Adds code.
    #[must_use]
    pub fn code(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Code(text.into()));
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn link(mut self, text: impl Into<String>, to: impl Into<String>) -> Self {
        self.0.push(Span::Link { text: text.into(), to: to.into() });
        self
    }

    /// Adds another text.
    #[must_use]
    pub fn text(mut self, other: Text) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Text of the program's own: between `backticks` code, between **stars** loud. Only for what is written in the source, hence static.
    pub fn marked(text: &'static str) -> Self {
        let mut spans = Vec::new();
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 1 {
                spans.push(Span::Code(part.to_owned()));
                continue;
            }
            for (index, part) in part.split("**").enumerate().filter(|(_, part)| !part.is_empty()) {
                spans.push(match index % 2 {
                    1 => Span::Strong(part.to_owned()),
                    _ => Span::Plain(part.to_owned()),
                });
            }
        }
        Self(spans)
    }

    /// Without any emphasis.
    pub fn as_plain(&self) -> String {
        self.0.iter().map(Span::text).collect()
    }

    /// Whether there is nothing to be seen.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|span| span.text().trim().is_empty())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new().plain(text)
    }
}

impl Document {
    /// Adds a chapter's heading.
    pub fn chapter(&mut self, text: impl Into<Text>, anchor: &str) {
        self.blocks.push(Block::Heading { level: 1, text: text.into(), anchor: Some(anchor.to_owned()) });
    }

    /// Adds a section's heading.
    pub fn section(&mut self, text: impl Into<Text>, anchor: &str) {
        let anchor = (!anchor.is_empty()).then(|| anchor.to_owned());
        self.blocks.push(Block::Heading { level: 2, text: text.into(), anchor });
    }

    /// Adds a heading below a section's.
    pub fn subsection(&mut self, text: impl Into<Text>) {
        self.blocks.push(Block::Heading { level: 3, text: text.into(), anchor: None });
    }

    /// Adds running text.
    pub fn paragraph(&mut self, text: impl Into<Text>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    /// Adds something set apart.
    pub fn notice(&mut self, kind: NoticeKind, text: impl Into<Text>) {
        self.blocks.push(Block::Notice { kind, text: text.into() });
    }

    /// Adds a picture.
    pub fn picture(&mut self, caption: impl Into<Text>, picture: Picture) {
        self.blocks.push(Block::Picture { caption: caption.into(), picture });
    }

    /// Adds a table with these headers; `>` before one puts its column to the right.
    pub fn table(&mut self, columns: &[&str], rows: Vec<Vec<Text>>, when_empty: &str) {
        let column = |name: &&str| match name.strip_prefix('>') {
            Some(name) => (name.to_owned(), Align::Right),
            None => ((*name).to_owned(), Align::Left),
        };
        let columns = columns.iter().map(column).collect();
        self.blocks.push(Block::Table(Table { columns, rows, when_empty: when_empty.to_owned() }));
    }

    /// Adds steps.
    pub fn steps(&mut self, steps: Vec<Step>) {
        self.blocks.push(Block::Steps(steps));
    }

    /// Adds an unordered list.
    pub fn list(&mut self, items: Vec<Text>) {
        self.blocks.push(Block::List(items));
    }

    /// Chapters and sections in order: level, text, the anchor that each has in what is made.
    pub(crate) fn headings(&self) -> Vec<(u8, String, String)> {
        let headings = self.blocks.iter().filter_map(|block| match block {
            Block::Heading { level, text, anchor } => Some((*level, text.as_plain(), anchor.clone())),
            _ => None,
        });
        let numbered = headings.enumerate();
        numbered
            .map(|(index, (level, text, anchor))| {
                let clean = |anchor: String| {
                    anchor
                        .chars()
                        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                        .collect::<String>()
                };
                let anchor = anchor.map(clean).filter(|anchor| !anchor.is_empty());
                (level.clamp(1, 3), text, anchor.unwrap_or_else(|| format!("h-{index}")))
            })
            .collect()
    }
}
