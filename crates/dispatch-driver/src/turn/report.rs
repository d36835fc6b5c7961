//! What a turn came to.

use dispatch_core::{
    ids::ChangeId,
    task::{TaskState, TerminalReason},
};

/// How a turn ended, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnReport {
    /// It was settled like this.
    Settled {
        /// The task's final state.
        state: TaskState,
        /// Why.
        reason: TerminalReason,
        /// The change that was queued.
        change: Option<ChangeId>,
    },
    /// Its task is pending again.
    Requeued,
    /// Its end is written by somebody else: the lease or the store was lost.
    Abandoned,
}
