//! How backends differ, as data that the turn machine and the driver read, and the limits of a turn.

use std::time::Duration;

use crate::routing::Route;

/// What is known of a way to reach agents. A new backend adds one; the turn machine does not change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackendProfile {
    /// The profile's name, for logs.
    pub name: &'static str,
    /// The route that it serves.
    pub route: Route,
    /// Whether the agent outlives its turn.
    pub life: Life,
    /// How a turn finds the conversation that it goes on with.
    pub conversation: Conversation,
    /// The stop ladder: what is tried in turn, and how long each rung is given.
    pub stop: &'static [(Stop, Duration)],
}

/// How long an agent's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Started for a turn and gone after it.
    PerTurn,
    /// Kept between turns.
    Warm,
}

/// How a turn finds the conversation that it goes on with (SPEC W2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    /// Each task has one of its own; a resumed task goes on with that of its earlier attempt.
    OfTask,
    /// The agent keeps one for each chat, by its own id.
    OfChat,
    /// The agent keeps none: it is told the chat's history each time.
    Told,
}

/// One rung of a stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ask by the agent's own protocol.
    Ask,
    /// End the whole process tree with SIGTERM.
    Terminate,
    /// End the whole process tree with SIGKILL.
    Kill,
}

/// The limits of a turn. All of them are configuration; the defaults are SPEC T8's and T15's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// The longest time without an update.
    pub silence: Duration,
    /// The same while a tool call is open.
    pub tool_silence: Duration,
    /// How long a permission request waits for an answer before it is denied.
    pub permission: Duration,
    /// How long an agent may take from its start to being ready for the prompt.
    pub start: Duration,
    /// How long computing the change may take.
    pub collect: Duration,
    /// The most bytes that a turn stores.
    pub output_bytes: u64,
    /// Characters of text in the message row.
    pub content_chars: usize,
    /// Characters of reasoning in the message row.
    pub reasoning_chars: usize,
    /// Characters of the task's summary.
    pub summary_chars: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            silence: Duration::from_secs(10 * MINUTE),
            tool_silence: Duration::from_secs(120 * MINUTE),
            permission: Duration::from_secs(60 * MINUTE),
            start: Duration::from_secs(2 * MINUTE),
            collect: Duration::from_secs(2 * MINUTE),
            output_bytes: 64 * 1024 * 1024,
            content_chars: 50_000,
            reasoning_chars: 200_000,
            summary_chars: 500,
        }
    }
}
