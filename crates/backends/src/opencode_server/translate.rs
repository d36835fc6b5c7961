//! Events to [`AgentUpdate`]s. No I/O: the same input gives the same output.
//!
//! Everything here may be told twice, and late: by events, and by what is asked for after a gap.

use std::collections::{HashMap, HashSet};

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, Notice, NoticeCode, PlanEntry, Usage};
use dispatch_core::task::TerminalReason;
use serde::de::DeserializeOwned;

use super::failure;
use super::tool::Calls;
use super::usage::Meter;
use super::wire::{
    Asked, Delta, ErrorData, ErrorEvent, Info, Kind, Message, MessageEvent, Part, PartEvent, Question,
    Replied, Status, StatusEvent, Todo, TodoEvent, WireError,
};
use crate::common::oddities::Oddities;
use crate::common::updates::{push_reasoning, push_text};
use crate::text_filter::TagFilter;

/// Messages, parts and requests of one turn that are told apart. A step of the model has five parts.
const MOST: usize = 16_384;
/// The longest id, in bytes; opencode's have 30.
const LONGEST_ID: usize = 128;

/// Whether the turn goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does, or has not begun.
    Running,
    /// opencode says that it is idle, or failed, and was still writing: it says so again when it has cleared up.
    Unsure,
    /// It is over.
    Over,
}

/// Translates one turn of one conversation.
#[derive(Debug)]
pub struct Translator {
    /// The conversation.
    pub(super) session: String,
    /// The id of the turn's prompt.
    prompt: String,
    /// Whether opencode has taken the prompt: what was said before belongs to an earlier turn.
    is_taken: bool,
    is_busy: bool,
    /// Whether it was idle when it was asked, with nothing to show for it.
    was_idle: bool,
    standing: Standing,
    messages: HashMap<String, Said>,
    /// The model's last answer.
    last: Option<String>,
    parts: HashMap<String, Shown>,
    calls: Calls,
    /// Permission requests that were asked, or answered, or are left from earlier turns.
    asked: HashSet<String>,
    /// Questions to decline.
    questions: Vec<String>,
    meter: Meter,
    /// What failed, unless something followed it.
    error: Option<WireError>,
    retry: Option<String>,
    model: Option<(String, String)>,
    filter: TagFilter,
    pub(super) oddities: Oddities,
}

/// What is known of a message.
#[derive(Debug, Default)]
struct Said {
    /// An answer of the model, and no prompt.
    is_answer: bool,
    /// A summary that opencode makes for itself.
    is_compaction: bool,
    is_complete: bool,
    finish: Option<String>,
    error: Option<WireError>,
}

/// What was shown of a part with text.
#[derive(Debug)]
struct Shown {
    is_reasoning: bool,
    /// Its beginning of so many bytes was.
    bytes: usize,
    /// Something of what follows was lost: the rest comes when the part is complete.
    has_gap: bool,
    is_complete: bool,
}

impl Translator {
    /// For a turn of this conversation whose prompt is the message of this id. `stale` names permission requests that
    /// earlier turns left behind: opencode keeps those of aborted turns for ever.
    #[must_use]
    pub fn new(
        session: impl Into<String>,
        prompt: impl Into<String>,
        stale: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            session: session.into(),
            prompt: prompt.into(),
            is_taken: false,
            is_busy: false,
            was_idle: false,
            standing: Standing::Running,
            messages: HashMap::new(),
            last: None,
            parts: HashMap::new(),
            calls: Calls::default(),
            asked: stale.into_iter().collect(),
            questions: Vec::new(),
            meter: Meter::default(),
            error: None,
            retry: None,
            model: None,
            filter: TagFilter::default(),
            oddities: Oddities::default(),
        }
    }

    /// Whether the turn goes on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
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
            Kind::Message => self.message(read::<MessageEvent>(properties)?.info, into),
            Kind::Part => self.part(read::<PartEvent>(properties)?.part, false, into),
            Kind::Delta => self.delta(&read::<Delta>(properties)?, into),
            Kind::Status => self.status(read::<StatusEvent>(properties)?.status, into),
            // It comes with a status that says the same.
            Kind::Idle | Kind::Created => {}
            Kind::Error => self.failed(read::<ErrorEvent>(properties)?.error),
            Kind::Asked => self.permission(&read(properties)?, into),
            Kind::Replied => self.replied(read::<Replied>(properties)?.request),
            Kind::Question => self.question(read::<Question>(properties)?.id),
            Kind::Todo => self.todo(read(properties)?, into),
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
                let usage = self.meter.count(&read::<MessageEvent>(properties)?.info, false);
                into.extend(usage.map(AgentUpdate::Usage));
            }
            Kind::Asked => self.permission(&read(properties)?, into),
            Kind::Replied => self.replied(read::<Replied>(properties)?.request),
            Kind::Question => self.question(read::<Question>(properties)?.id),
            _ => {}
        }
        Ok(())
    }

    /// Something was lost: what is being written is shown when it is complete.
    pub fn gap(&mut self) {
        self.parts.values_mut().filter(|part| !part.is_complete).for_each(|part| part.has_gap = true);
    }

    /// Takes the messages of the conversation, of which only those since the prompt matter; `false` when they do not
    /// reach back to a prompt that is there.
    pub(super) fn messages(&mut self, mut messages: Vec<Message>, into: &mut Vec<AgentUpdate>) -> bool {
        let Some(at) = messages.iter().position(|message| message.info.id == self.prompt) else {
            return !self.is_taken;
        };
        for Message { info, parts } in messages.drain(at..) {
            self.message(info, into);
            for part in parts {
                self.part(part, true, into);
            }
        }
        true
    }

    /// What opencode says of the conversation when it is asked: its status, none when it is idle.
    pub(super) fn asked_for(&mut self, status: Option<Status>, into: &mut Vec<AgentUpdate>) {
        match status {
            Some(status) => {
                if self.standing == Standing::Unsure {
                    self.standing = Standing::Running;
                }
                self.status(status, into);
            }
            None if self.is_settled() || self.was_idle => self.standing = Standing::Over,
            // A prompt that was just sent may be stored only in a second, and nothing is busy until then.
            None => self.was_idle = self.is_taken,
        }
    }

    /// Whether a conversation that is idle now has done what it was asked to.
    fn is_settled(&self) -> bool {
        let has_answer = self.answer().is_some_and(|said| said.is_complete);
        self.standing == Standing::Unsure || self.error.is_some() || has_answer
    }

    fn message(&mut self, info: Info, into: &mut Vec<AgentUpdate>) {
        if info.id == self.prompt {
            self.is_taken = true;
        }
        if !self.is_taken || info.id.len() > LONGEST_ID {
            return;
        }
        let is_answer = info.role == "assistant";
        let is_compaction = info.mode.as_deref() == Some("compaction");
        if is_answer {
            if !self.messages.contains_key(&info.id) {
                // opencode went on after what failed before: it compacts a conversation that is too long.
                self.error = None;
                self.last = Some(info.id.clone());
            }
            let usage = self.meter.count(&info, !is_compaction);
            into.extend(usage.map(AgentUpdate::Usage));
            self.model = info.provider.zip(info.model).or(self.model.take());
        }
        if self.messages.len() >= MOST && !self.messages.contains_key(&info.id) {
            return self.oddities.add("more messages than are followed");
        }
        let said = self.messages.entry(info.id).or_default();
        said.is_answer = is_answer;
        said.is_compaction = is_compaction;
        said.is_complete |= info.time.completed.is_some();
        said.finish = info.finish.or(said.finish.take());
        said.error = info.error.or(said.error.take());
    }

    fn part(&mut self, part: Part, was_asked_for: bool, into: &mut Vec<AgentUpdate>) {
        let Some(said) = self.messages.get(&part.message).filter(|said| said.is_answer) else { return };
        let is_hidden = said.is_compaction;
        match part.kind.as_str() {
            "text" | "reasoning" if !is_hidden => self.text(part, was_asked_for, into),
            "tool" => {
                if let Some(patch) = self.calls.patch(part) {
                    self.flush(into);
                    into.push(AgentUpdate::ToolCall(patch));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, part: Part, was_asked_for: bool, into: &mut Vec<AgentUpdate>) {
        let is_new = !self.parts.contains_key(&part.id);
        if part.id.len() > LONGEST_ID || is_new && self.parts.len() >= MOST {
            return self.oddities.add("more parts than are followed");
        }
        let text = part.text.unwrap_or_default();
        let is_complete = part.time.is_some_and(|time| time.completed.is_some());
        let shown = self.parts.entry(part.id).or_insert(Shown {
            is_reasoning: part.kind == "reasoning",
            bytes: 0,
            // What was said since the answer was made is not in it.
            has_gap: was_asked_for && !is_complete,
            is_complete: false,
        });
        // What was heard whole is not said again: a plugin may have changed it meanwhile.
        let rest = if shown.bytes == 0 || shown.has_gap { text.get(shown.bytes..) } else { None };
        let rest = rest.unwrap_or_default().to_owned();
        shown.bytes += rest.len();
        shown.is_complete |= is_complete;
        let is_reasoning = shown.is_reasoning;
        self.say(rest, is_reasoning, into);
    }

    fn delta(&mut self, delta: &Delta, into: &mut Vec<AgentUpdate>) {
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

    fn status(&mut self, status: Status, into: &mut Vec<AgentUpdate>) {
        match status.kind.as_str() {
            "busy" => (self.is_busy, self.was_idle) = (true, false),
            "retry" => {
                (self.is_busy, self.was_idle) = (true, false);
                self.retrying(status.message.unwrap_or_default(), into);
            }
            // Before the prompt is taken, an idle is an earlier turn's.
            "idle" if self.is_taken => self.idle(),
            _ => {}
        }
    }

    /// Says once that the model is not reached: opencode goes on trying for ever, until the turn's limit of silence.
    fn retrying(&mut self, message: String, into: &mut Vec<AgentUpdate>) {
        let message: String = message.chars().take(500).collect();
        if self.retry.is_none() {
            let text = format!("opencode could not reach its model and tries again: {message}");
            into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text }));
        }
        self.retry = Some(message);
    }

    fn idle(&mut self) {
        self.is_busy = false;
        let is_writing = self.answer().is_some_and(|said| !said.is_complete);
        self.standing = match self.standing {
            Standing::Running if is_writing => Standing::Unsure,
            Standing::Running | Standing::Unsure | Standing::Over => Standing::Over,
        };
    }

    /// opencode does not do what it was asked to.
    pub(super) fn refused(&mut self, text: String) {
        let data = ErrorData { message: Some(text), status: None };
        self.failed(Some(WireError { name: String::new(), data }));
        self.standing = if self.standing == Standing::Over { Standing::Over } else { Standing::Unsure };
    }

    fn failed(&mut self, error: Option<WireError>) {
        if self.standing == Standing::Over {
            return;
        }
        let unnamed = || WireError { name: String::new(), data: ErrorData::default() };
        // The second of two is a stack trace of the first.
        if self.error.is_none() {
            self.error = Some(error.unwrap_or_else(unnamed));
        }
        // A prompt that is refused, as for an agent that there is not, is followed by nothing.
        if !self.is_busy && self.standing == Standing::Running {
            self.standing = Standing::Unsure;
        }
    }

    /// Takes a request for leave, from an event or from a list.
    pub(super) fn permission(&mut self, asked: &Asked, into: &mut Vec<AgentUpdate>) {
        let has_room = self.asked.len() < MOST && asked.id.len() <= LONGEST_ID;
        if !has_room {
            return self.oddities.add("more permission requests than are followed");
        }
        if self.asked.insert(asked.id.clone()) {
            self.flush(into);
            into.push(AgentUpdate::Permission(self.calls.request(asked)));
        }
    }

    /// What was answered, by whomever, is not asked again.
    fn replied(&mut self, request: String) {
        if self.asked.len() < MOST && request.len() <= LONGEST_ID {
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
        self.flush(into);
        let entry =
            |todo: Todo| PlanEntry { content: todo.content, status: todo.status, priority: todo.priority };
        into.push(AgentUpdate::Plan(event.todos.into_iter().map(entry).collect()));
    }

    /// How the turn ended, to be asked once it is over.
    #[must_use]
    pub fn end(&self) -> (EndedHow, Usage) {
        (self.how(), self.meter.usage())
    }

    fn how(&self) -> EndedHow {
        let agent_failed = |text: &str| EndedHow::Failed(Failure::new(TerminalReason::AgentFailed, text));
        let answer = self.answer();
        if let Some(error) = answer.and_then(|said| said.error.as_ref()).or(self.error.as_ref()) {
            return failure::ended_by(error);
        }
        let finish = answer.and_then(|said| said.finish.as_deref());
        match (finish, &self.retry) {
            (Some("length"), _) => EndedHow::Failed(failure::output_limit()),
            (Some("content-filter"), _) => {
                EndedHow::Failed(Failure::new(TerminalReason::ModelRefused, "the model refused to answer"))
            }
            (Some("error"), _) => agent_failed("the model's answer ended with an error"),
            // `stop`; `tool-calls` where a tool ended the turn, as one does that is refused.
            (Some(_), _) => EndedHow::Completed,
            // It was aborted while it waited to try again, which is no error to opencode.
            (None, Some(message)) => EndedHow::Failed(failure::of_retry(message)),
            (None, None) => agent_failed("opencode ended the turn before the model's answer was complete"),
        }
    }

    fn answer(&self) -> Option<&Said> {
        self.last.as_ref().and_then(|last| self.messages.get(last))
    }

    /// Appends what was held back, and a notice of what was passed over. Nothing comes after it.
    pub fn finish(&mut self, into: &mut Vec<AgentUpdate>) {
        self.flush(into);
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
    }

    /// Something else than text follows.
    fn flush(&mut self, into: &mut Vec<AgentUpdate>) {
        push_text(self.filter.flush(), into);
    }
}

fn read<T: DeserializeOwned>(properties: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(properties)
}
