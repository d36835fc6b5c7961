//! Events to [`AgentUpdate`]s. No I/O: the same input gives the same output.
//!
//! Everything here may be told twice, and late: by events, and by what is asked for after a gap.

use std::collections::HashSet;

use dispatch_core::agent::{AgentUpdate, EndedHow, Notice, NoticeCode, PlanEntry, Usage};

use super::progress::{Progress, Said, Standing};
use super::rows::Rows;
use super::texts::{Source, Texts};
use super::tool::Calls;
use super::usage::Meter;
use super::wire::{
    Asked, Delta, ErrorEvent, Info, Kind, Message, MessageEvent, Part, PartEvent, Question, Replied, Status,
    StatusEvent, Todo, TodoEvent,
};
use crate::common::json;
use crate::common::oddities::Oddities;

/// Parts and requests of one turn that are told apart. A step of the model has five parts.
const MOST: usize = 16_384;
/// The longest id, in bytes; opencode's have 30.
const LONGEST_ID: usize = 128;

/// Translates one turn of one conversation.
#[derive(Debug)]
pub struct Translator {
    /// The conversation.
    pub(super) session: String,
    progress: Progress,
    texts: Texts,
    calls: Calls,
    /// Permission requests and questions that were asked, or answered, or are left from earlier turns.
    asked: HashSet<String>,
    /// Questions to decline.
    questions: Vec<String>,
    meter: Meter,
    model: Option<(String, String)>,
    pub(super) oddities: Oddities,
}

impl Translator {
    /// For a turn of this conversation whose prompt is the message of this id. `stale` names requests that earlier
    /// turns left behind: opencode keeps those of aborted turns for ever.
    #[must_use]
    pub fn new(
        session: impl Into<String>,
        prompt: impl Into<String>,
        stale: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            session: session.into(),
            progress: Progress::new(prompt.into()),
            texts: Texts::default(),
            calls: Calls::default(),
            asked: stale.into_iter().collect(),
            questions: Vec::new(),
            meter: Meter::default(),
            model: None,
            oddities: Oddities::default(),
        }
    }

    /// Whether the turn goes on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.progress.standing()
    }

    /// The provider and the model of the last answer.
    #[must_use]
    pub fn model(&self) -> Option<(&str, &str)> {
        self.model.as_ref().map(|(provider, model)| (provider.as_str(), model.as_str()))
    }

    /// Questions that came since, which nobody will answer.
    pub fn take_questions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.questions)
    }

    /// Translates an event and appends what it means. `session` is the conversation that it is about: this one, or
    /// one that its tools began.
    pub fn event(&mut self, kind: Kind, session: &str, properties: &str, into: &mut Vec<AgentUpdate>) {
        let read = if session == self.session {
            self.own(kind, properties, into)
        } else {
            self.child(kind, properties, into)
        };
        if let Err(error) = read {
            tracing::debug!(%error, ?kind, "an event could not be read");
            self.oddities.add("events that could not be read");
        }
    }

    fn own(
        &mut self,
        kind: Kind,
        properties: &str,
        into: &mut Vec<AgentUpdate>,
    ) -> Result<(), serde_json::Error> {
        match kind {
            Kind::Message => self.message(json::decode::<MessageEvent>(properties)?.info, into),
            Kind::Part => self.part(json::decode::<PartEvent>(properties)?.part, Source::Event, into),
            Kind::Delta => self.texts.delta(&json::decode::<Delta>(properties)?, into),
            Kind::Status => self.status(json::decode::<StatusEvent>(properties)?.status, into),
            // It comes with a status that says the same.
            Kind::Idle | Kind::Created => {}
            Kind::Error => self.progress.failed(json::decode::<ErrorEvent>(properties)?.error),
            Kind::Asked => self.permission(&json::decode(properties)?, into),
            Kind::Replied => self.replied(json::decode::<Replied>(properties)?.request, into),
            Kind::Question => self.question(json::decode::<Question>(properties)?.id),
            Kind::Todo => self.todo(json::decode(properties)?, into),
        }
        Ok(())
    }

    /// Of an agent that the turn began, what it asks and what it uses: its words are in the result of the tool.
    fn child(
        &mut self,
        kind: Kind,
        properties: &str,
        into: &mut Vec<AgentUpdate>,
    ) -> Result<(), serde_json::Error> {
        match kind {
            Kind::Message => {
                let MessageEvent { info } = json::decode(properties)?;
                if info.id.len() <= LONGEST_ID {
                    into.extend(self.meter.count(&info, false).map(AgentUpdate::Usage));
                }
            }
            Kind::Asked => self.permission(&json::decode(properties)?, into),
            Kind::Replied => self.replied(json::decode::<Replied>(properties)?.request, into),
            Kind::Question => self.question(json::decode::<Question>(properties)?.id),
            _ => {}
        }
        Ok(())
    }

    /// Something was lost: what is being written is shown when it is complete.
    pub fn gap(&mut self) {
        self.texts.gap();
    }

    /// Takes the newest messages of the conversation, of which only those since the prompt matter; `false` when some
    /// of those may be missing.
    pub(super) fn messages(&mut self, messages: Rows<Message>, into: &mut Vec<AgentUpdate>) -> bool {
        let Rows { mut rows, illegible } = messages;
        let prompt = rows.iter().position(|message| self.progress.is_prompt(&message.info.id));
        let begin = match prompt {
            Some(at) => at,
            // A prompt that is there and not among the newest is older than all of them.
            None if self.progress.is_taken() && illegible == 0 => 0,
            None => return !self.progress.is_taken(),
        };
        let reaches_back = rows.first().is_some_and(|first| self.progress.knows(&first.info.id));
        let mut illegible = illegible;
        for Message { info, parts } in rows.drain(begin..) {
            self.message(info, into);
            illegible += parts.illegible;
            for part in parts.rows {
                self.part(part, Source::Asked, into);
            }
        }
        if illegible > 0 {
            self.oddities.add("messages or parts that could not be read");
        }
        prompt.is_some() || reaches_back
    }

    /// What opencode says of the conversation when it is asked: its status, none when it is idle.
    pub(super) fn asked_for(&mut self, status: Option<Status>, into: &mut Vec<AgentUpdate>) {
        self.progress.asked_for(status.is_none());
        if let Some(status) = status {
            self.status(status, into);
        }
    }

    fn message(&mut self, info: Info, into: &mut Vec<AgentUpdate>) {
        if info.id.len() > LONGEST_ID || !self.progress.concerns(&info.id) {
            return;
        }
        if !self.progress.message(&info) {
            self.oddities.add("more messages than are followed");
        }
        if info.role == "assistant" {
            let usage = self.meter.count(&info, info.mode.as_deref() != Some("compaction"));
            into.extend(usage.map(AgentUpdate::Usage));
            self.model = info.provider.zip(info.model).or(self.model.take());
        }
    }

    fn part(&mut self, part: Part, source: Source, into: &mut Vec<AgentUpdate>) {
        let said = match self.progress.said(&part.message) {
            Some(said @ (Said::Answer | Said::Compaction)) if part.id.len() <= LONGEST_ID => said,
            _ => return,
        };
        match part.kind.as_str() {
            "text" | "reasoning" if matches!(said, Said::Answer) => {
                if !self.texts.knows(&part.id) && self.texts.count() >= MOST {
                    return self.oddities.add("more parts than are followed");
                }
                self.texts.part(part, source, into);
            }
            "tool" => {
                if let Some(patch) = self.calls.patch(part) {
                    self.texts.flush(into);
                    into.push(AgentUpdate::ToolCall(patch));
                }
            }
            _ => {}
        }
    }

    /// Says once that the model is not reached: opencode goes on trying for ever, until the turn's limit of silence.
    fn status(&mut self, status: Status, into: &mut Vec<AgentUpdate>) {
        if let Some(why) = self.progress.status(status) {
            let text = format!("opencode could not reach its model and tries again: {why}");
            into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text }));
        }
    }

    /// opencode does not do what it was asked to.
    pub(super) fn refused(&mut self, text: String) {
        self.progress.refused(text);
    }

    /// Takes a request for leave, from an event or from a list.
    pub(super) fn permission(&mut self, asked: &Asked, into: &mut Vec<AgentUpdate>) {
        let has_room = self.asked.len() < MOST && asked.id.len() <= LONGEST_ID;
        if !has_room {
            return self.oddities.add("more permission requests than are followed");
        }
        if self.asked.insert(asked.id.clone()) {
            self.texts.flush(into);
            into.push(AgentUpdate::Permission(self.calls.request(asked)));
        }
    }

    /// What was answered, by whomever, is not asked again, nor any more: one refusal answers all that the conversation
    /// asks at the time.
    fn replied(&mut self, request: String, into: &mut Vec<AgentUpdate>) {
        if self.asked.contains(&request) {
            into.push(AgentUpdate::PermissionWithdrawn(request));
        } else if self.asked.len() < MOST && request.len() <= LONGEST_ID {
            self.asked.insert(request);
        }
    }

    /// Takes a question, from an event or from a list.
    pub(super) fn question(&mut self, id: String) {
        if self.asked.len() < MOST && id.len() <= LONGEST_ID && self.asked.insert(id.clone()) {
            self.oddities.add("questions to the user, which were declined");
            self.questions.push(id);
        }
    }

    fn todo(&mut self, event: TodoEvent, into: &mut Vec<AgentUpdate>) {
        self.texts.flush(into);
        let entry =
            |todo: Todo| PlanEntry { content: todo.content, status: todo.status, priority: todo.priority };
        into.push(AgentUpdate::Plan(event.todos.into_iter().map(entry).collect()));
    }

    /// How the turn ended, to be asked once it is over.
    #[must_use]
    pub fn end(&self) -> (EndedHow, Usage) {
        (self.progress.how(), self.meter.usage())
    }

    /// Appends what was held back, and a notice of what was passed over. Nothing comes after it.
    pub fn finish(&mut self, into: &mut Vec<AgentUpdate>) {
        self.texts.flush(into);
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Turn(Translator, Vec<AgentUpdate>);

    impl Turn {
        fn begin() -> Self {
            let mut turn = Self(Translator::new("s", "p", []), Vec::new());
            turn.hear(Kind::Message, json!({"info": {"id": "p", "role": "user"}}));
            turn
        }

        fn hear(&mut self, kind: Kind, properties: Value) {
            self.0.event(kind, "s", &properties.to_string(), &mut self.1);
        }

        fn delta(&mut self, text: &str) {
            self.hear(Kind::Delta, json!({"partID": "t", "field": "text", "delta": text}));
        }

        fn learn(&mut self, messages: Value) -> bool {
            self.0.messages(json::decode(messages.to_string()).unwrap(), &mut self.1)
        }

        fn text(&self) -> String {
            let text = |update: &AgentUpdate| match update {
                AgentUpdate::Text(text) => Some(text.clone()),
                _ => None,
            };
            self.1.iter().filter_map(text).collect()
        }
    }

    fn part(text: &str, time: Value) -> Value {
        json!({"id": "t", "messageID": "a", "type": "text", "text": text, "time": time})
    }

    fn answer() -> Value {
        json!({"id": "a", "role": "assistant"})
    }

    #[test]
    fn an_answer_that_is_ahead_of_the_events_cuts_nothing_off() {
        let mut turn = Turn::begin();
        turn.0.gap();
        turn.hear(Kind::Message, json!({"info": answer()}));
        turn.hear(Kind::Part, json!({"part": part("", json!({}))}));
        turn.delta("one ");
        let stored = part("one two three", json!({"end": 2}));
        let prompt = json!({"info": {"id": "p", "role": "user"}});
        assert!(turn.learn(json!([prompt, {"info": answer(), "parts": [stored]}])));
        assert_eq!(turn.text(), "one two three");
        // What was on its way.
        turn.delta("two ");
        turn.delta("three");
        turn.hear(Kind::Part, json!({"part": stored}));
        assert_eq!(turn.text(), "one two three");
    }

    #[test]
    fn the_newest_messages_tell_of_the_turn_when_they_do_not_reach_back_to_its_prompt() {
        let newest = json!([{"info": answer(), "parts": [part("new", json!({"end": 2}))]}]);
        let mut turn = Turn::begin();
        assert!(!turn.learn(newest.clone()), "some may be missing");
        assert!(turn.learn(newest.clone()), "what was known before is among them");
        assert_eq!(turn.text(), "new");
        let unread = json!([7, newest[0]]);
        let mut turn = Turn::begin();
        assert!(!turn.learn(unread), "what cannot be read may be the prompt");
        let mut turn = Turn(Translator::new("s", "p", []), Vec::new());
        assert!(turn.learn(newest), "the prompt is not there yet");
        assert_eq!(turn.text(), "", "of an earlier turn");
    }
}
