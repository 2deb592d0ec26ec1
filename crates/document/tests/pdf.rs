//! A PDF as another program reads it: its text, on which page, and what a reader shows beside it.

use lifeboat_components::{Component, install};
use lifeboat_document::{Block, Document, Step, Text};
use std::path::Path;
use std::process::Command;

/// The text of each page.
fn pages(name: &str, document: &Document) -> Vec<String> {
    let programs = install(Component::Poppler).expect("poppler");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pdf"));
    std::fs::write(&file, document.pdf().expect("a PDF")).expect("write");
    let output =
        Command::new(programs.join("pdftotext")).arg("-layout").arg(&file).arg("-").output().expect("pdftotext");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end_matches('\u{c}').split('\u{c}').map(str::to_owned).collect()
}

fn document() -> Document {
    Document { title: "Runbook of Łódź".into(), footer: "printed copies age".into(), ..Document::default() }
}

#[test]
fn text_is_text_and_commands_are_whole() {
    let mut document = document();
    document.chapter("Ελληνικά and Кириллица", "first");
    document.paragraph(
        Text::new().plain("Type ").code("lifeboat points").plain(", then look at the fifth office (fi, ffi)."),
    );
    let command =
        "lifeboat restore shop --to /var/lib/postgresql/15/stock --from ohio --as-primary --dry-run --action pause";
    document.steps(vec![Step { text: "Bring it back".into(), code: Some(command.into()), after: None }]);
    document.paragraph("שלום עולם");
    let text = pages("text", &document).join("\n");
    for wanted in [
        "Runbook of Łódź",
        "Ελληνικά and Кириллица",
        "Type lifeboat points, then look at the fifth office (fi, ffi).",
        command,
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(text.contains("שלום") && text.contains("עולם"), "{text}");
}

#[test]
fn each_page_has_its_number_and_the_tables_header() {
    let mut document = document();
    document.chapter("A long table", "table");
    let row = |index: usize| vec![format!("row-{index}").into(), "some words ".repeat(index % 30).into()];
    document.table(&["Heading-of-it", "Words"], (0..150).map(row).collect(), "");
    let pages = pages("table", &document);
    let count = pages.len();
    assert!(count > 4, "{count}");
    for (index, page) in pages.iter().enumerate() {
        assert!(
            page.replace(' ', "").contains(&format!("{}/{count}", index + 1)) && page.contains("printed copies age"),
            "{page}"
        );
        assert_eq!(page.matches("Heading-of-it").count(), usize::from(index > 0), "page {}: {page}", index + 1);
    }
    let all = pages.concat();
    // Nothing is lost at a break.
    assert!((0..150).all(|index| all.matches(&format!("row-{index} ")).count()
        + all.matches(&format!("row-{index}\n")).count()
        == 1));
}

#[test]
fn a_heading_is_never_the_last_on_its_page() {
    let mut document = document();
    for index in 0..120 {
        document.section(format!("Section-{index}"), "");
        document.paragraph(format!("paragraph-{index} {}", "and more ".repeat(index % 50)));
        if index % 7 == 0 {
            document.blocks.push(Block::Code("x\n".repeat(index % 20 + 1)));
        }
    }
    for page in pages("headings", &document).iter().skip(1) {
        let last = page.lines().rev().filter(|line| !line.trim().is_empty()).nth(1).unwrap_or_default();
        // In the contents a number follows.
        let is_heading = last.trim().starts_with("Section-") && !last.trim().contains(' ');
        assert!(!is_heading, "{page}");
    }
}
