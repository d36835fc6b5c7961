//! Recorded conversations of real agents, translated. One snapshot per telling scenario: what a person would see.

use std::collections::HashMap;
use std::fmt::Write;

use acp_proto::types::{PermissionRequest, SessionOpened, SessionUpdate, TurnEnd};
use acp_proto::{Decoder, Message, RawJson, method};
use backends::acp::Translator;
use backends::registry::{Quirks, Registry};
use dispatch_core::agent::{AgentSettings, Setting};
use serde_json::Value;

use crate::shown::{cut, json, recorded, show};

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
        let replayed = replay(&rows(file, scenario), &registry.get(agent).unwrap().quirks);
        assert_eq!(replayed.open, 0, "every prompt was answered");
        insta::assert_snapshot!(format!("{file}_{scenario}"), replayed.trace);
    }
}

/// All recordings, by the agent that made them.
const RECORDED: [(&str, &str); 10] = [
    ("opencode-acp", "opencode"),
    ("goose-acp", "goose"),
    ("qwen-acp", "qwen"),
    ("qwen-acp-auto-mode", "qwen"),
    ("qwen-acp-norelaunch", "qwen"),
    ("gemini-acp", "gemini"),
    ("gemini-acp-norelaunch", "gemini"),
    ("codex-acp", "codex-acp"),
    ("codex-acp-known-model", "codex-acp"),
    ("claude-agent-acp", "claude-agent-acp"),
];

#[test]
fn every_recorded_conversation_is_translated() {
    let registry = Registry::new([]).unwrap();
    let mut offered = String::new();
    for (file, agent) in RECORDED {
        let quirks = &registry.get(agent).unwrap().quirks;
        let mut shown = None;
        let (mut prompts, mut changes) = (0, 0);
        for (scenario, rows) in scenarios(file) {
            let replayed = replay(&rows, quirks);
            let count = |line: &str| replayed.trace.lines().filter(|shown| shown.starts_with(line)).count();
            assert_eq!(count("prompt"), count("  end ") + replayed.open, "{file} {scenario}");
            assert_eq!(count("  notice"), count("  notice Notice"), "{file} {scenario}");
            prompts += count("prompt");
            changes += count("  settings");
            shown = shown.or(replayed.settings);
        }
        let settings = shown.unwrap();
        writeln!(offered, "{file}: {prompts} prompts, {changes} changed settings").unwrap();
        for (word, setting) in
            [("model", &settings.model), ("mode", &settings.mode), ("thinking", &settings.thinking)]
        {
            writeln!(offered, "  {word}: {}", describe(setting)).unwrap();
        }
    }
    insta::assert_snapshot!("settings_of_recorded_agents", offered);
}

fn describe(setting: &Setting) -> String {
    let ids: Vec<&str> = setting.choices.iter().map(|choice| choice.id.as_str()).collect();
    format!("{:?} of {}", setting.current, cut(&ids.join(" ")))
}

/// A recording's rows: who spoke, and the line.
fn all_rows(file: &str) -> Vec<(String, String)> {
    let (mut tails, mut found) = (Vec::<String>::new(), Vec::new());
    for row in recorded(&format!("../acp-proto/tests/transcripts/{file}.ndjson.gz")) {
        let mut line = row["line"].as_str().unwrap().to_owned();
        if let Some(tail) = row["tail"].as_u64() {
            line += &tails[usize::try_from(tail).unwrap()];
        }
        match row["dir"].as_str().unwrap() {
            "tail" => tails.push(line),
            dir => found.push((dir.to_owned(), line)),
        }
    }
    found
}

/// A recording's scenarios, each with its rows of the wire.
fn scenarios(file: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<_>)> = Vec::new();
    for (dir, line) in all_rows(file) {
        match (dir.as_str(), found.last_mut()) {
            ("scenario", _) => found.push((line, Vec::new())),
            ("in" | "out", Some((_, rows))) => rows.push((dir, line)),
            _ => {}
        }
    }
    found
}

/// The scenario's rows of the wire.
fn rows(file: &str, scenario: &str) -> Vec<(String, String)> {
    let found = scenarios(file).into_iter().find(|(name, _)| name == scenario);
    found.expect("because it was recorded").1
}

/// What a recording led to.
#[derive(Default)]
struct Replayed {
    /// What each prompt led to.
    trace: String,
    /// What may be chosen in the first conversation.
    settings: Option<AgentSettings>,
    /// How many prompts were never answered.
    open: usize,
}

fn replay(rows: &[(String, String)], quirks: &Quirks) -> Replayed {
    let mut replayed = Replayed::default();
    let mut prompts: HashMap<String, Translator> = HashMap::new();
    let mut opening: HashMap<String, Option<String>> = HashMap::new();
    let mut opened: HashMap<String, SessionOpened> = HashMap::new();
    for (dir, line) in rows {
        let trace = &mut replayed.trace;
        let mut decoder = Decoder::new();
        decoder.push(line.as_bytes());
        decoder.push(b"\n");
        let Some(message) = decoder.next_message() else { continue };
        let mut updates = Vec::new();
        match message {
            Message::Request(request) if dir == "out" => {
                let params: Value = request.params.map_or(Value::Null, |params| params.decode().unwrap());
                let session = params["sessionId"].as_str().map(str::to_owned);
                let id = request.id.to_string();
                match request.method.as_str() {
                    method::SESSION_PROMPT => {
                        let session = session.unwrap();
                        let mut translator = Translator::new(session.as_str(), quirks);
                        opened.get(&session).into_iter().for_each(|it| translator.opened(it.clone()));
                        prompts.insert(id, translator);
                        writeln!(trace, "prompt").unwrap();
                    }
                    method::SESSION_NEW | method::SESSION_LOAD | method::SESSION_RESUME => {
                        opening.insert(id, session);
                    }
                    _ => {}
                }
            }
            Message::Notification(it) if dir == "in" && it.method.as_str() == method::SESSION_UPDATE => {
                let update = SessionUpdate::decode(&it.params.unwrap()).unwrap();
                let open = prompts.values_mut().next();
                open.into_iter().for_each(|translator| translator.update(update.clone(), &mut updates));
            }
            Message::Notification(it) if dir == "in" => {
                let open = prompts.values_mut().next();
                open.into_iter().for_each(|translator| translator.notified(&it));
            }
            Message::Request(request) if request.method.as_str() == method::REQUEST_PERMISSION => {
                let asked =
                    PermissionRequest::decode(request.params.as_ref().unwrap_or(&RawJson::empty_object()));
                if let Some(open) = prompts.values_mut().next() {
                    open.permission("ours".to_owned(), &asked.unwrap(), &mut updates);
                }
            }
            Message::Response(response) if dir == "in" => {
                let id = response.id.map(|id| id.to_string()).unwrap_or_default();
                if let (Some(asked), Ok(result)) = (opening.remove(&id), &response.outcome) {
                    let answer = SessionOpened::decode(result, asked.as_deref()).unwrap();
                    replayed.settings.get_or_insert_with(|| settings(&answer, quirks));
                    opened.insert(answer.session_id.clone(), answer);
                } else if let Some(mut translator) = prompts.remove(&id) {
                    let (how, usage) =
                        translator.end(&response.outcome.map(|result| TurnEnd::decode(&result)));
                    translator.finish(&mut updates);
                    show(&updates, trace);
                    updates.clear();
                    writeln!(trace, "  end {how:?} {}", json(&usage)).unwrap();
                }
            }
            _ => {}
        }
        prompts.values_mut().for_each(|translator| translator.tell_settings(&mut updates));
        show(&updates, trace);
    }
    replayed.open = prompts.len();
    replayed
}

fn settings(opened: &SessionOpened, quirks: &Quirks) -> AgentSettings {
    let mut translator = Translator::new("", quirks);
    translator.opened(opened.clone());
    translator.settings()
}
