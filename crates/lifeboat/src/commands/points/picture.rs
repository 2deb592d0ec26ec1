//! The windows as a picture: a line for each timeline, with its points, what was proved of them, and a time axis.
//!
//! Pure: what is known and how wide the terminal is go in, lines of cells come out. A cell has a character that says
//! everything; its tone only repeats it.
//!
//! Promise: every line fits the width; every point is in the picture, if only behind a neighbour in the same column.

use super::axis::Axis;
use crate::output::Tone;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

/// Without a terminal, and what nothing is narrower than.
pub const WIDTH_USUAL: usize = 80;
const WIDTH_MIN: usize = 40;
/// More timelines than this are not looked at: the newest ones are drawn.
const LANES_MAX: usize = 12;

/// What was proved of a point, the weakest first; the last is what a reader must not miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proved {
    Nothing,
    Structure,
    Data,
    Boot,
    /// A verification failed, pages are damaged, or log that it needs is missing.
    Bad,
}

/// A point on the line.
#[derive(Debug, Clone)]
pub struct Dot {
    pub at: Timestamp,
    /// `full`, `diff` or `incr`.
    pub backup_type: String,
    pub proved: Proved,
}

/// A timeline.
#[derive(Debug, Clone)]
pub struct Track {
    pub timeline: u32,
    /// The timeline it left, and when, if that is known.
    pub parent: Option<(u32, Option<Timestamp>)>,
    /// From when to when every moment can be reached, oldest first.
    pub stretches: Vec<(Timestamp, Timestamp)>,
    pub dots: Vec<Dot>,
}

/// The characters: those of every terminal of today, and those of one that knows only ASCII.
#[derive(Debug, Clone, Copy)]
pub struct Glyphs {
    reached: char,
    gap: char,
    leaves: char,
    falls: char,
    arrives: char,
    tick: char,
    axis: char,
    nothing: char,
    structure: char,
    data: char,
    boot: char,
    bad: char,
}

pub const LINES: Glyphs = Glyphs {
    reached: '━',
    gap: '┈',
    leaves: '┳',
    falls: '┃',
    arrives: '┗',
    tick: '┴',
    axis: '─',
    nothing: '·',
    structure: '○',
    data: '●',
    boot: '✔',
    bad: '✘',
};

pub const ASCII: Glyphs = Glyphs {
    reached: '=',
    gap: '.',
    leaves: '+',
    falls: '|',
    arrives: '\\',
    tick: '+',
    axis: '-',
    nothing: '-',
    structure: 'o',
    data: '*',
    boot: 'V',
    bad: 'X',
};

impl Glyphs {
    fn proved(&self, proved: Proved) -> (char, Option<Tone>) {
        match proved {
            Proved::Nothing => (self.nothing, Some(Tone::Faint)),
            Proved::Structure => (self.structure, None),
            Proved::Data => (self.data, Some(Tone::Good)),
            Proved::Boot => (self.boot, Some(Tone::Good)),
            Proved::Bad => (self.bad, Some(Tone::Bad)),
        }
    }
}

/// A part of a line in one tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub tone: Option<Tone>,
}

/// How to draw.
#[derive(Debug, Clone)]
pub struct Frame {
    pub width: Option<u16>,
    pub glyphs: Glyphs,
    pub now: Timestamp,
    pub zone: TimeZone,
}

type Cells = Vec<(char, Option<Tone>)>;

/// The picture, line by line; nothing when there is nothing to draw.
pub fn draw(tracks: &[Track], frame: &Frame) -> Vec<Vec<Piece>> {
    let skipped = tracks.len().saturating_sub(LANES_MAX);
    let tracks = &tracks[skipped..];
    let width = frame.width.map_or(WIDTH_USUAL, usize::from).max(WIDTH_MIN);
    let labels: Vec<String> = tracks.iter().map(|track| format!("  timeline {}  ", track.timeline)).collect();
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let Some(axis) = Axis::over(&moments(tracks), frame.now, width - margin, &frame.zone) else { return Vec::new() };
    let mut canvas = Canvas { rows: vec![vec![(' ', None); width - margin]; tracks.len() * 2], glyphs: frame.glyphs };
    let mut crowded = BTreeSet::new();
    let mut hidden_gaps = 0;
    for (number, track) in tracks.iter().enumerate() {
        hidden_gaps += canvas.stretches(number * 2, track, &axis);
    }
    for (number, track) in tracks.iter().enumerate() {
        canvas.branch(number, tracks, &axis);
        crowded.extend(canvas.dots(number * 2, track, &axis).into_iter().map(|column| (number, column)));
    }
    let mut lines: Vec<Vec<Piece>> = Vec::new();
    for (number, row) in canvas.rows.iter().enumerate() {
        if number % 2 == 1 && row.iter().all(|(character, _)| *character == ' ') {
            continue;
        }
        let label = if number % 2 == 0 { labels[number / 2].as_str() } else { "" };
        lines.push(line(&format!("{label:<margin$}"), row));
    }
    for row in axis.rows(frame.glyphs.tick, frame.glyphs.axis) {
        let cells: Cells = row.chars().map(|character| (character, Some(Tone::Faint))).collect();
        lines.push(line(&" ".repeat(margin), &cells));
    }
    let notes = [
        (skipped > 0).then(|| format!("{skipped} older timelines are not drawn")),
        (!crowded.is_empty())
            .then(|| format!("columns with several points, which show the fullest: {}", crowded.len())),
        (hidden_gaps > 0).then(|| format!("gaps too short to be seen here: {hidden_gaps}")),
    ];
    lines.extend(legend(tracks, &canvas, width));
    let notes = notes.into_iter().flatten();
    lines.extend(notes.map(|note| vec![Piece { text: format!("  {note}"), tone: Some(Tone::Faint) }]));
    lines
}

fn moments(tracks: &[Track]) -> Vec<Timestamp> {
    let of_stretches = tracks.iter().flat_map(|track| &track.stretches).flat_map(|(from, to)| [*from, *to]);
    let of_dots = tracks.iter().flat_map(|track| &track.dots).map(|dot| dot.at);
    of_stretches.chain(of_dots).collect()
}

/// Cells of one tone become one piece; blanks at the end go.
fn line(label: &str, cells: &[(char, Option<Tone>)]) -> Vec<Piece> {
    let used = cells.iter().rposition(|(character, _)| *character != ' ').map_or(0, |last| last + 1);
    let mut pieces = vec![Piece { text: label.to_owned(), tone: None }];
    for (character, tone) in &cells[..used] {
        match pieces.last_mut() {
            Some(piece) if piece.tone == *tone => piece.text.push(*character),
            _ => pieces.push(Piece { text: character.to_string(), tone: *tone }),
        }
    }
    if used == 0 {
        pieces[0].text.truncate(label.trim_end().len());
    }
    pieces
}

/// Two rows for each timeline: the line with its points, and what was proved of them.
struct Canvas {
    rows: Vec<Cells>,
    glyphs: Glyphs,
}

impl Canvas {
    /// Returns how many gaps have no column of their own.
    fn stretches(&mut self, row: usize, track: &Track, axis: &Axis) -> usize {
        let columns: Vec<(usize, usize)> =
            track.stretches.iter().map(|(from, to)| (axis.column(*from), axis.column(*to))).collect();
        let mut hidden = 0;
        for pair in columns.windows(2) {
            let gap = pair[0].1 + 1..pair[1].0;
            hidden += usize::from(gap.is_empty());
            gap.for_each(|column| self.rows[row][column] = (self.glyphs.gap, Some(Tone::Bad)));
        }
        for (from, to) in columns {
            (from..=to).for_each(|column| self.rows[row][column] = (self.glyphs.reached, Some(Tone::Good)));
        }
        hidden
    }

    /// The way down from the parent.
    fn branch(&mut self, number: usize, tracks: &[Track], axis: &Axis) {
        let track = &tracks[number];
        let Some((parent, left_at)) = track.parent else { return };
        let Some(above) = tracks[..number].iter().position(|other| other.timeline == parent) else { return };
        let begin = left_at.or(track.stretches.first().map(|(from, _)| *from));
        let Some(column) = begin.or(track.dots.first().map(|dot| dot.at)).map(|at| axis.column(at)) else { return };
        let (leaves, arrives) = (self.glyphs.leaves, self.glyphs.arrives);
        self.rows[above * 2][column] = (leaves, Some(Tone::Good));
        for row in above * 2 + 1..number * 2 {
            let cell = &mut self.rows[row][column];
            if cell.0 == ' ' {
                *cell = (self.glyphs.falls, None);
            }
        }
        self.rows[number * 2][column] = (arrives, Some(Tone::Good));
        // Between the branch and the first moment that can be reached there may be a hole.
        if let Some((from, _)) = track.stretches.first() {
            let first = axis.column(*from);
            (column + 1..first).for_each(|hole| self.rows[number * 2][hole] = (self.glyphs.gap, Some(Tone::Bad)));
        }
    }

    /// Returns the columns that several points share.
    fn dots(&mut self, row: usize, track: &Track, axis: &Axis) -> BTreeSet<usize> {
        let mut taken: std::collections::BTreeMap<usize, (u8, Proved, usize)> = std::collections::BTreeMap::new();
        for dot in &track.dots {
            let fullness = match dot.backup_type.as_str() {
                "full" => 2,
                "diff" => 1,
                _ => 0,
            };
            let column = taken.entry(axis.column(dot.at)).or_insert((fullness, dot.proved, 0));
            *column = (column.0.max(fullness), column.1.max(dot.proved), column.2 + 1);
        }
        for (column, (fullness, proved, _)) in &taken {
            let letter = ['i', 'D', 'F'][usize::from(*fullness)];
            self.rows[row][*column] = (letter, None);
            self.rows[row + 1][*column] = self.glyphs.proved(*proved);
        }
        taken.into_iter().filter(|(_, (_, _, count))| *count > 1).map(|(column, _)| column).collect()
    }
}

/// What the characters mean, only those that occur, over as many lines as it takes.
fn legend(tracks: &[Track], canvas: &Canvas, width: usize) -> Vec<Vec<Piece>> {
    let glyphs = &canvas.glyphs;
    let dots = || tracks.iter().flat_map(|track| &track.dots);
    let mut words: Vec<String> = Vec::new();
    for (letter, name) in [('F', "full"), ('D', "diff"), ('i', "incr")] {
        if dots().any(|dot| dot.backup_type == name) {
            words.push(format!("{letter} {name}"));
        }
    }
    if tracks.iter().any(|track| !track.stretches.is_empty()) {
        words.push(format!("{} every moment", glyphs.reached));
    }
    if canvas.rows.iter().flatten().any(|(character, _)| *character == glyphs.gap) {
        words.push(format!("{} gap", glyphs.gap));
    }
    for (proved, meaning) in [
        (Proved::Boot, "test restore passed"),
        (Proved::Data, "every byte read"),
        (Proved::Structure, "structure looked at"),
        (Proved::Nothing, "not verified"),
        (Proved::Bad, "bad"),
    ] {
        if dots().any(|dot| dot.proved == proved) {
            words.push(format!("{} {meaning}", glyphs.proved(proved).0));
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() + 3 <= width => {
                line.push_str("   ");
                line.push_str(&word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.into_iter().map(|text| vec![Piece { text, tone: Some(Tone::Faint) }]).collect()
}

#[cfg(test)]
mod tests;
