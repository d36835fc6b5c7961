//! The workspace with faults around it.

use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::{
    change::{CheckpointKind, Snapshot},
    ports::{CancelFlag, Collected, Release, Workspace, WorkspaceError, WorkspaceInfo, WorkspaceSpec},
};

use super::plan::{Fault, Faults, Planted};

/// A workspace with faults around each of its methods.
pub struct FaultyWorkspace {
    /// The real one.
    pub inner: Arc<dyn Workspace>,
    /// What is planted.
    pub faults: Arc<Faults>,
}

fn error(_: Fault, planted: Planted) -> WorkspaceError {
    WorkspaceError::Failed { doing: "planted", source: planted.into() }
}

#[async_trait]
impl Workspace for FaultyWorkspace {
    async fn prepare(
        &self,
        spec: &WorkspaceSpec,
        cancel: &CancelFlag,
    ) -> Result<WorkspaceInfo, WorkspaceError> {
        self.faults.around("prepare", self.inner.prepare(spec, cancel), error).await
    }

    async fn checkpoint(
        &self,
        spec: &WorkspaceSpec,
        kind: CheckpointKind,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Snapshot, WorkspaceError> {
        self.faults.around("checkpoint", self.inner.checkpoint(spec, kind, label, cancel), error).await
    }

    async fn collect(
        &self,
        spec: &WorkspaceSpec,
        against: Option<&str>,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Collected, WorkspaceError> {
        self.faults.around("collect", self.inner.collect(spec, against, label, cancel), error).await
    }

    async fn release(&self, spec: &WorkspaceSpec, how: Release) -> Result<Option<Snapshot>, WorkspaceError> {
        self.faults.around("release", self.inner.release(spec, how), error).await
    }
}
