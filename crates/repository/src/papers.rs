//! Published papers, as far as a repository cares: that they are what their names say, so that damage is found, mended and not spread.
//! They are plain: whoever looks for them may have nothing of ours.
//!
//! Not here: what stands in them.

use crate::error::{Error, Result};

/// A name ends with the beginning of its content's hash; shorter than this says too little.
const DIGITS_MIN: usize = 16;

/// Whether these bytes belong under this key: `plan/HASH.md`, `plan/index-TIME-HASH.json`.
pub(crate) fn check(key: &str, bytes: &[u8]) -> Result<()> {
    let stem = key.rsplit_once('/').map_or(key, |(_, name)| name).split('.').next().unwrap_or_default();
    let named = stem.rsplit_once('-').map_or(stem, |(_, hash)| hash);
    let is_right = named.len() >= DIGITS_MIN && blake3::hash(bytes).to_hex().starts_with(named);
    is_right.then_some(()).ok_or_else(|| Error::corrupt(key, "its bytes are not those that its name says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_belong_under_their_name() {
        let hash = blake3::hash(b"paper").to_hex();
        for good in [format!("plan/{}.md", &hash[..32]), format!("plan/index-20261122T120000Z-{}.json", &hash[..16])] {
            assert!(check(&good, b"paper").is_ok(), "{good}");
            assert!(check(&good, b"papers").is_err(), "{good}");
        }
        for bad in ["plan/.md", "plan/notes.txt", "plan/index-.json", &format!("plan/{}.md", &hash[..8])] {
            assert!(check(bad, b"paper").is_err(), "{bad}");
        }
    }
}
