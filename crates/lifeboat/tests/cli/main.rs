//! The program from outside: exact messages and exit codes. What is typed wrong at three in the morning is here.

mod agents;
mod arguments;
mod clusters;
mod configuration;
mod costs;
mod gaps;
mod holds;
mod keys;
mod ledger;
mod metrics;
mod papers;
mod plans;
mod program;
mod prune;
mod window;
