//! What a business decides about recovery, as values: what it promises, what it fears, how long recovery points are kept, whether there are
//! enough copies in enough places; and the record of what was rehearsed.
//!
//! Values in, values out. Nothing here reads a clock, a file or a network; what is decided is carried out elsewhere.

pub mod copies;
pub mod incidents;
mod lookup;
pub mod model;
pub mod money;
pub mod retention;
pub mod run;
