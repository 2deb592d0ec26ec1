//! Of the names that are known, the one that was probably meant.

/// The nearest of them, when it is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 100 {
        return None;
    }
    let rated = known.into_iter().map(|name| (strsim::damerau_levenshtein(word, name), name));
    let (distance, name) = rated.min_by_key(|(distance, _)| *distance)?;
    let starts_alike = name.starts_with(word) || word.starts_with(name);
    (distance < name.len() && distance <= 1 + name.len() / 4 || starts_alike && !word.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["passphrase", "url", "location", "region"];
        assert_eq!(nearest("pasphrase", known), Some("passphrase"));
        assert_eq!(nearest("locations", known), Some("location"));
        assert_eq!(nearest("uri", known), Some("url"));
        assert_eq!(nearest("compression", known), None);
        assert_eq!(nearest("", known), None);
    }
}
