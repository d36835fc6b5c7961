//! What a turn remembers of the agent's stream: open tool calls, open permissions, how much was stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    agent::{
        AgentCommand, AgentSettings, AgentUpdate, Answer, Notice, NoticeCode, PermissionRequest, ToolCall,
        ToolCallPatch, ToolStatus,
    },
    frame::{FrameBody, push_merged},
    permission::{self, PermissionRule},
    task::PermissionPolicy,
};

/// What a turn remembers of the agent's stream. What an update costs does not depend on how many came before.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stream {
    tools: BTreeMap<String, ToolCall>,
    /// How many of the tool calls are open.
    open_tools: usize,
    /// The ids of the open requests for leave.
    asking: BTreeSet<String>,
    commands: Vec<AgentCommand>,
    settings: AgentSettings,
    stored: u64,
    heard: bool,
    has_text: bool,
}

/// What a batch of updates comes to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What is to be appended.
    pub(super) frames: Vec<FrameBody>,
    /// Requests that are answered by policy.
    pub(super) answers: Vec<(String, Answer)>,
}

/// How a turn's permission requests are answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave<'a> {
    /// By what policy.
    pub(super) policy: PermissionPolicy,
    /// The rules of [`PermissionPolicy::Auto`].
    pub(super) rules: &'a [PermissionRule],
    /// How long a user is waited for.
    pub(super) patience: Duration,
}

impl Stream {
    pub(super) fn new(commands: Vec<AgentCommand>) -> Self {
        Self { commands, ..Self::default() }
    }

    /// Turns a batch of updates into frames, neighbouring text merged.
    pub(super) fn take(&mut self, batch: Vec<AgentUpdate>, leave: Leave<'_>) -> Taken {
        let mut taken = Taken::default();
        self.heard |= !batch.is_empty();
        for update in batch {
            self.take_one(update, leave, &mut taken);
        }
        self.stored += taken.frames.iter().map(|frame| frame.weight() as u64).sum::<u64>();
        taken
    }

    fn take_one(&mut self, update: AgentUpdate, leave: Leave<'_>, taken: &mut Taken) {
        let frames = &mut taken.frames;
        match update {
            AgentUpdate::Text(content) if content.is_empty() => {}
            AgentUpdate::Text(content) => {
                self.has_text = true;
                push_merged(frames, FrameBody::delta(content));
            }
            AgentUpdate::Reasoning(content) if content.is_empty() => {}
            AgentUpdate::Reasoning(content) => push_merged(frames, FrameBody::ReasoningDelta { content }),
            AgentUpdate::ToolCall(patch) => {
                push_merged(frames, FrameBody::ToolCall { tool_call: self.patch_tool(patch) });
            }
            AgentUpdate::Plan(entries) => frames.push(FrameBody::Plan { entries }),
            AgentUpdate::Usage(usage) => frames.push(FrameBody::Usage { usage }),
            AgentUpdate::Commands(commands) => frames.extend(self.new_commands(commands)),
            AgentUpdate::Settings(settings) => frames.extend(self.new_settings(settings)),
            AgentUpdate::Notice(Notice { code, text }) => frames.push(FrameBody::Notice { code, text }),
            // The driver keeps it; it is no frame.
            AgentUpdate::Conversation(_) => {}
            AgentUpdate::Permission(request) => self.ask(request, leave, taken),
            AgentUpdate::PermissionWithdrawn(id) if self.resolve(&id) => {
                frames.push(FrameBody::PermissionResolved { id, answer: Answer::Cancelled });
            }
            AgentUpdate::PermissionWithdrawn(_) => {}
        }
    }

    /// The call as it stands then.
    fn patch_tool(&mut self, patch: ToolCallPatch) -> ToolCall {
        let call = match self.tools.remove(&patch.id) {
            Some(mut call) => {
                self.open_tools -= usize::from(!call.status.is_terminal());
                call.apply(patch);
                call
            }
            None => ToolCall::begin(patch),
        };
        self.open_tools += usize::from(!call.status.is_terminal());
        self.tools.insert(call.id.clone(), call.clone());
        call
    }

    /// A non-empty list that differs from the one known replaces it (SPEC T7).
    pub(super) fn new_commands(&mut self, commands: Vec<AgentCommand>) -> Option<FrameBody> {
        if commands.is_empty() || commands == self.commands {
            return None;
        }
        self.commands.clone_from(&commands);
        Some(FrameBody::AgentCommands { commands })
    }

    /// What is told of choices replaces what was known, where it differs.
    pub(super) fn new_settings(&mut self, settings: AgentSettings) -> Option<FrameBody> {
        if settings.is_empty() || settings == self.settings {
            return None;
        }
        self.settings.clone_from(&settings);
        Some(FrameBody::AgentSettings { settings })
    }

    fn ask(&mut self, request: PermissionRequest, leave: Leave<'_>, taken: &mut Taken) {
        if self.asking.contains(&request.id) {
            return;
        }
        let id = request.id.clone();
        let by_policy = permission::decide(leave.policy, leave.rules, &request);
        let waits_s = by_policy.is_none().then_some(leave.patience.as_secs());
        taken.frames.push(FrameBody::PermissionRequest { request: request.clone(), waits_s });
        let Some(answer) = by_policy else {
            self.asking.insert(id);
            return;
        };
        // Only an option "always" that allows is on offer: that is not ours to choose (SPEC 8).
        let answer = if answer == Answer::Allow && request.option_for(answer).is_none() {
            let text = "the agent offers no way to allow this once only: refused".to_owned();
            taken.frames.push(FrameBody::Notice { code: NoticeCode::PermissionByPolicy, text });
            Answer::Deny
        } else {
            answer
        };
        taken.frames.push(FrameBody::PermissionResolved { id: id.clone(), answer });
        taken.answers.push((id, answer));
    }

    /// Takes a request off the list of open ones; `false` when it was not on it.
    pub(super) fn resolve(&mut self, id: &str) -> bool {
        self.asking.remove(id)
    }

    /// Takes all open requests off the list.
    pub(super) fn resolve_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asking).into_iter().collect()
    }

    /// Closes the tool calls that the agent left open, as some agents do (wire trap 7).
    pub(super) fn close_tools(&mut self) -> Vec<FrameBody> {
        let close = |call: &mut ToolCall| {
            call.status = ToolStatus::Cancelled;
            FrameBody::ToolCall { tool_call: call.clone() }
        };
        self.open_tools = 0;
        self.tools.values_mut().filter(|call| !call.status.is_terminal()).map(close).collect()
    }

    pub(super) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    pub(super) const fn has_open_tool(&self) -> bool {
        self.open_tools > 0
    }

    /// Bytes stored of this turn so far.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether the agent said anything in its protocol.
    pub(super) const fn heard(&self) -> bool {
        self.heard
    }

    /// Whether any text of an answer came.
    pub(super) const fn has_text(&self) -> bool {
        self.has_text
    }
}
