//! The decoders against files that PostgreSQL 14 to 18 wrote. How the files were made: `fixtures/README.md`.

mod changes;
mod control;
mod fixtures;
mod layout;
mod page;
mod random;
mod rows;
mod wal;
