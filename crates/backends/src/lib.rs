//! Ways to reach a coding agent, and child processes done once for all of them.

pub mod process;
