//! OpenAI's Chat Completions, with `reasoning_content` as several compatible servers send it.

use super::{
    request::{Message, ModelRequest, Role, Tool, ToolCall},
    script::{Ending, ModelError, Part},
    wire::{Events, Resolved, WireFormat},
};
use serde_json::{Value, json};

/// The format as the server uses it.
pub const CHAT_COMPLETIONS: WireFormat =
    WireFormat { path: "/v1/chat/completions", read, stream, whole, error };

fn read(body: Value) -> Result<ModelRequest, String> {
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
        credentials: None,
        body: body.clone(),
    })
}

fn message(message: &Value) -> Result<Message, String> {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        other => return Err(format!("unknown role {other:?}")),
    };
    let text = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
        let arguments = call["function"]["arguments"].as_str().unwrap_or("");
        ToolCall {
            name: call["function"]["name"].as_str().unwrap_or("").to_owned(),
            arguments: serde_json::from_str(arguments).unwrap_or(Value::Null),
        }
    });
    Ok(Message { role, text, calls: calls.collect() })
}

fn stream(answer: &Resolved) -> Events {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        event(&json!({"id": id(answer), "object": "chat.completion.chunk", "created": 1_750_000_000,
                      "model": answer.model, "choices": [choice]}))
    };
    let mut body = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    let mut calls = answer.calls.iter().enumerate();
    for part in &answer.reply.parts {
        match part {
            Part::Text(deltas) => {
                body.extend(deltas.iter().map(|text| chunk(json!({"content": text}), Value::Null)));
            }
            Part::Reasoning(deltas) => {
                body.extend(deltas.iter().map(|text| chunk(json!({"reasoning_content": text}), Value::Null)));
            }
            Part::Call(_) => {
                let deltas = calls.next().map(|(index, call)| call_deltas(answer, index, call));
                body.extend(deltas.into_iter().flatten().map(|delta| chunk(delta, Value::Null)));
            }
        }
    }
    let usage = json!({"id": id(answer), "object": "chat.completion.chunk", "created": 1_750_000_000,
                       "model": answer.model, "choices": [], "usage": usage(answer)});
    let tail = vec![chunk(json!({}), finish_reason(answer)), event(&usage), "data: [DONE]\n\n".to_owned()];
    Events { body, tail }
}

/// First id and name, then the arguments in two pieces, as real servers stream them.
fn call_deltas(answer: &Resolved, index: usize, call: &ToolCall) -> Vec<Value> {
    let arguments = call.arguments.to_string();
    let mut middle = arguments.len() / 2;
    while !arguments.is_char_boundary(middle) {
        middle += 1;
    }
    let (first, second) = arguments.split_at(middle);
    let delta = |function: Value| json!({"tool_calls": [{"index": index, "function": function}]});
    let mut head = delta(json!({"name": call.name, "arguments": ""}));
    head["tool_calls"][0]["id"] = json!(call_id(answer, index));
    head["tool_calls"][0]["type"] = json!("function");
    vec![head, delta(json!({"arguments": first})), delta(json!({"arguments": second}))]
}

fn whole(answer: &Resolved) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text()});
    let calls: Vec<_> = answer
        .calls
        .iter()
        .enumerate()
        .map(|(index, call)| {
            let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
            json!({"id": call_id(answer, index), "type": "function", "function": function})
        })
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({"id": id(answer), "object": "chat.completion", "created": 1_750_000_000, "model": answer.model,
           "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(answer)}],
           "usage": usage(answer)})
}

fn error(error: ModelError) -> Value {
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
    let usage = answer.reply.usage;
    json!({"prompt_tokens": usage.input, "completion_tokens": usage.output,
           "total_tokens": usage.input + usage.output})
}

fn id(answer: &Resolved) -> String {
    format!("chatcmpl-{}", answer.number)
}

fn call_id(answer: &Resolved, index: usize) -> String {
    format!("call_{}_{index}", answer.number)
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
