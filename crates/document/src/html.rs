//! A document as one HTML file: no script, nothing loaded from anywhere, readable in the light, in the dark and on paper.

use crate::model::{Align, Block, Document, NoticeKind, Span, Step, Table, Text};
use crate::svg;
use crate::text::{escaped, lines, link_target, one_line};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// See the module.
pub(crate) fn render(document: &Document) -> String {
    let title = plain(&document.title);
    // The policy says it to the browser too: nothing is loaded, nothing runs.
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
    );
    if let Some(subtitle) = &document.subtitle {
        let _ = writeln!(out, "<p class=\"subtitle\">{}</p>", plain(subtitle));
    }
    if !document.facts.is_empty() {
        out.push_str("<dl>\n");
        for (name, value) in &document.facts {
            let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", plain(name), inline(value));
        }
        out.push_str("</dl>\n");
    }
    out.push_str("</header>\n");
    let headings = document.headings();
    write_contents(&mut out, &headings);
    out.push_str("<main>\n");
    let mut headings = headings.into_iter();
    for (index, block) in document.blocks.iter().enumerate() {
        match block {
            Block::Heading { text, .. } => {
                let Some((level, _, anchor)) = headings.next() else { continue };
                let level = level + 1;
                let _ = writeln!(out, "<h{level} id=\"{}\">{}</h{level}>", escaped(&one_line(&anchor)), inline(text));
            }
            other => write_block(&mut out, other, index),
        }
    }
    let _ = writeln!(out, "</main>\n<footer>{}</footer>\n</body>\n</html>", plain(&document.footer));
    out
}

fn write_contents(out: &mut String, headings: &[(u8, String, String)]) {
    let shown: Vec<_> = headings.iter().filter(|(level, _, _)| *level <= 2).collect();
    if shown.len() < 3 {
        return;
    }
    out.push_str("<nav aria-label=\"Contents\">\n<ul>\n");
    for (level, text, anchor) in shown {
        let anchor = escaped(&one_line(anchor));
        let _ = writeln!(out, "<li class=\"l{level}\"><a href=\"#{anchor}\">{}</a></li>", plain(text));
    }
    out.push_str("</ul>\n</nav>\n");
}

fn write_block(out: &mut String, block: &Block, index: usize) {
    match block {
        Block::Heading { .. } => {}
        Block::Paragraph(text) => {
            let _ = writeln!(out, "<p>{}</p>", inline(text));
        }
        Block::List(items) => {
            out.push_str("<ul>\n");
            for item in items {
                let _ = writeln!(out, "<li>{}</li>", inline(item));
            }
            out.push_str("</ul>\n");
        }
        Block::Steps(steps) => write_steps(out, steps),
        Block::Table(table) => write_table(out, table),
        Block::Notice { kind, text } => {
            let class = match kind {
                NoticeKind::Note => "note",
                NoticeKind::Warning => "warning",
                NoticeKind::Alarm => "alarm",
            };
            let _ = writeln!(out, "<p class=\"notice {class}\"><strong>{}:</strong> {}</p>", kind.word(), inline(text));
        }
        Block::Code(code) => write_code(out, code),
        Block::Picture { caption, picture } => {
            let drawn = svg::render(picture, &format!("p-{index}"));
            let _ = writeln!(out, "<figure>\n{drawn}<figcaption>{}</figcaption>\n</figure>", inline(caption));
        }
        Block::PageBreak => out.push_str("<div class=\"sheet\"></div>\n"),
    }
}

fn write_steps(out: &mut String, steps: &[Step]) {
    out.push_str("<ol class=\"steps\">\n");
    for step in steps {
        let _ = writeln!(out, "<li><input type=\"checkbox\" aria-label=\"done\"> {}", inline(&step.text));
        if let Some(code) = &step.code {
            write_code(out, code);
        }
        if let Some(after) = &step.after {
            let _ = writeln!(out, "<p class=\"after\">{}</p>", inline(after));
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ol>\n");
}

fn write_code(out: &mut String, code: &str) {
    let _ = writeln!(out, "<pre><code>{}</code></pre>", escaped(&lines(code).join("\n")));
}

fn write_table(out: &mut String, table: &Table) {
    if table.rows.is_empty() || table.columns.is_empty() {
        let _ = writeln!(out, "<p class=\"empty\">{}</p>", plain(&table.when_empty));
        return;
    }
    let class = |align: &Align| match align {
        Align::Left => "",
        Align::Right => " class=\"right\"",
        Align::Center => " class=\"center\"",
    };
    out.push_str("<div class=\"table\"><table>\n<thead><tr>");
    for (header, align) in &table.columns {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(align), plain(header));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let empty = Text::new();
    for row in &table.rows {
        out.push_str("<tr>");
        for (column, (_, align)) in table.columns.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(align), inline(row.get(column).unwrap_or(&empty)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn inline(text: &Text) -> String {
    let span = |span: &Span| match span {
        Span::Plain(text) => plain(text),
        Span::Strong(text) => format!("<strong>{}</strong>", plain(text)),
        Span::Code(text) => format!("<code>{}</code>", plain(text)),
        Span::Link { text, to } => match link_target(to) {
            Some(to) => format!("<a href=\"{}\">{}</a>", escaped(to), plain(text)),
            None => plain(text),
        },
    };
    // A name in another script must not turn the rest of its line.
    let turns = |one: &Span| {
        one.text()
            .chars()
            .any(|c| matches!(c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}'))
    };
    text.0.iter().map(|one| if turns(one) { format!("<bdi>{}</bdi>", span(one)) } else { span(one) }).collect()
}

fn plain(text: &str) -> String {
    escaped(&one_line(text))
}
