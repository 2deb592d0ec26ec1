//! A repository as its users see it: in memory, in directories, in places that fail, hang, fill up and rot.

mod apart;
mod bench;
mod damage;
mod evidence;
mod flip;
mod golden;
mod healing;
mod holds;
mod keeping;
mod keys;
mod logs;
mod nowhere;
mod place;
mod properties;
mod random_steps;
mod removal;
mod repair;
mod round_trip;
mod sessions;
mod shuffled;
mod stranger;
mod unfinished;
