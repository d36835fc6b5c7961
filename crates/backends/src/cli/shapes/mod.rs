//! What the lines of each program mean. Pure: the same lines give the same updates.

mod claude;
mod codex;
mod gemini;
mod goose;
mod opencode;
mod vibe;

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, Usage};
use serde_json::Value;

use crate::common::oddities::Oddities;
use crate::registry::{Output, Quirks};

/// Translates one turn of one program.
pub(super) trait Shape: Send {
    /// Translates a line, which is a JSON object, and appends what it means.
    fn line(&mut self, line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities);

    /// How the program said that its turn ended, once it has: nothing of the turn comes after it.
    fn ended(&self) -> Option<EndedHow>;

    /// What went wrong that it may still overcome: what the turn failed of, if it says no more of its end.
    fn trouble(&self) -> Option<Failure>;

    /// Whether the program says that its turn ended well: one that does not say so then did not.
    fn says_when_done(&self) -> bool;

    /// What the turn used.
    fn usage(&self) -> Usage;

    /// The agent's id of the conversation, once it has named one.
    fn conversation(&self) -> Option<&str>;
}

/// The shape of what a program prints; `None` for text.
pub(super) fn of(output: Output, quirks: &Quirks) -> Option<Box<dyn Shape>> {
    Some(match output {
        Output::Claude | Output::Qwen => Box::new(claude::Claude::default()),
        Output::Gemini => Box::new(gemini::Gemini::default()),
        Output::Codex => Box::new(codex::Codex::default()),
        Output::Goose => Box::new(goose::Goose::new(quirks.error_text.clone())),
        Output::Opencode => Box::new(opencode::Opencode::default()),
        Output::Vibe => Box::new(vibe::Vibe::default()),
        Output::Text => return None,
    })
}

/// Messages that come whole: one that follows another stands apart from it.
#[derive(Debug, Default)]
struct Paragraphs {
    follows_text: bool,
}

impl Paragraphs {
    /// A whole message.
    fn message(&mut self, text: String, into: &mut Vec<AgentUpdate>) {
        if text.trim().is_empty() {
            return;
        }
        if std::mem::replace(&mut self.follows_text, true) {
            crate::common::updates::push_text("\n\n".to_owned(), into);
        }
        crate::common::updates::push_text(text, into);
    }

    /// Something else stands between this message and the next.
    fn end(&mut self) {
        self.follows_text = false;
    }
}
