//! A turn's calls to its worktree, one at a time.

use std::sync::Arc;

use dispatch_core::{
    change::CheckpointKind,
    ids::MessageId,
    ports::{
        CancelFlag, Collected, NewCheckpoint, Release, Store, Workspace, WorkspaceError, WorkspaceInfo,
        WorkspaceOwner, WorkspaceSpec,
    },
    task::TurnKey,
};
use tokio::sync::Mutex;

use crate::{
    contained::{Panicked, contained},
    store_calls::persistently,
};

/// A turn's worktree, and what every call to it needs.
#[derive(Clone)]
pub(crate) struct WorkspaceCalls {
    workspace: Arc<dyn Workspace>,
    store: Arc<dyn Store>,
    turn: TurnKey,
    spec: WorkspaceSpec,
    /// The worktree once it is ready; locked during a call, so that a release waits for what was cancelled.
    ready: Arc<Mutex<Option<WorkspaceInfo>>>,
}

impl WorkspaceCalls {
    pub(crate) fn new(
        workspace: Arc<dyn Workspace>,
        store: Arc<dyn Store>,
        turn: TurnKey,
        spec: WorkspaceSpec,
    ) -> Self {
        Self { workspace, store, turn, spec, ready: Arc::default() }
    }

    pub(crate) async fn prepare(&self, cancel: &CancelFlag) -> Result<WorkspaceInfo, WorkspaceError> {
        let mut ready = self.ready.lock().await;
        let made = contained(self.workspace.prepare(&self.spec, cancel)).await;
        let info = made.unwrap_or_else(|source| Err(panicked("could not make the worktree", source)))?;
        Ok(ready.insert(info).clone())
    }

    /// Takes the `before` checkpoint; returns its tree.
    pub(crate) async fn checkpoint(
        &self,
        message: Option<MessageId>,
        cancel: &CancelFlag,
    ) -> Result<String, String> {
        let ready = self.ready.lock().await;
        let kind = CheckpointKind::Before;
        let label = self.label();
        let taken = contained(self.workspace.checkpoint(&self.spec, kind, &label, cancel)).await;
        let taken = taken.unwrap_or_else(|source| Err(panicked("could not take a checkpoint", source)));
        let snapshot = taken.map_err(|error| error.to_string())?;
        let tree = snapshot.tree.clone();
        let worktree = worktree_id(ready.as_ref());
        self.record(NewCheckpoint { kind, message, worktree, snapshot }).await?;
        Ok(tree)
    }

    /// Takes the `after` checkpoint and computes the change.
    pub(crate) async fn collect(
        &self,
        message: Option<MessageId>,
        cancel: &CancelFlag,
    ) -> Result<Collected, String> {
        let ready = self.ready.lock().await;
        let label = self.label();
        let against = match self.spec.owner {
            WorkspaceOwner::Task(_) => None,
            WorkspaceOwner::Session(_) => {
                let found = persistently(|| self.store.compared_with(&self.turn)).await;
                found.map_err(|error| error.to_string())?
            }
        };
        let collected = self.workspace.collect(&self.spec, against.as_deref(), &label, cancel);
        let collected = contained(collected).await;
        let collected = collected.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let snapshot = collected.after.clone();
        let worktree = worktree_id(ready.as_ref());
        let after = NewCheckpoint { kind: CheckpointKind::After, message, worktree, snapshot };
        self.record(after).await?;
        Ok(collected)
    }

    /// Gives the worktree back. A failure is logged: the turn has ended, and the next start sweeps.
    pub(crate) async fn release(&self, message: Option<MessageId>, how: Release) {
        let mut ready = self.ready.lock().await;
        let released = contained(self.workspace.release(&self.spec, how)).await;
        match released.unwrap_or_else(|source| Err(panicked("could not remove the worktree", source))) {
            Ok(None) => {}
            Ok(Some(snapshot)) => {
                let worktree = worktree_id(ready.as_ref());
                let last = NewCheckpoint { kind: CheckpointKind::Final, message, worktree, snapshot };
                if let Err(error) = self.record(last).await {
                    tracing::warn!(task = %self.turn.task, error, "the final checkpoint is not recorded");
                }
            }
            Err(error) => {
                tracing::warn!(task = %self.turn.task, %error, "the worktree could not be removed and is kept");
            }
        }
        if how == Release::Remove {
            *ready = None;
        }
    }

    /// Which worktree it is; empty while there is none.
    pub(crate) async fn worktree(&self) -> String {
        worktree_id(self.ready.lock().await.as_ref())
    }

    fn label(&self) -> String {
        format!("task {} epoch {}", self.turn.task, self.turn.epoch.0)
    }

    async fn record(&self, checkpoint: NewCheckpoint) -> Result<(), String> {
        let recorded = persistently(|| self.store.record_checkpoint(&self.turn, checkpoint.clone())).await;
        recorded.map(drop).map_err(|error| error.to_string())
    }
}

fn panicked(doing: &'static str, source: Panicked) -> WorkspaceError {
    WorkspaceError::Failed { doing, source: source.into() }
}

fn worktree_id(info: Option<&WorkspaceInfo>) -> String {
    info.map(|info| info.id.clone()).unwrap_or_default()
}
