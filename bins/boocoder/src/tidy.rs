//! Tidying up after dispatchers that are gone: their processes and their tasks' worktrees.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use backends::process::{self, Leftover, RunTag};
use dispatch_core::{
    change::CheckpointKind,
    ids::{NodeId, TaskId},
    ports::{NewCheckpoint, Records, RecordsError, SessionView, TaskFilter, WorkspaceOwner},
    task::{Task, TaskState, TerminalReason},
};
use tokio::task::{JoinHandle, spawn_blocking};
use worktree::{
    Checkpoint, OwnerId, SweepFailure, SweptHow, Worktrees,
    dispatch::{self, with_advice},
};

use crate::exit::Error;

/// What tags the processes of every node that uses this data directory: the folder itself, whatever it is called.
pub fn data_tag(data_dir: &Path) -> Result<String, Error> {
    let folder = fs::metadata(data_dir)
        .map_err(|error| Error::start(format!("the data directory {}: {error}", data_dir.display())))?;
    Ok(format!("{:x}-{:x}", folder.dev(), folder.ino()))
}

/// Processes of nodes of this data directory that are gone.
pub fn orphans(data_dir: &Path, data_tag: &str) -> Vec<Leftover> {
    let Ok(tag) = RunTag::new(data_tag) else { return Vec::new() };
    let mut left = process::leftovers(&tag);
    left.retain(|left| node_of(&left.tag).is_some_and(|node| !is_live(data_dir, node)));
    left
}

fn node_of(tag: &str) -> Option<NodeId> {
    tag.split('/').nth(1)?.parse().ok()
}

/// A node holds its lock from before its first process until after its last one. When in doubt, it lives.
fn is_live(data_dir: &Path, node: NodeId) -> bool {
    store::is_node_running(data_dir, node).unwrap_or_else(|error| {
        tracing::warn!(%node, %error, "its lock cannot be looked at");
        true
    })
}

/// Tidying that goes on beside a run, so that the run need not wait for it.
pub struct Tidying(JoinHandle<usize>);

impl Tidying {
    /// Begins after recovery.
    pub fn begin(
        data_dir: PathBuf,
        data_tag: String,
        worktrees: Worktrees,
        records: Arc<dyn Records>,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self(spawn_blocking(move || {
            end_orphans(&data_dir, &data_tag);
            let live = |owner: &OwnerId| runtime.block_on(is_owner_live(&*records, owner));
            let (removed, failed) = sweep(&worktrees, &live);
            for (owner, checkpoint) in removed {
                if let Some(task) = task_of(&owner) {
                    runtime.block_on(record_final(&*records, task, &checkpoint));
                }
            }
            failed
        }))
    }

    /// Waits for its end, once; tells how much could not be tidied up. Cancel-safe.
    pub async fn end(&mut self) -> usize {
        (&mut self.0).await.unwrap_or_else(|error| {
            tracing::error!(%error, "tidying up failed");
            1
        })
    }
}

fn end_orphans(data_dir: &Path, data_tag: &str) {
    let mut tags: Vec<_> = orphans(data_dir, data_tag).into_iter().map(|left| left.tag).collect();
    tags.sort();
    tags.dedup();
    for tag in tags.iter().filter_map(|tag| RunTag::new(tag.as_str()).ok()) {
        let swept = process::sweep(&tag);
        tracing::info!(%tag, gone = swept.gone.len(), remaining = swept.remaining.len(), "ended orphans");
    }
}

/// Sweeps the worktrees; returns the final checkpoints of those that were removed, and how much failed.
fn sweep(worktrees: &Worktrees, live: &dyn Fn(&OwnerId) -> bool) -> (Vec<(OwnerId, Checkpoint)>, usize) {
    let report = match worktrees.sweep(live, &AtomicBool::new(false)) {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(error = with_advice(&error), "the worktrees could not be swept");
            return (Vec::new(), 1);
        }
    };
    for SweepFailure { path, error } in &report.failed {
        tracing::warn!(path = %path.display(), error = with_advice(error), "a worktree could not be swept");
    }
    let removed = report.worktrees.into_iter().filter_map(|swept| {
        tracing::info!(owner = %swept.owner, path = %swept.path.display(), "swept a worktree");
        match swept.what {
            SweptHow::Removed { checkpoint: Some(checkpoint), .. } => Some((swept.owner, *checkpoint)),
            _ => None,
        }
    });
    (removed.collect(), report.failed.len())
}

/// Removes the worktree of a closed session after a final checkpoint, which is recorded with the session's
/// last task (SPEC R4). Sweeps leave those of sessions alone.
pub async fn remove_session_worktree(
    worktrees: &Worktrees,
    records: &dyn Records,
    session: &SessionView,
) -> Result<(), Error> {
    let Some(path) = records.project(session.project).await?.path else { return Ok(()) };
    let owner: OwnerId = WorkspaceOwner::Session(session.id)
        .to_string()
        .parse()
        .expect("because `session-` and 32 digits name an owner");
    let worktrees = worktrees.clone();
    let removed = spawn_blocking(move || match worktrees.project(&path)?.find(&owner)? {
        Some(worktree) => Ok(worktree.remove(&AtomicBool::new(false))?.checkpoint),
        None => Ok(None),
    });
    let removed = removed.await.map_err(|error| Error::failed(error.to_string()))?;
    let checkpoint = removed.map_err(|error: worktree::Error| Error::failed(with_advice(&error)))?;
    let filter = TaskFilter { session: Some(session.id), limit: 1, ..TaskFilter::default() };
    let last = records.tasks(&filter).await?.into_iter().next();
    if let (Some(checkpoint), Some(task)) = (checkpoint, last) {
        record_final(records, task.id, &checkpoint).await;
    }
    Ok(())
}

/// Records the last checkpoint of a task whose dispatcher could not, so that it can be found by its task.
async fn record_final(records: &dyn Records, task: TaskId, checkpoint: &Checkpoint) {
    let recorded = async {
        let last = NewCheckpoint {
            kind: CheckpointKind::Final,
            message: records.task(task).await?.assistant_message,
            worktree: checkpoint.worktree.to_string(),
            snapshot: dispatch::snapshot(checkpoint),
        };
        records.add_checkpoint(task, last).await
    };
    if let Err(error) = recorded.await {
        tracing::warn!(%task, %error, "the final checkpoint is not recorded");
    }
}

fn task_of(owner: &OwnerId) -> Option<TaskId> {
    owner.as_str().strip_prefix("task-")?.parse().ok()
}

/// Whether somebody still needs an owner's worktree. When in doubt, yes: a task that this record does not know
/// may be one of another record that shares the data directory.
pub async fn is_owner_live(records: &dyn Records, owner: &OwnerId) -> bool {
    let Some(task) = task_of(owner) else { return true };
    match records.task(task).await {
        Ok(task) => is_needed(records, &task).await.unwrap_or(true),
        Err(_) => true,
    }
}

/// A task's worktree is needed while the task waits or runs; and, as long as its session is open, if it holds
/// what no change does: that of a task that can be resumed from it (SPEC 4), or could not be compared with its
/// base. Who sat in front of an interrupted `run` is gone.
async fn is_needed(records: &dyn Records, task: &Task) -> Result<bool, RecordsError> {
    let is_kept = task.reason == Some(TerminalReason::DiffFailed)
        || (task.state == TaskState::Interrupted && !task.attended);
    Ok(!task.state.is_terminal() || (is_kept && records.session(task.session).await?.open))
}
