//! What goes wrong: processes killed, bytes damaged, locations lost, mistakes typed. Real program, real servers.
//!
//! Everything random comes from a seed that is printed; `LIFEBOAT_SEED=n` replays it.

mod comparison;
mod damage;
mod disks;
mod kills;
mod left_running;
mod outages;
mod owners;
mod proofs;
mod refusals;
mod screens;
mod world;
