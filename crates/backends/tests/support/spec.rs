//! What a turn is started for.

use std::path::Path;

use dispatch_core::agent::OwnSettings;
use dispatch_core::ids::{ChatId, Epoch, SessionId, TaskId};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::PermissionPolicy;

use super::fresh_tag::fresh_tag;

/// The first turn of a chat, in this folder, of no agent yet.
pub fn spec(cwd: &Path) -> SessionSpec {
    SessionSpec {
        task: TaskId::from_random([7; 16]),
        epoch: Epoch(1),
        session: SessionId::from_random([9; 16]),
        chat: ChatId::from_random([8; 16]),
        run_tag: fresh_tag().as_str().to_owned(),
        agent: None,
        cwd: cwd.to_owned(),
        model: None,
        mode: None,
        thinking: None,
        permissions: PermissionPolicy::Ask,
        resume: None,
        resume_epoch: None,
        own: OwnSettings::default(),
        history: Vec::new(),
    }
}
