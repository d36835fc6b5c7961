//! The dispatcher's workspace port on top of this crate: each call on a thread that may block.

use async_trait::async_trait;
use dispatch_core::{
    change::{ChangeDraft, CheckpointKind as Kind, FileChange as File, FileChangeKind, Snapshot},
    ports::{
        CancelFlag, Collected, Release, Workspace, WorkspaceError, WorkspaceInfo, WorkspaceOwner,
        WorkspaceSpec,
    },
};

use crate::{
    Base, ChangeKind, ChangeSet, Checkpoint, CheckpointKind, Error, FileChange, OwnerId, TreeId, Worktree,
    Worktrees,
};

/// A state directory as the dispatcher's workspace.
#[derive(Debug, Clone)]
pub struct DispatchWorkspace {
    worktrees: Worktrees,
}

impl DispatchWorkspace {
    /// The workspace of this state directory.
    #[must_use]
    pub fn new(worktrees: Worktrees) -> Self {
        Self { worktrees }
    }

    async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        spec: &WorkspaceSpec,
        cancel: &CancelFlag,
        work: impl FnOnce(&Worktrees, &WorkspaceSpec, &CancelFlag) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        let (worktrees, spec, cancel) = (self.worktrees.clone(), spec.clone(), cancel.clone());
        let done = tokio::task::spawn_blocking(move || work(&worktrees, &spec, &cancel)).await;
        match done {
            Ok(result) => result.map_err(|error| port_error(doing, error)),
            Err(source) => Err(WorkspaceError::Failed { doing, source: source.into() }),
        }
    }
}

#[async_trait]
impl Workspace for DispatchWorkspace {
    async fn prepare(
        &self,
        spec: &WorkspaceSpec,
        cancel: &CancelFlag,
    ) -> Result<WorkspaceInfo, WorkspaceError> {
        let make = |worktrees: &Worktrees, spec: &WorkspaceSpec, cancel: &CancelFlag| {
            let project = worktrees.project(&spec.project)?;
            let kind = match spec.owner {
                WorkspaceOwner::Task(_) => crate::Kind::Task,
                WorkspaceOwner::Session(_) => crate::Kind::Session,
            };
            let worktree = project.create(&owner_id(spec), Base::Head, kind, cancel.as_atomic())?;
            Ok(WorkspaceInfo {
                id: worktree.id().to_string(),
                path: worktree.path().to_owned(),
                base_commit: worktree.base_commit().to_string(),
            })
        };
        self.call("could not make the worktree", spec, cancel, make).await
    }

    async fn checkpoint(
        &self,
        spec: &WorkspaceSpec,
        kind: Kind,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Snapshot, WorkspaceError> {
        let label = label.to_owned();
        self.call("could not take a checkpoint", spec, cancel, move |worktrees, spec, cancel| {
            let taken =
                open(worktrees, spec)?.checkpoint(checkpoint_kind(kind), &label, cancel.as_atomic())?;
            Ok(snapshot(&taken))
        })
        .await
    }

    async fn collect(
        &self,
        spec: &WorkspaceSpec,
        against: Option<&str>,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Collected, WorkspaceError> {
        let label = label.to_owned();
        let against = against.map(str::parse::<TreeId>).transpose();
        let against = against.map_err(|source| WorkspaceError::Failed {
            doing: "could not compare the worktree with what was applied",
            source: source.into(),
        })?;
        self.call(
            "could not compare the worktree with its base",
            spec,
            cancel,
            move |worktrees, spec, cancel| {
                let worktree = open(worktrees, spec)?;
                let taken = worktree.checkpoint(CheckpointKind::After, &label, cancel.as_atomic())?;
                let after = snapshot(&taken);
                let base = against.unwrap_or_else(|| worktree.base_tree());
                if taken.tree == base {
                    return Ok(Collected { after, draft: None });
                }
                let id = Some(taken.id);
                let change = worktree.project().change_set(base, taken.tree, id, cancel.as_atomic())?;
                let draft = Some(draft(&change, after.clone()));
                Ok(Collected { after, draft })
            },
        )
        .await
    }

    async fn release(&self, spec: &WorkspaceSpec, how: Release) -> Result<Option<Snapshot>, WorkspaceError> {
        if how == Release::Keep {
            return Ok(None);
        }
        let never = CancelFlag::default();
        self.call("could not remove the worktree", spec, &never, |worktrees, spec, cancel| {
            match worktrees.project(&spec.project)?.find(&owner_id(spec))? {
                Some(worktree) => Ok(worktree.remove(cancel.as_atomic())?.checkpoint.as_ref().map(snapshot)),
                None => Ok(None),
            }
        })
        .await
    }
}

fn open(worktrees: &Worktrees, spec: &WorkspaceSpec) -> Result<Worktree, Error> {
    let owner = owner_id(spec);
    worktrees.project(&spec.project)?.find(&owner)?.ok_or(Error::NoWorktree { owner })
}

/// The owner's name in the state directory.
fn owner_id(spec: &WorkspaceSpec) -> OwnerId {
    spec.owner.to_string().parse().expect("because `task-` or `session-` and 32 digits name an owner")
}

const fn checkpoint_kind(kind: Kind) -> CheckpointKind {
    match kind {
        Kind::Before => CheckpointKind::Before,
        Kind::After => CheckpointKind::After,
        Kind::Periodic => CheckpointKind::Periodic,
        Kind::Final => CheckpointKind::Final,
        Kind::PreRestore => CheckpointKind::PreRestore,
    }
}

/// A checkpoint as the record keeps it.
#[must_use]
pub fn snapshot(checkpoint: &Checkpoint) -> Snapshot {
    Snapshot {
        commit: checkpoint.id.commit.to_string(),
        reference: checkpoint.id.reference.clone(),
        tree: checkpoint.tree.to_string(),
        skipped: checkpoint.skipped.iter().map(ToString::to_string).collect(),
    }
}

/// A change as the record keeps it.
#[must_use]
pub fn draft(change: &ChangeSet, snapshot: Snapshot) -> ChangeDraft {
    ChangeDraft {
        base_tree: change.base().to_string(),
        result_tree: change.result().to_string(),
        files: change.files().iter().map(file).collect(),
        warnings: snapshot.skipped.iter().map(|skipped| format!("not in the change: {skipped}")).collect(),
        snapshot,
    }
}

fn file(file: &FileChange) -> File {
    let (kind, from) = match &file.kind {
        ChangeKind::Added => (FileChangeKind::Added, None),
        ChangeKind::Deleted => (FileChangeKind::Deleted, None),
        ChangeKind::Modified => (FileChangeKind::Modified, None),
        ChangeKind::Renamed { from } => (FileChangeKind::Renamed, Some(from.to_string())),
        ChangeKind::ModeChanged => (FileChangeKind::ModeChanged, None),
        ChangeKind::TypeChanged => (FileChangeKind::TypeChanged, None),
    };
    File {
        path: file.path.to_string(),
        kind,
        from,
        additions: file.additions,
        deletions: file.deletions,
        binary: file.binary,
    }
}

fn port_error(doing: &'static str, error: Error) -> WorkspaceError {
    match error {
        Error::Cancelled => WorkspaceError::Cancelled,
        Error::PathMissing { .. }
        | Error::NotARepository { .. }
        | Error::Reftable { .. }
        | Error::ForeignOwner { .. } => WorkspaceError::BadProject(with_advice(&error)),
        other => {
            let text = with_advice(&other);
            WorkspaceError::Failed { doing, source: text.into() }
        }
    }
}

/// The error with its causes and what can be done about it, on one line.
#[must_use]
pub fn with_advice(error: &Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    if let Some(advice) = error.advice() {
        text.push_str(&format!("; {advice}"));
    }
    text
}
