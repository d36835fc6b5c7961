//! What went wrong with a request, and what that means.

use std::error::Error;
use std::time::Duration;

use dispatch_core::agent::{EndedHow, Failure};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use crate::common::failure;
use crate::native::settings::ApiKey;

/// The most characters of a service's words.
const LONGEST: usize = 2000;

/// Words for quotas that no pause fills up.
const SPENT: [&str; 5] = ["insufficient_quota", "billing", "credit", "payment", "balance"];

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::native) struct Fault {
    kind: Kind,
    /// What a person reads.
    pub(in crate::native) text: String,
    /// How long the service asks us to wait.
    pub(in crate::native) retry_after: Option<Duration>,
    /// The size of the model's context, where the service says that it was exceeded.
    pub(in crate::native) context_size: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No connection, or it was lost.
    Connection,
    /// The service said so, with this status where it gave one.
    Said { reason: TerminalReason, status: Option<u16> },
    /// The service sent what is no answer.
    Unreadable,
    /// It sent too much.
    TooMuch,
}

impl Fault {
    /// The connection could not be made, or was lost.
    pub(super) fn connection(doing: &str, error: reqwest::Error) -> Self {
        // The address is ours to name, and a proxy's may hold a password.
        let error = error.without_url();
        let mut text = format!("{doing}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(Kind::Connection, text)
    }

    /// The answer stopped before its end.
    pub(super) fn cut() -> Self {
        Self::new(Kind::Connection, "the model's answer was cut off".to_owned())
    }

    pub(super) fn unreadable(text: impl Into<String>) -> Self {
        Self::new(Kind::Unreadable, text.into())
    }

    pub(super) fn too_much(text: impl Into<String>) -> Self {
        Self::new(Kind::TooMuch, text.into())
    }

    /// An error, in place of an answer or within one: as an object with a message, or in any other form.
    pub(super) fn said(status: Option<u16>, body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = error.get("code").or_else(|| error.get("status")).and_then(Value::as_u64);
        let code = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
        let status = status.or(code);
        let message = ["message", "detail", "error", "msg"].iter().find_map(|key| error.get(*key)?.as_str());
        // A proxy's page says less than its status.
        let is_told = |text: &&str| !text.is_empty() && !text.starts_with('<');
        let text = match (message.or(error.as_str()).map(str::trim).filter(is_told), status) {
            (Some(text), _) => text.to_owned(),
            (_, Some(status)) => format!("the model's service answered with status {status}"),
            (_, None) => format!("the model's service answered with an error: {error}"),
        };
        let reason = reason(status, &[word("type"), word("code")], &text);
        let context_size = error.get("n_ctx").and_then(Value::as_u64).filter(|size| *size > 0);
        Self { context_size, ..Self::new(Kind::Said { reason, status }, text) }
    }

    pub(super) fn waiting(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    fn new(kind: Kind, text: String) -> Self {
        Self { kind, text, retry_after: None, context_size: None }
    }

    /// The same without the key, which services like to repeat, and not too long. The key goes first: of one that
    /// was cut, the beginning would be left.
    pub(super) fn hiding(self, key: Option<&ApiKey>) -> Self {
        self.reworded(|text| {
            let text = key.map_or_else(|| text.to_owned(), |key| key.hidden_in(text));
            text.chars().take(LONGEST).collect()
        })
    }

    /// The same in other words.
    pub(in crate::native) fn reworded(self, words: impl FnOnce(&str) -> String) -> Self {
        Self { text: words(&self.text), ..self }
    }

    /// Whether the same request may succeed later.
    pub(in crate::native) fn is_passing(&self) -> bool {
        match self.kind {
            Kind::Connection => true,
            Kind::Said { reason: TerminalReason::ModelOverloaded, .. } => true,
            Kind::Said { reason: TerminalReason::OverQuota, status } => {
                let text = self.text.to_ascii_lowercase();
                status != Some(402) && !SPENT.iter().any(|word| text.contains(word))
            }
            Kind::Said { status, .. } => status == Some(408),
            Kind::Unreadable | Kind::TooMuch => false,
        }
    }

    /// Whether the conversation is longer than the model's context.
    pub(in crate::native) fn is_too_long(&self) -> bool {
        matches!(self.kind, Kind::Said { reason: TerminalReason::ContextTooLong, .. })
    }

    /// Whether the service does not let us in.
    pub(in crate::native) fn is_unauthorised(&self) -> bool {
        matches!(self.kind, Kind::Said { reason: TerminalReason::Unauthorised, .. })
    }

    /// Whether there was no answer at all.
    pub(in crate::native) fn is_connection(&self) -> bool {
        self.kind == Kind::Connection
    }

    /// Whether the service refuses the request for this word in it.
    pub(in crate::native) fn refuses(&self, word: &str) -> bool {
        matches!(self.kind, Kind::Said { status: Some(400 | 422), .. }) && self.text.contains(word)
    }

    /// What a turn that ends by it ends as.
    pub(in crate::native) fn end(self) -> EndedHow {
        let reason = match self.kind {
            Kind::Connection => {
                return EndedHow::Crashed(Failure::new(TerminalReason::AgentCrashed, self.text));
            }
            Kind::Said { reason, .. } => reason,
            Kind::Unreadable => TerminalReason::AgentFailed,
            Kind::TooMuch => TerminalReason::OutputLimit,
        };
        EndedHow::Failed(Failure::new(reason, self.text))
    }
}

/// What a service's error means. That a conversation is too long is said with several statuses.
fn reason(status: Option<u16>, kinds: &[&str], text: &str) -> TerminalReason {
    let by_word = |text: &str| failure::of_text(text).reason;
    let is_long = |text: &str| by_word(text) == TerminalReason::ContextTooLong;
    if !matches!(status, Some(401..=403 | 429)) && (kinds.iter().any(|kind| is_long(kind)) || is_long(text)) {
        return TerminalReason::ContextTooLong;
    }
    let known = status.map(|status| failure::of_status(Some(status.into()), "").reason);
    let kinds = kinds.iter().map(|kind| by_word(kind));
    let all = known.into_iter().chain(kinds).chain([by_word(text)]);
    all.into_iter()
        .find(|reason| *reason != TerminalReason::AgentFailed)
        .unwrap_or(TerminalReason::AgentFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TerminalReason::*;
    use serde_json::json;

    #[test]
    fn what_services_say_means_something() {
        for (status, body, expected, is_passing) in [
            (
                Some(401),
                json!({ "error": { "message": "Incorrect API key", "code": "invalid_api_key" } }),
                Unauthorised,
                false,
            ),
            (Some(403), json!("no"), Unauthorised, false),
            (Some(429), json!({ "error": { "message": "slow down", "type": "requests" } }), OverQuota, true),
            (
                Some(429),
                json!({ "error": { "message": "You exceeded your current quota, please check your plan and billing details", "code": "insufficient_quota" } }),
                OverQuota,
                false,
            ),
            (Some(402), json!({ "error": { "message": "pay" } }), OverQuota, false),
            (
                Some(503),
                json!({ "error": { "code": 503, "message": "Loading model", "type": "unavailable_error" } }),
                ModelOverloaded,
                true,
            ),
            (Some(500), json!(null), ModelOverloaded, true),
            (
                Some(400),
                json!({ "error": { "code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8 } }),
                ContextTooLong,
                false,
            ),
            (
                Some(400),
                json!({ "error": { "message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded" } }),
                ContextTooLong,
                false,
            ),
            (Some(413), json!(""), ContextTooLong, false),
            (Some(400), json!({ "object": "error", "message": "bad request" }), AgentFailed, false),
            (Some(408), json!("x"), AgentFailed, true),
            (Some(404), json!({ "error": "model 'x' not found" }), AgentFailed, false),
            (None, json!({ "code": 502, "message": "Provider returned error" }), ModelOverloaded, true),
            (
                None,
                json!({ "message": "The server is overloaded", "type": "server_error" }),
                ModelOverloaded,
                true,
            ),
            (None, json!("odd"), AgentFailed, false),
        ] {
            let fault = Fault::said(status, &body);
            let EndedHow::Failed(failure) = fault.clone().end() else { panic!() };
            assert_eq!((failure.reason, fault.is_passing()), (expected, is_passing), "{body}");
            assert!(!failure.text.is_empty());
        }
        let long = Fault::said(Some(400), &json!({ "error": { "message": "context size", "n_ctx": 8 } }));
        assert_eq!(long.context_size, Some(8));
        assert!(
            Fault::said(Some(400), &json!({ "error": "unknown field stream_options" }))
                .refuses("stream_options")
        );
    }

    #[test]
    fn words_are_bounded() {
        let fault = Fault::said(Some(500), &json!("ä".repeat(5000))).hiding(None);
        assert_eq!(fault.text.chars().count(), LONGEST);
    }
}
