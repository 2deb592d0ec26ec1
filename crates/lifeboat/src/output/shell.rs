//! Lines that can be typed as they are told.

/// One word, as `sh` must be given it.
pub fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./=:,+@".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A line of words.
pub fn line<Word: AsRef<str>>(words: impl IntoIterator<Item = Word>) -> String {
    words.into_iter().map(|text| word(text.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_given() {
        assert_eq!(line(["lifeboat", "open", "shop", "--lsn", "16/B374D848"]), "lifeboat open shop --lsn 16/B374D848");
        let odd = ["", "my shop", "\"My Schema\".\"a.b\"", "it's", "$HOME `id` \\ * ; &", "größe", "a\nb"];
        let script = format!("for word in {}; do printf '%s\\0' \"$word\"; done", line(odd));
        let output = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), odd, "{script}");
    }
}
