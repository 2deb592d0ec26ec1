//! The evidence ledger: what was done and measured, signed, chained, and kept in every location.
//!
//! Promise: an entry is written once and durable where it is reported; whoever holds one location and the public key can tell every
//! entry that was changed, removed, put elsewhere or slipped in. A crash at any step leaves a ledger that verifies: no location ever
//! gets an entry before those that it follows. `docs/format/ledger.md` has every byte, and says what a chain cannot show.
//!
//! Not here: what the entries say (drills, incidents), where the key comes from, printing.

mod append;
mod canonical;
mod entry;
mod gather;
mod judge;
mod key;
mod name;
mod place;
mod shelf;

pub use append::{Appended, Caught, Written, append, catch_up};
pub use canonical::{DEPTH_MAX, to_canonical};
pub use entry::{BYTES_MAX, Entry, Flaw, FlawKind, PREVIOUS_MAX, Signed};
pub use gather::{Away, Gathered, Look, gather, look};
pub use judge::{Finding, Grade, Known, Verdict, judge};
pub use key::{KeyId, PublicKey, SigningKey};
pub use name::{EntryHash, EntryName, PREFIX};
pub use place::{Error, Place, Result};
pub use shelf::Shelf;

/// Decoders of foreign bytes, for the fuzzers.
pub mod decode {
    pub use crate::canonical::parse as canonical;
    pub use crate::entry::decode as entry;
    pub use crate::key::parse_document as key;
}
