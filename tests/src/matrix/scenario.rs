//! What is tried with every agent.

use super::play;
use crate::desk::Desk;

/// One thing that a user may live through.
#[derive(Debug)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    /// What comes of it, in the words of `play`.
    pub expected: &'static str,
    /// Does it, and says what came of it.
    pub play: fn(&Desk) -> String,
}

/// All of them, in the docs' order.
pub static SCENARIOS: [Scenario; 17] = [
    Scenario { name: "text", expected: "completed", play: play::text },
    Scenario { name: "reasoning", expected: "completed", play: play::reasoning },
    Scenario { name: "edit", expected: "completed", play: play::edit },
    Scenario { name: "shell", expected: "completed", play: play::shell },
    Scenario { name: "several tools in one answer", expected: "completed", play: play::several_tools },
    Scenario { name: "permission refused", expected: "completed", play: play::refused },
    Scenario { name: "Stop in text", expected: "cancelled", play: play::stop_in_text },
    Scenario { name: "Stop in a tool", expected: "cancelled", play: play::stop_in_a_tool },
    Scenario { name: "refused key (401)", expected: "failed: unauthorised", play: play::refused_key },
    Scenario {
        name: "model's host fails (500)",
        expected: "failed: model_overloaded",
        play: play::host_fails,
    },
    Scenario { name: "connection cut once", expected: "completed", play: play::cut },
    Scenario { name: "context too long", expected: "failed: context_too_long", play: play::context_too_long },
    Scenario { name: "output limit", expected: "completed", play: play::output_limit },
    Scenario { name: "content filter", expected: "failed: model_refused", play: play::content_filter },
    Scenario { name: "empty answer", expected: "completed", play: play::empty },
    Scenario { name: "2 MiB of text", expected: "completed", play: play::big },
    Scenario { name: "one delta of 2 MiB", expected: "completed", play: play::big_delta },
];
