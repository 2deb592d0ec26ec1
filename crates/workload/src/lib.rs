//! What is protected: capture and restore of each kind of workload, side by side.
//!
//! A kind knows both its subject and the repository; neither of those knows the other. Not here: which point to choose
//! (recovery), flags and printing (the binary).

pub mod postgres;
