//! What is tried with every agent.

use super::{
    Chat, Extent,
    play::{answers, chats, faults, leave, stops, tools},
};

/// One thing that a user may live through.
#[derive(Debug)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    /// What comes of it, in the words of `play`.
    pub expected: &'static str,
    /// Does it, and says what came of it.
    pub play: fn(&Chat<'_>) -> String,
    /// The least of which it is a part.
    pub extent: Extent,
}

type Play = fn(&Chat<'_>) -> String;

const fn core(name: &'static str, expected: &'static str, play: Play) -> Scenario {
    Scenario { name, expected, play, extent: Extent::Core }
}

const fn more(name: &'static str, expected: &'static str, play: Play) -> Scenario {
    Scenario { name, expected, play, extent: Extent::Whole }
}

/// All of them, in the docs' order.
pub static SCENARIOS: [Scenario; 25] = [
    more("text", "completed", answers::text),
    more("reasoning", "completed", answers::reasoning),
    core("edit", "completed", tools::edit),
    more("shell", "completed", tools::shell),
    more("several tools in one answer", "completed", tools::several),
    more("permission allowed", "completed", leave::allowed),
    core("permission asked, allowed by another process", "completed", leave::asked),
    core("permission refused", "completed", leave::refused),
    core("Stop in text", "cancelled", stops::in_text),
    more("Stop in a tool", "cancelled", stops::in_a_tool),
    more("Stop at a permission", "cancelled", leave::stopped),
    core("follow-up", "completed", chats::follow_up),
    more("follow-up after a Stop", "completed", chats::after_a_stop),
    more("follow-up after a kill -9 of the agent", "completed", chats::after_a_kill),
    core("refused key (401)", "failed: unauthorised", faults::refused_key),
    more("model is gone (404)", "failed: agent_failed", faults::no_such_model),
    more("model of an unknown name", "completed", faults::unknown_model),
    more("model's host fails (500)", "failed: model_overloaded", faults::host_fails),
    more("connection cut once", "completed", faults::cut),
    more("context too long", "failed: context_too_long", faults::context_too_long),
    more("output limit", "failed: agent_failed", faults::output_limit),
    more("content filter", "failed: model_refused", faults::content_filter),
    more("empty answer", "completed", answers::empty),
    more("2 MiB of text", "completed", answers::big),
    more("one delta of 2 MiB", "completed", answers::big_delta),
];
