//! The physical replication protocol: WAL as the server writes it, byte by byte, and whole copies of a cluster.
//!
//! The bytes of the protocol are handled in [`codec`], which does no I/O; [`ReplicationClient`] is the session around
//! it, [`WalStream`] the session while it streams. Nothing is confirmed to the server but what the caller says with
//! [`WalStream::send_status`]: the server throws WAL away, and lets commits return, on the strength of it.
//!
//! Not here: where WAL is stored, connecting again, logical replication. Protocol: "Streaming Replication Protocol".

mod authentication;
mod base_backup;
mod client;
pub mod codec;
mod socket;
mod stream;

pub use base_backup::{
    BaseBackup, BaseBackupEnd, BaseBackupEvent, BaseBackupRequest, BaseBackupStart, BaseTablespace, ServerCompression,
};
pub use client::{ReplicationClient, SlotState, SystemIdentity, TimelineHistory};
pub use codec::StatusUpdate;
pub use stream::{StreamEvent, WalStream};
