//! Git worktrees, checkpoints and pending changes, without running anything the repository names.
//!
//! An agent works in a [`Worktree`]: a detached checkout outside of the user's. What it did is recorded in
//! [`Checkpoint`]s, compared as a [`ChangeSet`], and brought to the user's checkout by [`Project::apply`].
//!
//! Three rules explain the rest:
//!
//! - **Trees are the truth, an index is a cache, a patch is a rendering.** A checkpoint is a commit below
//!   `refs/boocoder/`, so that git's garbage collection keeps it, and it says all about itself. The files of the
//!   state directory can be lost without losing work.
//! - **What an agent can write is never run and never trusted.** The repository's own configuration is left out,
//!   no `git` program is called, links are not followed, pipes are not opened.
//! - **The user's checkout, index, `HEAD`, branches, stash and configuration are not touched**, except the files
//!   that an `apply` changes.
//!
//! Everything is synchronous. What may take long takes a cancel flag. Locks die with their process; what a killed
//! process leaves is put in order by [`Worktrees::sweep`]. Objects and refs are not flushed to disk, as with git's
//! own defaults: a power failure may cost the newest checkpoints.
//!
//! ```no_run
//! # use std::{path::Path, sync::atomic::AtomicBool};
//! # use worktree::*;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let go = AtomicBool::new(false);
//! let worktrees = Worktrees::open(Path::new("/var/lib/boocoder"), Policy::default())?;
//! let project = worktrees.project(Path::new("/home/me/project"))?;
//! let worktree = project.create(&"task-7".parse()?, Base::Head, Kind::Task, &go)?;
//! // … an agent works in worktree.path() …
//! let change = worktree.diff(&BaseRef::Captured, CheckpointKind::After, "turn 7", &go)?;
//! worktree.remove(&go)?;
//! project.apply(&change, &go)?;
//! # Ok(()) }
//! ```

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
