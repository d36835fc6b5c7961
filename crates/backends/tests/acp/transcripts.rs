//! Recorded conversations of real agents, translated. One snapshot per telling scenario: what a person would see.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use acp_proto::types::{PermissionRequest, SessionUpdate, TurnEnd};
use acp_proto::{Decoder, Message, RawJson, method};
use backends::acp::Translator;
use backends::registry::{Quirks, Registry};
use dispatch_core::agent::AgentUpdate;
use flate2::read::GzDecoder;
use serde_json::Value;

/// Characters of a text or a JSON value that a line shows.
const SHOWN: usize = 160;

#[test]
fn recorded_turns_mean_what_their_agents_meant() {
    for (file, scenario, agent) in [
        ("opencode-acp", "edit_allow", "opencode"),
        ("opencode-acp", "cancel_tool", "opencode"),
        ("goose-acp", "bash_allow", "goose"),
        ("goose-acp", "model_errors", "goose"),
        ("qwen-acp-auto-mode", "reason", "qwen"),
        ("gemini-acp", "edit_allow_empty_for_missing", "gemini"),
        ("gemini-acp", "model_errors", "gemini"),
        ("codex-acp-known-model", "edit_allow", "codex-acp"),
        ("claude-agent-acp", "edit_allow", "claude-agent-acp"),
        ("claude-agent-acp", "model_errors", "claude-agent-acp"),
        ("codex-acp-known-model", "cancel_permission", "codex-acp"),
        ("codex-acp", "model_errors", "codex-acp"),
    ] {
        let registry = Registry::new([]).unwrap();
        let trace = replay(&rows(file, scenario), &registry.get(agent).unwrap().quirks);
        insta::assert_snapshot!(format!("{file}_{scenario}"), trace);
    }
}

/// The scenario's rows: who spoke, and the line.
fn rows(file: &str, scenario: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../acp-proto/tests/transcripts");
    let file = std::fs::File::open(folder.join(format!("{file}.ndjson.gz"))).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let (mut tails, mut found, mut is_ours) = (Vec::<String>::new(), Vec::new(), false);
    for row in text.split_terminator('\n') {
        let row: Value = serde_json::from_str(row).unwrap();
        let mut line = row["line"].as_str().unwrap().to_owned();
        if let Some(tail) = row["tail"].as_u64() {
            line += &tails[usize::try_from(tail).unwrap()];
        }
        match row["dir"].as_str().unwrap() {
            "scenario" => is_ours = line == scenario,
            "tail" => tails.push(line),
            dir @ ("in" | "out") if is_ours => found.push((dir.to_owned(), line)),
            _ => {}
        }
    }
    assert!(!found.is_empty(), "{scenario}");
    found
}

/// What each prompt led to.
fn replay(rows: &[(String, String)], quirks: &Quirks) -> String {
    let mut trace = String::new();
    let mut prompts: HashMap<String, Translator> = HashMap::new();
    for (dir, line) in rows {
        let mut decoder = Decoder::new();
        decoder.push(line.as_bytes());
        decoder.push(b"\n");
        let Some(message) = decoder.next_message() else { continue };
        let mut updates = Vec::new();
        match message {
            Message::Request(request)
                if dir == "out" && request.method.as_str() == method::SESSION_PROMPT =>
            {
                let params: Value = request.params.unwrap().decode().unwrap();
                let translator = Translator::new(params["sessionId"].as_str().unwrap(), quirks);
                prompts.insert(request.id.to_string(), translator);
                writeln!(trace, "prompt").unwrap();
            }
            Message::Notification(it) if dir == "in" && it.method.as_str() == method::SESSION_UPDATE => {
                let update = SessionUpdate::decode(&it.params.unwrap()).unwrap();
                let open = prompts.values_mut().next();
                open.into_iter().for_each(|translator| translator.update(update.clone(), &mut updates));
            }
            Message::Request(request) if request.method.as_str() == method::REQUEST_PERMISSION => {
                let asked =
                    PermissionRequest::decode(request.params.as_ref().unwrap_or(&RawJson::empty_object()));
                let open = prompts.values_mut().next().unwrap();
                open.permission("ours".to_owned(), &asked.unwrap(), &mut updates);
            }
            Message::Response(response) if dir == "in" => {
                let id = response.id.map(|id| id.to_string()).unwrap_or_default();
                if let Some(mut translator) = prompts.remove(&id) {
                    let (how, usage) =
                        translator.end(&response.outcome.map(|result| TurnEnd::decode(&result)));
                    translator.finish(&mut updates);
                    show(&updates, &mut trace);
                    updates.clear();
                    writeln!(trace, "  end {how:?} {}", json(&usage)).unwrap();
                }
            }
            _ => {}
        }
        show(&updates, &mut trace);
    }
    assert!(prompts.is_empty(), "every prompt was answered");
    trace
}

fn show(updates: &[AgentUpdate], trace: &mut String) {
    for update in updates {
        match update {
            AgentUpdate::Text(text) => writeln!(trace, "  text {:?}", cut(text)),
            AgentUpdate::Reasoning(text) => writeln!(trace, "  reasoning {:?}", cut(text)),
            AgentUpdate::ToolCall(patch) => writeln!(
                trace,
                "  tool {} {:?} {:?} {:?} content {} at {:?} in {} out {}",
                patch.id,
                patch.title,
                patch.kind,
                patch.status,
                patch.content.as_ref().map_or("-".to_owned(), json),
                patch.locations,
                patch.input.is_some(),
                patch.output.is_some(),
            ),
            AgentUpdate::Plan(entries) => writeln!(trace, "  plan {}", json(entries)),
            AgentUpdate::Usage(usage) => writeln!(trace, "  usage {}", json(usage)),
            AgentUpdate::Commands(commands) => writeln!(trace, "  commands {}", commands.len()),
            AgentUpdate::Permission(request) => writeln!(trace, "  permission {}", json(&request.options)),
            AgentUpdate::Notice(notice) => writeln!(trace, "  notice {notice:?}"),
        }
        .unwrap();
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    cut(&serde_json::to_string(value).unwrap())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
