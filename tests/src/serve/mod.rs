//! Turns below `boocoder serve` that are stopped, killed or shut down: what such tests do to them, and what must
//! be true of them afterwards, on either store.

mod record;
mod service;
mod stop;

pub use record::{
    answers, assert_cancelled, assert_completed, assert_interrupted, assert_settled_once, changes, deltas,
    turn_frames,
};
pub use service::{
    ESCAPED, Gate, Ledger, escape, freeze, freeze_service, grow, halted, is_running, ledger_agent, on_both,
    pids, serve, thaw, worktree_folders,
};
pub use stop::{Answer, many_stops, stop, stop_and_wait};
