//! Mistakes that need a repository, a server or a file system to be made: each with its exact message and exit code.
//!
//! Every screen should read well at three in the morning: one sentence, the cause, what to type. Mistakes in the
//! configuration and on the command line alone are among the tests of the program itself.

mod locations;
mod log;
mod restores;
mod servers;
