//! Error answers.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::raw::RawJson;

/// JSON-RPC's "invalid JSON was received".
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC's "the method does not exist".
pub const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC's "invalid method parameters".
pub const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC's "internal error"; agents use it for everything.
pub const INTERNAL_ERROR: i64 = -32603;
/// ACP's "a resource, such as a file or a session, was not found".
pub const RESOURCE_NOT_FOUND: i64 = -32002;

/// The `error` of an answer.
///
/// Any integer may be the code: gemini answers HTTP's 401 and vibe -31002. Displayed as the most useful text in it.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcError {
    /// The code; [`INTERNAL_ERROR`] if the agent gave none that is an integer.
    pub code: i64,
    /// The message, which may be empty and is often generic.
    pub message: String,
    /// Whatever else the agent said.
    pub data: Option<RawJson>,
    /// The object as received, so that what we have no field for is not lost.
    raw: Option<RawJson>,
}

impl RpcError {
    /// An error of ours, to be sent.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, raw: None }
    }

    /// The answer to a request that we do not serve.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(METHOD_NOT_FOUND, format!("method not found: {method}"))
    }

    /// The answer to parameters that make no sense.
    pub fn invalid_params(why: impl fmt::Display) -> Self {
        Self::new(INVALID_PARAMS, format!("invalid params: {why}"))
    }

    /// Reads any `error` value; what is not an object becomes the message.
    pub(crate) fn from_raw(raw: RawJson) -> Self {
        let value: Value = raw.decode().unwrap_or_default();
        let code = value.get("code").and_then(Value::as_i64).unwrap_or(INTERNAL_ERROR);
        let message = match (&value, value.get("message")) {
            (_, Some(Value::String(text))) | (Value::String(text), _) => text.clone(),
            _ => String::new(),
        };
        let data = value.get("data").filter(|data| !data.is_null());
        let data = data.and_then(|data| RawJson::encode(data).ok());
        Self { code, message, data, raw: Some(raw) }
    }

    /// Appends the error as JSON: as received, or built from its parts.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Parts<'a> {
            code: i64,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a RawJson>,
        }
        match &self.raw {
            Some(raw) => out.extend_from_slice(raw.as_str().as_bytes()),
            None => serde_json::to_writer(
                out,
                &Parts { code: self.code, message: &self.message, data: self.data.as_ref() },
            )
            .expect("because its parts are valid JSON and a Vec takes every write"),
        }
    }

    /// The text that tells a user most.
    ///
    /// Messages are often only "Internal error"; then the reason is in `data.details` (qwen), `data.message`
    /// (codex), `data.error` or a `data` that is a string. Falls back to the message, then to the code.
    pub fn useful_text(&self) -> String {
        let detail = self.data.as_ref().and_then(detail_of);
        match detail {
            Some(detail) if self.message.is_empty() || self.is_generic() => detail,
            Some(detail) if !self.message.contains(&detail) => format!("{}: {detail}", self.message),
            _ if self.message.is_empty() => format!("error {}", self.code),
            _ => self.message.clone(),
        }
    }

    /// Whether the message says no more than the code does.
    fn is_generic(&self) -> bool {
        let message = self.message.trim().trim_end_matches('.').to_ascii_lowercase();
        let generic = ["internal error", "internal server error", "server error", "unknown error", "error"];
        generic.contains(&message.as_str())
    }
}

/// The sentence inside `data`, wherever this agent puts it.
fn detail_of(data: &RawJson) -> Option<String> {
    let value: Value = data.decode().ok()?;
    let text =
        |value: &Value| value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let named = ["details", "message", "error"].into_iter().filter_map(|key| value.get(key));
    let nested = value.pointer("/error/message");
    text(&value).or_else(|| named.chain(nested).find_map(text))
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.useful_text(), self.code)
    }
}

impl fmt::Debug for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcError")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("data", &self.data)
            .finish()
    }
}

impl std::error::Error for RpcError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> RpcError {
        RpcError::from_raw(RawJson::parse(json).unwrap())
    }

    #[test]
    fn the_useful_text_is_found_where_each_agent_hides_it() {
        for (json, text) in [
            (r#"{"code":-32603,"message":"Internal error","data":{"details":"401 bad key"}}"#, "401 bad key"),
            (r#"{"code":-32603,"message":"Internal error","data":{"message":"stream cut"}}"#, "stream cut"),
            (r#"{"code":-32603,"message":"Internal error.","data":{"error":"no model"}}"#, "no model"),
            (r#"{"code":-32603,"message":"Internal error","data":"plain"}"#, "plain"),
            (r#"{"code":1,"message":"","data":{"error":{"message":"deep"}}}"#, "deep"),
            (
                r#"{"code":-32603,"message":"Internal error: quota","data":{"errorName":"APIError"}}"#,
                "Internal error: quota",
            ),
            (
                r#"{"code":-32602,"message":"Invalid params","data":{"details":"no cwd"}}"#,
                "Invalid params: no cwd",
            ),
            (r#"{"code":401,"message":"Unauthorized","data":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"code":-31002}"#, "error -31002"),
            (r#""boom""#, "boom"),
            (r#"{"code":"E_BAD","message":"x"}"#, "x"),
        ] {
            assert_eq!(error(json).useful_text(), text, "{json}");
        }
    }

    #[test]
    fn any_integer_is_a_code() {
        assert_eq!(error(r#"{"code":400,"message":"x"}"#).code, 400);
        assert_eq!(error(r#"{"code":9223372036854775807,"message":"x"}"#).code, i64::MAX);
        assert_eq!(error(r#"{"code":1e400,"message":"x"}"#).code, INTERNAL_ERROR);
    }
}
