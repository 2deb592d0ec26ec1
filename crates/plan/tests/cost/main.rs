//! What downtime and protection cost: the study's worked examples, and properties of every answer.

mod examples;
mod figures;
mod properties;
mod world;
