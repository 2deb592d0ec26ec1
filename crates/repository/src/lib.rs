//! Chunks, packs, index, recovery points: data that outlives the site, in one or more locations.
//!
//! Everything is written once and named so that a stranger with the passphrase can bring it back; `docs/format/` is
//! the contract, byte by byte. Order of writing: packs, then index, then point. Order of reading: point, index, packs.
//! A crash anywhere leaves either a whole recovery point or objects that nothing refers to.
//!
//! Not here: what a database or a machine is, which point to choose, printing.

mod chunk;
mod container;
mod copy;
mod error;
mod fanout;
mod file_map;
mod findings;
mod given_up;
mod hold;
mod index;
mod inflate;
mod key;
mod keyring;
mod location_record;
mod log;
mod most_read;
mod newest;
mod open;
mod pack;
mod papers;
mod part;
mod patience;
mod point;
mod progress;
mod reader;
mod receipt;
mod removal;
mod repair;
mod root;
mod session;
mod spool_key;
mod sync_record;
mod tree;
mod verification;
mod verify;

pub use chunk::{CHUNK_BYTES_MAX, ChunkId};
pub use container::{Container, ContainerKind, Frame, Packing};
pub use copy::{CopyPlan, CopyReport};
pub use error::{Error, Result};
pub use fanout::LaneReport;
pub use file_map::{Extent, LEAF_SPAN_BYTES, Leaf, Source};
pub use findings::{Findings, Found, LogEnd, LogGap, LogStretch};
pub use given_up::{GivenUp, GivenUpThere};
pub use hold::{HOLD_RENEWED_EVERY, Hold, HoldRecord, Holding, hold_until};
pub use index::{Index, Placement};
pub use inflate::{InflateError, Inflater};
pub use key::{KeyFingerprint, KeyRecord, Passphrase};
pub use log::{LogEntry, LogObject, LogPut, LogSealer, SealedLog};
pub use most_read::{MOST_READ_UNIT_BYTES, MostRead, ReadRun};
pub use newest::Verified;
pub use open::{InitOutcome, Replica, Repository, RepositoryId};
pub use pack::Fingerprints;
pub use part::PartPut;
pub use patience::Limits;
pub use point::{LocationState, Point, PointHeader, PointId};
pub use progress::{Progress, Silent};
pub use reader::{ChunkReader, Held, Located};
pub use removal::{Going, LogRange, Mark, MarkedPoint, Removal, RepackPlan, RepackReport, SweepReport};
pub use repair::{RepairPlan, Replacement, Rescued};
pub use session::{ChunkWriter, SessionReport, WriteSession};
pub use spool_key::{SPOOL_SALT_BYTES, SpoolFileKey, SpoolKeys, SpoolSeal};
pub use sync_record::SyncRecord;
pub use tree::{Content, EntryKind, TreeEntry, TreeReader, TreeWriter};
pub use verification::{Proof, Standing, Verification};
pub use verify::{Damage, Only, VerifyReport};

/// Decoders of foreign bytes, for the fuzzers and for readers of other languages' tests.
pub mod decode {
    pub use crate::container::{filter_pages, parse as container, parse_toc as table_of_contents, unfilter_pages};
    pub use crate::file_map::Leaf;
    pub use crate::hold::parse as hold;
    pub use crate::index::parse_fragment as index_fragment;
    pub use crate::most_read::parse as most_read;
    pub use crate::open::parse_key_record as key_record;
    pub use crate::pack::parse_fingerprints as fingerprints;
    pub use crate::point::parse as point;
    pub use crate::root::parse_root as root;
    pub use crate::tree::parse as tree;
}
