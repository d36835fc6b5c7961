//! Behaviour of worktrees, checkpoints and changes on real repositories.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod apply;
mod checkpoint;
mod common_dir;
mod crash;
mod create;
mod diff;
mod hostile;
mod support;
mod sweep;
