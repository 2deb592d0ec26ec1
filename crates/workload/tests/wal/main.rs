//! The log of real servers in repositories whose locations fail as told.

mod fetch;
mod inventory;
mod needed;
mod owner;
mod push;
mod receive;
mod synchronous;
mod world;
