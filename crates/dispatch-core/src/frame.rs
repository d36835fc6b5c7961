//! Frames: what a session streams to whoever watches (SPEC 6).

use serde::{Deserialize, Serialize};

use crate::{
    agent::{AgentCommand, AgentSettings, Answer, NoticeCode, PermissionRequest, PlanEntry, ToolCall, Usage},
    conversation::{MessageState, Role},
    ids::{ChangeId, ChatId, MessageId, Seq, SessionId, TaskId, Timestamp},
    task::{Name, TaskState, TerminalReason, TurnKey},
    words::words,
};

/// The most bytes of text that one frame holds; longer runs are split (a batch of them is one write).
pub const MAX_DELTA_BYTES: usize = 64 * 1024;

/// A stored frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Its place in the session, gapless from 1.
    pub seq: Seq,
    /// The session.
    pub session_id: SessionId,
    /// When it was stored.
    pub ts: Timestamp,
    /// What it belongs to, as far as it applies.
    #[serde(flatten)]
    pub about: About,
    /// What happened.
    #[serde(flatten)]
    pub body: FrameBody,
}

/// What a frame belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<ChatId>,
    /// The message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
}

impl TurnKey {
    /// What the turn's frames are about.
    #[must_use]
    pub const fn about(&self, message: Option<MessageId>) -> About {
        About { chat_id: Some(self.chat), message_id: message, task_id: Some(self.task) }
    }
}

words! {
    /// What an agent is doing.
    AgentStatus {
        /// A turn runs.
        Working = "working",
        /// Nothing runs.
        Idle = "idle",
        /// The last turn failed.
        Error = "error",
        /// A turn waits for an answer.
        Waiting = "waiting",
    }
}

words! {
    /// Why an agent's status is what it is (SPEC T13).
    StatusReason {
        /// A turn began.
        TurnStart = "turn_start",
        /// A turn completed.
        TurnComplete = "turn_complete",
        /// A user stopped it.
        Cancelled = "cancelled",
        /// The node was stopped.
        Shutdown = "shutdown",
        /// It failed.
        Failed = "failed",
        /// Its process or connection was lost.
        Crashed = "crashed",
        /// Its node died.
        Interrupted = "interrupted",
        /// It asks for leave.
        Permission = "permission",
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FrameBody {
    /// A message begins.
    MessageStarted {
        /// Who speaks.
        role: Role,
    },
    /// More of the answer's text.
    Delta {
        /// What is to be appended.
        content: String,
        /// Whether it stands in for an answer (SPEC T11).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        placeholder: bool,
    },
    /// More of the reasoning.
    ReasoningDelta {
        /// What is to be appended.
        content: String,
    },
    /// A tool call as it stands; it replaces the one with the same id.
    ToolCall {
        /// The call.
        tool_call: ToolCall,
    },
    /// The agent's plan, whole.
    Plan {
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// What the turn has used so far.
    Usage {
        /// The figures.
        usage: Usage,
    },
    /// The slash commands that the agent offers, whole.
    AgentCommands {
        /// The commands.
        commands: Vec<AgentCommand>,
    },
    /// What may be chosen with the agent, whole.
    AgentSettings {
        /// Models, modes and thinking options.
        settings: AgentSettings,
    },
    /// What the agent is doing.
    AgentStatus {
        /// The agent; `native` for native inference.
        agent: String,
        /// What it is doing.
        status: AgentStatus,
        /// Why.
        reason: StatusReason,
    },
    /// The agent asks for leave.
    PermissionRequest {
        /// What it asks.
        request: PermissionRequest,
        /// How many seconds it waits for a user's answer; absent where it was answered at once by policy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waits_s: Option<u64>,
    },
    /// A request was answered.
    PermissionResolved {
        /// The request's id.
        id: String,
        /// The answer.
        answer: Answer,
    },
    /// A message reached its final state.
    MessageComplete {
        /// The state.
        status: MessageState,
        /// The model that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<Name>,
        /// What the turn used.
        usage: Usage,
        /// Why it failed, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A change waits for a decision.
    PendingChange {
        /// The change.
        id: ChangeId,
        /// Who made it.
        agent: String,
        /// The change that it supersedes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<ChangeId>,
        /// How many files it touches.
        files: u64,
        /// Lines added.
        additions: u64,
        /// Lines removed.
        deletions: u64,
    },
    /// A task's state changed.
    TaskState {
        /// The new state.
        state: TaskState,
        /// Why, for a final state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<TerminalReason>,
    },
    /// Something that the user should know.
    Notice {
        /// What kind of thing.
        code: NoticeCode,
        /// What a person reads.
        text: String,
    },
}

impl FrameBody {
    /// Text of the answer.
    #[must_use]
    pub fn delta(content: impl Into<String>) -> Self {
        Self::Delta { content: content.into(), placeholder: false }
    }

    /// The frame's type, as its JSON says it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MessageStarted { .. } => "message_started",
            Self::Delta { .. } => "delta",
            Self::ReasoningDelta { .. } => "reasoning_delta",
            Self::ToolCall { .. } => "tool_call",
            Self::Plan { .. } => "plan",
            Self::Usage { .. } => "usage",
            Self::AgentCommands { .. } => "agent_commands",
            Self::AgentSettings { .. } => "agent_settings",
            Self::AgentStatus { .. } => "agent_status",
            Self::PermissionRequest { .. } => "permission_request",
            Self::PermissionResolved { .. } => "permission_resolved",
            Self::MessageComplete { .. } => "message_complete",
            Self::PendingChange { .. } => "pending_change",
            Self::TaskState { .. } => "task_state",
            Self::Notice { .. } => "notice",
        }
    }

    /// About how many bytes it takes to store, for limits and batching.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FRAME: usize = 64;
        FRAME
            + match self {
                Self::Delta { content, .. } | Self::ReasoningDelta { content } => content.len(),
                Self::ToolCall { tool_call } => tool_weight(tool_call),
                Self::PermissionRequest { request, .. } => {
                    let options = request.options.iter().map(|o| o.id.len() + o.name.len() + FRAME);
                    request.id.len() + tool_weight(&request.tool_call) + options.sum::<usize>()
                }
                Self::Plan { entries } => {
                    entries.iter().map(|e| e.content.len() + e.status.len() + e.priority.len() + FRAME).sum()
                }
                Self::AgentCommands { commands } => {
                    let hint = |c: &AgentCommand| c.hint.as_ref().map_or(0, String::len);
                    commands.iter().map(|c| c.name.len() + c.description.len() + hint(c) + FRAME).sum()
                }
                Self::AgentSettings { settings: AgentSettings { model, mode, thinking } } => {
                    let choices = [model, mode, thinking].into_iter().flat_map(|setting| &setting.choices);
                    choices.map(|c| c.id.len() + c.name.len() + c.description.len() + FRAME).sum()
                }
                Self::Notice { text, .. } => text.len(),
                _ => 0,
            }
    }

    /// Takes `next` into this frame where both are text of one kind and the result is small enough;
    /// gives `next` back otherwise.
    fn absorb(&mut self, next: Self) -> Option<Self> {
        match (&mut *self, next) {
            (Self::Delta { content, placeholder: a }, Self::Delta { content: more, placeholder: b })
                if *a == b && content.len() + more.len() <= MAX_DELTA_BYTES =>
            {
                content.push_str(&more);
                None
            }
            (Self::ReasoningDelta { content }, Self::ReasoningDelta { content: more })
                if content.len() + more.len() <= MAX_DELTA_BYTES =>
            {
                content.push_str(&more);
                None
            }
            (Self::ToolCall { tool_call }, Self::ToolCall { tool_call: newer })
                if tool_call.id == newer.id =>
            {
                *tool_call = newer;
                None
            }
            (_, next) => Some(next),
        }
    }
}

fn tool_weight(call: &ToolCall) -> usize {
    use crate::agent::ToolContent;
    let content = call.content.iter().map(|content| match content {
        ToolContent::Text { text } => text.len(),
        ToolContent::Diff { path, old_text, new_text } => {
            path.len() + old_text.as_ref().map_or(0, String::len) + new_text.len()
        }
        ToolContent::Terminal { terminal_id } => terminal_id.len(),
        ToolContent::Other { value } => value_weight(value),
    });
    let raw = [&call.input, &call.output].into_iter().flatten().map(value_weight);
    let words = call.id.len() + call.title.len() + call.kind.len();
    let locations = call.locations.iter().map(|location| location.len() + 4);
    words + locations.sum::<usize>() + content.sum::<usize>() + raw.sum::<usize>()
}

fn value_weight(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(value_weight).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 4 + value_weight(value)).sum(),
    }
}

/// Appends `body` to `batch`, merging neighbouring text of one kind (and snapshots of one tool call), so
/// that many small updates become few frames. Text longer than [`MAX_DELTA_BYTES`] is split on a character.
pub fn push_merged(batch: &mut Vec<FrameBody>, body: FrameBody) {
    let rest = match batch.last_mut() {
        Some(last) => last.absorb(body),
        None => Some(body),
    };
    match rest {
        Some(FrameBody::Delta { content, placeholder }) if content.len() > MAX_DELTA_BYTES => {
            batch.extend(
                split(&content).map(|piece| FrameBody::Delta { content: piece.to_owned(), placeholder }),
            );
        }
        Some(FrameBody::ReasoningDelta { content }) if content.len() > MAX_DELTA_BYTES => {
            batch
                .extend(split(&content).map(|piece| FrameBody::ReasoningDelta { content: piece.to_owned() }));
        }
        Some(body) => batch.push(body),
        None => {}
    }
}

fn split(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_DELTA_BYTES));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_the_text_and_bounds_the_frames() {
        let pieces = ["a", "é", &"x".repeat(MAX_DELTA_BYTES), &"é".repeat(MAX_DELTA_BYTES), "z"];
        let mut batch = Vec::new();
        for piece in pieces {
            push_merged(&mut batch, FrameBody::delta(piece));
        }
        let mut text = String::new();
        for body in &batch {
            let FrameBody::Delta { content, .. } = body else { panic!("{body:?}") };
            assert!(content.len() <= MAX_DELTA_BYTES);
            text.push_str(content);
        }
        assert_eq!(text, pieces.concat());
        assert_eq!(batch.len(), 5);
    }

    #[test]
    fn a_frame_reads_back_from_its_json() {
        let frame = Frame {
            seq: Seq(3),
            session_id: SessionId::from_random([1; 16]),
            ts: Timestamp(5),
            about: About { task_id: Some(TaskId::from_random([2; 16])), ..About::default() },
            body: FrameBody::TaskState { state: TaskState::Failed, reason: Some(TerminalReason::Stalled) },
        };
        let json = serde_json::to_string(&frame).unwrap();
        assert_eq!(
            json,
            r#"{"seq":3,"session_id":"01010101010101010101010101010101","ts":5,"task_id":"02020202020202020202020202020202","type":"task_state","state":"failed","reason":"stalled"}"#
        );
        assert_eq!(serde_json::from_str::<Frame>(&json).unwrap(), frame);
    }

    #[test]
    fn every_word_of_a_tool_call_weighs() {
        let long = || "x".repeat(1000);
        let call = ToolCall {
            id: long(),
            title: long(),
            kind: long(),
            content: vec![crate::agent::ToolContent::Text { text: long() }],
            locations: vec![long()],
            input: Some(long().into()),
            output: Some(serde_json::json!({ long(): [long()] })),
            ..ToolCall::default()
        };
        let body = FrameBody::ToolCall { tool_call: call };
        assert!(body.weight() >= serde_json::to_string(&body).unwrap().len() - 200, "{}", body.weight());
    }
}
