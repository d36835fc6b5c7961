//! Messages and their parts.

use serde::{Deserialize, Serialize};

use crate::{
    agent::{PlanEntry, ToolCall, Usage},
    ids::{ChatId, MessageId, TaskId, Timestamp},
    task::Name,
    words::words,
};

words! {
    /// How an assistant message stands; a user message is always `complete`.
    MessageState {
        /// Its turn is under way.
        Streaming = "streaming",
        /// Its turn completed.
        Complete = "complete",
        /// Its turn failed or was interrupted.
        Failed = "failed",
        /// Its turn was stopped.
        Cancelled = "cancelled",
    }
}

words! {
    /// Who speaks.
    Role {
        /// The person, or whoever made the task.
        User = "user",
        /// The agent.
        Assistant = "assistant",
    }
}

/// A typed piece of a message, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text of the answer.
    Text {
        /// The text.
        text: String,
        /// Whether it only stands in for an answer (SPEC T11): then it enters neither the summary nor
        /// an agent's history.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        placeholder: bool,
    },
    /// The agent's reasoning.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A tool call with its state and output.
    ToolCall {
        /// The call as it stood last.
        tool_call: ToolCall,
    },
    /// The agent's plan as it stood last.
    Plan {
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// Why the turn failed.
    Error {
        /// The kind, a terminal reason's word.
        reason: String,
        /// What a person reads.
        text: String,
    },
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The conversation.
    pub chat: ChatId,
    /// The task that it belongs to.
    pub task: TaskId,
    /// Who speaks.
    pub role: Role,
    /// How it stands.
    pub state: MessageState,
    /// The model that was asked for.
    pub model: Option<Name>,
    /// The text, cut at the content limit.
    pub content: String,
    /// Whether `content` was cut; the parts are whole.
    pub content_truncated: bool,
    /// The reasoning, cut at its limit.
    pub reasoning: String,
    /// Whether `reasoning` was cut.
    pub reasoning_truncated: bool,
    /// The pieces, whole and in order.
    pub parts: Vec<Part>,
    /// What the turn used.
    pub usage: Usage,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
}
