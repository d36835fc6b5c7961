//! A model of an agent: it says anything, ends in any way, and obeys a Stop or not.

use dispatch_core::{
    agent::{
        AgentCommand, AgentUpdate, Answer, Cost, End, EndedHow, Failure, Notice, NoticeCode, OptionKind,
        PermissionOption, PermissionRequest, PlanEntry, Printed, ToolCall, ToolCallPatch, ToolStatus, Usage,
    },
    profile::Stop,
    task::TerminalReason,
    turn::Event,
};

use super::choices::Choices;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It gets ready, or is ready.
    Idle,
    /// It works on a prompt.
    Working,
    /// Its turn ended.
    Ended,
    /// It is kept for the next turn.
    Pooled,
    /// Its process is gone.
    Gone,
}

pub(super) struct Agent {
    pub(super) node: usize,
    pub(super) session: usize,
    pub(super) warm: bool,
    pub(super) life: Life,
    /// How many rungs of the ladder it ignores.
    stubborn: usize,
    /// Whether it does nothing until it is stopped.
    hangs: bool,
    /// Whether a Stop reached it that it obeys.
    obeys: bool,
    pub(super) rungs: Vec<Stop>,
    /// Requests that it waits for.
    pub(super) waits_for: Vec<String>,
    pub(super) answers: Vec<(String, Answer)>,
    tools: usize,
    requests: usize,
    says: usize,
}

impl Agent {
    pub(super) fn new(node: usize, session: usize, warm: bool, choices: &mut Choices) -> Self {
        let mut agent = Self {
            node,
            session,
            warm,
            life: Life::Idle,
            stubborn: 0,
            hangs: false,
            obeys: false,
            rungs: vec![],
            waits_for: vec![],
            answers: vec![],
            tools: 0,
            requests: 0,
            says: 0,
        };
        agent.begin_turn(choices);
        agent
    }

    /// Forgets the last turn, as a warm agent does.
    pub(super) fn begin_turn(&mut self, choices: &mut Choices) {
        self.life = Life::Idle;
        self.stubborn = choices.of(&[0, 0, 0, 1, 2, 3]);
        self.hangs = choices.chance(10);
        self.obeys = false;
        self.rungs.clear();
        self.waits_for.clear();
        self.answers.clear();
    }

    pub(super) fn runs(&self) -> bool {
        self.life != Life::Gone
    }

    /// Whether it does something without being asked to.
    pub(super) fn acts(&self) -> bool {
        match self.life {
            Life::Working => self.obeys || (!self.hangs && self.waits_for.is_empty()),
            // What was under way when the turn ended is still told.
            Life::Ended => self.says % 8 == 3,
            _ => false,
        }
    }

    pub(super) fn hears(&mut self, rung: Stop) -> Option<Event> {
        self.rungs.push(rung);
        if self.life != Life::Working {
            return None;
        }
        if rung == Stop::Kill {
            self.life = Life::Gone;
            return Some(Event::Ended(End::new(EndedHow::Crashed(failure(TerminalReason::AgentCrashed)))));
        }
        self.obeys |= self.rungs.len() > self.stubborn;
        None
    }

    pub(super) fn answered(&mut self, id: String, answer: Answer) {
        self.waits_for.retain(|open| *open != id);
        self.answers.push((id, answer));
    }

    /// Does something; `calm` agents soon complete. Returns what it tells, and whether it edited a file.
    pub(super) fn act(&mut self, choices: &mut Choices, calm: bool) -> (Event, bool) {
        self.says += 1;
        if self.life == Life::Ended {
            return (Event::Updates(vec![AgentUpdate::Text("late".into())]), false);
        }
        if self.obeys || calm || !choices.chance(78) {
            return (Event::Ended(self.end(choices)), false);
        }
        let batch = (0..=choices.below(2)).map(|_| self.news(choices)).collect();
        (Event::Updates(batch), choices.chance(30))
    }

    fn end(&mut self, choices: &mut Choices) -> End {
        self.life = Life::Ended;
        let how = match choices.below(7) {
            0..=2 if !self.obeys => EndedHow::Completed,
            3 => EndedHow::Completed,
            4 => EndedHow::Failed(failure(TerminalReason::AgentFailed)),
            5 => {
                self.life = Life::Gone;
                EndedHow::Crashed(failure(TerminalReason::AgentCrashed))
            }
            _ => EndedHow::Cancelled,
        };
        let usage = Usage {
            total_tokens: Some(100 + self.says as u64),
            cost: choices.chance(50).then(|| Cost { amount: 0.5, currency: "USD".into() }),
            ..Usage::default()
        };
        let text = |is: bool, what: &str| if is { what.to_owned() } else { String::new() };
        let printed = Printed {
            stdout: text(choices.chance(30), "stdout"),
            stderr: text(choices.chance(30), "stderr"),
        };
        End { how, usage, printed }
    }

    fn news(&mut self, choices: &mut Choices) -> AgentUpdate {
        self.says += 1;
        let name = self.says.to_string();
        match choices.below(12) {
            0..=3 => AgentUpdate::Text(format!("<{name}>")),
            4 => AgentUpdate::Reasoning(format!("({name})")),
            5 => {
                self.tools += 1;
                AgentUpdate::ToolCall(patch(self.tools, ToolStatus::InProgress))
            }
            6 => AgentUpdate::ToolCall(patch(self.tools, ToolStatus::Completed)),
            7 => AgentUpdate::Plan(vec![PlanEntry {
                content: name,
                status: "pending".into(),
                priority: String::new(),
            }]),
            8 => AgentUpdate::Usage(Usage { total_tokens: Some(self.says as u64), ..Usage::default() }),
            9 => AgentUpdate::Commands(vec![AgentCommand { name, description: String::new(), hint: None }]),
            10 => AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text: name }),
            _ => AgentUpdate::Permission(self.ask()),
        }
    }

    fn ask(&mut self) -> PermissionRequest {
        self.requests += 1;
        let id = format!("ask-{}", self.requests);
        self.waits_for.push(id.clone());
        let option = |kind, id: &str| PermissionOption { id: id.into(), name: id.into(), kind };
        PermissionRequest {
            id,
            tool_call: ToolCall::default(),
            options: vec![option(OptionKind::AllowOnce, "yes"), option(OptionKind::RejectOnce, "no")],
            paths: vec![],
        }
    }
}

fn patch(id: usize, status: ToolStatus) -> ToolCallPatch {
    ToolCallPatch { id: id.to_string(), status: Some(status), ..ToolCallPatch::default() }
}

pub(super) fn failure(reason: TerminalReason) -> Failure {
    Failure::new(reason, "the model's own words")
}
