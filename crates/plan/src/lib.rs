//! What a business decides about recovery, as values: how long recovery points are kept, and whether there are
//! enough copies in enough places.
//!
//! Values in, values out. Nothing here reads a clock, a file or a network; what is decided is carried out elsewhere.

pub mod copies;
pub mod retention;
