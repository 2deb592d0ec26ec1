//! Objects of the ledger, as far as a repository cares: that they are what their names say, so that a copy spreads no damage.
//!
//! Not here: signatures, and the chain. `ledger verify` looks at those; the repository knows no entry.

use crate::error::{Error, Result};
use aws_lc_rs::digest::{SHA256, digest};

/// The object of a public key.
const KEY_PREFIX: &str = "ledger/key-";

/// Whether these bytes belong under this key.
pub(crate) fn check(key: &str, bytes: &[u8]) -> Result<()> {
    let name = key.strip_suffix(".json");
    let is_right = match key.starts_with(KEY_PREFIX) {
        true => name.and_then(|name| name.strip_prefix(KEY_PREFIX)) == key_id(bytes).as_deref(),
        false => name.and_then(|name| name.rsplit_once('-')).map(|(_, hash)| hash) == Some(&*sha256(bytes)),
    };
    is_right.then_some(()).ok_or_else(|| Error::corrupt(key, "its bytes are not those that its name says"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn key_id(bytes: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let key = hex::decode(document["public_key"].as_str()?).ok()?;
    Some(sha256(&key)[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_belong_under_their_name() {
        let entry = b"{}";
        let key = format!("ledger/000000000001-{}.json", sha256(entry));
        assert!(check(&key, entry).is_ok());
        assert!(check(&key, b"{ }").is_err());
        assert!(check("ledger/notes.txt", entry).is_err());
        let public = r#"{"public_key":"00"}"#;
        assert!(check(&format!("ledger/key-{}.json", &sha256(&[0])[..16]), public.as_bytes()).is_ok());
        assert!(check("ledger/key-0000000000000000.json", public.as_bytes()).is_err());
    }
}
