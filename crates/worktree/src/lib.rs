//! Git worktrees, checkpoints and pending changes, without running anything the repository names.
mod apply;
mod change;
mod checkpoint;
#[cfg(feature = "dispatch")]
pub mod dispatch;
mod error;
mod fsio;
mod ids;
mod index;
mod layout;
mod lock;
mod path;
mod policy;
mod project;
mod refs;
mod scan;
mod state_dir;
mod sweep;
mod worktree;
mod writer;

pub use apply::{Applied, ApplyError, Conflict, ConflictKind, MergePreview, Recovered};
pub use change::{ChangeKind, ChangeSet, FileChange, FileMode, Side};
pub use checkpoint::{Checkpoint, CheckpointKind, Operation, RestoreReport, SkipReason, Skipped};
pub use error::{Error, Result};
pub use ids::{AppliedId, BlobId, CheckpointId, CommitId, InvalidId, OwnerId, TreeId, WorktreeId};
pub use path::RelPath;
pub use policy::Policy;
pub use project::Project;
pub use state_dir::Worktrees;
pub use sweep::{Leftover, SweepFailure, SweepReport, Swept, SweptHow};
pub use worktree::{Base, BaseRef, Kind, RemovalReceipt, Worktree};
