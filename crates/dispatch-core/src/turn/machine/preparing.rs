//! From the claim to the prompt: worktree, message, checkpoint, agent.

use super::{Asked, Turn, Verdict, Workspace};
use crate::{
    agent::{Failure, Notice, NoticeCode},
    conversation::Role,
    frame::{AgentStatus, FrameBody, StatusReason},
    ports::{Close, SessionInfo, WriteAnswer},
    profile::Stop,
    task::TerminalReason,
    turn::{
        effect::{Effect, Effects},
        event::Why,
        outcome::Outcome,
        phase::Phase,
        timer::Timer,
    },
};

impl Turn {
    pub(super) fn ask(&mut self, asked: Asked) -> Effects {
        // A user's Stop outranks everything; the first word stands otherwise.
        if self.asked.is_none() || asked == Asked::Stop(Why::User) {
            self.asked = Some(asked);
        }
        vec![]
    }

    fn asked_verdict(&mut self) -> Option<Verdict> {
        self.asked.take().map(|asked| match asked {
            Asked::Stop(why) => Verdict::end(Outcome::of_stop(why)),
            Asked::Requeue => Verdict::Requeue,
        })
    }

    pub(super) fn abort_workspace_call(&mut self, verdict: Verdict) -> Effects {
        let mut effects = vec![Effect::CancelWorkspaceCall];
        effects.extend(self.let_go(verdict, Close::Kill));
        effects
    }

    /// Lets go of everything without writing anything more.
    pub(super) fn abandon(&mut self) -> Effects {
        let mut effects = match self.phase {
            Phase::Preparing | Phase::Snapshotting | Phase::Collecting => vec![Effect::CancelWorkspaceCall],
            Phase::Closing => vec![Effect::Interrupt(Stop::Kill)],
            _ => vec![],
        };
        effects.extend(self.let_go(Verdict::Abandon, Close::Kill));
        effects
    }

    pub(super) fn message_begun(&mut self, answer: WriteAnswer) -> Effects {
        match answer {
            WriteAnswer::Fenced => return self.let_go(Verdict::Abandon, Close::Kill),
            WriteAnswer::StopFirst => {
                return self.let_go(Verdict::end(Outcome::of_stop(Why::User)), Close::Kill);
            }
            WriteAnswer::Done => self.message_begun = true,
        }
        if let Some(verdict) = self.asked_verdict() {
            return self.let_go(verdict, Close::Kill);
        }
        if self.workspace == Workspace::Ready {
            self.phase = Phase::Snapshotting;
            return vec![Effect::Checkpoint];
        }
        self.start_agent(vec![])
    }

    pub(super) fn snapshotted(&mut self, taken: Result<String, String>) -> Effects {
        match taken {
            Ok(tree) => {
                self.tree_before = Some(tree);
                self.start_agent(vec![])
            }
            Err(why) => {
                let text = format!("this turn has no checkpoint to go back to: {why}");
                self.start_agent(vec![Notice { code: NoticeCode::NoCheckpoint, text }])
            }
        }
    }

    fn start_agent(&mut self, notices: Vec<Notice>) -> Effects {
        let mut frames = vec![
            FrameBody::MessageStarted { role: Role::Assistant },
            self.status(AgentStatus::Working, StatusReason::TurnStart),
        ];
        let commands = self.plan.commands.clone();
        if !commands.is_empty() {
            frames.push(FrameBody::AgentCommands { commands });
        }
        frames.extend(self.plan.notices.drain(..).chain(notices).map(notice_frame));
        self.phase = Phase::Starting;
        self.session_opened = true;
        vec![Effect::Append(frames), Effect::Arm(Timer::Start, self.plan.limits.start), Effect::OpenSession]
    }

    pub(super) fn start_too_slow(&self) -> Outcome {
        let limit = self.plan.limits.start;
        let text = format!("{} did not get ready within {limit:?}", self.plan.agent);
        Outcome::failed(Failure::new(TerminalReason::CouldNotStart, text))
    }

    pub(super) fn session_ready(&mut self, info: SessionInfo) -> Effects {
        let mut frames: Vec<_> = info.notices.into_iter().map(notice_frame).collect();
        frames.extend(self.stream.new_commands(info.commands));
        frames.extend(self.stream.new_settings(info.settings));
        self.phase = Phase::Committing;
        let mut effects = vec![Effect::Disarm(Timer::Start)];
        if !frames.is_empty() {
            effects.push(Effect::Append(frames));
        }
        effects.push(Effect::RecordPromptSent);
        effects
    }

    pub(super) fn prompt_recorded(&mut self, answer: WriteAnswer) -> Effects {
        let not_sent = match answer {
            WriteAnswer::Done => self.asked_verdict(),
            WriteAnswer::StopFirst => Some(Verdict::end(Outcome::of_stop(Why::User))),
            WriteAnswer::Fenced => Some(Verdict::Abandon),
        };
        if let Some(verdict) = not_sent {
            return self.let_go(verdict, Close::Return);
        }
        self.phase = Phase::Running;
        vec![Effect::SendPrompt, Effect::Arm(Timer::Silence, self.plan.limits.silence)]
    }
}

fn notice_frame(Notice { code, text }: Notice) -> FrameBody {
    FrameBody::Notice { code, text }
}
