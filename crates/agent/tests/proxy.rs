//! The proxy in front of real PostgreSQL: who gets where, who is held, and who is cut off.

#[path = "proxy/epochs.rs"]
mod epochs;
#[path = "proxy/first_word.rs"]
mod first_word;
#[path = "proxy/holding.rs"]
mod holding;
#[path = "proxy/reading.rs"]
mod reading;
#[path = "routing/tables.rs"]
mod tables;
#[path = "proxy/world.rs"]
mod world;
