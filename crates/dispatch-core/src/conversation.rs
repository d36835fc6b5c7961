//! Messages and their parts, and how streamed frames fold into them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    agent::{PlanEntry, ToolCall, Usage},
    frame::FrameBody,
    ids::{ChatId, MessageId, TaskId, Timestamp},
    task::{Name, first_chars},
    words::words,
};

words! {
    /// How an assistant message stands; a user message is always `complete`.
    MessageState {
        /// Its turn is under way.
        Streaming = "streaming",
        /// Its turn completed.
        Complete = "complete",
        /// Its turn failed or was interrupted.
        Failed = "failed",
        /// Its turn was stopped.
        Cancelled = "cancelled",
    }
}

words! {
    /// Who speaks.
    Role {
        /// The person, or whoever made the task.
        User = "user",
        /// The agent.
        Assistant = "assistant",
    }
}

/// A typed piece of a message, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text of the answer.
    Text {
        /// The text.
        text: String,
        /// Whether it only stands in for an answer (SPEC T11): then it enters neither the summary nor
        /// an agent's history.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        placeholder: bool,
    },
    /// The agent's reasoning.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A tool call with its state and output.
    ToolCall {
        /// The call as it stood last.
        tool_call: ToolCall,
    },
    /// The agent's plan as it stood last.
    Plan {
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// Why the turn failed.
    Error {
        /// The kind, a terminal reason's word.
        reason: String,
        /// What a person reads.
        text: String,
    },
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The conversation.
    pub chat: ChatId,
    /// The task that it belongs to.
    pub task: TaskId,
    /// Who speaks.
    pub role: Role,
    /// How it stands.
    pub state: MessageState,
    /// The model that was asked for.
    pub model: Option<Name>,
    /// The text, cut at the content limit.
    pub content: String,
    /// Whether `content` was cut; the parts are whole.
    pub content_truncated: bool,
    /// The reasoning, cut at its limit.
    pub reasoning: String,
    /// Whether `reasoning` was cut.
    pub reasoning_truncated: bool,
    /// The pieces, whole and in order.
    pub parts: Vec<Part>,
    /// What the turn used.
    pub usage: Usage,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
}

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

/// Text joined from pieces and cut at a limit of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// At most `limit` characters.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
}

impl Cut {
    /// Joins `pieces` until `limit` characters are reached.
    pub fn join<'a>(pieces: impl Iterator<Item = &'a str>, limit: usize) -> Self {
        let mut cut = Self::default();
        let mut left = limit;
        for piece in pieces {
            let kept = first_chars(piece, left);
            cut.text.push_str(kept);
            if kept.len() < piece.len() {
                cut.truncated = true;
                break;
            }
            left -= kept.chars().count();
        }
        cut
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

    #[test]
    fn a_cut_counts_characters_across_pieces() {
        let cut = Cut::join(["äö", "ü", "xyz"].into_iter(), 4);
        assert_eq!(cut, Cut { text: "äöüx".into(), truncated: true });
        assert!(!Cut::join(["äö", "ü"].into_iter(), 3).truncated);
    }
}
