//! How a turn's frames fold into the parts of its message.

use std::collections::BTreeMap;

use super::message::Part;
use crate::{
    agent::{PlanEntry, ToolCall, Usage},
    frame::FrameBody,
};

/// Folds a turn's frames into the parts of its message. The turn does it from memory, recovery from the
/// frame log: one durable copy, one way to read it. What a frame costs does not depend on how many came before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    parts: Vec<Part>,
    usage: Usage,
    /// Where each tool call is among the parts, by its id.
    calls: BTreeMap<String, usize>,
    /// Where the plan is among the parts.
    plan: Option<usize>,
}

impl Transcript {
    /// Takes one frame of the turn; frames that are not content change nothing.
    pub fn push(&mut self, frame: &FrameBody) {
        match frame {
            FrameBody::Delta { content, placeholder } => match self.parts.last_mut() {
                Some(Part::Text { text, placeholder: last }) if last == placeholder => text.push_str(content),
                _ => self.parts.push(Part::Text { text: content.clone(), placeholder: *placeholder }),
            },
            FrameBody::ReasoningDelta { content } => match self.parts.last_mut() {
                Some(Part::Reasoning { text }) => text.push_str(content),
                _ => self.parts.push(Part::Reasoning { text: content.clone() }),
            },
            FrameBody::ToolCall { tool_call } => self.put_tool_call(tool_call),
            FrameBody::Plan { entries } => self.put_plan(entries),
            FrameBody::Usage { usage } => self.usage.update(usage.clone()),
            _ => {}
        }
    }

    fn put_tool_call(&mut self, newer: &ToolCall) {
        let known = self.calls.get(&newer.id).copied();
        let at = self.put(known, Part::ToolCall { tool_call: newer.clone() });
        if known.is_none() {
            self.calls.insert(newer.id.clone(), at);
        }
    }

    fn put_plan(&mut self, newer: &[PlanEntry]) {
        self.plan = Some(self.put(self.plan, Part::Plan { entries: newer.to_vec() }));
    }

    /// Replaces the part at `known`, or adds one; returns where it is.
    fn put(&mut self, known: Option<usize>, newer: Part) -> usize {
        match known.and_then(|at| Some((at, self.parts.get_mut(at)?))) {
            Some((at, part)) => {
                *part = newer;
                at
            }
            None => {
                self.parts.push(newer);
                self.parts.len() - 1
            }
        }
    }

    /// The parts so far.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What the turn used, as far as it was streamed.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The text parts in order, placeholders left out.
    pub fn text(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text { text, placeholder: false } => Some(text.as_str()),
            _ => None,
        })
    }

    /// The reasoning parts in order.
    pub fn reasoning(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reasoning { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// The text that stands in for an answer, if one was streamed.
    #[must_use]
    pub fn placeholder(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Text { text, placeholder: true } => Some(text.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(content: &str) -> FrameBody {
        FrameBody::Delta { content: content.into(), placeholder: false }
    }

    fn call(id: &str, title: &str) -> FrameBody {
        FrameBody::ToolCall {
            tool_call: ToolCall { id: id.into(), title: title.into(), ..ToolCall::default() },
        }
    }

    #[test]
    fn neighbouring_text_is_one_part_and_a_tool_call_is_replaced_in_place() {
        let mut transcript = Transcript::default();
        for frame in [delta("a"), delta("b"), call("t", "one"), delta("c"), call("t", "two")] {
            transcript.push(&frame);
        }
        let text = |text: &str| Part::Text { text: text.into(), placeholder: false };
        assert_eq!(transcript.parts()[0], text("ab"));
        assert!(matches!(&transcript.parts()[1], Part::ToolCall { tool_call } if tool_call.title == "two"));
        assert_eq!(transcript.parts()[2..], [text("c")]);
        assert_eq!(transcript.text().collect::<String>(), "abc");
    }
}
