//! Experiments of the Chaos Toolkit: made into scenarios, and scenarios made into experiments.
//!
//! The engine of the toolkit differs from its specification; where they do, the engine counts: <https://github.com/chaostoolkit/chaostoolkit-lib>.

mod export;
mod import;

pub use export::export;
pub use import::{Imported, import};
