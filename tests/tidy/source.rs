//! Reads Rust just well enough for the rules: code without comments and literals, functions and their lengths.
//!
//! Not a parser. It knows strings, raw strings, characters, lifetimes, nested comments and braces, and nothing else.

/// The text with every comment and the inside of every literal blanked, line for line as long as before.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment_length(rest)
        } else if let Some(hashes) = raw_string_hashes(bytes, at) {
            raw_string_length(rest, hashes)
        } else if rest[0] == b'"' {
            quoted_length(rest, b'"')
        } else if rest[0] == b'\'' && !is_lifetime(rest) {
            quoted_length(rest, b'\'')
        } else {
            at += 1;
            continue;
        };
        for byte in &mut code[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

/// How many `#` open the raw string that starts here, if one does.
fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let word_before =
        at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b';
    if bytes[at] != b'r' || word_before {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_string_length(rest: &[u8], hashes: usize) -> usize {
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    rest[body..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |found| body + found + end.len())
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `'a` is a lifetime unless a quote closes it: `'a'`.
fn is_lifetime(rest: &[u8]) -> bool {
    let named = rest.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    named && rest.get(2) != Some(&b'\'')
}

/// Code without `#[cfg(test)]` items, line for line as long as before.
pub fn without_tests(code: &str) -> String {
    let mut kept = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start);
        for byte in &mut kept[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Where the item that starts at `start` ends: its closing brace, or its semicolon.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in code.as_bytes()[start..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return start + offset + 1;
                }
            }
            b';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every function with a body: its name, the line it starts on, and its length in lines.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let word_before = code[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let name: String = code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if word_before || name.is_empty() {
            continue;
        }
        let body = &code[start..item_end(code, start)];
        if body.ends_with('}') {
            found.push((name, line_of(code, start), body.lines().count()));
        }
    }
    found
}

/// The line, counted from 1, of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_kept() {
        let text = "let a = \"x.unwrap() \\\" {\"; // .unwrap()\nlet b = r#\"{ \"q\" }\"#; /* { /* { */ */ let c = '{';\nfn f<'a>(x: &'a str) {}";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains("unwrap") && code.contains("let c =") && code.contains("fn f<'a>(x: &'a str) {}"));
        assert_eq!(code.matches('{').count(), 1, "{code}");
    }

    #[test]
    fn functions_are_measured_and_test_items_are_left_out() {
        let text =
            "fn one() {\n  if x { y }\n}\n#[cfg(test)]\nmod tests {\n  fn two() {}\n}\ntrait T { fn three(); }\n";
        assert_eq!(functions(&without_tests(text)), [("one".to_owned(), 1, 3)]);
    }
}
