//! The loop: the model answers, its tools are run, until it has no more to ask for.

use std::sync::Arc;

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, Notice, NoticeCode, Usage};
use dispatch_core::task::TerminalReason;
use serde_json::{Value, json};

use super::budget::Budget;
use super::client::{Answer, AnswerLimits, Api, Fault, Finish, Reading, Shown, pause};
use super::control::Link;
use super::conversation::{Conversation, Round};
use super::outbox::Outbox;
use super::settings::NativeLimits;
use super::totals::Totals;
use crate::common::oddities::Oddities;
use crate::common::words;

/// One turn of our own loop.
pub(super) struct Turn {
    pub(super) api: Api,
    pub(super) link: Arc<Link>,
    pub(super) outbox: Outbox,
    pub(super) conversation: Conversation,
    pub(super) system: String,
    pub(super) model: String,
    /// `reasoning_effort`.
    pub(super) thinking: Option<String>,
    /// The tools, as the model is told of them; `None` where it has none.
    pub(super) tools: Option<Value>,
    pub(super) budget: Budget,
    pub(super) limits: NativeLimits,
    pub(super) totals: Totals,
    pub(super) oddities: Oddities,
    /// Whether the service is asked to count tokens; not every one knows what that is.
    pub(super) asks_for_usage: bool,
    /// How many calls of tools there were, which their ids count.
    pub(super) calls: u64,
}

impl Turn {
    /// Runs until the model is done, or something is in the way.
    pub(super) async fn run(&mut self) -> EndedHow {
        let failed = |reason, text: String| EndedHow::Failed(Failure::new(reason, text));
        if self.conversation.left_out > 0 {
            let left_out = self.conversation.left_out;
            self.notice(
                NoticeCode::ContextShortened,
                format!("the oldest {left_out} exchanges of this chat are not told"),
            )
            .await;
        }
        for _ in 0..self.limits.rounds {
            let answer = match self.answer().await {
                Ok(answer) => answer,
                Err(how) => return how,
            };
            match answer.finish {
                Some(Finish::Length) => {
                    let text = "the agent stopped at the model's output limit (finish_reason: length)";
                    return failed(TerminalReason::AgentFailed, text.to_owned());
                }
                Some(Finish::Filtered) => {
                    return failed(TerminalReason::ModelRefused, "the model refused to answer".to_owned());
                }
                Some(Finish::Done) | None => {}
            }
            if answer.calls.is_empty() {
                return EndedHow::Completed;
            }
            let mut round = Round { text: answer.text, calls: Vec::new() };
            for call in answer.calls {
                round.calls.push(self.call(call).await);
            }
            self.conversation.answered(round);
        }
        let text = format!("the agent stopped at its limit of {} model calls in a turn", self.limits.rounds);
        failed(TerminalReason::AgentFailed, text)
    }

    /// One answer of the model. The request is made again while the service has no time for it, and once with a
    /// shorter conversation when that was too long; but never when something of its answer was shown.
    async fn answer(&mut self) -> Result<Answer, EndedHow> {
        self.fit().await?;
        let (mut retries, mut is_shortened) = (0, false);
        loop {
            let mut reading = Reading::default();
            let result = self.ask(&mut reading).await;
            for _ in 0..reading.unreadable {
                self.oddities.add("events that are not JSON");
            }
            let fault = match result {
                Ok(()) => {
                    self.count(&reading.answer).await;
                    return Ok(reading.answer);
                }
                Err(fault) => fault,
            };
            self.take_back_calls(&reading.answer).await;
            // What it has used counts, although nothing came of it.
            self.totals.add(&reading.answer.usage);
            if reading.is_shown {
                return Err(fault.end());
            }
            if fault.is_too_long() && !is_shortened {
                is_shortened = true;
                if self.shorten_after(&fault).await {
                    continue;
                }
                return Err(fault.end());
            }
            if self.do_without(&fault).await {
                continue;
            }
            if retries == self.limits.retries || !fault.is_passing() {
                return Err(fault.end());
            }
            self.wait(fault, retries).await?;
            retries += 1;
        }
    }

    async fn ask(&self, reading: &mut Reading) -> Result<(), Fault> {
        let body = self.body();
        let limits = AnswerLimits { bytes: self.limits.answer_bytes };
        let show = |shown| {
            let update = match shown {
                Shown::Text(text) => AgentUpdate::Text(text),
                Shown::Reasoning(text) => AgentUpdate::Reasoning(text),
                Shown::Call { at, name } => AgentUpdate::ToolCall(self.begun_call(at, &name)),
            };
            self.outbox.send(update)
        };
        self.api.chat(body, limits, reading, show).await
    }

    fn body(&self) -> Vec<u8> {
        let mut body = json!({
            "model": self.model,
            "messages": self.conversation.messages(&self.system),
            "stream": true,
        });
        if self.asks_for_usage {
            body["stream_options"] = json!({ "include_usage": true });
        }
        if let Some(tools) = &self.tools {
            body["tools"] = tools.clone();
        }
        if let Some(thinking) = &self.thinking {
            body["reasoning_effort"] = Value::from(thinking.as_str());
        }
        body.to_string().into_bytes()
    }

    /// Bytes of the request, as the budget counts them.
    fn bytes(&self) -> usize {
        let tools = self.tools.as_ref().map_or(0, |tools| tools.to_string().len());
        self.conversation.bytes() + self.system.len() + tools
    }

    /// Shortens a conversation that is known not to fit.
    async fn fit(&mut self) -> Result<(), EndedHow> {
        if self.bytes() > self.budget.bytes() {
            self.shorten(self.budget.target()).await;
        }
        let bytes = self.bytes();
        if bytes <= self.limits.conversation_bytes.max(self.system.len() + (64 << 10)) {
            return Ok(());
        }
        let text = format!("the conversation has {bytes} bytes, and cannot be shortened further");
        Err(EndedHow::Failed(Failure::new(TerminalReason::ContextTooLong, text)))
    }

    /// Shortens to about so many bytes; `false` where there is nothing to shorten.
    async fn shorten(&mut self, target: usize) -> bool {
        let rest = self.bytes() - self.conversation.bytes();
        let shortened = self.conversation.shorten(target.saturating_sub(rest));
        if shortened.is_nothing() {
            return false;
        }
        let counted = if self.budget.is_counted { "" } else { " (tokens are estimated)" };
        let text = format!(
            "to fit the model's context, {} results of tools were shortened and {} exchanges left out{counted}",
            shortened.results, shortened.exchanges
        );
        self.notice(NoticeCode::ContextShortened, text).await;
        true
    }

    /// The service says that the conversation is too long, and knows better than we do.
    async fn shorten_after(&mut self, fault: &Fault) -> bool {
        if self.budget.size.is_none() {
            self.budget.size = fault.context_size;
        }
        let half = self.bytes() / 2;
        self.shorten(self.budget.target().min(half)).await
    }

    /// Leaves out what the service does not know; `false` where that is not what it refuses.
    async fn do_without(&mut self, fault: &Fault) -> bool {
        if self.asks_for_usage && fault.refuses("stream_options") {
            self.asks_for_usage = false;
            return true;
        }
        if self.thinking.is_some() && (fault.refuses("reasoning_effort") || fault.refuses("think")) {
            self.thinking = None;
            self.notice(
                NoticeCode::OptionIgnored,
                format!("the model has no thinking option: {}", fault.text),
            )
            .await;
            return true;
        }
        // ollama, of models that were not made for it.
        if self.tools.is_some() && fault.refuses("does not support tools") {
            self.tools = None;
            self.notice(NoticeCode::OptionIgnored, format!("the model cannot use tools: {}", fault.text))
                .await;
            return true;
        }
        false
    }

    async fn wait(&self, fault: Fault, retry: u32) -> Result<(), EndedHow> {
        let asked = fault.retry_after;
        if let Some(asked) = asked.filter(|asked| *asked > self.limits.longest_pause) {
            let asked = words::time(asked);
            return Err(fault.reworded(|text| format!("{text} (it asks us to wait {asked})")).end());
        }
        let pause = asked
            .unwrap_or_default()
            .max(pause(self.limits.first_pause, retry))
            .min(self.limits.longest_pause);
        let text = format!(
            "the model's service did not answer; asking again in {}: {}",
            words::time(pause),
            fault.text
        );
        self.notice(NoticeCode::RequestRepeated, text).await;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Counts an answer's tokens, and tells of them.
    async fn count(&mut self, answer: &Answer) {
        let bytes = self.bytes();
        if let Some(tokens) = answer.usage.input_tokens {
            self.budget.count(bytes, tokens);
        } else {
            self.oddities.add("answers without a count of tokens, which are estimated for the context");
        }
        self.totals.add(&answer.usage);
        let read = answer.usage.input_tokens.unwrap_or_else(|| self.budget.tokens(bytes));
        let written = answer.usage.output_tokens.unwrap_or_else(|| self.budget.tokens(answer.bytes()));
        self.totals.context(read.saturating_add(written), self.budget.size);
        self.outbox.send(AgentUpdate::Usage(self.usage())).await;
    }

    /// What the turn has used so far.
    pub(super) fn usage(&self) -> Usage {
        self.totals.usage()
    }

    pub(super) async fn notice(&self, code: NoticeCode, text: String) {
        self.outbox.send(AgentUpdate::Notice(Notice { code, text })).await;
    }
}
