//! Recorded output of real agents, translated: what a person would see, one snapshot for each agent.

use std::fmt::Write;

use backends::cli::Translator;
use backends::registry::{Output, Registry};
use dispatch_core::agent::AgentUpdate;
use serde_json::Value;

use crate::shown::{json, recorded, show};

#[test]
fn recorded_turns_mean_what_their_agents_meant() {
    let registry = Registry::new([]).unwrap();
    for (file, agent, output) in [
        ("claude-stream-json", "claude", Output::Claude),
        ("qwen-run", "qwen", Output::Qwen),
        ("gemini-run", "gemini", Output::Gemini),
        ("codex-exec", "codex", Output::Codex),
        ("goose-run", "goose", Output::Goose),
        ("opencode-run", "opencode", Output::Opencode),
        ("vibe-run", "vibe", Output::Vibe),
    ] {
        let quirks = &registry.get(agent).unwrap().quirks;
        let trace = replay(&rows(file), || Translator::new(output, quirks));
        insta::assert_snapshot!(file, trace);
    }
}

/// Who spoke, and the line.
fn rows(file: &str) -> Vec<(String, String)> {
    let row =
        |row: &Value| (row["dir"].as_str().unwrap().to_owned(), row["line"].as_str().unwrap().to_owned());
    recorded(&format!("tests/transcripts/{file}.ndjson.gz")).iter().map(row).collect()
}

/// What each prompt led to. A process begins a turn, and so does each prompt that one is given after its first.
fn replay(rows: &[(String, String)], translator: impl Fn() -> Translator) -> String {
    let mut trace = String::new();
    let mut turn: Option<Turn> = None;
    for (dir, line) in rows {
        match dir.as_str() {
            "scenario" => {
                end(turn.take(), &mut trace);
                writeln!(trace, "{line}").unwrap();
            }
            "spawn" => {
                end(turn.take(), &mut trace);
                turn = Some(Turn::new(translator()));
            }
            "out" if line.contains("\"type\": \"user\"") => {
                end(turn.take(), &mut trace);
                turn = Some(Turn::new(translator()));
            }
            // The control protocol is not the translator's.
            "in" if line.starts_with("{\"type\":\"control_") => {}
            "in" => {
                let Turn { translator, updates, .. } = turn.get_or_insert_with(|| Turn::new(translator()));
                translator.line(line.as_bytes(), updates);
            }
            "note" if line.starts_with("exit") => {
                if let Some(turn) = &mut turn {
                    untimed(line).clone_into(&mut turn.exit);
                }
            }
            _ => {}
        }
    }
    end(turn, &mut trace);
    trace
}

/// A turn under way. Its updates are appended to one batch, so that text that follows text is one piece.
struct Turn {
    translator: Translator,
    updates: Vec<AgentUpdate>,
    exit: String,
}

impl Turn {
    fn new(translator: Translator) -> Self {
        Self { translator, updates: Vec::new(), exit: String::new() }
    }
}

fn end(turn: Option<Turn>, trace: &mut String) {
    let Some(Turn { mut translator, mut updates, exit }) = turn else { return };
    translator.finish(&mut updates);
    if updates.is_empty() && translator.ended_if_over().is_none() && exit.is_empty() {
        // A process that was only asked to introduce itself before its first prompt.
        return;
    }
    show(&updates, trace);
    let (ended, usage) = (translator.ended_if_over(), json(&translator.usage()));
    writeln!(trace, "  end {ended:?} {usage} in {:?} {exit}", translator.conversation()).unwrap();
}

/// A remark without the time that something took.
fn untimed(note: &str) -> &str {
    note.split(" after ").next().unwrap()
}
