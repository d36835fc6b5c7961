//! What opencode's errors mean.

use dispatch_core::agent::{EndedHow, Failure};
use dispatch_core::task::TerminalReason;

use super::wire::{ErrorData, WireError};
use crate::common::failure;

/// The most characters of an error that are kept.
const LONGEST: usize = 2000;

/// How a turn ends that this error ends.
pub(super) fn ended_by(error: &WireError) -> EndedHow {
    let WireError { name, data: ErrorData { message, status } } = error;
    let text = first_line(message.as_deref().unwrap_or_default());
    let text = if text.is_empty() { format!("opencode reports {}", named(name)) } else { text.to_owned() };
    let text: String = text.chars().take(LONGEST).collect();
    let failed = |reason| EndedHow::Failed(Failure::new(reason, text.clone()));
    match name.as_str() {
        "MessageAbortedError" => EndedHow::Cancelled,
        "ProviderAuthError" => failed(TerminalReason::Unauthorised),
        "ContextOverflowError" => failed(TerminalReason::ContextTooLong),
        "ContentFilterError" => failed(TerminalReason::ModelRefused),
        "MessageOutputLengthError" => EndedHow::Failed(output_limit()),
        _ => EndedHow::Failed(failure::of_status(*status, &text)),
    }
}

/// The model was cut short.
pub(super) fn output_limit() -> Failure {
    let text = "the agent stopped at the model's output limit (length)";
    Failure::new(TerminalReason::AgentFailed, text)
}

/// What opencode says when it tries again.
pub(super) fn of_retry(message: &str) -> Failure {
    failure::of_text(first_line(message))
}

/// Errors of its own come with a stack trace.
fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

fn named(name: &str) -> &str {
    if name.is_empty() { "an error" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TerminalReason::*;

    #[test]
    fn errors_mean_what_they_say() {
        for (error, reason, text) in [
            (
                r#"{"name":"APIError","data":{"message":"invalid key","statusCode":401}}"#,
                Unauthorised,
                "invalid key",
            ),
            (
                r#"{"name":"APIError","data":{"message":"slow down","statusCode":429}}"#,
                OverQuota,
                "slow down",
            ),
            (r#"{"name":"APIError","data":{"message":"oh","statusCode":503}}"#, ModelOverloaded, "oh"),
            (
                r#"{"name":"ProviderAuthError","data":{"providerID":"p","message":"no key"}}"#,
                Unauthorised,
                "no key",
            ),
            (r#"{"name":"ContextOverflowError","data":{"message":"too much"}}"#, ContextTooLong, "too much"),
            (r#"{"name":"ContentFilterError","data":{"message":"no"}}"#, ModelRefused, "no"),
            (
                r#"{"name":"UnknownError","data":{"message":"Model not found: a/b.\n    at <anonymous>"}}"#,
                AgentFailed,
                "Model not found: a/b.",
            ),
            (r#"{"name":"UnknownError"}"#, AgentFailed, "opencode reports UnknownError"),
            ("{}", AgentFailed, "opencode reports an error"),
        ] {
            let how = ended_by(&serde_json::from_str(error).unwrap());
            assert_eq!(how, EndedHow::Failed(Failure::new(reason, text)), "{error}");
        }
        let long = WireError {
            name: "x".repeat(10_000),
            data: ErrorData { message: Some("x".repeat(10_000)), status: None },
        };
        assert!(matches!(ended_by(&long), EndedHow::Failed(failure) if failure.text.len() == LONGEST));
        let aborted = r#"{"name":"MessageAbortedError","data":{"message":"Aborted"}}"#;
        assert_eq!(ended_by(&serde_json::from_str(aborted).unwrap()), EndedHow::Cancelled);
    }
}
