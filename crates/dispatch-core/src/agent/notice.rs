//! What a user should know.

use serde::{Deserialize, Serialize};

/// Something that the user should know about a turn; it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing it is.
    pub code: NoticeCode,
    /// What a person reads.
    pub text: String,
}

/// The closed set of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeCode {
    /// The turn has no `before` checkpoint to go back to.
    NoCheckpoint,
    /// The agent's conversation was loaded again.
    SessionLoaded,
    /// The agent's conversation was replayed to it as text.
    SessionReplayed,
    /// The agent starts a new conversation.
    SessionNew,
    /// The agent's process was started again after a crash.
    BackendRestarted,
    /// The agent did not obey a Stop: the turn is cut off, and the conversation goes on in another process.
    BackendRecycled,
    /// The agent named is not available; the native loop runs instead.
    FellBackToNative,
    /// A model, mode or thinking option that the agent lacks was left out.
    OptionIgnored,
    /// The worktree does not see changes of the session that are not applied yet.
    UnappliedChanges,
    /// Something about what the agent sent: skipped lines, unknown messages.
    AgentOddity,
    /// A permission was answered by policy.
    PermissionByPolicy,
    /// Old parts of the conversation were shortened or left out to fit the model's context.
    ContextShortened,
    /// A request that the model's service had no time for is made again.
    RequestRepeated,
}
