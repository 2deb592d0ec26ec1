//! Text into lines of a width.
//!
//! Words that don't fit on a line of their own are cut. Words that are read from the right stand in that order among each other; a
//! full treatment of mixed directions is not here.

use super::fonts::{Fonts, Run, Style, is_from_right};
use crate::drawing::Role;
use crate::model::{Span, Text};
use crate::text::{link_target, one_line};

/// A run at its place from the left.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub x: f32,
    pub run: Run,
    pub role: Role,
    pub link: Option<String>,
}

/// One line.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub runs: Vec<Placed>,
    pub width: f32,
}

/// How text is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub size: f32,
    pub role: Role,
    /// All of it bold.
    pub bold: bool,
}

/// A part of a word in one style.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    style: Style,
    link: Option<String>,
    text: String,
}

type Word = Vec<Part>;

/// At least one line, even for no text.
pub(super) fn lines_of(fonts: &Fonts, text: &Text, width: f32, setting: Setting) -> Vec<Line> {
    let measure = |part: &Part| fonts.shape(part.style, &part.text).width * size_of(part.style, setting);
    let space = fonts.shape(Style::Regular, " ").width * setting.size;
    let mut lines: Vec<Vec<Word>> = vec![Vec::new()];
    let mut used = 0.0;
    for word in words_of(text, setting.bold) {
        for word in cut_to_fit(word, width, &measure) {
            let wide: f32 = word.iter().map(measure).sum();
            let line = lines.last_mut();
            let fits = used == 0.0 || used + space + wide <= width;
            match line {
                Some(line) if fits => {
                    used += if line.is_empty() { wide } else { space + wide };
                    line.push(word);
                }
                _ => {
                    used = wide;
                    lines.push(vec![word]);
                }
            }
        }
    }
    lines.into_iter().map(|words| set(fonts, words, setting, space)).collect()
}

/// Code looks larger than text of the same size.
pub(super) fn size_of(style: Style, setting: Setting) -> f32 {
    if style == Style::Mono { setting.size * 0.9 } else { setting.size }
}

fn words_of(text: &Text, bold: bool) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    for span in &text.0 {
        let (style, link) = match span {
            Span::Code(_) => (Style::Mono, None),
            Span::Strong(_) => (Style::Bold, None),
            Span::Link { to, .. } => (Style::Regular, link_target(to).map(str::to_owned)),
            Span::Plain(_) => (Style::Regular, None),
        };
        let style = if bold && style == Style::Regular { Style::Bold } else { style };
        for (index, text) in one_line(span.text()).split(' ').enumerate() {
            open = open && index == 0;
            if text.is_empty() {
                continue;
            }
            let part = Part { style, link: link.clone(), text: text.to_owned() };
            match words.last_mut() {
                Some(word) if open => word.push(part),
                _ => words.push(vec![part]),
            }
            open = true;
        }
        open = open && !span.text().ends_with([' ', '\n', '\t']);
    }
    words
}

/// The word, or as many as it must be cut into.
fn cut_to_fit(word: Word, width: f32, measure: &impl Fn(&Part) -> f32) -> Vec<Word> {
    if word.iter().map(measure).sum::<f32>() <= width {
        return vec![word];
    }
    let mut cut: Vec<Word> = vec![Vec::new()];
    let mut used = 0.0;
    for part in word {
        let mut piece = Part { text: String::new(), ..part.clone() };
        for c in part.text.chars() {
            let one = measure(&Part { text: c.to_string(), ..part.clone() });
            if used + one > width && used > 0.0 {
                let full = std::mem::replace(&mut piece, Part { text: String::new(), ..part.clone() });
                if let Some(word) = cut.last_mut().filter(|_| !full.text.is_empty()) {
                    word.push(full);
                }
                cut.push(Vec::new());
                used = 0.0;
            }
            piece.text.push(c);
            used += one;
        }
        if let Some(word) = cut.last_mut() {
            word.push(piece);
        }
    }
    cut
}

/// Puts words side by side; what is of one style becomes one run, spaces included, so that it is copied as it was.
fn set(fonts: &Fonts, mut words: Vec<Word>, setting: Setting, space: f32) -> Line {
    turn_from_right(&mut words);
    let mut parts: Vec<(bool, Part)> = Vec::new();
    for (index, word) in words.into_iter().enumerate() {
        for (position, part) in word.into_iter().enumerate() {
            let spaced = index > 0 && position == 0;
            match parts.last_mut() {
                Some((_, last))
                    if last.style == part.style
                        && last.link == part.link
                        && !is_from_right(&part.text)
                        && !is_from_right(&last.text) =>
                {
                    if spaced {
                        last.text.push(' ');
                    }
                    last.text.push_str(&part.text);
                }
                _ => parts.push((spaced, part)),
            }
        }
    }
    let mut line = Line::default();
    for (spaced, part) in parts {
        if spaced {
            line.width += space;
        }
        let run = fonts.shape(part.style, &part.text);
        let wide = run.width * size_of(part.style, setting);
        let role = if part.link.is_some() { Role::Promise } else { setting.role };
        line.runs.push(Placed { x: line.width, run, role, link: part.link });
        line.width += wide;
    }
    line
}

fn turn_from_right(words: &mut [Word]) {
    let is = |word: &Word| word.first().is_some_and(|part| is_from_right(&part.text));
    let mut start = 0;
    while start < words.len() {
        let end = (start..words.len()).find(|at| !is(&words[*at])).unwrap_or(words.len());
        words[start..end].reverse();
        start = end + 1;
    }
}
