//! A document as Markdown (CommonMark with tables). Pictures become tables.

use crate::model::{Align, Block, Document, Span, Step, Table, Text};
use crate::text::{lines, link_target, one_line};
use std::fmt::Write;

/// See the module.
pub(crate) fn render(document: &Document) -> String {
    let mut out = format!("# {}\n\n", plain(&document.title));
    if let Some(subtitle) = &document.subtitle {
        let _ = writeln!(out, "{}\n", plain(subtitle));
    }
    for (name, value) in &document.facts {
        let _ = writeln!(out, "- {}: {}", plain(name), inline(value));
    }
    if !document.facts.is_empty() {
        out.push('\n');
    }
    let mut anchors = document.headings().into_iter();
    for block in &document.blocks {
        match block {
            Block::Heading { level, text, .. } => {
                let (level, _, anchor) = anchors.next().unwrap_or((*level, String::new(), String::new()));
                let hashes = "#".repeat(usize::from(level) + 1);
                let _ =
                    writeln!(out, "<a id=\"{}\"></a>\n\n{hashes} {}\n", crate::text::escaped(&anchor), inline(text));
            }
            Block::Paragraph(text) => {
                let _ = writeln!(out, "{}\n", inline(text));
            }
            Block::List(items) => {
                for item in items {
                    let _ = writeln!(out, "- {}", inline(item));
                }
                out.push('\n');
            }
            Block::Steps(steps) => write_steps(&mut out, steps),
            Block::Table(table) => write_table(&mut out, table),
            Block::Notice { kind, text } => {
                let _ = writeln!(out, "> **{}:** {}\n", kind.word(), inline(text));
            }
            Block::Code(code) => write_code(&mut out, code, ""),
            Block::Picture { caption, picture } => {
                let (headers, rows) = picture.as_table();
                let columns = headers.into_iter().map(|header| (header.to_owned(), Align::Left)).collect();
                let rows = rows.into_iter().map(|row| row.into_iter().map(Text::from).collect()).collect();
                let _ = writeln!(out, "{}\n", inline(caption));
                write_table(&mut out, &Table { columns, rows, when_empty: "Nothing was measured.".to_owned() });
            }
            Block::PageBreak => {}
        }
    }
    if !document.footer.is_empty() {
        let _ = writeln!(out, "---\n\n{}", plain(&document.footer));
    }
    out
}

fn write_steps(out: &mut String, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        let _ = writeln!(out, "{}. [ ] {}\n", index + 1, inline(&step.text));
        if let Some(code) = &step.code {
            write_code(out, code, "   ");
        }
        if let Some(after) = &step.after {
            let _ = writeln!(out, "   {}\n", inline(after));
        }
    }
}

fn write_code(out: &mut String, code: &str, indent: &str) {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat((longest + 1).max(3));
    let _ = writeln!(out, "{indent}{fence}");
    for line in lines(code) {
        let _ = writeln!(out, "{indent}{line}");
    }
    let _ = writeln!(out, "{indent}{fence}\n");
}

fn write_table(out: &mut String, table: &Table) {
    if table.rows.is_empty() || table.columns.is_empty() {
        let _ = writeln!(out, "{}\n", plain(&table.when_empty));
        return;
    }
    let headers: Vec<String> = table.columns.iter().map(|(header, _)| cell(&plain(header))).collect();
    let marks = table.columns.iter().map(|(_, align)| match align {
        Align::Left => "---",
        Align::Right => "---:",
        Align::Center => ":---:",
    });
    let _ = writeln!(out, "| {} |\n| {} |", headers.join(" | "), marks.collect::<Vec<_>>().join(" | "));
    for row in &table.rows {
        let empty = Text::new();
        let cells = (0..table.columns.len()).map(|column| cell(&inline(row.get(column).unwrap_or(&empty))));
        let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
}

/// A bar ends a cell even inside code; what was escaped already stays.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        if c == '|' && before != '\\' {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

fn inline(text: &Text) -> String {
    text.0.iter().map(span).collect()
}

fn span(span: &Span) -> String {
    match span {
        Span::Plain(text) => plain(text),
        Span::Strong(text) if text.trim().is_empty() => plain(text),
        Span::Strong(text) => format!("**{}**", plain(text)),
        Span::Code(text) => code(&one_line(text)),
        Span::Link { text, to } => match link_target(to) {
            Some(to) => {
                format!("[{}](<{}>)", plain(text), to.replace('<', "%3C").replace('>', "%3E").replace('\\', "%5C"))
            }
            None => plain(text),
        },
    }
}

fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Text that can't become markup, a list, or HTML.
fn plain(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::with_capacity(text.len() + 8);
    for (index, c) in text.chars().enumerate() {
        let starts_block = index == 0 && matches!(c, '#' | '+' | '-' | '=' | '~');
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '!' => {
                out.push('\\');
                out.push(c);
            }
            _ if starts_block => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // A number and a point at the beginning would be a list.
    let digits = out.chars().take_while(char::is_ascii_digit).count();
    if digits > 0 && out[digits..].starts_with(['.', ')']) {
        out.insert(digits, '\\');
    }
    out
}
