//! What keys do: in a sentence each where there is room, else by the words of a script.

use crate::script::STEPS;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Between two.
const GAP: usize = 2;

fn entries(in_full: bool) -> Vec<(String, &'static str)> {
    let of =
        |(words, key, sentence, ..): &(_, char, _, _, _)| (key.to_string(), if in_full { *sentence } else { *words });
    let mut entries: Vec<(String, &str)> = STEPS.iter().map(of).collect();
    entries.insert(2, ("1 2 3".into(), if in_full { "cut it off, or heal it" } else { "cut/heal it" }));
    entries.push(("q".into(), if in_full { "quit: all of it goes" } else { "quit" }));
    entries
}

/// As many rows as the width asks for.
pub fn lines(width: u16, in_full: bool) -> Vec<Line<'static>> {
    let entries = entries(in_full);
    let length = |(key, words): &(String, &str)| key.len() + 1 + words.len();
    let widest = entries.iter().map(length).max().unwrap_or_default();
    let (mut rows, mut row, mut used) = (Vec::new(), Vec::new(), 0);
    for entry in &entries {
        // In columns, when there are sentences.
        let takes = if in_full { widest } else { length(entry) };
        if used + takes > usize::from(width) {
            rows.push(Line::from(std::mem::take(&mut row)));
            used = 0;
        }
        let gap = " ".repeat(takes - length(entry) + GAP);
        row.push(Span::styled(entry.0.clone(), Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)));
        row.push(Span::raw(format!(" {}{gap}", entry.1)));
        used += takes + GAP;
    }
    rows.push(Line::from(row));
    rows
}
