//! Lines of Claude Code's stream-json to [`AgentUpdate`]s. No I/O: the same lines give the same updates.
//!
//! The same lines come from the control protocol and from one prompt for one process, from Claude Code and from qwen.
//! After recordings of Claude Code 2.1.197 and qwen 0.24.4.

use std::collections::HashMap;

use dispatch_core::agent::{
    AgentCommand, AgentUpdate, Cost, EndedHow, Failure, Notice, NoticeCode, ToolCallPatch, ToolContent,
    ToolStatus, Usage,
};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use super::tasks::Tasks;
use crate::common::id_hash::id_hash;
use crate::common::json::{take, take_list, take_text, text};
use crate::common::oddities::Oddities;
use crate::common::updates::{push_reasoning, push_text};
use crate::common::{failure, named_tool};

/// Open calls that are remembered; the result of one beyond them takes the place of its diff.
const REMEMBERED: usize = 256;
/// The longest id of a call that is shown before it is whole, in bytes.
const LONGEST_ID: usize = 256;
/// What their diffs may take, in bytes.
const MOST_KEPT: usize = 16 * 1024 * 1024;

/// Translates one turn.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    conversation: Option<String>,
    streamed: Streamed,
    /// The diff of each open call, where it is about a file.
    calls: HashMap<u64, Option<ToolContent>>,
    /// Calls that the model writes: they were shown, and have not come as a whole.
    begun: Vec<String>,
    tasks: Tasks,
    has_told_retry: bool,
    is_refused: bool,
    context_used: Option<u64>,
    result: Option<Outcome>,
}

/// Bytes of the message's current block that were shown as they came. The block comes again as a whole, with Claude
/// Code before its end and with qwen after it.
#[derive(Debug, Default)]
struct Streamed {
    text: usize,
    reasoning: usize,
}

/// What the line that ends a turn says.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// How the turn ended.
    pub(crate) how: EndedHow,
    /// What it used, but for its cost.
    pub(crate) usage: Usage,
    /// What the process has cost so far, in dollars.
    pub(crate) total_cost: Option<f64>,
}

impl Outcome {
    /// What the turn used, where the process had cost so much before it.
    pub(crate) fn usage_after(&self, before: f64) -> Usage {
        let amount = self.total_cost.map(|total| (total - before).max(0.0));
        let cost = amount.map(|amount| Cost { amount, currency: "USD".to_owned() });
        Usage { cost, ..self.usage.clone() }
    }
}

impl Translator {
    /// Translates a line, which is a JSON object, and appends what it means.
    pub(crate) fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        // What a sub-agent says is not the answer; what it does is shown.
        let is_aside = line.get("parent_tool_use_id").is_some_and(Value::is_string);
        match text(&line, "type") {
            "assistant" => self.assistant(line, is_aside, into, oddities),
            "stream_event" if is_aside => {}
            "stream_event" => self.event(take(&mut line, "event").unwrap_or_default(), into),
            "user" => self.user(line, into, oddities),
            "system" => self.system(&line, into),
            "result" => self.result = Some(self.read_outcome(line)),
            "rate_limit_event" | "tool_progress" | "tool_use_summary" | "auth_status" | "keep_alive" => {}
            other => oddities.add_word("line of unknown type", other),
        }
    }

    /// What the line that ends a turn said, once it has come.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.result.as_ref()
    }

    /// The agent's id of the conversation, once it has named one.
    pub(crate) fn conversation(&self) -> Option<&str> {
        self.conversation.as_deref()
    }

    /// One block of a message.
    fn assistant(
        &mut self,
        mut line: Value,
        is_aside: bool,
        into: &mut Vec<AgentUpdate>,
        oddities: &mut Oddities,
    ) {
        let Some(mut message) = take(&mut line, "message") else {
            return oddities.add("messages without content");
        };
        if !is_aside && let Some(used) = message.get("usage").and_then(context) {
            self.context_used = Some(used);
        }
        // The words of an error that ended the turn, which its result has again.
        let is_error = line.get("error").is_some_and(Value::is_string);
        for mut block in take_list(&mut message, "content") {
            match text(&block, "type") {
                "text" | "thinking" if is_aside || is_error => {}
                "text" => {
                    let shown = std::mem::take(&mut self.streamed.text);
                    push_text(rest(take_text(&mut block, "text"), shown), into);
                }
                "thinking" => {
                    let shown = std::mem::take(&mut self.streamed.reasoning);
                    push_reasoning(rest(take_text(&mut block, "thinking"), shown), into);
                }
                "tool_use" | "server_tool_use" => self.tool_use(block, into, oddities),
                "redacted_thinking" => {}
                other => oddities.add_word("block of unknown type", other),
            }
        }
    }

    /// A piece of a message, as it comes from the model.
    fn event(&mut self, mut event: Value, into: &mut Vec<AgentUpdate>) {
        match text(&event, "type") {
            "message_start" => {
                self.streamed = Streamed::default();
                self.take_back_calls(into);
            }
            "content_block_start" => {
                self.streamed = Streamed::default();
                self.begin_call(take(&mut event, "content_block").unwrap_or_default(), into);
            }
            "content_block_delta" => {
                let mut delta = take(&mut event, "delta").unwrap_or_default();
                if let Some(piece) = take_text(&mut delta, "text") {
                    self.streamed.text += piece.len();
                    push_text(piece, into);
                } else if let Some(piece) = take_text(&mut delta, "thinking") {
                    self.streamed.reasoning += piece.len();
                    push_reasoning(piece, into);
                }
            }
            _ => {}
        }
    }

    /// The model begins to write a call, whose arguments may take it minutes.
    fn begin_call(&mut self, mut block: Value, into: &mut Vec<AgentUpdate>) {
        if !matches!(text(&block, "type"), "tool_use" | "server_tool_use") || self.begun.len() >= REMEMBERED {
            return;
        }
        let Some(id) = take_text(&mut block, "id").filter(|id| id.len() <= LONGEST_ID) else { return };
        let begun = named_tool::begun(id.clone(), text(&block, "name"));
        self.begun.push(id);
        into.push(AgentUpdate::ToolCall(begun));
    }

    /// Another message has begun: what was not written to its end will not be done.
    fn take_back_calls(&mut self, into: &mut Vec<AgentUpdate>) {
        let failed = |id| ToolCallPatch { id, status: Some(ToolStatus::Failed), ..ToolCallPatch::default() };
        into.extend(self.begun.drain(..).map(failed).map(AgentUpdate::ToolCall));
    }

    fn tool_use(&mut self, mut block: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        let Some(id) = take_text(&mut block, "id") else { return oddities.add("tool calls without an id") };
        self.begun.retain(|begun| *begun != id);
        let name = take_text(&mut block, "name").unwrap_or_default();
        let input = take(&mut block, "input").unwrap_or_default();
        into.extend(named_tool::plan(&name, &input).map(AgentUpdate::Plan));
        self.tasks.called(&id, &name, &input);
        let patch = named_tool::announced(id, &name, input);
        if self.calls.len() < REMEMBERED {
            let kept: usize = self.calls.values().flatten().map(length).sum();
            let diff = patch.content.as_ref().and_then(|content| content.first());
            let diff = diff.filter(|diff| kept + length(diff) <= MOST_KEPT).cloned();
            self.calls.insert(id_hash(&patch.id), diff);
        }
        into.push(AgentUpdate::ToolCall(patch));
    }

    /// Results of tools; the user's own words and what is said in the user's name are nobody's news.
    fn user(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        let detail = take(&mut line, "tool_use_result");
        let Some(mut message) = take(&mut line, "message") else { return };
        for mut block in take_list(&mut message, "content") {
            if text(&block, "type") != "tool_result" {
                continue;
            }
            let Some(id) = take_text(&mut block, "tool_use_id") else {
                oddities.add("results of no tool call");
                continue;
            };
            let has_failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let said = block.get("content").map(named_tool::result_text).unwrap_or_default();
            let plan = self.tasks.answered(&id, has_failed, detail.as_ref());
            into.push(AgentUpdate::ToolCall(self.ended_call(id, has_failed, said, detail.as_ref())));
            into.extend(plan.map(AgentUpdate::Plan));
        }
    }

    fn ended_call(
        &mut self,
        id: String,
        has_failed: bool,
        said: String,
        detail: Option<&Value>,
    ) -> ToolCallPatch {
        let diff = self.calls.remove(&id_hash(&id)).flatten();
        let content = match diff {
            // Its result only says that it worked.
            Some(diff) if !has_failed => {
                let was = detail.and_then(|detail| detail.get("originalFile")?.as_str()).map(str::to_owned);
                was.and_then(|was| with_original(&diff, was)).map(|diff| vec![diff])
            }
            diff => {
                let said = (!said.is_empty()).then_some(ToolContent::Text { text: said });
                Some(diff.into_iter().chain(said).collect()).filter(|content: &Vec<_>| !content.is_empty())
            }
        };
        let status = if has_failed { ToolStatus::Failed } else { ToolStatus::Completed };
        ToolCallPatch { id, status: Some(status), content, ..ToolCallPatch::default() }
    }

    fn system(&mut self, line: &Value, into: &mut Vec<AgentUpdate>) {
        match text(line, "subtype") {
            "init" => {
                self.conversation = Some(text(line, "session_id").to_owned()).filter(|id| !id.is_empty());
                let names = line.get("slash_commands").and_then(Value::as_array).into_iter().flatten();
                let command = |name: &str| AgentCommand {
                    name: name.trim_start_matches('/').to_owned(),
                    description: String::new(),
                    hint: None,
                };
                let commands: Vec<AgentCommand> = names.filter_map(Value::as_str).map(command).collect();
                if !commands.is_empty() {
                    into.push(AgentUpdate::Commands(commands));
                }
            }
            "api_retry" | "retry" if !self.has_told_retry => {
                self.has_told_retry = true;
                into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text: retry(line) }));
            }
            "model_refusal_no_fallback" => self.is_refused = true,
            _ => {}
        }
    }

    fn read_outcome(&self, mut line: Value) -> Outcome {
        let is_error = line.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        let how = if !is_error {
            EndedHow::Completed
        } else if text(&line, "terminal_reason").starts_with("aborted") {
            EndedHow::Cancelled
        } else {
            EndedHow::Failed(self.failure(&mut line))
        };
        let models = line.get("modelUsage").and_then(Value::as_object);
        let sizes =
            models.into_iter().flatten().filter_map(|(_, model)| model.get("contextWindow")?.as_u64());
        let usage = Usage {
            context_used: self.context_used,
            context_size: sizes.max().filter(|size| *size > 0),
            ..line.get("usage").map(tokens).unwrap_or_default()
        };
        let total_cost = line.get("total_cost_usd").and_then(Value::as_f64);
        Outcome { how, usage, total_cost: total_cost.filter(|cost| cost.is_finite() && *cost >= 0.0) }
    }

    fn failure(&self, line: &mut Value) -> Failure {
        let status = line.get("api_error_status").and_then(Value::as_i64);
        let is_too_long = text(line, "terminal_reason") == "prompt_too_long";
        let errors = take_list(line, "errors");
        // Claude Code's own diagnosis, which says nothing to anybody.
        let errors =
            errors.iter().filter_map(Value::as_str).filter(|error| !error.starts_with("[ede_diagnostic]"));
        let errors = errors.collect::<Vec<_>>().join("; ");
        let said = take_text(line, "result").filter(|said| !said.is_empty());
        let said = said.or_else(|| Some(errors).filter(|errors| !errors.is_empty()));
        let said = said.or_else(|| take_text(line.get_mut("error")?, "message"));
        let said = said.unwrap_or_else(|| format!("the agent failed: {}", text(line, "subtype")));
        let Failure { reason, text } = failure::of_message(&said);
        let reason = match reason {
            _ if self.is_refused => TerminalReason::ModelRefused,
            _ if is_too_long => TerminalReason::ContextTooLong,
            reason => status.and_then(failure::reason_of_status).unwrap_or(reason),
        };
        Failure::new(reason, text)
    }
}

/// What of a block was not shown yet.
fn rest(whole: Option<String>, shown: usize) -> String {
    let whole = whole.unwrap_or_default();
    match whole.get(shown..) {
        Some(rest) if shown > 0 => rest.to_owned(),
        Some(_) => whole,
        None => String::new(),
    }
}

/// What a diff takes in memory, in bytes.
fn length(diff: &ToolContent) -> usize {
    match diff {
        ToolContent::Diff { path, old_text, new_text } => {
            path.len() + old_text.as_ref().map_or(0, String::len) + new_text.len()
        }
        _ => 0,
    }
}

/// The diff of a whole file with what was there.
fn with_original(diff: &ToolContent, was: String) -> Option<ToolContent> {
    match diff {
        ToolContent::Diff { path, old_text: None, new_text } => {
            Some(ToolContent::Diff { path: path.clone(), old_text: Some(was), new_text: new_text.clone() })
        }
        _ => None,
    }
}

fn retry(line: &Value) -> String {
    let status =
        line.get("error_status").and_then(Value::as_i64).map(|status| format!(" with status {status}"));
    let kind = match text(line, "error") {
        "" => String::new(),
        kind => format!(" ({})", kind.chars().filter(|c| !c.is_control()).take(60).collect::<String>()),
    };
    format!("a call of the model failed{}{kind}; the agent tries it again", status.unwrap_or_default())
}

/// Tokens of one model call that are in its context afterwards.
fn context(usage: &Value) -> Option<u64> {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let read =
        count("input_tokens") + count("cache_creation_input_tokens") + count("cache_read_input_tokens");
    (read > 0).then(|| read + count("output_tokens"))
}

/// What a turn used. Anthropic's `input_tokens` leave out what came from the cache or went there; qwen, which adds a
/// total, counts all in them.
fn tokens(usage: &Value) -> Usage {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let (output, cached, total) =
        (count("output_tokens"), count("cache_read_input_tokens"), count("total_tokens"));
    let aside = if total.is_some() {
        0
    } else {
        cached.unwrap_or(0) + count("cache_creation_input_tokens").unwrap_or(0)
    };
    let input = count("input_tokens").map(|input| input + aside);
    let total = total.or_else(|| Some(input? + output?));
    Usage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: total,
        cached_tokens: cached,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(lines: &[Value]) -> Vec<AgentUpdate> {
        let (mut translator, mut oddities, mut into) =
            (Translator::default(), Oddities::default(), Vec::new());
        for line in lines {
            translator.line(line.clone(), &mut into, &mut oddities);
        }
        into.extend(oddities.take_notice().map(AgentUpdate::Notice));
        into
    }

    fn delta(piece: &str) -> Value {
        json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}})
    }

    fn block(text: &str) -> Value {
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})
    }

    #[test]
    fn what_was_streamed_is_not_shown_twice_and_nothing_is_lost() {
        let begin = json!({"type": "stream_event", "event": {"type": "content_block_start"}});
        let text = |text: &str| vec![AgentUpdate::Text(text.to_owned())];
        assert_eq!(said(&[begin.clone(), delta("ä"), delta("b"), block("äb")]), text("äb"));
        assert_eq!(
            said(&[begin.clone(), delta("ä"), block("äbc")]),
            text("äbc"),
            "the rest was not streamed"
        );
        assert_eq!(said(&[begin, delta("ab"), block("ab"), block("c")]), text("abc"));
        assert_eq!(said(&[block("a"), block("a")]), text("aa"), "nothing was streamed");
    }

    fn begun_call(id: &str) -> Value {
        let block = json!({"type": "tool_use", "id": id, "name": "Write", "input": {}});
        json!({"type": "stream_event", "event": {"type": "content_block_start", "content_block": block}})
    }

    fn whole_call(id: &str) -> Value {
        json!({"type": "assistant", "message": {"content": [
            {"type": "tool_use", "id": id, "name": "Write", "input": {"file_path": "a", "content": "b"}}]}})
    }

    fn statuses(updates: &[AgentUpdate]) -> Vec<(&str, ToolStatus)> {
        let status = |update| match update {
            &AgentUpdate::ToolCall(ToolCallPatch { ref id, status, .. }) => (id.as_str(), status.unwrap()),
            other => panic!("{other:?}"),
        };
        updates.iter().map(status).collect()
    }

    /// The model may write its arguments for minutes.
    #[test]
    fn a_call_is_shown_when_the_model_begins_to_write_it() {
        let said = said(&[
            begun_call("t1"),
            whole_call("t1"),
            json!({"type": "stream_event", "event": {"type": "message_start"}}),
        ]);
        assert_eq!(statuses(&said), [("t1", ToolStatus::Pending), ("t1", ToolStatus::InProgress)]);
        let AgentUpdate::ToolCall(begun) = &said[0] else { panic!() };
        assert_eq!((begun.title.as_deref(), begun.kind.as_deref()), (Some("Write"), Some("edit")));
        assert_eq!((&begun.input, &begun.content), (&None, &None), "nothing is known of it yet");
    }

    /// Otherwise a turn whose model fell silent after that would be waited for as one at a tool.
    #[test]
    fn a_call_that_the_model_did_not_write_to_its_end_is_not_awaited() {
        let message = json!({"type": "stream_event", "event": {"type": "message_start"}});
        let said = said(&[begun_call("t1"), message, begun_call("t2"), whole_call("t2")]);
        let expected = [
            ("t1", ToolStatus::Pending),
            ("t1", ToolStatus::Failed),
            ("t2", ToolStatus::Pending),
            ("t2", ToolStatus::InProgress),
        ];
        assert_eq!(statuses(&said), expected);
    }

    #[test]
    fn a_sub_agents_message_is_none_of_the_agents() {
        let aside = |mut line: Value| {
            line["parent_tool_use_id"] = json!("t0");
            line
        };
        let message = json!({"type": "stream_event", "event": {"type": "message_start"}});
        let said = said(&[begun_call("t1"), aside(begun_call("t2")), aside(message), whole_call("t1")]);
        assert_eq!(statuses(&said), [("t1", ToolStatus::Pending), ("t1", ToolStatus::InProgress)]);
    }

    #[test]
    fn a_sub_agent_only_shows_what_it_does() {
        let mut aside = block("inner");
        aside["parent_tool_use_id"] = json!("t1");
        let mut call = json!({"type": "assistant", "parent_tool_use_id": "t1", "message": {"content": [
            {"type": "tool_use", "id": "t2", "name": "Bash", "input": {"command": "ls"}}]}});
        call["message"]["usage"] = json!({"input_tokens": 5});
        assert!(matches!(&said(&[aside, call])[..], [AgentUpdate::ToolCall(call)] if call.id == "t2"));
    }

    #[test]
    fn a_turn_costs_what_its_process_cost_more() {
        let mut translator = Translator::default();
        let result = json!({"type": "result", "is_error": false, "total_cost_usd": 0.5});
        translator.line(result, &mut Vec::new(), &mut Oddities::default());
        let outcome = translator.outcome().unwrap();
        assert_eq!(outcome.usage_after(0.2).cost.unwrap().amount, 0.3);
        assert_eq!(outcome.usage_after(0.7).cost.unwrap().amount, 0.0);
    }

    #[test]
    fn nonsense_is_counted_and_harms_nothing() {
        let lines = [
            json!({}),
            json!({"type": "x"}),
            json!({"type": "assistant"}),
            json!({"type": "user", "message": 1}),
            json!({"type": "assistant", "message": {"content": [{"type": "tool_use"}, 7, {"type": "text", "text": 1}]}}),
            json!({"type": "user", "message": {"content": [{"type": "tool_result"}]}}),
        ];
        assert!(
            matches!(&said(&lines)[..], [AgentUpdate::Notice(notice)] if notice.code == NoticeCode::AgentOddity)
        );
    }
}
