//! What an agent's error means.
//!
//! Agents speak JSON-RPC's codes, HTTP's, their own, or only "internal error" with a sentence, so the reason is looked
//! for in this order: a code that means one thing, claude's `data.errorKind`, an HTTP status in the sentence, words.

use acp_proto::RpcError;
use dispatch_core::agent::{EndedHow, Failure};
use dispatch_core::task::TerminalReason::{self, *};
use serde::Deserialize;
use serde_json::Value;

/// ACP's "authentication required".
const AUTH_REQUIRED: i64 = -32000;
/// vibe's.
const VIBE_UNAUTHORISED: i64 = -31002;
/// A service's failure, and gemini's code for what it has none for: its sentence may say more.
const SERVER_ERROR: i64 = 500;

/// One reason and all that means it.
struct Meaning {
    reason: TerminalReason,
    /// HTTP statuses, and codes of errors.
    codes: &'static [i64],
    /// The words of `data.errorKind`.
    kinds: &'static [&'static str],
    /// What the sentence contains, in lower case.
    words: &'static [&'static str],
}

/// The first that fits counts.
const MEANINGS: [Meaning; 6] = [
    Meaning {
        reason: Unauthorised,
        codes: &[401, 403, VIBE_UNAUTHORISED],
        kinds: &[
            "authentication_failed",
            "authentication_error",
            "permission_error",
            "oauth_org_not_allowed",
        ],
        words: &[
            "unauthorized",
            "unauthorised",
            "unauthenticated",
            "authenticat",
            "api key",
            "api_key",
            "not logged in",
            "log in",
            "login required",
        ],
    },
    Meaning {
        reason: OverQuota,
        codes: &[402, 429],
        kinds: &["rate_limit", "rate_limit_error", "billing_error", "quota_exceeded"],
        words: &["rate limit", "rate_limit", "quota", "too many requests", "usage limit", "credit balance"],
    },
    Meaning {
        reason: ContextTooLong,
        codes: &[413],
        kinds: &["context_length_exceeded"],
        words: &[
            "too long",
            "context length",
            "context window",
            "context_length",
            "maximum context",
            "context size",
            // Google's.
            "exceeds the maximum number of tokens",
        ],
    },
    Meaning {
        reason: ModelOverloaded,
        codes: &[SERVER_ERROR, 502, 503, 504, 529],
        kinds: &["overloaded", "overloaded_error", "server_error", "api_error"],
        words: &[
            "overloaded",
            "high demand",
            "service unavailable",
            "bad gateway",
            "server-side issue",
            "server_error",
            "server had an error",
        ],
    },
    Meaning {
        reason: ModelRefused,
        codes: &[],
        kinds: &["refusal"],
        words: &["content filter", "content_filter", "content policy", "refused to answer"],
    },
    // A model that is not there.
    Meaning {
        reason: AgentFailed,
        codes: &[404],
        kinds: &["not_found_error"],
        // Google's.
        words: &["is not found for api version"],
    },
];

/// The failure that an error answer tells of.
pub(crate) fn of_error(error: &RpcError) -> Failure {
    let text = sentence(error);
    let kind = error_kind(error);
    let by_code = reason_of_status(error.code).filter(|_| error.code != SERVER_ERROR);
    let by_kind = || MEANINGS.iter().find(|meaning| meaning.kinds.contains(&kind.as_str()));
    let known = by_code.or_else(|| by_kind().map(|meaning| meaning.reason));
    let reason = known.or_else(|| reason_in(&text)).unwrap_or(match error.code {
        AUTH_REQUIRED => Unauthorised,
        SERVER_ERROR => ModelOverloaded,
        _ => AgentFailed,
    });
    Failure::new(reason, text)
}

/// Whether a turn failed because somebody must log in. What is kept has no turn after that: a running process may not
/// notice that somebody did.
pub(crate) fn wants_login(how: &EndedHow) -> bool {
    matches!(how, EndedHow::Failed(failure) if failure.reason == Unauthorised)
}

/// The failure that an agent tells of in its text.
pub(crate) fn of_text(text: &str) -> Failure {
    Failure::new(reason_in(text).unwrap_or(AgentFailed), text.trim())
}

/// The failure that a service's answer tells of: its HTTP status, where it is known, and a sentence.
pub(crate) fn of_status(status: Option<i64>, text: &str) -> Failure {
    let reason = status.and_then(reason_of_status).or_else(|| reason_in(text));
    Failure::new(reason.unwrap_or(AgentFailed), text.trim())
}

/// The failure that a program tells of in a sentence, in which a service's answer may be wrapped, as gemini and qwen do:
/// `[API Error: {"error":{"message":"…"}}]`.
pub(crate) fn of_message(said: &str) -> Failure {
    let said = said.trim();
    let reason = reason_in(said).unwrap_or(AgentFailed);
    let bare = said.strip_prefix('[').and_then(|said| said.strip_suffix(']')).unwrap_or(said);
    let inner = bare.find('{').and_then(|at| inner_message(&bare[at..]));
    Failure::new(reason, inner.unwrap_or_else(|| bare.to_owned()))
}

/// What an HTTP status of a model's service means.
pub(crate) fn reason_of_status(status: i64) -> Option<TerminalReason> {
    MEANINGS.iter().find(|meaning| meaning.codes.contains(&status)).map(|meaning| meaning.reason)
}

/// The message in a service's JSON.
fn inner_message(json: &str) -> Option<String> {
    let value = serde_json::from_str::<Value>(json).ok()?;
    let found = ["/error/message", "/message", "/error"].iter().find_map(|at| value.pointer(at)?.as_str());
    found.map(str::to_owned)
}

/// What a sentence means, if it means anything.
fn reason_in(text: &str) -> Option<TerminalReason> {
    let text = text.to_ascii_lowercase();
    let status = http_status(&text);
    let by_status =
        || MEANINGS.iter().find(|meaning| status.is_some_and(|code| meaning.codes.contains(&code)));
    let by_words = || MEANINGS.iter().find(|meaning| meaning.words.iter().any(|word| text.contains(word)));
    by_status().or_else(by_words).map(|meaning| meaning.reason)
}

/// A number that stands where errors have their HTTP status: first, or after one of a few words. Others, as in "500
/// lines", are none.
fn http_status(text: &str) -> Option<i64> {
    let mut before = None;
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if matches!(before, None | Some("error" | "status" | "code" | "http"))
            && let Ok(status @ 400..=599) = word.parse()
        {
            return Some(status);
        }
        before = Some(word);
    }
    None
}

/// The sentence that a person reads: unpacked where an agent hands on a service's JSON, without what says nothing.
fn sentence(error: &RpcError) -> String {
    let text = error.useful_text();
    let text = inner_message(&text).unwrap_or(text);
    text.strip_prefix("Internal error: ").unwrap_or(&text).trim().to_owned()
}

fn error_kind(error: &RpcError) -> String {
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "errorKind")]
        kind: String,
    }
    let data = error.data.as_ref().and_then(|data| data.decode::<Data>().ok());
    data.map_or_else(String::new, |data| data.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use acp_proto::{Decoder, Message};

    fn failure(error: &str) -> Failure {
        let mut decoder = Decoder::new();
        decoder.push(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{error}}}\n").as_bytes());
        let Some(Message::Response(response)) = decoder.next_message() else { panic!("{error}") };
        of_error(&response.outcome.unwrap_err())
    }

    /// All from recordings, but for those marked.
    #[test]
    fn errors_mean_what_they_say() {
        for (error, reason, text) in [
            (
                r#"{"code":-32603,"message":"Internal error: invalid api key (scripted)","data":{"service":"session","errorName":"APIError"}}"#,
                Unauthorised,
                "invalid api key (scripted)",
            ),
            (
                r#"{"code":-32603,"message":"Internal error","data":{"details":"401 invalid key"}}"#,
                Unauthorised,
                "401 invalid key",
            ),
            (
                r#"{"code":401,"message":"{\"error\":{\"code\":401,\"message\":\"bad\",\"status\":\"INTERNAL\"}}"}"#,
                Unauthorised,
                "bad",
            ),
            (
                r#"{"code":500,"message":"The model is not found for API version v1beta, or is not supported for generateContent."}"#,
                AgentFailed,
                "The model is not found for API version v1beta, or is not supported for generateContent.",
            ),
            (r#"{"code":500,"message":"scripted trouble"}"#, ModelOverloaded, "scripted trouble"),
            (r#"{"code":-31002,"message":"x"}"#, Unauthorised, "x"),
            (r#"{"code":-32000,"message":"Sign in first"}"#, Unauthorised, "Sign in first"), // after the protocol
            (
                r#"{"code":-32603,"message":"Internal error: Failed. API Error: 401 x","data":{"errorKind":"authentication_failed"}}"#,
                Unauthorised,
                "Failed. API Error: 401 x",
            ),
            (
                r#"{"code":-32603,"message":"Internal error: API Error: 500 internal error","data":{"errorKind":"server_error"}}"#,
                ModelOverloaded,
                "API Error: 500 internal error",
            ),
            (
                r#"{"code":-32603,"message":"Internal error","data":{"message":"{\"error\": {\"message\": \"prompt is too long: 250000 tokens\"}}","codex_error_info":"other"}}"#,
                ContextTooLong,
                "prompt is too long: 250000 tokens",
            ),
            (
                r#"{"code":-32603,"message":"Internal error","data":{"message":"unexpected status 401 Unauthorized: x"}}"#,
                Unauthorised,
                "unexpected status 401 Unauthorized: x",
            ),
            (
                r#"{"code":400,"message":"{\"error\":{\"message\":\"prompt is too long\"}}"}"#,
                ContextTooLong,
                "prompt is too long",
            ),
            (
                r#"{"code":-32603,"message":"Internal error","data":{"details":"Model stream ended with empty response text."}}"#,
                AgentFailed,
                "Model stream ended with empty response text.",
            ),
            (
                r#"{"code":400,"message":"{\"error\":{\"code\":400,\"message\":\"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).\",\"status\":\"INVALID_ARGUMENT\"}}"}"#,
                ContextTooLong,
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ), // as gemini's users report it
            (r#"{"code":-32603,"message":"HTTP 429"}"#, OverQuota, "HTTP 429"), // made up
            (r#"{"code":-32603,"message":"You exceeded your quota"}"#, OverQuota, "You exceeded your quota"), // made up
            (r#"{"code":529,"message":"x"}"#, ModelOverloaded, "x"), // made up
            (
                r#"{"code":-32603,"message":"failed to read 500 lines"}"#,
                AgentFailed,
                "failed to read 500 lines",
            ), // made up
            (r#"{"code":7}"#, AgentFailed, "error 7"),               // made up
        ] {
            assert_eq!(failure(error), Failure::new(reason, text), "{error}");
        }
    }

    #[test]
    fn a_text_is_classified_as_an_error_is() {
        let text = "Ran into this error: Authentication failed. Status: 401 Unauthorized\n";
        assert_eq!(of_text(text), Failure::new(Unauthorised, text.trim()));
        assert_eq!(of_text("Ran into this error: Server error: 500").reason, ModelOverloaded);
        assert_eq!(of_text("Ran into this error: what").reason, AgentFailed);
    }
}
