//! Whole recoveries with real servers: backed up, lost, brought back to every kind of target, compared.

mod boot;
mod instant;
mod order;
mod restore;
mod served_boot;
mod site;
mod tables;
