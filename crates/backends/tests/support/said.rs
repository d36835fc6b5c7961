//! What was said in a turn.

use dispatch_core::agent::{AgentUpdate, NoticeCode, PermissionRequest};

/// The updates of a turn that is over.
pub struct Said(pub Vec<AgentUpdate>);

impl Said {
    pub fn text(&self) -> String {
        text(&self.0)
    }

    pub fn notices(&self, code: NoticeCode) -> Vec<&str> {
        self.all(|update| match update {
            AgentUpdate::Notice(notice) if notice.code == code => Some(notice.text.as_str()),
            _ => None,
        })
    }

    /// The first of them.
    pub fn notice(&self, code: NoticeCode) -> Option<&str> {
        self.notices(code).first().copied()
    }

    pub fn all<'a, T>(&'a self, pick: impl Fn(&'a AgentUpdate) -> Option<T>) -> Vec<T> {
        self.0.iter().filter_map(pick).collect()
    }
}

/// All text of these updates.
pub fn text(updates: &[AgentUpdate]) -> String {
    let text = |update: &AgentUpdate| match update {
        AgentUpdate::Text(text) => Some(text.clone()),
        _ => None,
    };
    updates.iter().filter_map(text).collect()
}

/// The request for leave, if it is one.
pub fn asked(update: &AgentUpdate) -> Option<PermissionRequest> {
    match update {
        AgentUpdate::Permission(request) => Some(request.clone()),
        _ => None,
    }
}
