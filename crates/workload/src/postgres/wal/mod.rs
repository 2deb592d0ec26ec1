//! The write-ahead log in a repository: pushed by the archiver, received from a stream, fetched for recovery.
//!
//! - [`push`](push()): `archive_command`. [`already_pushed`] is its quick answer, which needs no key.
//! - [`fetch`](fetch()): `restore_command`. [`take_prefetched`] is its quick answer, [`prefetch`](prefetch()) what makes it.
//! - [`receive`](receive()): follows a server's stream, so that no more than about a second can be lost, or nothing.
//! - [`ship`](ship()): what a receiver's own disk has and no location yet.
//! - [`observe`]: what is archived, from where to where, and what is missing.
//!
//! Nothing here removes anything from the archive, and nothing is ever stored over something else.

mod archive;
mod circuit;
mod error;
mod facts;
mod fetch;
mod followed;
mod inventory;
mod journal;
mod listing;
pub mod needed;
mod owner;
mod prefetch;
mod push;
mod push_ahead;
mod receive;
mod retention;
mod ship;
mod spool;
mod tails;

pub use archive::{ArchivedName, ClusterIdentity, TailName, WalArchive, group_of, history_group, segment_group};
pub use circuit::{REST, locations_to_use, note};
pub use error::{Result, WalError, WalErrorKind};
pub use facts::{FACTS_VERSION, StoredFacts, StoredRestorePoint, facts_of};
pub use fetch::{FetchOptions, FetchOutcome, fetch};
pub use followed::{Way, way_to};
pub use inventory::{Inventory, Partial, Span, TimelineLog, observe, observe_span};
pub use journal::{FormatError, Frame as JournalFrame, Header as JournalHeader, parse_frame as parse_journal_frame};
pub use listing::Listing;
pub use prefetch::{PREFETCH_PATIENCE, PREFETCH_SEGMENTS, PrefetchOutcome, PrefetchSeat, prefetch, take_prefetched};
pub use push::{PushOptions, PushOutcome, already_pushed, push};
pub use push_ahead::{AheadSeat, await_storing, is_worth_a_process, push_waiting};
pub use receive::{
    Alarm, AlarmKind, Keeping, ReceiveOptions, ReceiveProgress, ReceiveReport, ReceiveStatus, Synchronous, receive,
};
pub use retention::{LogNeed, unneeded};
pub use ship::{ShipReport, ship};
pub use spool::Spool;
