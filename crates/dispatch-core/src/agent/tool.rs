//! Tool calls, and how what is said of one adds up.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a tool call stands. Agents may leave one open for good: the turn closes it as [`Self::Cancelled`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// Announced, not begun (perhaps waiting for a permission).
    #[default]
    Pending,
    /// At work.
    InProgress,
    /// Done.
    Completed,
    /// Failed, by the agent's own word.
    Failed,
    /// Still open when its turn ended.
    Cancelled,
}

impl ToolStatus {
    /// Whether nothing more is expected of the call.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What a tool call produced or shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolContent {
    /// Text, for example a command's output.
    Text {
        /// The text so far, whole.
        text: String,
    },
    /// A change to one file, as the agent describes it.
    Diff {
        /// The file, as the agent named it.
        path: String,
        /// What was there; absent for a new file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_text: Option<String>,
        /// What is there now.
        new_text: String,
    },
    /// A terminal that we run for the agent.
    Terminal {
        /// The terminal's id.
        terminal_id: String,
    },
    /// Anything else, as the agent sent it.
    Other {
        /// The agent's own JSON.
        value: Value,
    },
}

/// A tool call as it stands, merged from everything that was said of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The agent's id of the call, unique within its turn.
    pub id: String,
    /// What a person reads.
    pub title: String,
    /// The kind of tool in the agent's word (`edit`, `execute`, `read`, …); `other` where it gave none.
    pub kind: String,
    /// How it stands.
    pub status: ToolStatus,
    /// What it shows or produced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<ToolContent>,
    /// The files that it touches, as the agent named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<String>,
    /// Its arguments, as the agent sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Its raw result, as the agent sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// A change to a tool call: what is `None` stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCallPatch {
    /// The agent's id of the call.
    pub id: String,
    /// A new title.
    pub title: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// A new status.
    pub status: Option<ToolStatus>,
    /// The content, whole.
    pub content: Option<Vec<ToolContent>>,
    /// The locations, whole.
    pub locations: Option<Vec<String>>,
    /// The arguments, whole.
    pub input: Option<Value>,
    /// The raw result, whole.
    pub output: Option<Value>,
}

impl ToolCall {
    /// The call that a first patch makes: `pending` and of kind `other` where the agent said nothing.
    #[must_use]
    pub fn begin(patch: ToolCallPatch) -> Self {
        let mut call = Self { id: patch.id.clone(), kind: "other".into(), ..Self::default() };
        call.apply(patch);
        call
    }

    /// Merges a patch. A late patch may still change a title or an output after the call has ended
    /// (goose does), but never reopens it.
    pub fn apply(&mut self, patch: ToolCallPatch) {
        let ToolCallPatch { id: _, title, kind, status, content, locations, input, output } = patch;
        if let Some(status) = status
            && (status.is_terminal() || !self.status.is_terminal())
        {
            self.status = status;
        }
        replace(&mut self.title, title);
        replace(&mut self.kind, kind);
        replace(&mut self.content, content);
        replace(&mut self.locations, locations);
        self.input = input.or(self.input.take());
        self.output = output.or(self.output.take());
    }
}

fn replace<T>(slot: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *slot = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_patch_names_but_never_reopens_a_call() {
        let patch = |status, title: &str| ToolCallPatch {
            id: "t".into(),
            status: Some(status),
            title: Some(title.into()),
            ..ToolCallPatch::default()
        };
        let mut call = ToolCall::begin(patch(ToolStatus::Completed, "first"));
        call.apply(patch(ToolStatus::InProgress, "second"));
        assert_eq!((call.status, call.title.as_str()), (ToolStatus::Completed, "second"));
    }
}
