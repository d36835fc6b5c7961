//! The answer to `session/prompt`: how a turn ended.

use serde::Deserialize;

use crate::raw::RawJson;

/// The result of a `session/prompt`.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    /// Why the turn ended, in the agent's words. After a cancel it may be anything: the host remembers that it asked.
    pub stop_reason: StopReason,
    /// Tokens used. Of the turn, of its last model call, or of the session so far, depending on the agent.
    pub usage: Option<Usage>,
    /// The agent's own additions: gemini reports its usage here.
    pub meta: Option<RawJson>,
    raw: RawJson,
}

/// Why a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The agent has said what it had to say.
    EndTurn,
    /// The model's output limit.
    MaxTokens,
    /// The agent's limit of model calls in a turn.
    MaxTurnRequests,
    /// The model refused.
    Refusal,
    /// The host, or a rejected permission, ended it.
    Cancelled,
    /// A word that this crate does not know; empty if the answer has none.
    Other(String),
}

/// Tokens, as agents count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// The sum, as the agent adds it.
    pub total_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub thought_tokens: Option<u64>,
    /// Tokens read from the model's cache.
    pub cached_read_tokens: Option<u64>,
    /// Tokens written to the model's cache.
    pub cached_write_tokens: Option<u64>,
}

impl TurnEnd {
    /// Reads any result: what is missing or unknown never makes an answered turn an error.
    pub fn decode(result: &RawJson) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Fields {
            stop_reason: serde_json::Value,
            usage: serde_json::Value,
            #[serde(rename = "_meta")]
            meta: Option<serde_json::Value>,
        }
        let fields: Fields = result.decode().unwrap_or_default();
        Self {
            stop_reason: StopReason::from(fields.stop_reason.as_str().unwrap_or_default()),
            usage: fields
                .usage
                .is_object()
                .then_some(fields.usage)
                .and_then(|it| serde_json::from_value(it).ok()),
            meta: fields.meta.and_then(|meta| RawJson::encode(&meta).ok()),
            raw: result.clone(),
        }
    }

    /// The result as it came.
    pub fn raw(&self) -> &RawJson {
        &self.raw
    }
}

impl From<&str> for StopReason {
    fn from(word: &str) -> Self {
        match word {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "max_turn_requests" => Self::MaxTurnRequests,
            "refusal" => Self::Refusal,
            "cancelled" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl StopReason {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::MaxTurnRequests => "max_turn_requests",
            Self::Refusal => "refusal",
            Self::Cancelled => "cancelled",
            Self::Other(word) => word,
        }
    }
}
