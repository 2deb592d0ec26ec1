//! The write-ahead log: its pages, its records, and what happened in it.
//!
//! - [`inspect_segment_start`]: whose segment is this? Enough to refuse a foreign or damaged one.
//! - [`RecordDecoder`]: the records in a stream of bytes, each checked, and where the valid log ends.
//! - [`SegmentWalker`]: what each segment holds: commits, times, transactions, restore points.
//! - [`ChangedBlocks`]: which pages a stretch of the log changed.
//! - [`RowChange`], [`TransactionLists`]: what became of which rows, and of which tables.
//!
//! Not here: replay, reading files.
//!
//! Source: `xlog_internal.h`, `xlogrecord.h`, `xact.h`, `heapam_xlog.h`, `xlogreader.c` of PostgreSQL 14 to 18.

mod block_references;
mod changed_blocks;
mod contents;
mod decoder;
mod facts;
mod image;
mod page_header;
mod record;
mod rows;
mod transaction;

pub use block_references::{BlockReference, NotUnderstood, RelationLocator};
pub use changed_blocks::{ChangedBlocks, Distrust};
pub use contents::{Block, Contents, contents};
pub use decoder::{DecoderSettings, EndOfLog, EndReason, KEPT_BYTES_DEFAULT, Keep, RecordDecoder};
pub use facts::{FactsReader, SegmentFacts, SegmentWalker, find_commit, segment_facts};
pub use image::{ImageCompression, InflateZstandard, PAGE_BYTES, PageImage};
pub use page_header::{
    LONG_HEADER_BYTES, LogPageHeader, SHORT_HEADER_BYTES, SegmentHeader, SegmentStartError, inspect_segment_start,
    version_of_magic,
};
pub use record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Record, RecordHeader, ResourceManager};
pub use rows::{ClusterChange, LoggedRow, RowChange, RowPlace, TUPLE_HEADER_BYTES};
pub use transaction::{Outcome, RestorePoint, TransactionEnd, TransactionLists, timestamp};
