//! What a business decides about recovery, as values: what it promises, what it fears, how long recovery points are kept, whether there are
//! enough copies in enough places, whether all that holds together; and the record of what was rehearsed.
//!
//! Values in, values out. Nothing here reads a clock, a file or a network; what is decided is carried out elsewhere.

pub mod consistency;
pub mod copies;
pub mod cost;
pub mod incidents;
mod lookup;
pub mod model;
pub mod money;
mod nearest;
pub mod readiness;
pub mod retention;
pub mod run;

pub use nearest::nearest;
