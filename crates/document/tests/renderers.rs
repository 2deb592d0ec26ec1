//! What documents look like, and that nothing in them gets out of its field.

use lifeboat_document::{
    Align, Bar, Block, Calendar, CalendarRow, Document, Graph, Line, LinePoint, Mark, MarkKind, NoticeKind, Picture,
    Step, Table, Text,
};

/// Texts that try to be something else.
const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)' x=\"",
    "</title></style></svg><svg onload=alert(1)>",
    "](javascript:alert(1)) | `a` **b** _c_ [d](e)",
    "```\n# Heading\n> quote\n- item\n1. one",
    "rm -rf \u{202E}/ txt.\u{202C} \u{0}\u{1b}[31m\u{7f}",
    "שלום עולם، مرحبا بالعالم, Ελληνικά, Кириллица, Łódź",
    "&lt;b&gt; &amp; ]]> <!-- --> {{x}} %s",
    "",
];

fn text(words: &str) -> Text {
    Text::new().plain(words).strong(words).code(words).link(words, words).link(words, "https://example.org/\"><script>")
}

fn pictures(words: &str) -> Vec<Picture> {
    let words = || words.to_owned();
    let bar = |promised, measured| Bar {
        label: words(),
        promised,
        measured,
        promised_words: words(),
        measured_words: words(),
    };
    let point = |at, value| LinePoint { at, value, at_words: words(), value_words: words() };
    let mark = |at, kind| Mark { at, kind, words: words() };
    let bars = vec![
        bar(Some(60.0), Some(20.0)),
        bar(Some(0.0), Some(1.0)),
        bar(None, Some(f64::NAN)),
        bar(Some(f64::INFINITY), None),
        bar(Some(1e-300), Some(1e300)),
    ];
    let points = vec![point(0.0, 1.0), point(0.0, 1e300), point(f64::NAN, 3.0), point(5.0, -1.0), point(9.0, 2.0)];
    let marks = vec![mark(-5.0, MarkKind::Late), mark(f64::NAN, MarkKind::Failed), mark(50.0, MarkKind::Planned)];
    let rows = vec![CalendarRow { label: words(), marks }, CalendarRow { label: words(), marks: vec![] }];
    vec![
        Picture::Bars(bars),
        Picture::Bars(vec![]),
        Picture::Line(Line { label: words(), points, promised: Some((2.0, words())) }),
        Picture::Line(Line { label: words(), points: vec![], promised: None }),
        Picture::Calendar(Calendar {
            from: 0.0,
            to: 10.0,
            ticks: vec![(0.0, words())],
            now: Some(5.0),
            rows: rows.clone(),
        }),
        Picture::Calendar(Calendar { from: 10.0, to: f64::NAN, ticks: vec![], now: None, rows }),
        Picture::Graph(Graph { nodes: vec![words(), words(), words()], edges: vec![(0, 1), (1, 0), (2, 2), (7, 9)] }),
        Picture::Graph(Graph { nodes: vec![], edges: vec![] }),
    ]
}

/// The same text in every field that there is.
fn everywhere(words: &str) -> Document {
    let mut document = Document {
        title: words.to_owned(),
        subtitle: Some(words.to_owned()),
        facts: vec![(words.to_owned(), text(words))],
        footer: words.to_owned(),
        blocks: Vec::new(),
    };
    document.chapter(text(words), words);
    document.section(text(words), words);
    document.subsection(text(words));
    document.paragraph(text(words));
    document.list(vec![text(words), Text::new()]);
    document.steps(vec![
        Step { text: text(words), code: Some(words.to_owned()), after: Some(text(words)) },
        Step::default(),
    ]);
    for rows in [vec![], vec![vec![]], vec![vec![text(words)], vec![text(words), text(words), text(words)]]] {
        let columns = vec![(words.to_owned(), Align::Center), (words.to_owned(), Align::Right)];
        document.blocks.push(Block::Table(Table { columns, rows, when_empty: words.to_owned() }));
    }
    document.blocks.push(Block::Table(Table { rows: vec![vec![text(words)]], ..Table::default() }));
    for kind in [NoticeKind::Note, NoticeKind::Warning, NoticeKind::Alarm] {
        document.notice(kind, text(words));
    }
    document.blocks.push(Block::Code(words.to_owned()));
    document.blocks.push(Block::PageBreak);
    for picture in pictures(words) {
        document.picture(text(words), picture);
    }
    document
}

/// Names of elements in a page.
fn elements(html: &str) -> Vec<&str> {
    let inside = html.split('<').skip(1).map(|rest| rest.trim_start_matches('/'));
    inside.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '!').next().unwrap_or_default()).collect()
}

#[test]
fn no_field_becomes_markup_in_html() {
    const OURS: &str = "!doctype html head meta title style body header h1 h2 h3 h4 p dl dt dd nav ul ol li a main strong code bdi input pre \
                        div table thead tbody tr th td figure figcaption footer svg rect polyline circle text";
    for words in HOSTILE {
        let html = everywhere(words).html();
        let strangers: Vec<&str> =
            elements(&html).into_iter().filter(|name| !OURS.split_whitespace().any(|ours| ours == *name)).collect();
        assert!(strangers.is_empty(), "{words}: {strangers:?}");
        // In a tag, between quotation marks there is nothing that ends them.
        for tag in html.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
            assert!(!tag.contains("onmouseover=") && !tag.contains("javascript:"), "{tag}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert!(!html.contains(['\u{202E}', '\u{0}', '\u{1b}', '\u{7f}']), "{words}");
    }
}

#[test]
fn no_field_becomes_markup_in_markdown() {
    for words in HOSTILE {
        let markdown = everywhere(words).markdown();
        let mut fence: Option<String> = None;
        for line in markdown.lines() {
            let ticks: String = line.trim_start().chars().take_while(|c| *c == '`').collect();
            match &fence {
                Some(open) if line.trim() == open => fence = None,
                None if ticks.len() >= 3 && line.trim() == ticks => fence = Some(ticks),
                Some(_) => {}
                None => {
                    let without_ours = line.replace("<a id=", "").replace("</a>", "").replace("](<", "");
                    let code = without_ours.contains('`');
                    assert!(code || !without_ours.contains("<s"), "{line}");
                    assert!(code || !without_ours.contains("](javascript"), "{line}");
                }
            }
        }
        assert!(fence.is_none(), "{words}: a fence is open\n{markdown}");
    }
}

#[test]
fn a_pdf_is_made_of_anything() {
    let long = "w".repeat(1500);
    let many = "word ".repeat(1500);
    for words in HOSTILE.into_iter().chain([long.as_str(), many.as_str(), "\u{1F600}漢字\u{E000}"]) {
        let pdf = everywhere(words).pdf().expect("a PDF");
        assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 2000, "{}", words.chars().take(40).collect::<String>());
    }
    assert!(Document::default().pdf().expect("a PDF of nothing").len() > 300);
}

fn sample() -> Document {
    let mut document = Document {
        title: "Recovery of the shop".into(),
        subtitle: Some("What to do when it is gone".into()),
        facts: vec![
            ("Organisation".into(), "Shop <Ltd> & Söhne".into()),
            ("Configuration".into(), Text::new().code("9f3c…")),
        ],
        footer: "Shop Ltd, printed copies age".into(),
        blocks: Vec::new(),
    };
    document.chapter("First things", "first");
    document.paragraph(
        Text::marked("Read **all** of this before you type `lifeboat restore`; then go to the ")
            .link("steps", "#steps"),
    );
    document.notice(NoticeKind::Alarm, "Never rehearsed: no figure here was measured.");
    document.chapter("Steps", "steps");
    document.steps(vec![
        Step {
            text: "Make sure that the old server is gone.".into(),
            code: Some("lifeboat points shop\nlifeboat restore shop --to /srv/shop --from ohio".into()),
            after: Some(Text::marked("Took **4 min 10 s** on 2026-11-03.")),
        },
        Step { text: Text::marked("Call the one who decides."), code: None, after: None },
    ]);
    document.chapter("Figures", "figures");
    let row = |name: &str, promised: &str, measured: &str| vec![name.into(), promised.into(), measured.into()];
    document.table(
        &["Process", ">Promised", ">Measured"],
        vec![row("Orders", "15 min", "4 min"), row("Mail | post", "4 h", "not measured")],
        "None.",
    );
    document.table(&["Nothing"], vec![], "No process is in the plan.");
    let bar = |label: &str, promised: f64, measured: Option<f64>, words: &str| Bar {
        label: label.into(),
        promised: Some(promised),
        measured,
        promised_words: format!("{promised} min"),
        measured_words: words.into(),
    };
    let bars = vec![
        bar("Orders", 15.0, Some(4.0), "4 min (entry 12)"),
        bar("Invoices", 60.0, Some(75.0), "75 min (entry 14)"),
        bar("Mail", 240.0, None, "never"),
    ];
    document.picture("Promised against measured.", Picture::Bars(bars));
    let point = |at: f64, value: f64| LinePoint {
        at,
        value,
        at_words: format!("day {at}"),
        value_words: format!("{value} min"),
    };
    let points = vec![point(1.0, 12.0), point(30.0, 9.0), point(60.0, 17.0), point(88.0, 4.0)];
    document.picture(
        "Time to recover over the last drills.",
        Picture::Line(Line { label: "RTA of orders, minutes".into(), points, promised: Some((15.0, "15 min".into())) }),
    );
    let mark = |at, kind| Mark { at, kind, words: format!("day {at}") };
    let rows = vec![
        CalendarRow {
            label: "restore of one database".into(),
            marks: vec![
                mark(3.0, MarkKind::Passed),
                mark(40.0, MarkKind::Failed),
                mark(45.0, MarkKind::Passed),
                mark(80.0, MarkKind::Planned),
            ],
        },
        CalendarRow { label: "loss of a region".into(), marks: vec![mark(30.0, MarkKind::Late)] },
    ];
    let ticks = vec![(0.0, "September".into()), (30.0, "October".into()), (61.0, "November".into())];
    document.picture(
        "When what was rehearsed.",
        Picture::Calendar(Calendar { from: 0.0, to: 90.0, ticks, now: Some(70.0), rows }),
    );
    let nodes = vec!["orders database".into(), "stock".into(), "web".into(), "switch DNS".into(), "mail".into()];
    document.picture("In this order.", Picture::Graph(Graph { nodes, edges: vec![(0, 2), (1, 2), (2, 3), (0, 4)] }));
    document
}

/// A table of several pages.
fn with_a_long_table() -> Document {
    let mut document = sample();
    document.chapter("A long table", "long");
    let row = |index: usize| {
        vec![
            Text::from(format!("row {index}")),
            "x".repeat(index % 90).into(),
            "some words in a cell ".repeat(index % 9).into(),
        ]
    };
    document.table(&[">Number", "Width", "Words"], (0..120).map(row).collect(), "");
    document
}

#[test]
fn the_same_document_is_the_same_bytes() {
    for document in [sample(), with_a_long_table()] {
        let again = document.clone();
        assert_eq!(document.html(), again.html());
        assert_eq!(document.markdown(), again.markdown());
        assert!(document.pdf().expect("a PDF") == again.pdf().expect("a PDF"), "two PDFs of one document differ");
    }
}

#[test]
fn a_small_document_as_text() {
    insta::assert_snapshot!("markdown", sample().markdown());
    let html = sample().html();
    let (_, body) = html.split_once("<body>").expect("a body");
    insta::assert_snapshot!("html", body);
}

/// Leaves them for whoever wants to look.
#[test]
fn pages_are_left_to_be_looked_at() {
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let document = with_a_long_table();
    std::fs::write(place.join("sample.html"), document.html()).expect("write");
    std::fs::write(place.join("sample.md"), document.markdown()).expect("write");
    std::fs::write(place.join("sample.pdf"), document.pdf().expect("a PDF")).expect("write");
}
