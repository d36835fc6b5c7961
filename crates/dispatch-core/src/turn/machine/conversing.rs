//! While the agent works: its news, its questions, and stopping it.

use std::time::Duration;

use super::{Turn, TurnPlan, Verdict};
use crate::{
    agent::{AgentUpdate, Answer, End, EndedHow, NoticeCode, Printed},
    frame::{AgentStatus, FrameBody, StatusReason},
    ports::Close,
    profile::Life,
    task::PermissionPolicy,
    turn::{
        effect::{Effect, Effects},
        event::Why,
        outcome::Outcome,
        phase::Phase,
        running::{Leave, Taken},
        timer::Timer,
    },
};

impl Turn {
    pub(super) fn updates(&mut self, batch: Vec<AgentUpdate>) -> Effects {
        let patience = self.patience();
        let was_asking = self.stream.is_asking();
        let Taken { mut frames, answers } = self.take(batch, self.plan.permissions);
        let timer = match (was_asking, self.stream.is_asking()) {
            (false, true) => {
                frames.push(self.status(AgentStatus::Waiting, StatusReason::Permission));
                Some(Effect::Arm(Timer::Permission, self.plan.limits.permission))
            }
            // It has taken back what it asked.
            (true, false) => {
                frames.push(self.status(AgentStatus::Working, StatusReason::TurnStart));
                Some(Effect::Disarm(Timer::Permission))
            }
            _ => None,
        };
        let mut effects = Vec::with_capacity(2);
        if !frames.is_empty() {
            effects.push(Effect::Append(frames));
        }
        effects.extend(answers.into_iter().map(|(id, answer)| Effect::Answer(id, answer)));
        effects.extend(timer);
        if self.stream.stored() > self.plan.limits.output_bytes {
            effects.extend(self.stop(Why::OutputLimit));
            return effects;
        }
        effects.extend(self.patience_changed(patience));
        effects
    }

    fn take(&mut self, batch: Vec<AgentUpdate>, policy: PermissionPolicy) -> Taken {
        let TurnPlan { rules, limits, .. } = &self.plan;
        self.stream.take(batch, Leave { policy, rules, patience: limits.permission })
    }

    /// How long silence is borne now; not at all while a permission is open, which has a limit of its own.
    fn patience(&self) -> Option<Duration> {
        if self.stream.is_asking() {
            None
        } else if self.stream.has_open_tool() {
            Some(self.plan.limits.tool_silence)
        } else {
            Some(self.plan.limits.silence)
        }
    }

    fn patience_changed(&self, before: Option<Duration>) -> Option<Effect> {
        match self.patience() {
            now if now == before => None,
            Some(limit) => Some(Effect::Arm(Timer::Silence, limit)),
            None => Some(Effect::Disarm(Timer::Silence)),
        }
    }

    pub(super) fn answered(&mut self, id: String, answer: Answer) -> Effects {
        let patience = self.patience();
        if !self.stream.resolve(&id) {
            return vec![];
        }
        let mut frames = vec![FrameBody::PermissionResolved { id: id.clone(), answer }];
        let mut effects = vec![Effect::Answer(id, answer)];
        if !self.stream.is_asking() {
            frames.push(self.status(AgentStatus::Working, StatusReason::TurnStart));
            effects.push(Effect::Disarm(Timer::Permission));
        }
        effects.push(Effect::Append(frames));
        effects.extend(self.patience_changed(patience));
        effects
    }

    pub(super) fn permissions_lapsed(&mut self) -> Effects {
        let patience = self.patience();
        let open = self.stream.resolve_all();
        let limit = self.plan.limits.permission;
        let mut frames = resolved(&open, Answer::Lapsed);
        frames.push(FrameBody::Notice {
            code: NoticeCode::PermissionByPolicy,
            text: format!("nobody answered within {limit:?}: denied"),
        });
        frames.push(self.status(AgentStatus::Working, StatusReason::TurnStart));
        let mut effects: Effects = open.into_iter().map(|id| Effect::Answer(id, Answer::Lapsed)).collect();
        effects.push(Effect::Append(frames));
        effects.extend(self.patience_changed(patience));
        effects
    }

    pub(super) fn stop(&mut self, why: Why) -> Effects {
        let mut effects = vec![Effect::Disarm(Timer::Silence), Effect::Disarm(Timer::Permission)];
        effects.extend(self.cancel_permissions());
        effects.extend(self.climb(why, 0));
        effects
    }

    /// Answers every open request, as ACP wants it: some agents never end the turn otherwise (wire trap 1).
    fn cancel_permissions(&mut self) -> Effects {
        let open = self.stream.resolve_all();
        if open.is_empty() {
            return vec![];
        }
        let mut effects = vec![Effect::Append(resolved(&open, Answer::Cancelled))];
        effects.extend(open.into_iter().map(|id| Effect::Answer(id, Answer::Cancelled)));
        effects
    }

    pub(super) fn climb(&mut self, why: Why, rung: usize) -> Effects {
        match self.plan.profile.stop.get(rung) {
            Some(&(stop, patience)) => {
                self.phase = Phase::Stopping { why, rung };
                let mut effects = vec![Effect::Interrupt(stop), Effect::Arm(Timer::Stop, patience)];
                effects.extend(self.recycling(rung));
                effects
            }
            None => self.let_go(Verdict::end(Outcome::of_stop(why)), Close::Kill),
        }
    }

    /// What is said when a warm agent did not do as it was asked (SPEC S4): its process is replaced, at once where it is
    /// this conversation's alone, else when the other turns on it have ended.
    fn recycling(&self, rung: usize) -> Option<Effect> {
        if rung != 1 || self.plan.profile.life != Life::Warm {
            return None;
        }
        let text = format!(
            "{} did not stop when it was asked: this turn is cut off, and the next one gets another process",
            self.plan.agent
        );
        Some(Effect::Append(vec![FrameBody::Notice { code: NoticeCode::BackendRecycled, text }]))
    }

    pub(super) fn updates_while_stopping(&mut self, mut batch: Vec<AgentUpdate>) -> Effects {
        if self.stream.stored() > self.plan.limits.output_bytes {
            // A request without an answer can keep an agent from ending (wire trap 1).
            batch.retain(|update| matches!(update, AgentUpdate::Permission(_)));
        }
        let Taken { frames, .. } = self.take(batch, PermissionPolicy::Ask);
        let mut effects = if frames.is_empty() { vec![] } else { vec![Effect::Append(frames)] };
        effects.extend(self.cancel_permissions());
        effects
    }

    pub(super) fn ended(&mut self, end: End) -> Effects {
        let End { how, usage, printed } = end;
        let close = if matches!(how, EndedHow::Crashed(_)) { Close::Kill } else { Close::Return };
        let mut outcome = Outcome::of_agent(how);
        self.usage = usage;
        let mut effects = vec![Effect::Disarm(Timer::Silence), Effect::Disarm(Timer::Permission)];
        let mut frames = self.stream.close_tools();
        frames.extend(resolved(&self.stream.resolve_all(), Answer::Cancelled));
        frames.extend(self.stand_in(printed, &mut outcome));
        if !frames.is_empty() {
            effects.push(Effect::Append(frames));
        }
        effects.extend(self.let_go(Verdict::end(outcome), close));
        effects
    }

    /// What is shown where there is no text (SPEC T11).
    fn stand_in(&self, printed: Printed, outcome: &mut Outcome) -> Option<FrameBody> {
        let Printed { stdout, stderr } = printed;
        let printed_or = |first: String, second: String, none: &str| {
            [first, second]
                .into_iter()
                .find(|text| !text.trim().is_empty())
                .unwrap_or_else(|| none.to_owned())
        };
        if !self.stream.heard() {
            let content = printed_or(stdout, stderr, "(no output)");
            return Some(FrameBody::Delta { content, placeholder: true });
        }
        if !self.stream.has_text() {
            outcome.stand_in = Some(printed_or(stderr, String::new(), "(no text output)"));
        }
        None
    }

    pub(super) fn stopped(&mut self, why: Why, end: End) -> Effects {
        let close = if matches!(end.how, EndedHow::Crashed(_)) { Close::Kill } else { Close::Return };
        self.usage = end.usage;
        self.let_go(Verdict::end(Outcome::of_stop(why)), close)
    }
}

fn resolved(ids: &[String], answer: Answer) -> Vec<FrameBody> {
    ids.iter().map(|id| FrameBody::PermissionResolved { id: id.clone(), answer }).collect()
}
