//! A directory whose files come when they are read.
//!
//! Every file has its true size from the first moment on. What is read and isn't here is fetched; what is written is here. Fetched or
//! written, it lies in an ordinary file of an ordinary directory, with holes where nothing has come yet; when all of it has come, the
//! directory is what it would be without this, and stays when the mount goes.
//!
//! Promise: a synced write survives the end of this program and of the machine's power; a block is never half new and half old; what
//! can't be had is an error, never zeros.
//!
//! Not here: what the files mean (no databases), where they come from (no repositories): see [`Source`].

pub mod blocks;
pub mod control;
mod filesystem;
mod finish;
pub mod hydrate;
pub mod journal;
pub mod lazy;
pub mod limit;
pub mod mount;
mod mounts;
mod nodes;
pub mod overlay;
mod part;
pub mod place;
mod pool;
pub mod private;
pub mod root;
mod session;
pub mod source;
pub mod told;
pub mod view;
pub mod waiting;
