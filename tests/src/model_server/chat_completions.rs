//! OpenAI's Chat Completions, with `reasoning_content` as several compatible servers send it.

use super::{
    request::{Message, ModelRequest, Role, Tool, ToolCall},
    script::{Ending, ModelError},
    wire::{Events, Piece, Resolved, WireFormat, data, halves, texts},
};
use serde_json::{Value, json};

/// The format as the server uses it.
pub const CHAT_COMPLETIONS: WireFormat =
    WireFormat { route: "/v1/chat/completions", read, stream, whole, error };

fn read(_: &str, body: Value) -> Result<ModelRequest, String> {
    let messages = body["messages"].as_array().ok_or("messages is no list")?;
    let messages = messages.iter().map(message).collect::<Result<_, _>>()?;
    let tools = body["tools"].as_array().into_iter().flatten().map(|tool| Tool {
        name: tool["function"]["name"].as_str().unwrap_or("").to_owned(),
        parameters: tool["function"]["parameters"].clone(),
    });
    Ok(ModelRequest {
        model: body["model"].as_str().unwrap_or("").to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        messages,
        tools: tools.collect(),
        schema: body.pointer("/response_format/json_schema/schema").cloned(),
        credentials: None,
        body,
    })
}

fn message(message: &Value) -> Result<Message, String> {
    let texts = texts(&message["content"], "text");
    match message["role"].as_str() {
        Some("system" | "developer") => Ok(Message::new(Role::System, &texts)),
        Some("user") => Ok(Message::user(&texts)),
        Some("tool") => Ok(Message::new(Role::Tool, &texts)),
        Some("assistant") => {
            let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
                let arguments = call["function"]["arguments"].as_str().unwrap_or("");
                ToolCall {
                    name: call["function"]["name"].as_str().unwrap_or("").to_owned(),
                    arguments: serde_json::from_str(arguments).unwrap_or(Value::Null),
                }
            });
            Ok(Message { calls: calls.collect(), ..Message::new(Role::Assistant, &texts) })
        }
        other => Err(format!("unknown role {other:?}")),
    }
}

fn stream(answer: &Resolved) -> Events {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        data(&json!({"id": id(answer), "object": "chat.completion.chunk", "created": 1_750_000_000,
                     "model": answer.model, "choices": [choice]}))
    };
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    for piece in answer.pieces() {
        match piece {
            Piece::Text(texts) => deltas.extend(texts.iter().map(|text| json!({"content": text}))),
            Piece::Reasoning(texts) => {
                deltas.extend(texts.iter().map(|text| json!({"reasoning_content": text})));
            }
            Piece::Call { id, index, call } => deltas.extend(call_deltas(&id, index, call)),
        }
    }
    let body = deltas.into_iter().map(|delta| chunk(delta, Value::Null)).collect();
    let usage = json!({"id": id(answer), "object": "chat.completion.chunk", "created": 1_750_000_000,
                       "model": answer.model, "choices": [], "usage": usage(answer)});
    let tail = vec![chunk(json!({}), finish_reason(answer)), data(&usage), "data: [DONE]\n\n".to_owned()];
    Events { body, tail }
}

/// First id and name, then the arguments in two pieces, as real servers stream them.
fn call_deltas(id: &str, index: usize, call: &ToolCall) -> Vec<Value> {
    let function = json!({"name": call.name, "arguments": ""});
    let head = json!({"index": index, "id": id, "type": "function", "function": function});
    let arguments = call.arguments.to_string();
    let rest = halves(&arguments).map(|half| json!({"index": index, "function": {"arguments": half}}));
    [head].into_iter().chain(rest).map(|call| json!({"tool_calls": [call]})).collect()
}

fn whole(answer: &Resolved) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text()});
    let calls: Vec<_> = answer
        .pieces()
        .filter_map(|piece| match piece {
            Piece::Call { id, call, .. } => {
                let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                Some(json!({"id": id, "type": "function", "function": function}))
            }
            Piece::Text(_) | Piece::Reasoning(_) => None,
        })
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({"id": id(answer), "object": "chat.completion", "created": 1_750_000_000, "model": answer.model,
           "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(answer)}],
           "usage": usage(answer)})
}

/// OpenAI has one shape of errors for all its formats.
pub(super) fn error(error: ModelError) -> Value {
    let (message, kind, code) = match error {
        ModelError::Unauthorised => {
            ("Incorrect API key provided", "invalid_request_error", "invalid_api_key")
        }
        ModelError::Overloaded { .. } => ("Rate limit reached", "requests", "rate_limit_exceeded"),
        ModelError::Internal => ("The server had an error", "server_error", "internal_error"),
        ModelError::ContextTooLong => (
            "This model's maximum context length is exceeded",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        ModelError::NoSuchModel => (
            "The model does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn finish_reason(answer: &Resolved) -> Value {
    json!(match answer.reply.ending {
        Ending::Length => "length",
        Ending::Refusal => "content_filter",
        Ending::Normal | Ending::Stall | Ending::Cut if answer.calls.is_empty() => "stop",
        Ending::Normal | Ending::Stall | Ending::Cut => "tool_calls",
    })
}

fn usage(answer: &Resolved) -> Value {
    let usage = answer.usage();
    json!({"prompt_tokens": usage.input, "completion_tokens": usage.output,
           "total_tokens": usage.input + usage.output})
}

fn id(answer: &Resolved) -> String {
    format!("chatcmpl-{}", answer.number)
}
