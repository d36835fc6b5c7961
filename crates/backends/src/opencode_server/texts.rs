//! The parts of answers that are text: shown as they are written, whole in the end, and nothing of them twice.

use std::collections::HashMap;

use dispatch_core::agent::AgentUpdate;

use super::wire::{Delta, Part};
use crate::common::updates::{push_reasoning, push_text};
use crate::text_filter::TagFilter;

/// Where a part is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// By an event: all that was said before it has been heard, but for what a gap took.
    Event,
    /// By an answer. It is of another time than the events around it: older than what was heard, or newer.
    Asked,
}

/// The parts of one turn.
#[derive(Debug, Default)]
pub(super) struct Texts {
    parts: HashMap<String, Shown>,
    filter: TagFilter,
}

/// What was shown of a part.
#[derive(Debug)]
struct Shown {
    is_reasoning: bool,
    /// Its beginning of so many bytes was.
    bytes: usize,
    /// Something of what follows was lost: the rest comes when the part is complete.
    has_gap: bool,
    is_complete: bool,
}

impl Texts {
    /// How many parts are told apart.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// Whether a part is known.
    pub(super) fn knows(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// Something was lost: what is being written is shown when it is complete.
    pub(super) fn gap(&mut self) {
        self.parts.values_mut().filter(|part| !part.is_complete).for_each(|part| part.has_gap = true);
    }

    /// Takes a part as it is.
    pub(super) fn part(&mut self, part: Part, source: Source, into: &mut Vec<AgentUpdate>) {
        let text = part.text.unwrap_or_default();
        let is_complete = part.time.is_some_and(|time| time.completed.is_some());
        let shown = self.parts.entry(part.id).or_insert(Shown {
            is_reasoning: part.kind == "reasoning",
            bytes: 0,
            // What was said since the answer was made is not in it.
            has_gap: source == Source::Asked && !is_complete,
            is_complete: false,
        });
        // What was heard whole is not said again: a plugin may have changed it meanwhile. An answer that knows the
        // part's end is ahead of its events, which say nothing more after it.
        let is_ahead = source == Source::Asked && is_complete && !shown.is_complete;
        let has_more = shown.bytes == 0 || shown.has_gap || is_ahead;
        let rest = text.get(shown.bytes..).filter(|_| has_more).unwrap_or_default().to_owned();
        shown.bytes += rest.len();
        shown.is_complete |= is_complete;
        let is_reasoning = shown.is_reasoning;
        self.say(rest, is_reasoning, into);
    }

    /// Takes more of a part.
    pub(super) fn delta(&mut self, delta: &Delta, into: &mut Vec<AgentUpdate>) {
        let Some(shown) = self.parts.get_mut(&delta.part) else { return };
        if delta.field != "text" || shown.has_gap || shown.is_complete {
            return;
        }
        shown.bytes += delta.delta.len();
        let is_reasoning = shown.is_reasoning;
        self.say(delta.delta.clone(), is_reasoning, into);
    }

    fn say(&mut self, text: String, is_reasoning: bool, into: &mut Vec<AgentUpdate>) {
        if text.is_empty() {
            return;
        }
        if !is_reasoning {
            return push_text(self.filter.push(text), into);
        }
        self.flush(into);
        push_reasoning(text, into);
    }

    /// Shows what is held back, as something else than text follows.
    pub(super) fn flush(&mut self, into: &mut Vec<AgentUpdate>) {
        push_text(self.filter.flush(), into);
    }
}
