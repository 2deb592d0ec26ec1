//! Moments that can't be reached, and directories that must not be written.
