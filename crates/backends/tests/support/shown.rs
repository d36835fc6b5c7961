//! Recorded rows, and what a person would see of their translation, as lines.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use dispatch_core::agent::AgentUpdate;
use flate2::read::GzDecoder;
use serde_json::Value;

/// Characters of a text or a JSON value that a line shows.
const SHOWN: usize = 200;

/// The rows of a recording, by its path from this package's folder.
pub fn recorded(path: &str) -> Vec<Value> {
    let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.split_terminator('\n').map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// Appends a line for each update.
pub fn show(updates: &[AgentUpdate], trace: &mut String) {
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
            AgentUpdate::Settings(settings) => writeln!(trace, "  settings {}", json(settings)),
            AgentUpdate::Permission(request) => writeln!(
                trace,
                "  permission {:?} {} {:?} {}",
                request.tool_call.title,
                request.tool_call.kind,
                request.tool_call.locations,
                json(&request.options)
            ),
            AgentUpdate::PermissionWithdrawn(id) => writeln!(trace, "  withdrawn {id}"),
            AgentUpdate::Notice(notice) => writeln!(trace, "  notice {notice:?}"),
            AgentUpdate::Conversation(id) => writeln!(trace, "  conversation {id}"),
        }
        .unwrap();
    }
}

/// A value as JSON, cut.
pub fn json<T: serde::Serialize>(value: &T) -> String {
    cut(&serde_json::to_string(value).unwrap())
}

/// The beginning of a text.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
