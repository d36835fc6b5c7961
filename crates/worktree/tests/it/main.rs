//! Behaviour of worktrees, checkpoints and changes on real repositories.

mod checkpoint;
mod create;
mod diff;
mod support;
