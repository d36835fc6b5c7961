//! Git worktrees, checkpoints and pending changes, without running anything the repository names.
