//! The turn machine as the simulation runs it: as it is, or with one thing broken.

use dispatch_core::{
    agent::{Answer, End, EndedHow},
    change::Snapshot,
    frame::FrameBody,
    ports::{Close, Collected, Release, WriteAnswer},
    profile::Stop,
    task::{TaskState, TerminalReason},
    turn::{Effect, Effects, Event, OutcomeChange, Phase, Timer, Turn, TurnPlan, Why},
};

/// What may be broken in the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The end is never recorded.
    ForgetSettle,
    /// The worktree is never given back.
    ForgetRelease,
    /// The agent is never let go.
    ForgetClose,
    /// The agent is let go only after the end is recorded.
    CloseLate,
    /// The change is never computed.
    ForgetCollect,
    /// The `before` checkpoint is never taken.
    ForgetCheckpoint,
    /// A failed `before` checkpoint ends the turn.
    CheckpointIsVital,
    /// Open requests are not answered.
    ForgetAnswer,
    /// A refusal is told as leave.
    AllowInstead,
    /// The prompt goes out before that is recorded.
    PromptFirst,
    /// That the prompt goes out is not recorded.
    ForgetPromptRecord,
    /// A Stop that came first is not looked at when the prompt is recorded.
    PromptDespiteStop,
    /// The prompt is sent twice.
    PromptTwice,
    /// The agent is started before its worktree is there.
    StartWithoutWorktree,
    /// A stopped turn is recorded as completed.
    CompleteAfterStop,
    /// A Stop is not looked at.
    IgnoreStop,
    /// A Stop kills at once.
    SkipLadder,
    /// The ladder is climbed from its end.
    LadderBackwards,
    /// A stopped turn's change is queued.
    QueueAfterStop,
    /// A failed turn's change is thrown away.
    DropFailedChange,
    /// A crash counts as completion.
    CompleteOnCrash,
    /// The agent's own cancelling counts as completion.
    CompleteOnCancel,
    /// A failed diff counts as none.
    IgnoreDiffFailure,
    /// After a failed diff the worktree is removed all the same.
    RemoveAfterDiffFailure,
    /// A worktree of one task is kept.
    KeepPerTask,
    /// A session's worktree is removed.
    RemoveSession,
    /// A lost lease is not looked at.
    IgnoreLeaseLost,
    /// Something is appended after the lease is lost.
    AppendAfterLeaseLost,
    /// The worktree is removed after the lease is lost.
    RemoveAfterLeaseLost,
    /// An agent that did not obey goes back to its pool.
    ReturnInsteadOfKill,
    /// Every warm agent is killed.
    KillInsteadOfReturn,
    /// Some of what the agent said is not appended.
    DropAppend,
    /// Everything is appended twice.
    AppendTwice,
    /// Frames of one batch change places.
    SwapFrames,
    /// What the agent used at its end is forgotten.
    ForgetUsage,
    /// A stand-in is told as the agent's text.
    StandInAsText,
    /// A message begins without its first frame.
    ForgetMessageStarted,
    /// Tool calls that the agent left open stay open.
    LeaveToolsOpen,
    /// A stopped turn goes back to the queue.
    RequeueInsteadOfStop,
    /// A turn that was shut down before its prompt is cancelled.
    CancelInsteadOfRequeue,
    /// A silent agent is waited for.
    IgnoreSilence,
    /// An agent that ignores a rung is waited for.
    IgnoreStopTimer,
    /// Something is reported that is expected.
    ReportTheExpected,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 43] = {
        use Mutation::*;
        [
            ForgetSettle,
            ForgetRelease,
            ForgetClose,
            CloseLate,
            ForgetCollect,
            ForgetCheckpoint,
            CheckpointIsVital,
            ForgetAnswer,
            AllowInstead,
            PromptFirst,
            ForgetPromptRecord,
            PromptDespiteStop,
            PromptTwice,
            StartWithoutWorktree,
            CompleteAfterStop,
            IgnoreStop,
            SkipLadder,
            LadderBackwards,
            QueueAfterStop,
            DropFailedChange,
            CompleteOnCrash,
            CompleteOnCancel,
            IgnoreDiffFailure,
            RemoveAfterDiffFailure,
            KeepPerTask,
            RemoveSession,
            IgnoreLeaseLost,
            AppendAfterLeaseLost,
            RemoveAfterLeaseLost,
            ReturnInsteadOfKill,
            KillInsteadOfReturn,
            DropAppend,
            AppendTwice,
            SwapFrames,
            ForgetUsage,
            StandInAsText,
            ForgetMessageStarted,
            LeaveToolsOpen,
            RequeueInsteadOfStop,
            CancelInsteadOfRequeue,
            IgnoreSilence,
            IgnoreStopTimer,
            ReportTheExpected,
        ]
    };
}

/// The machine, perhaps with a mutation around it.
#[derive(Clone)]
pub(super) struct Machine {
    turn: Turn,
    mutation: Option<Mutation>,
    held: Effects,
    diff_failed: bool,
}

impl Machine {
    pub(super) fn begin(plan: TurnPlan, mutation: Option<Mutation>) -> (Self, Effects) {
        let (turn, effects) = Turn::begin(plan);
        let mut machine = Self { turn, mutation, held: vec![], diff_failed: false };
        let effects = match mutation {
            Some(mutation) => machine.mutate(mutation, effects),
            None => effects,
        };
        (machine, effects)
    }

    pub(super) fn phase(&self) -> Phase {
        self.turn.phase()
    }

    pub(super) fn step(&mut self, event: Event) -> Effects {
        let Some(mutation) = self.mutation else { return self.turn.step(event) };
        let lost = event == Event::LeaseLost;
        let at = self.phase();
        let checkpoint_failed = matches!(event, Event::CheckpointTaken(Err(_)));
        self.diff_failed |= matches!(event, Event::ChangeCollected(Err(_)) | Event::Elapsed(Timer::Collect));
        let Some(event) = misheard(mutation, at, event) else { return vec![] };
        let mut effects = self.turn.step(event);
        match mutation {
            Mutation::CheckpointIsVital if checkpoint_failed && at == Phase::Snapshotting => {
                effects = self.turn.step(Event::StopAccepted(Why::Stalled));
            }
            Mutation::AppendAfterLeaseLost if lost => {
                effects.push(Effect::Append(vec![FrameBody::delta("after")]));
            }
            Mutation::RemoveAfterLeaseLost if lost => {
                for effect in &mut effects {
                    if let Effect::ReleaseWorkspace(how) = effect {
                        *how = Release::Remove;
                    }
                }
            }
            Mutation::ReportTheExpected if at == Phase::Starting => {
                let event = String::from("nothing");
                effects.push(Effect::Report(dispatch_core::turn::Anomaly { at, event }));
            }
            _ => {}
        }
        self.mutate(mutation, effects)
    }

    fn mutate(&mut self, mutation: Mutation, effects: Effects) -> Effects {
        let mut out = vec![];
        for effect in effects {
            match self.mutate_one(mutation, effect) {
                Instead::Do(effects) => out.extend(effects),
                Instead::Hear(event) => {
                    let effects = self.turn.step(event);
                    out.extend(self.mutate(mutation, effects));
                }
            }
        }
        out
    }

    fn mutate_one(&mut self, mutation: Mutation, effect: Effect) -> Instead {
        use {Effect as Do, Mutation as Wrong};
        let same = |effect| Instead::Do(vec![effect]);
        match (mutation, effect) {
            (Wrong::ForgetSettle, Do::Settle(_)) => Instead::Hear(Event::Settled(WriteAnswer::Done)),
            (Wrong::ForgetRelease, Do::ReleaseWorkspace(_)) => Instead::Hear(Event::WorkspaceReleased),
            (Wrong::ForgetClose, Do::CloseSession(_)) => Instead::Hear(Event::SessionClosed),
            (Wrong::CloseLate, close @ Do::CloseSession(_)) => {
                self.held.push(close);
                Instead::Hear(Event::SessionClosed)
            }
            (Wrong::CloseLate, settle @ Do::Settle(_)) => {
                let mut all = vec![settle];
                all.append(&mut self.held);
                Instead::Do(all)
            }
            (Wrong::ForgetCollect, Do::CollectChange) => {
                let after = Snapshot {
                    commit: String::new(),
                    reference: String::new(),
                    tree: "none".into(),
                    skipped: vec![],
                };
                Instead::Hear(Event::ChangeCollected(Ok(Collected { after, draft: None })))
            }
            (Wrong::ForgetCheckpoint, Do::Checkpoint) => {
                Instead::Hear(Event::CheckpointTaken(Ok("none".into())))
            }
            (Wrong::ForgetAnswer, Do::Answer(..)) => Instead::Do(vec![]),
            (Wrong::AllowInstead, Do::Answer(id, Answer::Deny)) => same(Do::Answer(id, Answer::Allow)),
            (Wrong::PromptFirst, Do::RecordPromptSent) => {
                Instead::Do(vec![Do::SendPrompt, Do::RecordPromptSent])
            }
            (Wrong::PromptFirst, Do::SendPrompt) => Instead::Do(vec![]),
            (Wrong::ForgetPromptRecord, Do::RecordPromptSent) => {
                Instead::Hear(Event::PromptSentRecorded(WriteAnswer::Done))
            }
            (Wrong::PromptTwice, Do::SendPrompt) => Instead::Do(vec![Do::SendPrompt, Do::SendPrompt]),
            (Wrong::StartWithoutWorktree, Do::PrepareWorkspace) => {
                self.held.push(Do::PrepareWorkspace);
                Instead::Hear(Event::WorkspaceReady)
            }
            (Wrong::StartWithoutWorktree, close @ Do::CloseSession(_)) => {
                let mut all = vec![close];
                all.append(&mut self.held);
                Instead::Do(all)
            }
            (Wrong::SkipLadder, Do::Interrupt(_)) => same(Do::Interrupt(Stop::Kill)),
            (Wrong::LadderBackwards, Do::Interrupt(Stop::Ask)) => same(Do::Interrupt(Stop::Terminate)),
            (Wrong::LadderBackwards, Do::Interrupt(Stop::Terminate)) => same(Do::Interrupt(Stop::Ask)),
            (Wrong::KeepPerTask, Do::ReleaseWorkspace(_)) => same(Do::ReleaseWorkspace(Release::Keep)),
            (Wrong::RemoveSession, Do::ReleaseWorkspace(_)) => same(Do::ReleaseWorkspace(Release::Remove)),
            (Wrong::RemoveAfterDiffFailure, Do::ReleaseWorkspace(_)) if self.diff_failed => {
                same(Do::ReleaseWorkspace(Release::Remove))
            }
            (Wrong::ReturnInsteadOfKill, Do::CloseSession(_)) => same(Do::CloseSession(Close::Return)),
            (Wrong::KillInsteadOfReturn, Do::CloseSession(_)) => same(Do::CloseSession(Close::Kill)),
            (Wrong::RequeueInsteadOfStop, Do::Settle(outcome)) if outcome.state == TaskState::Cancelled => {
                same(Do::Requeue(vec![]))
            }
            (Wrong::CancelInsteadOfRequeue, Do::Requeue(_)) => {
                same(Do::Settle(Box::new(dispatch_core::turn::Outcome::stopped())))
            }
            (_, Do::Settle(mut outcome)) => {
                misjudge(mutation, &mut outcome);
                same(Do::Settle(outcome))
            }
            (_, Do::Append(frames)) => Instead::Do(misquote(mutation, frames)),
            (_, effect) => same(effect),
        }
    }
}

/// What is done instead of an effect.
enum Instead {
    Do(Effects),
    /// The machine is told at once that it is done.
    Hear(Event),
}

fn misheard(mutation: Mutation, at: Phase, event: Event) -> Option<Event> {
    use {Event as On, Mutation as Wrong};
    let working = matches!(at, Phase::Running);
    Some(match (mutation, event) {
        (Wrong::IgnoreStop, On::StopAccepted(_)) if working => return None,
        (Wrong::IgnoreLeaseLost, On::LeaseLost) => return None,
        (Wrong::IgnoreSilence, On::Elapsed(Timer::Silence)) => return None,
        (Wrong::IgnoreStopTimer, On::Elapsed(Timer::Stop)) => return None,
        (Wrong::PromptDespiteStop, On::PromptSentRecorded(WriteAnswer::StopFirst)) => {
            On::PromptSentRecorded(WriteAnswer::Done)
        }
        (Wrong::CompleteOnCrash, On::Ended(End { how: EndedHow::Crashed(_), usage, printed })) => {
            On::Ended(End { how: EndedHow::Completed, usage, printed })
        }
        (Wrong::CompleteOnCancel, On::Ended(End { how: EndedHow::Cancelled, usage, printed })) => {
            On::Ended(End { how: EndedHow::Completed, usage, printed })
        }
        (Wrong::IgnoreDiffFailure, On::ChangeCollected(Err(_))) => {
            let tree = String::from("none");
            let after = Snapshot { commit: tree.clone(), reference: tree.clone(), tree, skipped: vec![] };
            On::ChangeCollected(Ok(Collected { after, draft: None }))
        }
        (_, event) => event,
    })
}

fn misjudge(mutation: Mutation, outcome: &mut dispatch_core::turn::Outcome) {
    match mutation {
        Mutation::CompleteAfterStop if outcome.state == TaskState::Cancelled => {
            (outcome.state, outcome.reason) = (TaskState::Completed, TerminalReason::Completed);
        }
        Mutation::QueueAfterStop if outcome.state == TaskState::Cancelled => {
            let snapshot =
                Snapshot { commit: "x".into(), reference: "x".into(), tree: "x".into(), skipped: vec![] };
            outcome.change = OutcomeChange::Changed(Box::new(dispatch_core::change::ChangeDraft {
                base_tree: "0".into(),
                result_tree: "x".into(),
                snapshot,
                files: vec![],
                warnings: vec![],
            }));
        }
        Mutation::DropFailedChange if outcome.state == TaskState::Failed => {
            outcome.change = OutcomeChange::Leave;
        }
        Mutation::ForgetUsage => outcome.usage = dispatch_core::agent::Usage::default(),
        _ => {}
    }
}

fn misquote(mutation: Mutation, mut frames: Vec<FrameBody>) -> Effects {
    let is_text = |frame: &FrameBody| matches!(frame, FrameBody::Delta { placeholder: false, .. });
    match mutation {
        Mutation::DropAppend if frames.len() == 1 && is_text(&frames[0]) => return vec![],
        Mutation::AppendTwice => return vec![Effect::Append(frames.clone()), Effect::Append(frames)],
        Mutation::SwapFrames => frames.reverse(),
        Mutation::StandInAsText => {
            for frame in &mut frames {
                if let FrameBody::Delta { placeholder, .. } = frame {
                    *placeholder = false;
                }
            }
        }
        Mutation::ForgetMessageStarted => {
            frames.retain(|frame| !matches!(frame, FrameBody::MessageStarted { .. }));
        }
        Mutation::LeaveToolsOpen => frames.retain(|frame| {
            !matches!(frame, FrameBody::ToolCall { tool_call }
                if tool_call.status == dispatch_core::agent::ToolStatus::Cancelled)
        }),
        _ => {}
    }
    vec![Effect::Append(frames)]
}
