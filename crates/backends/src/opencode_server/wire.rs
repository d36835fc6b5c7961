//! What opencode says, as far as a turn needs it. Unknown members are passed over.

use serde::Deserialize;
use serde_json::Value;

use super::rows::Rows;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// The kinds of events that matter to a turn.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $variant,)+ }

        impl Kind {
            /// The kind of an event's `type`; `None` for those that mean nothing to a turn.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// A message began or changed.
    Message = "message.updated",
    /// A message's part began or changed.
    Part = "message.part.updated",
    /// More of a part's text.
    Delta = "message.part.delta",
    /// The conversation is busy, idle, or waits to try again.
    Status = "session.status",
    /// The conversation is idle.
    Idle = "session.idle",
    /// Something failed.
    Error = "session.error",
    /// A conversation was made, perhaps by another one's tool.
    Created = "session.created",
    /// Leave is asked for.
    Asked = "permission.asked",
    /// An answer was taken.
    Replied = "permission.replied",
    /// A question is asked.
    Question = "question.asked",
    /// The list of things to do changed.
    Todo = "todo.updated",
}

/// `message.updated`.
#[derive(Debug, Deserialize)]
pub(super) struct MessageEvent {
    pub(super) info: Info,
}

/// A message but for its parts.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) id: String,
    pub(super) role: String,
    #[serde(default)]
    pub(super) mode: Option<String>,
    #[serde(default)]
    pub(super) time: Time,
    #[serde(default)]
    pub(super) error: Option<WireError>,
    #[serde(default)]
    pub(super) finish: Option<String>,
    #[serde(default)]
    pub(super) tokens: Option<Tokens>,
    #[serde(default)]
    pub(super) cost: Option<f64>,
    #[serde(default, rename = "providerID")]
    pub(super) provider: Option<String>,
    #[serde(default, rename = "modelID")]
    pub(super) model: Option<String>,
}

/// When something ended, if it did: `completed` of messages, `end` of parts.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Time {
    #[serde(default, alias = "end")]
    pub(super) completed: Option<f64>,
}

/// Tokens of one call of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    pub(super) total: Option<f64>,
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) reasoning: f64,
    pub(super) cache: Cache,
}

/// Tokens that a cache was read or written for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) read: f64,
    pub(super) write: f64,
}

/// An error as events and messages carry it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireError {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) data: ErrorData,
}

/// What an error tells.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ErrorData {
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default, rename = "statusCode")]
    pub(super) status: Option<i64>,
}

/// `message.part.updated`.
#[derive(Debug, Deserialize)]
pub(super) struct PartEvent {
    pub(super) part: Part,
}

/// A part of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    pub(super) id: String,
    #[serde(rename = "messageID")]
    pub(super) message: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) time: Option<Time>,
    #[serde(default)]
    pub(super) tool: Option<String>,
    #[serde(default, rename = "callID")]
    pub(super) call: Option<String>,
    #[serde(default)]
    pub(super) state: Option<ToolState>,
}

/// How a tool call stands.
#[derive(Debug, Deserialize)]
pub(super) struct ToolState {
    pub(super) status: String,
    #[serde(default)]
    pub(super) input: Option<Value>,
    #[serde(default)]
    pub(super) output: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) metadata: Option<ToolMetadata>,
}

/// What a running tool shows.
#[derive(Debug, Deserialize)]
pub(super) struct ToolMetadata {
    #[serde(default)]
    pub(super) output: Option<Value>,
}

/// `message.part.delta`.
#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    #[serde(rename = "partID")]
    pub(super) part: String,
    pub(super) field: String,
    pub(super) delta: String,
}

/// `session.status`.
#[derive(Debug, Deserialize)]
pub(super) struct StatusEvent {
    pub(super) status: Status,
}

/// Whether a conversation is at work.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    /// `busy`, `idle` or `retry`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// `session.error`.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorEvent {
    #[serde(default)]
    pub(super) error: Option<WireError>,
}

/// `permission.asked`, and a row of `GET /permission`.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) id: String,
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    pub(super) permission: String,
    #[serde(default)]
    pub(super) patterns: Vec<String>,
    #[serde(default)]
    pub(super) metadata: AskedAbout,
    #[serde(default)]
    pub(super) tool: Option<AskedBy>,
}

/// What leave is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AskedAbout {
    #[serde(default)]
    pub(super) filepath: Option<String>,
    #[serde(default)]
    pub(super) command: Option<String>,
    #[serde(default)]
    pub(super) diff: Option<String>,
}

/// The tool call that asks.
#[derive(Debug, Deserialize)]
pub(super) struct AskedBy {
    #[serde(rename = "messageID")]
    pub(super) message: String,
    #[serde(rename = "callID")]
    pub(super) call: String,
}

/// `permission.replied`.
#[derive(Debug, Deserialize)]
pub(super) struct Replied {
    #[serde(rename = "requestID")]
    pub(super) request: String,
}

/// `question.asked`, and a row of `GET /question`.
#[derive(Debug, Deserialize)]
pub(super) struct Question {
    pub(super) id: String,
    #[serde(rename = "sessionID")]
    pub(super) session: String,
}

/// `todo.updated`.
#[derive(Debug, Deserialize)]
pub(super) struct TodoEvent {
    pub(super) todos: Vec<Todo>,
}

/// One thing to do.
#[derive(Debug, Deserialize)]
pub(super) struct Todo {
    pub(super) content: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) priority: String,
}

/// A row of `GET /session/:id/message`.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) info: Info,
    #[serde(default)]
    pub(super) parts: Rows<Part>,
}

/// A conversation.
#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    #[serde(default)]
    pub(super) directory: String,
}
