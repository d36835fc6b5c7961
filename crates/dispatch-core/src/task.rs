//! What is asked for: tasks, what may be said in one, and how they stand.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    agent::Cost,
    ids::{ChatId, Epoch, MessageId, NodeId, ProjectId, SessionId, TaskId, Timestamp},
    routing::Route,
    words::words,
};

pub use crate::words::UnknownWord;

words! {
    /// How a task stands (SPEC 1). Everything but `pending` and `running` is final.
    TaskState {
        /// Waiting: behind another, for a slot, for a time.
        Pending = "pending",
        /// A turn of it is under way.
        Running = "running",
        /// The agent did it.
        Completed = "completed",
        /// It could not be done.
        Failed = "failed",
        /// A Stop or a shutdown ended it.
        Cancelled = "cancelled",
        /// Its node died after the prompt had gone out.
        Interrupted = "interrupted",
    }
}

impl TaskState {
    /// Whether the state can never change again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

words! {
    /// Why a task ended as it did.
    TerminalReason {
        /// The agent says that it is done.
        Completed = "completed",
        /// The agent failed, by its own word or its exit code.
        AgentFailed = "agent_failed",
        /// The agent's process or connection was lost.
        AgentCrashed = "agent_crashed",
        /// The model refused to answer.
        ModelRefused = "model_refused",
        /// The model's service was overloaded or failing.
        ModelOverloaded = "model_overloaded",
        /// A quota or rate limit was reached.
        OverQuota = "over_quota",
        /// The model's service does not accept the credentials.
        Unauthorised = "unauthorised",
        /// The conversation does not fit the model's context.
        ContextTooLong = "context_too_long",
        /// Nothing was heard of the agent for the silence limit.
        Stalled = "stalled",
        /// The turn stored more than its output limit.
        OutputLimit = "output_limit",
        /// A user's Stop.
        Stopped = "stopped",
        /// The node was stopped.
        Shutdown = "shutdown",
        /// The node died while the turn ran.
        NodeLost = "node_lost",
        /// The agent could not be started or did not get ready.
        CouldNotStart = "could_not_start",
        /// No such agent on this machine.
        AgentNotInstalled = "agent_not_installed",
        /// The project has no usable path.
        NoProject = "no_project",
        /// The worktree could not be made.
        NoWorktree = "no_worktree",
        /// What the worktree changed could not be computed.
        DiffFailed = "diff_failed",
        /// Our own fault.
        Internal = "internal",
    }
}

words! {
    /// What to answer when an agent asks for leave.
    PermissionPolicy {
        /// Ask the user; the default.
        Ask = "ask",
        /// Allow each request once; never an agent's "always".
        Allow = "allow",
        /// Refuse each request.
        Deny = "deny",
        /// Decide by the configured rules; ask where none fits.
        Auto = "auto",
    }
}

/// Names (of an agent, a model, a mode) as a user gave them: never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The name without white space around it; `None` when nothing is left. "An empty model is no model" (SPEC T8).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a user may choose for a turn; what is `None` is left to configuration or agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnOptions {
    /// The agent; `None` is native inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Name>,
    /// The agent's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Name>,
    /// The agent's thinking option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Name>,
}

/// A request for work, before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The id that it gets, chosen by whoever asks: the same request made again, because its answer was
    /// lost, finds the task that it made.
    pub id: TaskId,
    /// Where the work is.
    pub project: ProjectId,
    /// What is asked, not empty.
    pub input: String,
    /// What was chosen for it.
    pub options: TurnOptions,
    /// How the agent's permission requests are answered.
    pub permissions: PermissionPolicy,
    /// An open session of the same project, to continue it.
    pub session: Option<SessionId>,
    /// An open chat, to continue it.
    pub chat: Option<ChatId>,
    /// The model that a new session is given where the task names none.
    pub default_model: Option<Name>,
    /// The node that alone may claim it: its user sits in front of that process, and the task is cancelled
    /// when the process is gone before the prompt went out.
    pub attended_by: Option<NodeId>,
}

impl NewTask {
    /// A request that leaves everything else to configuration, agent and user.
    #[must_use]
    pub fn new(id: TaskId, project: ProjectId, input: impl Into<String>) -> Self {
        Self {
            id,
            project,
            input: input.into(),
            options: TurnOptions::default(),
            permissions: PermissionPolicy::Ask,
            session: None,
            chat: None,
            default_model: None,
            attended_by: None,
        }
    }
}

/// A stored task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Where the work is.
    pub project: ProjectId,
    /// The line of work it belongs to.
    pub session: SessionId,
    /// The conversation it belongs to.
    pub chat: ChatId,
    /// Whether it was given a session or chat when it was made, as routing needs to know (SPEC T3).
    pub from_chat: bool,
    /// Its one user message.
    pub user_message: MessageId,
    /// What is asked.
    pub input: String,
    /// What was chosen for it.
    pub options: TurnOptions,
    /// How permission requests are answered.
    pub permissions: PermissionPolicy,
    /// How it stands.
    pub state: TaskState,
    /// Why it ended as it did, once it has.
    pub reason: Option<TerminalReason>,
    /// Whether a Stop was accepted while it was pending or running.
    pub stop_requested: bool,
    /// Whether one node alone may claim it, as its user sits in front of that process.
    pub attended: bool,
    /// The route that its first claim chose.
    pub route: Option<Route>,
    /// How often it was claimed.
    pub attempt: u32,
    /// The claim that runs or last ran it.
    pub epoch: Option<Epoch>,
    /// The assistant message of its last attempt.
    pub assistant_message: Option<MessageId>,
    /// The first 500 characters of the answer, or the failure's words.
    pub summary: Option<String>,
    /// What its turns cost; absent when no agent reported it.
    pub cost: Option<Cost>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A project: a name and, mostly, the path of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// What a person calls it.
    pub name: String,
    /// The repository's top folder; `None` for work without files.
    pub path: Option<PathBuf>,
}

/// A claimed task: what a turn starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task as it stands.
    pub task: Task,
    /// The claim's number; every write of the turn carries it.
    pub epoch: Epoch,
    /// The project's path, as stored.
    pub project_path: Option<PathBuf>,
    /// Whether a user asked for the task to be resumed: this attempt goes on with an earlier one's conversation.
    pub resumed: bool,
}

/// What every write of a turn is made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnKey {
    /// The task.
    pub task: TaskId,
    /// Its session, whose frames the turn appends to.
    pub session: SessionId,
    /// Its chat.
    pub chat: ChatId,
    /// The claim's number: a write under an older one changes nothing.
    pub epoch: Epoch,
}

impl Claim {
    /// The key of this claim's turn.
    #[must_use]
    pub const fn key(&self) -> TurnKey {
        TurnKey { task: self.task.id, session: self.task.session, chat: self.task.chat, epoch: self.epoch }
    }
}

/// The names that SPEC T3 gives to what a task without a session or chat makes.
#[must_use]
pub fn session_title(agent: Option<&Name>, input: &str) -> String {
    match agent {
        Some(agent) => format!("Task [{agent}]: {}", first_chars(input, 30)),
        None => format!("Task: {}", first_chars(input, 40)),
    }
}

/// The title of a chat that a task makes.
#[must_use]
pub const fn chat_title(agent: Option<&Name>) -> &'static str {
    match agent {
        Some(_) => "External agent execution",
        None => "Task execution",
    }
}

/// At most the first `limit` characters of `text`; never half of one.
#[must_use]
pub fn first_chars(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_on_a_character() {
        let goose = Name::new(" goose ");
        assert_eq!(
            session_title(goose.as_ref(), &"é".repeat(31)),
            format!("Task [goose]: {}", "é".repeat(30))
        );
        assert_eq!(session_title(None, "short"), "Task: short");
        assert_eq!(Name::new(" \n"), None);
    }

    #[test]
    fn every_word_reads_back() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
        }
        assert!("done".parse::<TaskState>().is_err());
    }
}
