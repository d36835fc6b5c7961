//! From the agent's end to the turn's: letting go, computing the change, recording, giving back.

use std::time::Duration;

use super::{Turn, Verdict, Workspace};
use crate::{
    frame::{AgentStatus, StatusReason},
    ports::{Close, Collected, Release},
    turn::{
        effect::{Effect, Effects},
        outcome::{Outcome, OutcomeChange},
        phase::Phase,
        timer::Timer,
    },
};

/// How long letting an agent go may take before the turn goes on without its word. The supervisor kills
/// a tree in milliseconds; this is for a machine in trouble.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

impl Turn {
    /// Lets the agent go, if there is one, and then does what `verdict` says.
    pub(super) fn let_go(&mut self, verdict: Verdict, how: Close) -> Effects {
        self.verdict = Some(verdict);
        let mut effects = vec![];
        if matches!(self.phase, Phase::Stopping { .. }) {
            effects.push(Effect::Disarm(Timer::Stop));
            if self.verdict != Some(Verdict::Abandon) {
                effects.extend(self.closing_frames());
            }
        }
        if self.phase == Phase::Starting {
            effects.push(Effect::Disarm(Timer::Start));
        }
        if !self.session_opened {
            effects.extend(self.after_agent());
            return effects;
        }
        if self.phase != Phase::Closing {
            self.phase = Phase::Closing;
            effects.extend([Effect::CloseSession(how), Effect::Arm(Timer::Close, CLOSE_LIMIT)]);
        }
        effects
    }

    fn closing_frames(&mut self) -> Option<Effect> {
        let frames = self.stream.close_tools();
        (!frames.is_empty()).then_some(Effect::Append(frames))
    }

    pub(super) fn after_agent(&mut self) -> Effects {
        let mut effects = vec![];
        if self.session_opened {
            self.session_opened = false;
            effects.push(Effect::Disarm(Timer::Close));
        }
        let Some(verdict) = self.verdict.take() else { return effects };
        effects.extend(match verdict {
            Verdict::End(outcome) if outcome.queues_change() && self.workspace == Workspace::Ready => {
                self.verdict = Some(Verdict::End(outcome));
                self.phase = Phase::Collecting;
                vec![Effect::CollectChange, Effect::Arm(Timer::Collect, self.plan.limits.collect)]
            }
            Verdict::End(outcome) => self.settle(*outcome),
            Verdict::Requeue => {
                self.phase = Phase::Requeueing;
                let idle = self.status(AgentStatus::Idle, StatusReason::Shutdown);
                vec![Effect::Requeue(if self.message_begun { vec![idle] } else { vec![] })]
            }
            Verdict::Abandon => self.release(Release::Keep),
        });
        effects
    }

    pub(super) fn collected(&mut self, collected: Collected) -> Effects {
        let mut effects = vec![Effect::Disarm(Timer::Collect)];
        if let Some(Verdict::End(mut outcome)) = self.verdict.take() {
            // A worktree that is the task's alone may hold what an interrupted attempt did: that is queued with
            // what the resumed one ends with, whether or not it did more (SPEC 4).
            let is_shared = self.plan.worktree == Some(Release::Keep);
            outcome.change = match collected.draft {
                // A turn that changed nothing leaves its session's pending change as it was (SPEC R1); a resumed one
                // answers for what the attempt before it did, too.
                _ if is_shared
                    && !self.plan.resumed
                    && self.tree_before.as_ref() == Some(&collected.after.tree) =>
                {
                    OutcomeChange::Leave
                }
                Some(draft) => OutcomeChange::Changed(Box::new(draft)),
                None => OutcomeChange::BackAtBase,
            };
            effects.extend(self.settle(*outcome));
        }
        effects
    }

    pub(super) fn diff_failed(&mut self, text: &str) -> Effects {
        let mut effects = vec![Effect::Disarm(Timer::Collect)];
        if let Some(Verdict::End(outcome)) = self.verdict.take() {
            self.undiffed = true;
            effects.extend(self.settle(outcome.without_diff(text)));
        }
        effects
    }

    pub(super) fn settle(&mut self, outcome: Outcome) -> Effects {
        self.phase = Phase::Settling;
        vec![Effect::Settle(Box::new(Outcome { usage: self.usage.clone(), ..outcome }))]
    }

    pub(super) fn worktree_goes(&self) -> Release {
        // A worktree that alone holds what the turn changed stays (SPEC T14).
        self.plan.worktree.filter(|_| !self.undiffed).unwrap_or(Release::Keep)
    }

    pub(super) fn release(&mut self, how: Release) -> Effects {
        self.plan.worktree = Some(how);
        self.phase = Phase::Releasing;
        match self.workspace {
            Workspace::Ready | Workspace::Failed => vec![Effect::ReleaseWorkspace(how)],
            Workspace::Preparing => vec![],
            Workspace::None => {
                self.phase = Phase::Done;
                vec![]
            }
        }
    }

    pub(super) fn workspace_came_late(&mut self, now: Workspace) -> Effects {
        self.workspace = now;
        vec![]
    }
}
