//! Wire messages to [`AgentUpdate`]s. No I/O: the same input gives the same output.

use acp_proto::types::{
    Chunk, ChunkContent, PermissionKind, PermissionRequest as WirePermission, SessionOpened, SessionUpdate,
    StopReason, TurnEnd, Update,
};
use acp_proto::{Notification, RawJson, RpcError};
use dispatch_core::agent::{
    AgentSettings, AgentUpdate, EndedHow, Failure, OptionKind, PermissionOption, PermissionRequest,
    PlanEntry, ToolCall, ToolCallPatch, Usage,
};
use dispatch_core::task::TerminalReason;
use serde::Deserialize;
use serde_json::Value;

use super::conversation::{Calls, Conversation, Counted, Learned};
use super::tool_call::OpenCalls;
use super::{tool_call, usage};
use crate::common::failure;
use crate::common::oddities::Oddities;
use crate::common::updates::push_text;
use crate::registry::Quirks;
use crate::text_filter::TagFilter;

/// Characters of a last message that may be an error, in bytes.
const LONGEST_ERROR: usize = 4096;

/// Translates one turn of one agent.
#[derive(Debug)]
pub struct Translator {
    conversation: Conversation,
    filter: Option<TagFilter>,
    error_text: Option<String>,
    /// The tokens of answers are those of the whole conversation.
    adds_up: bool,
    /// What the agent's counters showed when the turn began.
    before: Counted,
    /// The tool calls of this turn.
    calls_seen: Calls,
    has_new_settings: bool,
    /// The beginning of the last message, where errors may come as text.
    last_message: String,
    open_calls: OpenCalls,
    /// The sum over the turn's model calls, where they are reported one by one.
    calls: Usage,
    pub(super) oddities: Oddities,
}

impl Translator {
    /// For the first turn of a conversation, with an agent of these quirks.
    #[must_use]
    pub fn new(session: impl Into<String>, quirks: &Quirks) -> Self {
        Self::within(Conversation::new(session), quirks)
    }

    /// For the next turn of a conversation.
    pub(super) fn within(conversation: Conversation, quirks: &Quirks) -> Self {
        Self {
            before: conversation.counted.clone(),
            conversation,
            filter: quirks.context_tags.then(TagFilter::default),
            error_text: quirks.error_text.clone(),
            adds_up: quirks.usage_adds_up,
            calls_seen: Calls::default(),
            has_new_settings: false,
            last_message: String::new(),
            open_calls: OpenCalls::default(),
            calls: Usage::default(),
            oddities: Oddities::default(),
        }
    }

    /// The conversation was opened, with this answer; what may be chosen in it is known by that.
    pub fn opened(&mut self, opened: SessionOpened) {
        self.conversation.open(opened);
    }

    /// The conversation after this turn.
    pub(super) fn leave(self) -> Conversation {
        let mut conversation = self.conversation;
        conversation.earlier.append(self.calls_seen);
        conversation
    }

    /// The agent's own id of the conversation.
    pub(super) fn session(&self) -> &str {
        &self.conversation.id
    }

    /// Translates an update and appends what it means. Text that follows text becomes one piece.
    pub fn update(&mut self, update: SessionUpdate, into: &mut Vec<AgentUpdate>) {
        if *update.session_id != *self.conversation.id {
            return self.oddities.add("updates for another conversation");
        }
        match self.conversation.learn(&update) {
            Learned::Commands => {
                return into.push(AgentUpdate::Commands(self.conversation.commands.clone()));
            }
            Learned::Settings => return self.has_new_settings = true,
            Learned::Nothing => {}
        }
        let SessionUpdate { update: what, .. } = &update;
        match what {
            Update::AgentMessage(_) | Update::AgentThought(_) => self.chunk(update.update, into),
            Update::ToolCall(_) => self.tool_call(update.raw(), true, into),
            Update::ToolCallUpdate(_) => self.tool_call(update.raw(), false, into),
            Update::Plan(_) => self.plan(update.raw(), into),
            Update::Usage(reported) => {
                into.push(AgentUpdate::Usage(usage::of_update(reported, self.before.cost.as_ref())));
            }
            Update::Other { kind, fault } => self.other(kind, fault.as_deref(), update.raw(), into),
            // The user's own words, and what nobody shows.
            _ => {}
        }
    }

    /// Translates a notification that is the agent's own.
    pub fn notified(&mut self, notification: &Notification) {
        self.has_new_settings |= self.conversation.notified(notification) == Learned::Settings;
    }

    /// Appends the settings, if they changed since the last time: once for many changes, as they are told whole.
    pub fn tell_settings(&mut self, into: &mut Vec<AgentUpdate>) {
        if std::mem::take(&mut self.has_new_settings) {
            let settings = self.settings();
            into.extend((!settings.is_empty()).then_some(AgentUpdate::Settings(settings)));
        }
    }

    /// Takes over what an update says that came before the turn.
    pub(super) fn learn(&mut self, update: &SessionUpdate) {
        if *update.session_id == *self.conversation.id {
            self.conversation.learn(update);
            self.before = self.conversation.counted.clone();
        }
    }

    /// What may be chosen in the conversation, and what is.
    #[must_use]
    pub fn settings(&self) -> AgentSettings {
        self.conversation.offers.settings()
    }

    /// Translates a permission request, which is `id` for us. A call that was never announced is announced by it.
    pub fn permission(
        &mut self,
        id: String,
        request: &WirePermission,
        into: &mut Vec<AgentUpdate>,
    ) -> PermissionRequest {
        #[derive(Deserialize)]
        struct Params {
            #[serde(rename = "toolCall")]
            tool_call: Value,
        }
        self.end_of_message(into);
        let params = request.raw().decode::<Params>().ok();
        let patch = params.and_then(|params| tool_call::patch(params.tool_call));
        let tool_call = patch.map_or_else(ToolCall::default, |patch| self.asked_about(patch, into));
        let options = request.options.iter().map(|option| PermissionOption {
            id: option.id.clone(),
            name: option.name.clone(),
            kind: option_kind(&option.kind),
        });
        let request = PermissionRequest { id, tool_call, options: options.collect(), paths: Vec::new() };
        into.push(AgentUpdate::Permission(request.clone()));
        request
    }

    /// What the answer to the prompt means. To be asked after the updates that came with it.
    pub fn end(&mut self, answer: &Result<TurnEnd, RpcError>) -> (EndedHow, Usage) {
        let end = match answer {
            Ok(end) => end,
            Err(error) => return (EndedHow::Failed(failure::of_error(error)), Usage::default()),
        };
        let usage = self.usage_of(end);
        let failed = |reason, text: String| EndedHow::Failed(Failure::new(reason, text));
        let how = match &end.stop_reason {
            StopReason::EndTurn => match self.error_in_text(&usage) {
                Some(failure) => EndedHow::Failed(failure),
                None => EndedHow::Completed,
            },
            StopReason::Cancelled => EndedHow::Cancelled,
            StopReason::Refusal => {
                failed(TerminalReason::ModelRefused, "the model refused to answer".to_owned())
            }
            StopReason::MaxTokens => failed(
                TerminalReason::AgentFailed,
                "the agent stopped at the model's output limit (max_tokens)".to_owned(),
            ),
            StopReason::MaxTurnRequests => failed(
                TerminalReason::AgentFailed,
                "the agent stopped at its limit of model calls in a turn (max_turn_requests)".to_owned(),
            ),
            StopReason::Other(word) => failed(
                TerminalReason::AgentFailed,
                format!("the agent ended its turn for a reason that this build does not know: {word:?}"),
            ),
        };
        (how, usage)
    }

    fn usage_of(&mut self, end: &TurnEnd) -> Usage {
        let told = usage::of_end(end);
        if !self.adds_up || told.is_empty() {
            return told;
        }
        let usage = usage::since(&told, &self.before.tokens);
        self.conversation.counted.tokens = told;
        usage
    }

    /// Appends what was held back, and a notice of what was passed over. Nothing comes after it.
    pub fn finish(&mut self, into: &mut Vec<AgentUpdate>) {
        self.flush(into);
        self.tell_settings(into);
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
    }

    fn chunk(&mut self, update: Update, into: &mut Vec<AgentUpdate>) {
        let (is_answer, chunk) = match update {
            Update::AgentMessage(chunk) => (true, chunk),
            Update::AgentThought(chunk) => (false, chunk),
            _ => return,
        };
        let Chunk { content, meta, .. } = chunk;
        match content {
            ChunkContent::Text(text) if text.is_empty() => self.empty_chunk(meta.as_ref(), into),
            ChunkContent::Text(text) if is_answer => self.text(text, into),
            ChunkContent::Text(text) => {
                self.end_of_message(into);
                match into.last_mut() {
                    Some(AgentUpdate::Reasoning(last)) => last.push_str(&text),
                    _ => into.push(AgentUpdate::Reasoning(text)),
                }
            }
            ChunkContent::Block(_) | ChunkContent::Other(_) => {
                self.oddities.add("content that is not text");
            }
        }
    }

    fn text(&mut self, text: String, into: &mut Vec<AgentUpdate>) {
        if let Some(beginning) = &self.error_text {
            // The agent's own sentence, sent as one chunk behind what the model had said.
            if begins(&text, beginning) && !begins(&self.last_message, beginning) {
                self.last_message.clear();
            }
            if self.last_message.len() < LONGEST_ERROR {
                self.last_message.push_str(&text);
            }
        }
        let text = match &mut self.filter {
            Some(filter) => filter.push(text),
            None => text,
        };
        push_text(text, into);
    }

    fn empty_chunk(&mut self, meta: Option<&RawJson>, into: &mut Vec<AgentUpdate>) {
        if let Some(call) = meta.and_then(usage::of_chunk) {
            usage::add(&mut self.calls, &call);
            into.push(AgentUpdate::Usage(self.calls.clone()));
        }
    }

    fn tool_call(&mut self, params: &RawJson, is_announced: bool, into: &mut Vec<AgentUpdate>) {
        let Some(patch) = update_of(params).and_then(tool_call::patch) else {
            return self.oddities.add("tool calls without an id");
        };
        // goose changes a title when the call's turn has long ended.
        let is_new = is_announced || self.calls_seen.contains(&patch.id);
        if !is_new && self.conversation.earlier.contains(&patch.id) {
            return;
        }
        self.end_of_message(into);
        self.calls_seen.add(&patch.id);
        self.open_calls.learn(&patch);
        into.push(AgentUpdate::ToolCall(patch));
    }

    /// The call that a permission request is about, after what the request adds to it.
    fn asked_about(&mut self, patch: ToolCallPatch, into: &mut Vec<AgentUpdate>) -> ToolCall {
        self.calls_seen.add(&patch.id);
        let patch = self.open_calls.news(patch);
        self.open_calls.learn(&patch);
        let call = self.open_calls.get(&patch.id).cloned();
        let call = call.unwrap_or_else(|| ToolCall::begin(patch.clone()));
        into.push(AgentUpdate::ToolCall(patch));
        call
    }

    fn plan(&mut self, params: &RawJson, into: &mut Vec<AgentUpdate>) {
        let plan = update_of(params).unwrap_or_default();
        let entries = plan.get("entries").and_then(Value::as_array);
        let Some(entries) = entries else { return self.oddities.add("plans without entries") };
        into.push(AgentUpdate::Plan(entries.iter().filter_map(plan_entry).collect()));
    }

    /// A known kind that the strict types refuse is still read as far as it goes.
    fn other(&mut self, kind: &str, fault: Option<&str>, params: &RawJson, into: &mut Vec<AgentUpdate>) {
        match (kind, fault) {
            ("tool_call", Some(_)) => self.tool_call(params, true, into),
            ("tool_call_update", Some(_)) => self.tool_call(params, false, into),
            ("plan", Some(_)) => self.plan(params, into),
            (_, Some(fault)) => {
                tracing::debug!(kind, fault, "an update could not be read");
                self.oddities.add_word("unreadable update of kind", kind);
            }
            (_, None) => self.oddities.add_word("update of unknown kind", kind),
        }
    }

    /// Something else than text follows: what comes then is another message.
    fn end_of_message(&mut self, into: &mut Vec<AgentUpdate>) {
        self.flush(into);
        self.last_message.clear();
    }

    fn flush(&mut self, into: &mut Vec<AgentUpdate>) {
        if let Some(filter) = &mut self.filter {
            push_text(filter.flush(), into);
        }
    }

    /// The failure in the last message of an agent that reports errors as text, with no usage beside it.
    fn error_in_text(&self, usage: &Usage) -> Option<Failure> {
        let beginning = self.error_text.as_deref()?;
        let is_error = usage.is_empty() && begins(&self.last_message, beginning);
        is_error.then(|| failure::of_text(&self.last_message))
    }
}

fn begins(message: &str, beginning: &str) -> bool {
    message.trim_start().starts_with(beginning)
}

/// The `update` member of a `session/update`.
fn update_of(params: &RawJson) -> Option<Value> {
    #[derive(Deserialize)]
    struct Params {
        update: Value,
    }
    params.decode::<Params>().ok().map(|params| params.update)
}

fn plan_entry(entry: &Value) -> Option<PlanEntry> {
    let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let content = entry.get("content")?.as_str()?.to_owned();
    Some(PlanEntry { content, status: word("status"), priority: word("priority") })
}

fn option_kind(kind: &PermissionKind) -> OptionKind {
    match kind {
        PermissionKind::AllowOnce => OptionKind::AllowOnce,
        PermissionKind::AllowAlways => OptionKind::AllowAlways,
        PermissionKind::RejectOnce => OptionKind::RejectOnce,
        PermissionKind::RejectAlways => OptionKind::RejectAlways,
        PermissionKind::Other(_) => OptionKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatch_core::agent::{ToolContent, ToolStatus};
    use serde_json::json;

    fn update(translator: &mut Translator, update: Value) -> Vec<AgentUpdate> {
        let params = RawJson::encode(&json!({"sessionId": "s", "update": update})).unwrap();
        let mut into = Vec::new();
        translator.update(SessionUpdate::decode(&params).unwrap(), &mut into);
        into
    }

    fn translator() -> Translator {
        Translator::new("s", &Quirks::default())
    }

    /// vibe's requests hold nothing else; goose's hold less than was known.
    #[test]
    fn a_request_that_only_names_a_call_shows_what_is_known_of_it() {
        let mut translator = translator();
        let diff = json!({"type": "diff", "path": "/r/a", "newText": "x"});
        update(
            &mut translator,
            json!({"toolCallId": "t", "title": "Writing a", "kind": "edit", "status": "in_progress",
                   "content": [diff], "locations": [{"path": "/r/a"}], "sessionUpdate": "tool_call"}),
        );
        update(
            &mut translator,
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "t",
                   "content": [{"type": "content", "content": {"type": "text", "text": "output"}}]}),
        );
        for tool_call in [
            json!({"toolCallId": "t"}),
            json!({"toolCallId": "t", "title": "write", "kind": "other", "status": "pending", "content": [], "locations": []}),
        ] {
            let params = json!({"sessionId": "s", "toolCall": tool_call, "options": []});
            let request = WirePermission::decode(&RawJson::encode(&params).unwrap()).unwrap();
            let mut into = Vec::new();
            let asked = translator.permission("p".to_owned(), &request, &mut into).tool_call;
            assert_eq!((asked.title.as_str(), asked.kind.as_str()), ("Writing a", "edit"));
            assert!(matches!(&asked.content[..], [ToolContent::Diff { new_text, .. }] if new_text == "x"));
            assert_eq!(asked.locations, ["/r/a"]);
            let AgentUpdate::ToolCall(patch) = &into[0] else { panic!("{into:?}") };
            let nothing = ToolCallPatch { id: "t".to_owned(), ..ToolCallPatch::default() };
            assert_eq!(*patch, nothing, "the request degrades nothing");
        }
        let ended = json!({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed"});
        let [AgentUpdate::ToolCall(patch)] = &update(&mut translator, ended)[..] else { panic!() };
        assert_eq!(patch.status, Some(ToolStatus::Completed));
        assert!(translator.open_calls.get("t").is_none(), "what has ended is not kept");
    }

    #[test]
    fn text_follows_text_and_other_things_end_it() {
        let chunk = |text: &str| json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
        let quirks = Quirks { context_tags: true, ..Quirks::default() };
        let mut translator = Translator::new("s", &quirks);
        let mut into = Vec::new();
        for update in [
            chunk("a"),
            chunk("b <dc"),
            json!({"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "echo"}}),
            json!({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": "hm"}}),
            chunk("c<dcp"),
        ] {
            let params = RawJson::encode(&json!({"sessionId": "s", "update": update})).unwrap();
            translator.update(SessionUpdate::decode(&params).unwrap(), &mut into);
        }
        translator.finish(&mut into);
        let text = |text: &str| AgentUpdate::Text(text.to_owned());
        // What is held back is not overtaken by what comes after it.
        assert_eq!(into, [text("ab <dc"), AgentUpdate::Reasoning("hm".to_owned()), text("c<dcp")]);
    }

    /// goose sends the error that cut the model's stream as one chunk right behind what the model had said.
    #[test]
    fn an_error_told_as_text_fails_the_turn_wherever_in_the_message_its_chunk_comes() {
        let error = "Ran into this error: Server error (503)";
        for (chunks, failure) in [
            (&["Here is", " what", error, " more"][..], Some("Ran into this error: Server error (503) more")),
            (
                &["Here is\n\n", "\nRan into this error: a", error],
                Some("Ran into this error: aRan into this error: Server error (503)"),
            ),
            (&["Ran in", "to this", " error: x"], Some("Ran into this error: x")),
            (&[error], Some(error)),
            (&["They wrote: Ran into this error: x"], None),
            (&["Here is", " all"], None),
        ] {
            let quirks = Quirks { error_text: Some("Ran into this error:".to_owned()), ..Quirks::default() };
            let mut translator = Translator::new("s", &quirks);
            for text in chunks {
                let content = json!({"type": "text", "text": text});
                update(&mut translator, json!({"sessionUpdate": "agent_message_chunk", "content": content}));
            }
            let end = RawJson::encode(&json!({"stopReason": "end_turn"})).unwrap();
            let (how, _) = translator.end(&Ok(TurnEnd::decode(&end)));
            match (how, failure) {
                (EndedHow::Completed, None) => {}
                (EndedHow::Failed(found), Some(text)) => {
                    assert_eq!(found.text, text);
                }
                other => panic!("{chunks:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn model_calls_that_are_reported_one_by_one_are_added_up() {
        let chunk = |input: u64| {
            json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": ""},
                   "_meta": {"usage": {"inputTokens": input, "outputTokens": 1}}})
        };
        let mut translator = translator();
        update(&mut translator, chunk(10));
        let said = update(&mut translator, chunk(20));
        let usage = Usage { input_tokens: Some(30), output_tokens: Some(2), ..Usage::default() };
        assert_eq!(said, [AgentUpdate::Usage(usage)]);
    }
}
