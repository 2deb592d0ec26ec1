//! Text from outside, made harmless without losing what it says.

/// What stands for a character that can't be shown.
const REPLACEMENT: char = '\u{FFFD}';

/// Longest text of one field, in characters. A field of the plan is a sentence; a megabyte in one is a mistake or an attack, and a book.
const FIELD_CHARACTERS_MAX: usize = 20_000;

/// One line of text: line breaks and tabs become spaces, control characters and those that turn the direction of what follows become
/// a sign of replacement, so that a command is what it looks like.
pub(crate) fn one_line(text: &str) -> String {
    bounded(text).map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { visible(c) }).collect()
}

/// The same with line breaks kept; tabs become four spaces.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let whole: String = bounded(text).collect();
    let text = whole.replace("\r\n", "\n").replace('\t', "    ");
    text.trim_end_matches('\n').split('\n').map(|line| line.chars().map(visible).collect()).collect()
}

fn bounded(text: &str) -> impl Iterator<Item = char> + '_ {
    let cut = text.char_indices().nth(FIELD_CHARACTERS_MAX).map(|(at, _)| at);
    let (kept, more) = (cut.map_or(text, |at| &text[..at]), if cut.is_some() { " … (cut)" } else { "" });
    kept.chars().chain(more.chars())
}

fn visible(c: char) -> char {
    let turns = matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let hides = matches!(c, '\u{200B}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}' | '\u{FFFE}' | '\u{FFFF}');
    if c.is_control() || turns || hides { REPLACEMENT } else { c }
}

/// Where a link may lead, if it may.
pub(crate) fn link_target(to: &str) -> Option<&str> {
    let known = ["#", "http://", "https://", "mailto:", "tel:"].iter().any(|start| to.starts_with(start));
    (known && to.len() > 1 && to.len() < 2000 && !to.chars().any(|c| c.is_control() || c.is_whitespace())).then_some(to)
}

/// For HTML and SVG, in text and in attributes between double quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_is_seen() {
        assert_eq!(one_line("a\u{202E}b\u{7}c\nd\te\u{200B}"), "a\u{FFFD}b\u{FFFD}c d e\u{FFFD}");
        assert_eq!(lines("a\r\n\tb\n\n"), ["a", "    b"]);
        assert_eq!(one_line(&"x".repeat(30_000)).chars().count(), 20_000 + " … (cut)".chars().count());
    }

    #[test]
    fn a_link_leads_to_an_address_or_nowhere() {
        for good in ["#restore", "https://example.org/a?b=c", "tel:+4912", "mailto:a@example.org"] {
            assert!(link_target(good).is_some(), "{good}");
        }
        for bad in
            ["javascript:alert(1)", "#", "data:text/html,x", "file:///etc/passwd", "https://a b", "HTTPS:", "//x"]
        {
            assert!(link_target(bad).is_none(), "{bad}");
        }
    }
}
