//! The turn machine.

mod conversing;
mod ending;
mod preparing;

use std::sync::Arc;

use super::{
    effect::{Anomaly, Effect, Effects},
    event::{Event, Why},
    outcome::Outcome,
    phase::Phase,
    running::Stream,
    timer::Timer,
};
use crate::{
    agent::{AgentCommand, Notice, Usage},
    frame::{AgentStatus, FrameBody, StatusReason},
    permission::PermissionRule,
    ports::{Close, Release, WriteAnswer},
    profile::{BackendProfile, Stop, TurnLimits},
    task::PermissionPolicy,
};

/// What a turn knows from its beginning.
#[derive(Debug, Clone)]
pub struct TurnPlan {
    /// The agent, as people read it; `native` for native inference.
    pub agent: String,
    /// How its backend behaves.
    pub profile: &'static BackendProfile,
    /// The turn's limits.
    pub limits: TurnLimits,
    /// How permission requests are answered.
    pub permissions: PermissionPolicy,
    /// The rules of [`PermissionPolicy::Auto`].
    pub rules: Arc<[PermissionRule]>,
    /// What becomes of the worktree at the end; `None` when there is none.
    pub worktree: Option<Release>,
    /// The slash commands that the agent is known to offer.
    pub commands: Vec<AgentCommand>,
    /// What the user should know from the start.
    pub notices: Vec<Notice>,
    /// Whether it goes on with an attempt that was cut off, whose edits may be in the worktree.
    pub resumed: bool,
}

/// One attempt of one agent at one task.
#[derive(Debug, Clone)]
pub struct Turn {
    plan: TurnPlan,
    phase: Phase,
    workspace: Workspace,
    session_opened: bool,
    message_begun: bool,
    /// The worktree's tree before the agent began.
    tree_before: Option<String>,
    /// What it changed could not be computed, so the worktree alone holds it.
    undiffed: bool,
    /// A stop that came while a write was under way whose answer must be known first.
    asked: Option<Asked>,
    /// What comes after the agent is gone.
    verdict: Option<Verdict>,
    /// What the agent reported at its end; it counts however the turn ends (SPEC T10).
    usage: Usage,
    stream: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workspace {
    None,
    Preparing,
    /// It could not be made; one of an earlier attempt may be there all the same.
    Failed,
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Stop(Why),
    Requeue,
}

#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// The turn ends like this.
    End(Box<Outcome>),
    /// The task goes back to the queue.
    Requeue,
    /// Somebody else writes the end.
    Abandon,
}

impl Verdict {
    fn end(outcome: Outcome) -> Self {
        Self::End(Box::new(outcome))
    }
}

impl Turn {
    /// Begins a turn.
    #[must_use]
    pub fn begin(plan: TurnPlan) -> (Self, Effects) {
        let stream = Stream::new(plan.commands.clone());
        let has_worktree = plan.worktree.is_some();
        let mut turn = Self {
            plan,
            phase: Phase::Preparing,
            workspace: Workspace::None,
            session_opened: false,
            message_begun: false,
            tree_before: None,
            undiffed: false,
            asked: None,
            verdict: None,
            usage: Usage::default(),
            stream,
        };
        if has_worktree {
            turn.workspace = Workspace::Preparing;
            return (turn, vec![Effect::PrepareWorkspace]);
        }
        turn.phase = Phase::Opening;
        (turn, vec![Effect::BeginMessage])
    }

    /// What the turn is waiting for.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Applies one event; returns what must now be done, in order. Total: no error, no panic.
    pub fn step(&mut self, event: Event) -> Effects {
        use {Event as On, Phase as At};
        match (self.phase, event) {
            // What ends everything, wherever it comes.
            (At::Settling | At::Requeueing | At::Releasing | At::Done, On::LeaseLost) => vec![],
            (At::Settling | At::Requeueing, On::StoreLost) => self.release(Release::Keep),
            (At::Releasing | At::Done, On::StoreLost) => vec![],
            (_, On::LeaseLost | On::StoreLost) => self.abandon(),

            (At::Preparing, On::WorkspaceReady) => {
                self.workspace = Workspace::Ready;
                self.phase = At::Opening;
                vec![Effect::BeginMessage]
            }
            (At::Preparing, On::WorkspaceFailed(failure)) => {
                self.workspace = Workspace::Failed;
                self.let_go(Verdict::end(Outcome::failed(failure)), Close::Kill)
            }
            (At::Preparing | At::Snapshotting, On::StopAccepted(why)) => {
                self.abort_workspace_call(Verdict::end(Outcome::of_stop(why)))
            }
            (At::Preparing | At::Snapshotting, On::ShuttingDown) => {
                self.abort_workspace_call(Verdict::Requeue)
            }

            (At::Opening, On::MessageBegun(answer)) => self.message_begun(answer),
            (At::Opening | At::Committing, On::StopAccepted(why)) => self.ask(Asked::Stop(why)),
            (At::Opening, On::ShuttingDown) => self.ask(Asked::Requeue),

            (At::Snapshotting, On::CheckpointTaken(taken)) => self.snapshotted(taken),

            (At::Starting, On::SessionReady(info)) => self.session_ready(info),
            (At::Starting, On::SessionFailed(failure)) => {
                self.let_go(Verdict::end(Outcome::failed(failure)), Close::Kill)
            }
            (At::Starting, On::Elapsed(Timer::Start)) => {
                self.let_go(Verdict::end(self.start_too_slow()), Close::Kill)
            }
            (At::Starting, On::StopAccepted(why)) => {
                // Only its backend knows whether a warm agent is still good (SPEC S4).
                self.let_go(Verdict::end(Outcome::of_stop(why)), Close::Return)
            }
            (At::Starting, On::ShuttingDown) => self.let_go(Verdict::Requeue, Close::Kill),

            (At::Committing, On::PromptSentRecorded(answer)) => self.prompt_recorded(answer),

            (At::Running, On::Updates(batch)) => self.updates(batch),
            (At::Running, On::PermissionAnswered { id, answer }) => self.answered(id, answer),
            (At::Running, On::Elapsed(Timer::Permission)) => self.permissions_lapsed(),
            (At::Running, On::Elapsed(Timer::Silence)) => self.stop(Why::Stalled),
            (At::Running, On::StopAccepted(why)) => self.stop(why),
            (At::Running, On::Ended(end)) => self.ended(end),

            (At::Stopping { .. }, On::Updates(batch)) => self.updates_while_stopping(batch),
            (At::Stopping { why, rung }, On::StopAccepted(Why::User)) if why != Why::User => {
                // What a user's Stop decided stands, also over a stop for another reason (SPEC S2).
                self.phase = At::Stopping { why: Why::User, rung };
                vec![]
            }
            (At::Stopping { why, rung }, On::Elapsed(Timer::Stop)) => self.climb(why, rung + 1),
            (At::Stopping { why, .. }, On::Ended(end)) => self.stopped(why, end),
            (At::Stopping { why, .. }, On::Hurried) => {
                self.let_go(Verdict::end(Outcome::of_stop(why)), Close::Kill)
            }

            (At::Closing, On::SessionClosed | On::Elapsed(Timer::Close)) => self.after_agent(),
            (At::Closing, On::Hurried) => vec![Effect::Interrupt(Stop::Kill)],
            (At::Closing, On::StopAccepted(Why::User)) => {
                if matches!(self.verdict, Some(Verdict::End(_) | Verdict::Requeue)) {
                    self.verdict = Some(Verdict::end(Outcome::of_stop(Why::User)));
                }
                vec![]
            }

            (At::Collecting, On::ChangeCollected(Ok(collected))) => self.collected(collected),
            (At::Collecting, On::ChangeCollected(Err(text))) => self.diff_failed(&text),
            (At::Collecting, On::Elapsed(Timer::Collect)) => {
                let mut effects = vec![Effect::CancelWorkspaceCall];
                let limit = self.plan.limits.collect;
                effects.extend(self.diff_failed(&format!("it took longer than {limit:?}")));
                effects
            }
            (At::Collecting, On::StopAccepted(Why::User)) => {
                let mut effects = vec![Effect::CancelWorkspaceCall, Effect::Disarm(Timer::Collect)];
                effects.extend(self.settle(Outcome::of_stop(Why::User)));
                effects
            }

            (At::Settling, On::Settled(WriteAnswer::Done)) => self.release(self.worktree_goes()),
            (At::Settling, On::Settled(WriteAnswer::StopFirst)) => {
                // Nothing names a worktree that a failed diff had kept (SPEC S3).
                self.undiffed = false;
                self.settle(Outcome::of_stop(Why::User))
            }
            (At::Settling, On::Settled(WriteAnswer::Fenced)) => self.release(Release::Keep),

            (At::Requeueing, On::Requeued(WriteAnswer::Done | WriteAnswer::Fenced)) => {
                self.release(Release::Keep)
            }
            (At::Requeueing, On::Requeued(WriteAnswer::StopFirst)) => {
                self.settle(Outcome::of_stop(Why::User))
            }

            (At::Settling | At::Requeueing, On::WorkspaceReady) => self.workspace_came_late(Workspace::Ready),
            (At::Settling | At::Requeueing, On::WorkspaceFailed(_)) => {
                self.workspace_came_late(Workspace::Failed)
            }
            (At::Releasing, On::WorkspaceReady) if self.workspace == Workspace::Preparing => {
                // It came too late to be used (SPEC S2).
                self.workspace = Workspace::Ready;
                self.release(self.worktree_goes())
            }
            (At::Releasing, On::WorkspaceFailed(_)) if self.workspace == Workspace::Preparing => {
                self.workspace = Workspace::Failed;
                self.release(self.worktree_goes())
            }
            (At::Releasing, On::WorkspaceReleased) if self.workspace != Workspace::Preparing => {
                self.phase = At::Done;
                vec![]
            }

            (at, event) if crossed(at, &event) => vec![],
            (at, event) => vec![Effect::Report(Anomaly { at, event: event.to_string() })],
        }
    }

    fn status(&self, status: AgentStatus, reason: StatusReason) -> FrameBody {
        FrameBody::AgentStatus { agent: self.plan.agent.clone(), status, reason }
    }
}

/// Whether an event is news that crossed a decision already taken, so that it changes nothing.
const fn crossed(at: Phase, event: &Event) -> bool {
    use {Event as On, Phase as At};
    let agent_goes =
        matches!(at, At::Closing | At::Collecting | At::Settling | At::Requeueing | At::Releasing | At::Done);
    match event {
        // These come from outside or from a clock, whatever the turn is doing.
        On::StopAccepted(_)
        | On::Hurried
        | On::ShuttingDown
        | On::Elapsed(_)
        | On::PermissionAnswered { .. } => true,
        // These were under way when the turn was told to end.
        On::Updates(_)
        | On::Ended(_)
        | On::SessionReady(_)
        | On::SessionFailed(_)
        | On::MessageBegun(_)
        | On::PromptSentRecorded(_)
        | On::CheckpointTaken(_) => agent_goes,
        On::ChangeCollected(_) | On::SessionClosed => agent_goes && !matches!(at, At::Closing),
        // A lost store lets a turn go on before its last write was answered.
        On::Settled(_) | On::Requeued(_) => matches!(at, At::Releasing | At::Done),
        _ => false,
    }
}
