//! Every recorded line goes through the codec and the types without loss: it decodes, and encodes again to an
//! equal JSON value; what the types say is what the line says.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/transcripts.rs"]
mod transcripts;

use std::collections::{BTreeMap, HashMap};

use acp_proto::types::{
    Chunk, ChunkContent, Initialized, PermissionKind, PermissionRequest, SessionOpened, SessionUpdate,
    StopReason, TurnEnd, Update,
};
use acp_proto::{Decoder, Message, RawJson, Request, Response, method, schema};
use serde_json::Value;
use transcripts::From;

fn encoded(message: &Message) -> Value {
    let mut line = Vec::new();
    message.encode(&mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn every_line_decodes_and_encodes_again_to_an_equal_value() {
    let mut lines = 0;
    let mut malformed = Vec::new();
    for (number, scenario) in transcripts::all().iter().enumerate() {
        for from in [From::Agent, From::Host] {
            let rows: Vec<_> = scenario.rows.iter().filter(|row| row.from == from).collect();
            let stream: String = rows.iter().map(|row| format!("{}\n", row.line)).collect();
            let mut decoder = Decoder::new();
            let mut messages = Vec::new();
            // Another way to cut the stream for each file.
            for chunk in stream.as_bytes().chunks(1 + number * 37) {
                decoder.push(chunk);
                messages.extend(std::iter::from_fn(|| decoder.next_message()));
            }
            assert!(decoder.finish().is_none());
            let mut messages = messages.into_iter();
            for row in rows.iter().filter(|row| !row.line.is_empty()) {
                let message = messages.next().unwrap();
                match row.json() {
                    Some(json) => assert_eq!(encoded(&message), json, "{}", scenario.name),
                    None => malformed.push(message),
                }
                lines += 1;
            }
            assert!(messages.next().is_none());
            assert_eq!(decoder.repaired_lines(), 0);
        }
    }
    assert_eq!(lines, 5_681);
    assert_eq!(malformed.len(), 6);
    assert!(
        malformed
            .iter()
            .all(|message| matches!(message, Message::Malformed(it) if it.excerpt == "{this is not json"))
    );
}

#[test]
fn the_types_say_what_the_lines_say() {
    let mut seen = BTreeMap::new();
    for scenario in transcripts::all() {
        let mut asked: HashMap<Value, Request> = HashMap::new();
        for row in &scenario.rows {
            if row.from == From::Spawn {
                asked.clear();
            }
            let (Some(json), true) = (row.json(), row.from != From::Spawn) else { continue };
            let mut decoder = Decoder::new();
            decoder.push(row.line.as_bytes());
            let what = match (row.from, decoder.finish().unwrap()) {
                (From::Host, Message::Request(request)) => {
                    asked.insert(json["id"].clone(), request);
                    continue;
                }
                (From::Agent, Message::Response(response)) => match asked.remove(&json["id"]) {
                    Some(request) => answer(&request, &response, &json),
                    None => "answer to nothing".to_owned(),
                },
                (From::Agent, Message::Notification(it)) if it.method.as_str() == method::SESSION_UPDATE => {
                    update(it.params.as_ref().unwrap(), &json["params"])
                }
                (From::Agent, Message::Request(it)) => request(&it, &json["params"]),
                (From::Agent, Message::Notification(_)) => "private notification".to_owned(),
                _ => continue,
            };
            *seen.entry(what).or_insert(0) += 1;
        }
    }
    // The counts of the recording: a kind that stops being understood moves to another row.
    let table: String = seen.iter().map(|(what, count)| format!("{count:5} {what}\n")).collect();
    assert_eq!(table, include_str!("transcripts/table.txt"), "\n{table}");
}

/// Checks an update against its JSON and names its kind.
fn update(params: &RawJson, json: &Value) -> String {
    let decoded = SessionUpdate::decode(params).unwrap();
    assert_eq!(decoded.session_id, json["sessionId"].as_str().unwrap());
    assert_eq!(decoded.raw().decode::<Value>().unwrap(), *json);
    let json = &json["update"];
    let name = match &decoded.update {
        Update::AgentMessage(it) => chunk("agent message", it, json),
        Update::AgentThought(it) => chunk("agent thought", it, json),
        Update::UserMessage(it) => chunk("user message", it, json),
        Update::ToolCall(it) => typed("tool call", it, json),
        Update::ToolCallUpdate(it) => typed("tool call update", it, json),
        Update::Plan(it) => typed("plan", it, json),
        Update::AvailableCommands(it) => typed("commands", it, json),
        Update::CurrentMode(it) => typed("mode", it, json),
        Update::ConfigOptions(it) => typed("config options", it, json),
        Update::SessionInfo(it) => typed("session info", it, json),
        Update::Usage(it) => typed("usage", it, json),
        Update::Other { kind, fault } => format!("other: {kind} {fault:?}"),
        other => panic!("{other:?}"),
    };
    format!("update: {name}")
}

fn chunk(name: &str, chunk: &Chunk, json: &Value) -> String {
    let ChunkContent::Text(text) = &chunk.content else { panic!("{chunk:?}") };
    assert_eq!(*text, json["content"]["text"].as_str().unwrap());
    assert_eq!(chunk.message_id.as_deref(), json["messageId"].as_str());
    let meta = chunk.meta.as_ref().map(|meta| meta.decode::<Value>().unwrap());
    assert_eq!(meta.unwrap_or_default(), json["_meta"]);
    name.to_owned()
}

/// Checks that a type's fields are those of the line, and that of what the line says only keys are missing
/// that the protocol does not have.
fn typed<T: serde::Serialize>(name: &str, value: &T, json: &Value) -> String {
    assert_within(&serde_json::to_value(value).unwrap(), json);
    name.to_owned()
}

/// Every value in `part` is in `whole`, in lists of the same length.
fn assert_within(part: &Value, whole: &Value) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                match whole.get(key) {
                    Some(there) => assert_within(value, there),
                    None => assert!(is_default(value), "{key} is invented: {value}"),
                }
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len(), "{part:?} {whole:?}");
            part.iter().zip(whole).for_each(|(part, whole)| assert_within(part, whole));
        }
        (Value::Number(part), Value::Number(whole)) => assert_eq!(part.as_f64(), whole.as_f64()),
        _ => assert_eq!(part, whole),
    }
}

/// A value that stands for an absent one.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_default),
        _ => false,
    }
}

/// Checks an answer of the agent and names it.
fn answer(request: &Request, response: &Response, json: &Value) -> String {
    let method = request.method.as_str();
    let result = match &response.outcome {
        Ok(result) => result,
        Err(error) => {
            assert_eq!(error.code, json["error"]["code"].as_i64().unwrap());
            assert_eq!(error.message, json["error"]["message"].as_str().unwrap());
            assert!(!error.useful_text().is_empty());
            return format!("error: {method} {}", error.code);
        }
    };
    let json = &json["result"];
    match method {
        method::INITIALIZE => typed("answer: initialize", &Initialized::decode(result).unwrap().agent, json),
        method::SESSION_PROMPT => {
            let end = TurnEnd::decode(result);
            assert_eq!(end.stop_reason.as_str(), json["stopReason"].as_str().unwrap());
            assert!(!matches!(end.stop_reason, StopReason::Other(_)));
            let input = end.usage.and_then(|usage| usage.input_tokens);
            assert_eq!(input, json["usage"]["inputTokens"].as_u64());
            format!("answer: prompt {} usage {}", end.stop_reason.as_str(), end.usage.is_some())
        }
        method::SESSION_NEW | method::SESSION_LOAD | method::SESSION_RESUME => {
            opened(method, request, result, json)
        }
        other => format!("answer: {other}"),
    }
}

fn opened(method: &str, request: &Request, result: &RawJson, json: &Value) -> String {
    let asked: Value = request.params.as_ref().unwrap().decode().unwrap();
    let opened = SessionOpened::decode(result, asked["sessionId"].as_str()).unwrap();
    let id = json["sessionId"].as_str().or(asked["sessionId"].as_str()).unwrap();
    assert_eq!(opened.session_id, id);
    assert_eq!(opened.modes.is_some(), json["modes"].is_object());
    assert_eq!(opened.models.is_some(), json["models"].is_object());
    let options = json["configOptions"].as_array().map_or(0, Vec::len);
    assert_eq!(opened.config_options.len(), options);
    assert_within(
        &serde_json::to_value(&opened.config_options).unwrap(),
        json.get("configOptions").unwrap_or(&Value::Array(vec![])),
    );
    if let Some(models) = opened.models {
        assert_eq!(models.current_model_id, json["models"]["currentModelId"].as_str().unwrap());
        assert_eq!(
            models.available_models.len(),
            json["models"]["availableModels"].as_array().unwrap().len()
        );
    }
    format!("answer: {method}")
}

/// Checks a request of the agent and names it.
fn request(request: &Request, json: &Value) -> String {
    let params = request.params.as_ref().unwrap();
    let method = request.method.as_str();
    let name = match method {
        method::REQUEST_PERMISSION => return permission(params, json),
        method::READ_TEXT_FILE => {
            typed(method, &params.decode::<schema::ReadTextFileRequest>().unwrap(), json)
        }
        method::WRITE_TEXT_FILE => {
            typed(method, &params.decode::<schema::WriteTextFileRequest>().unwrap(), json)
        }
        method::TERMINAL_CREATE => {
            typed(method, &params.decode::<schema::CreateTerminalRequest>().unwrap(), json)
        }
        method::TERMINAL_OUTPUT => {
            typed(method, &params.decode::<schema::TerminalOutputRequest>().unwrap(), json)
        }
        method::TERMINAL_WAIT => {
            typed(method, &params.decode::<schema::WaitForTerminalExitRequest>().unwrap(), json)
        }
        method::TERMINAL_RELEASE => {
            typed(method, &params.decode::<schema::ReleaseTerminalRequest>().unwrap(), json)
        }
        private => format!("private {private}"),
    };
    format!("request: {name}")
}

fn permission(params: &RawJson, json: &Value) -> String {
    let asked = PermissionRequest::decode(params).unwrap();
    assert_eq!(asked.session_id, json["sessionId"].as_str().unwrap());
    assert_within(&serde_json::to_value(asked.tool_call.as_ref().unwrap()).unwrap(), &json["toolCall"]);
    let options = json["options"].as_array().unwrap();
    assert_eq!(asked.options.len(), options.len());
    for (option, json) in asked.options.iter().zip(options) {
        assert_eq!(option.id, json["optionId"].as_str().unwrap());
        assert_eq!(option.name, json["name"].as_str().unwrap());
    }
    // A user can always say yes or no to this one thing.
    assert!(asked.option(&PermissionKind::AllowOnce).is_some());
    assert!(asked.option(&PermissionKind::RejectOnce).is_some());
    "request: permission".to_owned()
}
