//! Which point, which stop, which timeline, or why not: pictures of small archives, and random ones.
//!
//! Positions are small numbers, times are minutes of one day.

mod archive;
mod pictures;
mod random;
