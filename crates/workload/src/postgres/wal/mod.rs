//! The write-ahead log in a repository: pushed by the archiver, received from a stream, fetched for recovery.

pub mod needed;
