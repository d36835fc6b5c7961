//! Anthropic's Messages, as claude speaks it.

use super::{
    request::{Message, ModelRequest, Role, Tool, ToolCall},
    script::{Ending, ModelError},
    wire::{Events, Piece, Resolved, WireFormat, event, halves, texts},
};
use serde_json::{Value, json};

/// The format as the server uses it.
pub const MESSAGES: WireFormat = WireFormat { route: "/v1/messages", read, stream, whole, error };

fn read(_: &str, body: Value) -> Result<ModelRequest, String> {
    let system = Message::new(Role::System, &texts(&body["system"], "text"));
    let said = body["messages"].as_array().ok_or("messages is no list")?;
    let messages = [system].into_iter().chain(said.iter().flat_map(messages)).collect();
    let tools = body["tools"].as_array().into_iter().flatten().map(|tool| Tool {
        name: tool["name"].as_str().unwrap_or("").to_owned(),
        parameters: tool["input_schema"].clone(),
    });
    Ok(ModelRequest {
        model: body["model"].as_str().unwrap_or("").to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        messages,
        tools: tools.collect(),
        schema: body.pointer("/output_config/format/schema").cloned(),
        credentials: None,
        body,
    })
}

/// Results of tools come in the user's message, which may hold a prompt behind them.
fn messages(message: &Value) -> Vec<Message> {
    let content = &message["content"];
    let said = texts(content, "text");
    let blocks = |kind: &'static str| {
        content.as_array().into_iter().flatten().filter(move |block| block["type"] == kind)
    };
    match message["role"].as_str() {
        Some("assistant") => {
            let calls = blocks("tool_use").map(|block| ToolCall {
                name: block["name"].as_str().unwrap_or("").to_owned(),
                arguments: block["input"].clone(),
            });
            vec![Message { calls: calls.collect(), ..Message::new(Role::Assistant, &said) }]
        }
        Some("user") => {
            let results = blocks("tool_result");
            let results = results.map(|block| Message::new(Role::Tool, &texts(&block["content"], "text")));
            let prompt = (!said.is_empty()).then(|| Message::user(&said));
            results.chain(prompt).collect()
        }
        _ => vec![Message::new(Role::System, &said)],
    }
}

fn stream(answer: &Resolved) -> Events {
    let mut start = message(answer, Vec::new());
    start["usage"] = json!({"input_tokens": answer.usage().input, "output_tokens": 1});
    start["stop_reason"] = Value::Null;
    let (mut events, mut stop) = (vec![json!({"type": "message_start", "message": start})], None);
    for (index, piece) in answer.pieces().enumerate() {
        events.extend(stop.take());
        let (block, deltas) = block_and_deltas(&piece);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas.into_iter();
        events.extend(
            deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        );
        stop = Some(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": stop_reason(answer), "stop_sequence": null});
    let end =
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": answer.usage().output}});
    // An answer that is cut or stalls does so within its last block.
    let tail = stop.into_iter().chain([end, json!({"type": "message_stop"})]);
    Events { body: events.iter().map(event).collect(), tail: tail.map(|data| event(&data)).collect() }
}

fn block_and_deltas(piece: &Piece<'_>) -> (Value, Vec<Value>) {
    match piece {
        Piece::Text(texts) => {
            let deltas = texts.iter().map(|text| json!({"type": "text_delta", "text": text}));
            (json!({"type": "text", "text": ""}), deltas.collect())
        }
        Piece::Reasoning(texts) => {
            let deltas = texts.iter().map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let signature = json!({"type": "signature_delta", "signature": SIGNATURE});
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                deltas.chain([signature]).collect(),
            )
        }
        Piece::Call { id, call, .. } => {
            let input = call.arguments.to_string();
            let deltas = halves(&input).map(|half| json!({"type": "input_json_delta", "partial_json": half}));
            (json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}), deltas.into())
        }
    }
}

/// The agent hands it back unread.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

fn whole(answer: &Resolved) -> Value {
    let blocks = answer.pieces().map(|piece| match piece {
        Piece::Text(texts) => json!({"type": "text", "text": texts.concat()}),
        Piece::Reasoning(texts) => {
            json!({"type": "thinking", "thinking": texts.concat(), "signature": SIGNATURE})
        }
        Piece::Call { id, call, .. } => {
            json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments})
        }
    });
    message(answer, blocks.collect())
}

fn message(answer: &Resolved, content: Vec<Value>) -> Value {
    let usage = answer.usage();
    json!({"id": format!("msg_{}", answer.number), "type": "message", "role": "assistant",
           "model": answer.model, "content": content, "stop_reason": stop_reason(answer),
           "stop_sequence": null, "usage": {"input_tokens": usage.input, "output_tokens": usage.output}})
}

fn stop_reason(answer: &Resolved) -> &'static str {
    match answer.reply.ending {
        Ending::Length => "max_tokens",
        Ending::Refusal => "refusal",
        Ending::Normal | Ending::Stall | Ending::Cut if answer.calls.is_empty() => "end_turn",
        Ending::Normal | Ending::Stall | Ending::Cut => "tool_use",
    }
}

fn error(error: ModelError) -> Value {
    let (kind, message) = match error {
        ModelError::Unauthorised => ("authentication_error", "invalid x-api-key"),
        ModelError::Overloaded { .. } => ("rate_limit_error", "This request would exceed your rate limit"),
        ModelError::Internal => ("api_error", "Internal server error"),
        ModelError::ContextTooLong => {
            ("invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum")
        }
        ModelError::NoSuchModel => ("not_found_error", "model: scripted"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}
