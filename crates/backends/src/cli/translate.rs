//! What a program prints to [`AgentUpdate`]s. No I/O: the same output gives the same updates.

use acp_proto::Line;
use dispatch_core::agent::{AgentUpdate, EndedHow, Usage};

use super::shapes::{self, Shape};
use crate::common::json::object;
use crate::common::oddities::Oddities;
use crate::common::plain::Plain;
use crate::common::printed::StrayOutput;
use crate::common::updates::{push_reasoning, push_text};
use crate::registry::{Output, Quirks};
use crate::text_filter::TagFilter;

/// Bytes of a line that is none of the program's shape that are looked at.
const EXCERPT: usize = 1024;

/// Translates one turn of one program.
pub struct Translator {
    /// `None` for a program that prints text.
    shape: Option<Box<dyn Shape>>,
    plain: Plain,
    filter: Option<TagFilter>,
    oddities: Oddities,
    /// What was none of the shape's lines.
    stray: StrayOutput,
}

impl Translator {
    /// For a program that prints this, of these quirks.
    #[must_use]
    pub fn new(output: Output, quirks: &Quirks) -> Self {
        Self {
            shape: shapes::of(output, quirks),
            plain: Plain::default(),
            filter: quirks.context_tags.then(TagFilter::default),
            oddities: Oddities::default(),
            stray: StrayOutput::default(),
        }
    }

    /// Translates a line of output, without its `\n`, and appends what it means.
    pub fn line(&mut self, line: &[u8], into: &mut Vec<AgentUpdate>) {
        let Some(shape) = &mut self.shape else {
            let text = self.plain.push(line) + &self.plain.push(b"\n");
            return self.show(vec![AgentUpdate::Text(text)], into);
        };
        match object(line) {
            Some(object) => {
                let mut said = Vec::new();
                shape.line(object, &mut said, &mut self.oddities);
                self.show(said, into);
            }
            None if line.trim_ascii().is_empty() => {}
            None => {
                self.oddities.add("lines that are not of its protocol");
                let excerpt = &line[..line.len().min(EXCERPT)];
                let text = self.plain.push(excerpt) + &self.plain.finish();
                self.stray.add_text(&text, excerpt.len() < line.len());
            }
        }
    }

    /// What the program said of how its turn ended, if it has: nothing of the turn comes after it.
    #[must_use]
    pub fn ended(&self) -> Option<EndedHow> {
        self.shape.as_ref().and_then(|shape| shape.ended())
    }

    /// How the turn ended, as far as the program said, if nothing more comes: programs tell of troubles that they may
    /// still overcome, and some of nothing else.
    #[must_use]
    pub fn ended_if_over(&self) -> Option<EndedHow> {
        let trouble = || self.shape.as_ref().and_then(|shape| shape.trouble()).map(EndedHow::Failed);
        self.ended().or_else(trouble)
    }

    /// What the turn used, as far as the program told.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shape.as_ref().map(|shape| shape.usage()).unwrap_or_default()
    }

    /// The program's id of the conversation, once it has named one.
    #[must_use]
    pub fn conversation(&self) -> Option<&str> {
        self.shape.as_ref().and_then(|shape| shape.conversation())
    }

    /// Appends what was held back, and a notice of what was passed over. Nothing comes after it.
    pub fn finish(&mut self, into: &mut Vec<AgentUpdate>) {
        if self.shape.is_none() {
            let rest = self.plain.finish();
            self.show(vec![AgentUpdate::Text(rest)], into);
        }
        self.flush(into);
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
    }

    /// Whether the program prints lines that mean something, and not text.
    pub(super) fn has_shape(&self) -> bool {
        self.shape.is_some()
    }

    /// Whether a turn that ended well is said to have.
    pub(super) fn says_when_done(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| shape.says_when_done())
    }

    /// Translates text as it comes.
    pub(super) fn text(&mut self, bytes: &[u8], into: &mut Vec<AgentUpdate>) {
        let text = self.plain.push(bytes);
        self.show(vec![AgentUpdate::Text(text)], into);
    }

    /// Translates a line that may be too long.
    pub(super) fn cut_line(&mut self, line: Line, into: &mut Vec<AgentUpdate>) {
        match line {
            Line::Whole(line) => self.line(&line, into),
            Line::TooLong { prefix, .. } => {
                self.oddities.add("lines of more than 8 MiB");
                let text = self.plain.push(&prefix) + &self.plain.finish();
                self.stray.add_text(&text, true);
            }
        }
    }

    /// What was printed that was none of the shape's lines.
    pub(super) fn stray(&self) -> &str {
        self.stray.text()
    }

    /// Appends updates, their text without what no user is to see.
    fn show(&mut self, said: Vec<AgentUpdate>, into: &mut Vec<AgentUpdate>) {
        for update in said {
            match (update, &mut self.filter) {
                (AgentUpdate::Text(text), Some(filter)) => push_text(filter.push(text), into),
                (AgentUpdate::Text(text), None) => push_text(text, into),
                (update, _) => {
                    self.flush(into);
                    match update {
                        AgentUpdate::Reasoning(text) => push_reasoning(text, into),
                        update => into.push(update),
                    }
                }
            }
        }
    }

    fn flush(&mut self, into: &mut Vec<AgentUpdate>) {
        if let Some(filter) = &mut self.filter {
            push_text(filter.flush(), into);
        }
    }
}
