//! News from a running agent.

use serde::{Deserialize, Serialize};

use super::{
    notice::Notice,
    offer::{AgentCommand, AgentSettings},
    permission::PermissionRequest,
    tool::ToolCallPatch,
    usage::Usage,
};

/// One piece of news from a running agent, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentUpdate {
    /// More of the answer's text.
    Text(String),
    /// More of the agent's reasoning.
    Reasoning(String),
    /// A tool call begins or changes.
    ToolCall(ToolCallPatch),
    /// The agent's plan, whole; it replaces the one before.
    Plan(Vec<PlanEntry>),
    /// Tokens, cost and context of *this turn* so far; a field that is set replaces the one before.
    Usage(Usage),
    /// The slash commands that the agent now offers, whole.
    Commands(Vec<AgentCommand>),
    /// What may be chosen with the agent now, and what is chosen, whole.
    Settings(AgentSettings),
    /// The agent asks for leave to do something.
    Permission(PermissionRequest),
    /// The agent takes the request for leave of this id back: it wants no answer any more.
    PermissionWithdrawn(String),
    /// Something that the user should know about this turn.
    Notice(Notice),
    /// The agent's own id of the conversation, where it tells it only now, or another than it told before.
    Conversation(String),
}

/// One step of the agent's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// `pending`, `in_progress` or `completed`, in the agent's word.
    pub status: String,
    /// `high`, `medium` or `low`, in the agent's word; empty where it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub priority: String,
}
