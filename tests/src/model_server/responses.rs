//! OpenAI's Responses, as codex speaks it.

use super::{
    request::{Message, ModelRequest, Role, Tool, ToolCall},
    script::Ending,
    wire::{Events, Piece, Resolved, WireFormat, event, halves, texts},
};
use serde_json::{Value, json};

/// The format as the server uses it.
pub const RESPONSES: WireFormat =
    WireFormat { route: "/v1/responses", read, stream, whole, error: super::chat_completions::error };

fn read(_: &str, body: Value) -> Result<ModelRequest, String> {
    let items = body["input"].as_array().ok_or("input is no list")?;
    let messages = items.iter().filter_map(message).collect();
    let tools = body["tools"].as_array().into_iter().flatten();
    // Tools without a name are the server's own, such as `web_search`.
    let tools = tools.filter_map(|tool| {
        let name = tool["name"].as_str()?.to_owned();
        Some(Tool { name, parameters: tool["parameters"].clone() })
    });
    Ok(ModelRequest {
        model: body["model"].as_str().unwrap_or("").to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        messages,
        tools: tools.collect(),
        schema: body.pointer("/text/format/schema").cloned(),
        credentials: None,
        body,
    })
}

/// `None` for what is no part of the conversation, such as encrypted reasoning.
fn message(item: &Value) -> Option<Message> {
    let called = |arguments: Value| {
        let name = item["name"].as_str().unwrap_or("").to_owned();
        Message { calls: vec![ToolCall { name, arguments }], ..Message::new(Role::Assistant, &[]) }
    };
    let texts_of = |key: &str| texts(&item[key], "text");
    match item["type"].as_str()? {
        "message" => Some(match item["role"].as_str()? {
            "user" => Message::user(&texts_of("content")),
            "assistant" => Message::new(Role::Assistant, &texts_of("content")),
            _ => Message::new(Role::System, &texts_of("content")),
        }),
        "function_call" => {
            let arguments = item["arguments"].as_str().unwrap_or("");
            Some(called(serde_json::from_str(arguments).unwrap_or(Value::Null)))
        }
        "custom_tool_call" => Some(called(item["input"].clone())),
        "function_call_output" | "custom_tool_call_output" => {
            Some(Message::new(Role::Tool, &texts_of("output")))
        }
        _ => None,
    }
}

fn stream(answer: &Resolved) -> Events {
    let start = json!({"type": "response.created", "response": response(answer, "in_progress", vec![])});
    let (mut events, mut done) = (vec![start], None);
    for (place, piece) in answer.pieces().enumerate() {
        events.extend(done.take());
        let item = item(answer, place, &piece);
        let added = emptied(item.clone());
        events.push(json!({"type": "response.output_item.added", "output_index": place, "item": added}));
        events.extend(deltas(&piece).into_iter().map(|mut delta| {
            delta["item_id"] = item["id"].clone();
            delta["output_index"] = json!(place);
            delta
        }));
        done = Some(json!({"type": "response.output_item.done", "output_index": place, "item": item}));
    }
    // An answer that is cut or stalls does so within its last item.
    let tail = done.into_iter().chain([end(answer)]);
    Events { body: events.iter().map(event).collect(), tail: tail.map(|data| event(&data)).collect() }
}

/// An item as it begins.
fn emptied(mut item: Value) -> Value {
    let parts =
        [("content", json!([])), ("summary", json!([])), ("arguments", json!("")), ("input", json!(""))];
    for (key, empty) in parts {
        if let Some(value) = item.get_mut(key) {
            *value = empty;
        }
    }
    item
}

fn deltas(piece: &Piece<'_>) -> Vec<Value> {
    match piece {
        Piece::Text(texts) => {
            let delta = |text: &String| json!({"type": "response.output_text.delta", "content_index": 0, "delta": text});
            texts.iter().map(delta).collect()
        }
        Piece::Reasoning(texts) => {
            let part = json!({"type": "summary_text", "text": ""});
            let head =
                json!({"type": "response.reasoning_summary_part.added", "summary_index": 0, "part": part});
            let delta = |text: &String| json!({"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": text});
            [head].into_iter().chain(texts.iter().map(delta)).collect()
        }
        Piece::Call { call, .. } => {
            let (kind, input) = match &call.arguments {
                Value::String(input) => ("response.custom_tool_call_input.delta", input.clone()),
                arguments => ("response.function_call_arguments.delta", arguments.to_string()),
            };
            halves(&input).map(|half| json!({"type": kind, "delta": half})).into()
        }
    }
}

/// A piece of the answer in full. Arguments that are text belong to a tool without a schema.
fn item(answer: &Resolved, place: usize, piece: &Piece<'_>) -> Value {
    let number = answer.number;
    match piece {
        Piece::Text(texts) => {
            let content = json!([{"type": "output_text", "text": texts.concat(), "annotations": []}]);
            json!({"type": "message", "id": format!("msg_{number}_{place}"), "role": "assistant",
                   "status": "completed", "content": content})
        }
        Piece::Reasoning(texts) => {
            let summary = json!([{"type": "summary_text", "text": texts.concat()}]);
            json!({"type": "reasoning", "id": format!("rs_{number}_{place}"), "summary": summary})
        }
        Piece::Call { id, call, .. } => match &call.arguments {
            Value::String(input) => {
                json!({"type": "custom_tool_call", "id": format!("ctc_{number}_{place}"), "call_id": id,
                       "name": call.name, "input": input, "status": "completed"})
            }
            arguments => {
                json!({"type": "function_call", "id": format!("fc_{number}_{place}"), "call_id": id,
                       "name": call.name, "arguments": arguments.to_string(), "status": "completed"})
            }
        },
    }
}

fn end(answer: &Resolved) -> Value {
    let items = answer.pieces().enumerate().map(|(place, piece)| item(answer, place, &piece)).collect();
    let reason = match answer.reply.ending {
        Ending::Length => "max_output_tokens",
        Ending::Refusal => "content_filter",
        Ending::Normal | Ending::Stall | Ending::Cut => {
            return json!({"type": "response.completed", "response": response(answer, "completed", items)});
        }
    };
    let mut response = response(answer, "incomplete", items);
    response["incomplete_details"] = json!({"reason": reason});
    json!({"type": "response.incomplete", "response": response})
}

fn response(answer: &Resolved, status: &str, output: Vec<Value>) -> Value {
    let usage = answer.usage();
    json!({"id": format!("resp_{}", answer.number), "object": "response", "status": status,
           "model": answer.model, "output": output,
           "usage": {"input_tokens": usage.input, "input_tokens_details": {"cached_tokens": 0},
                     "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": 0},
                     "total_tokens": usage.input + usage.output}})
}

fn whole(answer: &Resolved) -> Value {
    end(answer)["response"].take()
}
