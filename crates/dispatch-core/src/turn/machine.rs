//! The turn machine.

use super::{
    effect::{Anomaly, Effect, Effects, Timer},
    event::{Event, Why},
    outcome::{Outcome, OutcomeChange},
    phase::Phase,
    running::{Stream, Taken},
};
use crate::{
    agent::{AgentCommand, AgentUpdate, Answer, End, EndedHow, Notice, NoticeCode, Printed, Usage},
    conversation::Role,
    frame::{AgentStatus, FrameBody, StatusReason},
    ports::{Close, Collected, Release, SessionInfo, WriteAnswer},
    profile::{BackendProfile, Stop, TurnLimits},
    task::PermissionPolicy,
};
use std::time::Duration;

/// How long letting an agent go may take before the turn goes on without its word. The supervisor kills
/// a tree in milliseconds; this is for a machine in trouble.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

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
    /// What becomes of the worktree at the end; `None` when there is none.
    pub worktree: Option<Release>,
    /// The slash commands that the agent is known to offer.
    pub commands: Vec<AgentCommand>,
    /// What the user should know from the start.
    pub notices: Vec<Notice>,
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

    fn ask(&mut self, asked: Asked) -> Effects {
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

    fn abort_workspace_call(&mut self, verdict: Verdict) -> Effects {
        let mut effects = vec![Effect::CancelWorkspaceCall];
        effects.extend(self.let_go(verdict, Close::Kill));
        effects
    }

    /// Lets go of everything without writing anything more.
    fn abandon(&mut self) -> Effects {
        let mut effects = match self.phase {
            Phase::Preparing | Phase::Snapshotting | Phase::Collecting => vec![Effect::CancelWorkspaceCall],
            Phase::Closing => vec![Effect::Interrupt(Stop::Kill)],
            _ => vec![],
        };
        effects.extend(self.let_go(Verdict::Abandon, Close::Kill));
        effects
    }

    fn message_begun(&mut self, answer: WriteAnswer) -> Effects {
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

    fn snapshotted(&mut self, taken: Result<String, String>) -> Effects {
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

    fn start_too_slow(&self) -> Outcome {
        use crate::{agent::Failure, task::TerminalReason};
        let limit = self.plan.limits.start;
        let text = format!("{} did not get ready within {limit:?}", self.plan.agent);
        Outcome::failed(Failure::new(TerminalReason::CouldNotStart, text))
    }

    fn session_ready(&mut self, info: SessionInfo) -> Effects {
        let mut frames: Vec<_> = info.notices.into_iter().map(notice_frame).collect();
        frames.extend(self.stream.new_commands(info.commands));
        self.phase = Phase::Committing;
        let mut effects = vec![Effect::Disarm(Timer::Start)];
        if !frames.is_empty() {
            effects.push(Effect::Append(frames));
        }
        effects.push(Effect::RecordPromptSent);
        effects
    }

    fn prompt_recorded(&mut self, answer: WriteAnswer) -> Effects {
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

    fn updates(&mut self, batch: Vec<AgentUpdate>) -> Effects {
        let patience = self.patience();
        let was_asking = self.stream.is_asking();
        let Taken { mut frames, answers, asks } = self.stream.take(batch, self.plan.permissions);
        if asks && !was_asking {
            frames.push(self.status(AgentStatus::Waiting, StatusReason::Permission));
        }
        let mut effects = Vec::with_capacity(2);
        if !frames.is_empty() {
            effects.push(Effect::Append(frames));
        }
        effects.extend(answers.into_iter().map(|(id, answer)| Effect::Answer(id, answer)));
        if asks && !was_asking {
            effects.push(Effect::Arm(Timer::Permission, self.plan.limits.permission));
        }
        if self.stream.stored() > self.plan.limits.output_bytes {
            effects.extend(self.stop(Why::OutputLimit));
            return effects;
        }
        effects.extend(self.patience_changed(patience));
        effects
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

    fn answered(&mut self, id: String, answer: Answer) -> Effects {
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

    fn permissions_lapsed(&mut self) -> Effects {
        let patience = self.patience();
        let open = self.stream.resolve_all();
        let limit = self.plan.limits.permission;
        let mut frames = resolved(&open, Answer::Deny);
        frames.push(FrameBody::Notice {
            code: NoticeCode::PermissionByPolicy,
            text: format!("nobody answered within {limit:?}: denied"),
        });
        frames.push(self.status(AgentStatus::Working, StatusReason::TurnStart));
        let mut effects: Effects = open.into_iter().map(|id| Effect::Answer(id, Answer::Deny)).collect();
        effects.push(Effect::Append(frames));
        effects.extend(self.patience_changed(patience));
        effects
    }

    fn stop(&mut self, why: Why) -> Effects {
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

    fn climb(&mut self, why: Why, rung: usize) -> Effects {
        match self.plan.profile.stop.get(rung) {
            Some(&(stop, patience)) => {
                self.phase = Phase::Stopping { why, rung };
                vec![Effect::Interrupt(stop), Effect::Arm(Timer::Stop, patience)]
            }
            None => self.let_go(Verdict::end(Outcome::of_stop(why)), Close::Kill),
        }
    }

    fn updates_while_stopping(&mut self, mut batch: Vec<AgentUpdate>) -> Effects {
        if self.stream.stored() > self.plan.limits.output_bytes {
            // A request without an answer can keep an agent from ending (wire trap 1).
            batch.retain(|update| matches!(update, AgentUpdate::Permission(_)));
        }
        let Taken { frames, .. } = self.stream.take(batch, PermissionPolicy::Ask);
        let mut effects = if frames.is_empty() { vec![] } else { vec![Effect::Append(frames)] };
        effects.extend(self.cancel_permissions());
        effects
    }

    fn ended(&mut self, end: End) -> Effects {
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

    fn stopped(&mut self, why: Why, end: End) -> Effects {
        let close = if matches!(end.how, EndedHow::Crashed(_)) { Close::Kill } else { Close::Return };
        self.usage = end.usage;
        self.let_go(Verdict::end(Outcome::of_stop(why)), close)
    }

    /// Lets the agent go, if there is one, and then does what `verdict` says.
    fn let_go(&mut self, verdict: Verdict, how: Close) -> Effects {
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

    fn after_agent(&mut self) -> Effects {
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

    fn collected(&mut self, collected: Collected) -> Effects {
        let mut effects = vec![Effect::Disarm(Timer::Collect)];
        if let Some(Verdict::End(mut outcome)) = self.verdict.take() {
            outcome.change = match collected.draft {
                // A turn that changed nothing leaves the pending change as it was (SPEC R1).
                _ if self.tree_before.as_ref() == Some(&collected.after.tree) => OutcomeChange::Leave,
                Some(draft) => OutcomeChange::Changed(Box::new(draft)),
                None => OutcomeChange::BackAtBase,
            };
            effects.extend(self.settle(*outcome));
        }
        effects
    }

    fn diff_failed(&mut self, text: &str) -> Effects {
        let mut effects = vec![Effect::Disarm(Timer::Collect)];
        if let Some(Verdict::End(outcome)) = self.verdict.take() {
            self.undiffed = true;
            effects.extend(self.settle(outcome.without_diff(text)));
        }
        effects
    }

    fn settle(&mut self, outcome: Outcome) -> Effects {
        self.phase = Phase::Settling;
        vec![Effect::Settle(Box::new(Outcome { usage: self.usage.clone(), ..outcome }))]
    }

    fn worktree_goes(&self) -> Release {
        // A worktree that alone holds what the turn changed stays (SPEC T14).
        self.plan.worktree.filter(|_| !self.undiffed).unwrap_or(Release::Keep)
    }

    fn release(&mut self, how: Release) -> Effects {
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

    fn workspace_came_late(&mut self, now: Workspace) -> Effects {
        self.workspace = now;
        vec![]
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

fn notice_frame(Notice { code, text }: Notice) -> FrameBody {
    FrameBody::Notice { code, text }
}

fn resolved(ids: &[String], answer: Answer) -> Vec<FrameBody> {
    ids.iter().map(|id| FrameBody::PermissionResolved { id: id.clone(), answer }).collect()
}
