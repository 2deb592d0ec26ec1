//! Whole recoveries: the real program, real PostgreSQL servers of every supported version, and a ledger that knows what
//! must have come back.
//!
//! Every test is a disaster: something is written, backed up, lost, brought back into another directory, started and
//! compared. What is compared is what clients were told, or the contents of every table, never what Lifeboat says
//! about itself.
//!
//! Random choices print their seed; `LIFEBOAT_SEED` repeats them. Tests named `long_…` are whole where their
//! siblings are a sample: `cargo nextest run --profile all`.

mod ahead;
mod awkward;
mod bucket;
mod changes;
mod condition;
mod contents;
mod drills;
mod drills_broken;
mod drills_bucket;
mod drills_failover;
mod drills_loss;
mod drills_own;
mod exactness;
mod existing;
mod followers;
mod following;
mod instant;
mod kills;
mod lagging;
mod ledger;
mod lies;
mod load;
mod members;
mod page;
mod past;
mod pasted;
mod program;
mod proof;
mod random;
mod ready;
mod relations;
mod remote;
mod rpo_zero;
mod segments;
mod served;
mod serving;
mod skipping;
mod standby;
mod starting;
mod streaming;
mod tablespaces;
mod targets;
mod timelines;
mod told;
mod torn;
mod weather;
mod when;
mod whole;
mod world;
