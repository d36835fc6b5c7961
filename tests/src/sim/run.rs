//! A model of the driver of one turn: it performs effects, keeps what still owes an answer, and holds
//! every step against what SPEC promises.

use std::{collections::VecDeque, time::Duration};

use dispatch_core::{
    agent::{Answer, EndedHow, Usage},
    conversation::Transcript,
    frame::{AgentStatus, FrameBody},
    ports::{Close, Collected, Release, WorkspaceOwner},
    profile::{BackendProfile, Conversation, Life, Stop},
    routing::Route,
    task::TurnKey,
    turn::{Effect, Effects, Event, Outcome, Phase, Timer, Why},
};

use super::{Violation, check, machine::Machine};

const SECOND: Duration = Duration::from_secs(1);
const FULL: &[(Stop, Duration)] = &[(Stop::Ask, SECOND), (Stop::Terminate, SECOND), (Stop::Kill, SECOND)];
const HARD: &[(Stop, Duration)] = &[(Stop::Terminate, SECOND), (Stop::Kill, SECOND)];

const fn profile(route: Route, life: Life, stop: &'static [(Stop, Duration)]) -> BackendProfile {
    BackendProfile { name: "model", route, life, conversation: Conversation::OfTask, stop }
}

/// One profile a route, in the order of the routes.
pub(super) static PROFILES: [BackendProfile; 6] = [
    profile(Route::Native, Life::PerTurn, &[(Stop::Ask, SECOND)]),
    profile(Route::OpencodeServer, Life::Warm, FULL),
    profile(Route::ClaudeSdk, Life::Warm, FULL),
    profile(Route::WarmAcp, Life::Warm, FULL),
    profile(Route::OneShotAcp, Life::PerTurn, FULL),
    profile(Route::OneShotPty, Life::PerTurn, HARD),
];

/// A call that is under way. Its work is done at one moment, its answer comes at another.
pub(super) struct Call {
    pub(super) what: What,
    pub(super) cancelled: bool,
    pub(super) answer: Option<Event>,
}

#[derive(Clone)]
pub(super) enum What {
    Prepare,
    Begin,
    Checkpoint,
    Open,
    Record,
    Collect,
    Settle(Box<Outcome>),
    Requeue(Vec<FrameBody>),
    Release(Release),
    Close(Close),
}

impl What {
    /// Whether it must wait for all frames to be written.
    pub(super) const fn comes_last(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::Requeue(_))
    }
}

/// Words to the agent, which may overtake each other.
pub(super) enum Aside {
    Stop(Stop),
    Answer(String, Answer),
}

/// What happened in a turn, for the predicates.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) ended: Option<EndedHow>,
    pub(super) used: Option<Usage>,
    pub(super) text: String,
    pub(super) checkpoint_tried: bool,
    pub(super) tree_before: Option<String>,
    pub(super) collected: Option<Collected>,
    pub(super) diff_failed: bool,
    pub(super) could_not_start: bool,
    pub(super) stalled: bool,
    pub(super) over_limit: bool,
    pub(super) stop_told: bool,
    pub(super) shutdown_told: bool,
    /// The lease was lost while there was something left to write.
    pub(super) silenced: bool,
    pub(super) close_elapsed: bool,
    pub(super) settled: bool,
    pub(super) left_behind: bool,
    pub(super) requests: Vec<String>,
    /// Whether a warm agent may be killed now.
    harsh: bool,
    rungs: usize,
    opened: bool,
}

pub(super) struct Run {
    pub(super) node: usize,
    pub(super) task: usize,
    pub(super) session: usize,
    pub(super) key: TurnKey,
    pub(super) machine: Machine,
    pub(super) profile: &'static BackendProfile,
    pub(super) owner: Option<WorkspaceOwner>,
    pub(super) tight: bool,
    pub(super) agent: Option<usize>,
    pub(super) calls: Vec<Call>,
    pub(super) inbox: VecDeque<Event>,
    pub(super) news: VecDeque<Event>,
    pub(super) asides: Vec<Aside>,
    pub(super) timers: [bool; Timer::ALL.len()],
    /// Frames that are not stored yet.
    pub(super) queue: Vec<FrameBody>,
    pub(super) transcript: Transcript,
    pub(super) lost: bool,
    pub(super) facts: Facts,
}

impl Run {
    pub(super) fn is_warm(&self) -> bool {
        self.profile.life == Life::Warm
    }

    pub(super) const fn per_task(&self) -> bool {
        matches!(self.owner, Some(WorkspaceOwner::Task(_)))
    }

    pub(super) fn is_done(&self) -> bool {
        self.machine.phase() == Phase::Done && self.calls.is_empty()
    }

    /// Tells the machine, and holds its effects against the promises that one step can break.
    pub(super) fn step(&mut self, event: Event) -> Result<Effects, Violation> {
        let at = self.machine.phase();
        self.note(at, &event);
        if let Event::CheckpointTaken(Err(_)) = &event {
            self.checkpoint_isolated(&event)?;
        }
        let told = event.clone();
        let effects = self.machine.step(event);
        if at == Phase::Running && matches!(told, Event::Updates(_)) && acts_on_agent(&effects) {
            self.facts.over_limit = true;
        }
        if at == Phase::Running && matches!(told, Event::StopAccepted(_)) {
            check("stop_wins", acts_on_agent(&effects), || format!("{told} reached no agent"))?;
        }
        let ends = matches!(told, Event::Ended(_));
        for effect in &effects {
            self.check_effect(effect, &effects, ends)?;
        }
        Ok(effects)
    }

    fn note(&mut self, at: Phase, event: &Event) {
        let listens = matches!(at, Phase::Running | Phase::Stopping { .. });
        let running = at == Phase::Running;
        let facts = &mut self.facts;
        match event {
            Event::Updates(batch) if listens => {
                for update in batch {
                    match update {
                        dispatch_core::agent::AgentUpdate::Text(text) => facts.text.push_str(text),
                        dispatch_core::agent::AgentUpdate::Permission(request) => {
                            facts.requests.push(request.id.clone());
                        }
                        _ => {}
                    }
                }
            }
            Event::Ended(end) if listens => {
                facts.used = Some(end.usage.clone());
                facts.harsh |= matches!(end.how, EndedHow::Crashed(_));
                if running {
                    facts.ended = Some(end.how.clone());
                }
            }
            Event::CheckpointTaken(taken) if at == Phase::Snapshotting => {
                facts.tree_before = taken.as_ref().ok().cloned();
            }
            Event::ChangeCollected(collected) if at == Phase::Collecting => match collected {
                Ok(collected) => facts.collected = Some(collected.clone()),
                Err(_) => facts.diff_failed = true,
            },
            Event::Elapsed(Timer::Collect) if at == Phase::Collecting => facts.diff_failed = true,
            Event::Elapsed(Timer::Silence) if running => facts.stalled = true,
            Event::Elapsed(Timer::Start) if at == Phase::Starting => {
                (facts.could_not_start, facts.harsh) = (true, true);
            }
            Event::Elapsed(Timer::Close) => facts.close_elapsed = true,
            Event::Elapsed(Timer::Stop) => facts.harsh |= facts.rungs >= self.profile.stop.len(),
            Event::WorkspaceFailed(_) => facts.could_not_start = true,
            Event::SessionFailed(_) => (facts.could_not_start, facts.harsh) = (true, true),
            Event::StopAccepted(Why::User) => facts.stop_told = true,
            Event::StopAccepted(_) => facts.shutdown_told = true,
            Event::Hurried => facts.harsh = true,
            // The pool ends with the node.
            Event::ShuttingDown => facts.harsh |= at == Phase::Starting,
            Event::LeaseLost | Event::StoreLost => {
                facts.harsh = true;
                facts.left_behind |= *event == Event::StoreLost;
                facts.silenced |=
                    !matches!(at, Phase::Settling | Phase::Requeueing | Phase::Releasing | Phase::Done);
            }
            _ => {}
        }
    }

    /// A checkpoint that fails changes nothing but what the user is told (SPEC T6).
    fn checkpoint_isolated(&self, failed: &Event) -> Result<(), Violation> {
        let after = |event: Event| {
            let mut machine = self.machine.clone();
            let mut effects = machine.step(event);
            for effect in &mut effects {
                if let Effect::Append(frames) = effect {
                    frames.retain(|frame| !matches!(frame, FrameBody::Notice { .. }));
                }
            }
            (machine.phase(), effects)
        };
        let (failed, taken) = (after(failed.clone()), after(Event::CheckpointTaken(Ok("0".into()))));
        check("checkpoint_isolated", failed == taken, || format!("{failed:?} instead of {taken:?}"))
    }

    fn check_effect(&mut self, effect: &Effect, all: &Effects, ends: bool) -> Result<(), Violation> {
        let facts = &mut self.facts;
        let writes = matches!(
            effect,
            Effect::Append(_)
                | Effect::Settle(_)
                | Effect::Requeue(_)
                | Effect::BeginMessage
                | Effect::RecordPromptSent
                | Effect::SendPrompt
                | Effect::ReleaseWorkspace(Release::Remove)
        );
        check("silent_after_lease_lost", !(writes && facts.silenced), || format!("{effect}"))?;
        match effect {
            Effect::Append(frames) => {
                if !std::mem::replace(&mut facts.opened, true) {
                    check("message_opened", opens(frames), || format!("{effect}"))?;
                }
                for frame in frames {
                    if let FrameBody::PermissionResolved { id, answer } = frame
                        && !ends
                    {
                        facts.requests.retain(|open| open != id);
                        let answered = all.contains(&Effect::Answer(id.clone(), *answer));
                        check("permissions_answered", answered, || format!("{id}: {answer:?}"))?;
                    }
                }
            }
            Effect::Interrupt(rung) if matches!(self.machine.phase(), Phase::Stopping { .. }) => {
                let expected = self.profile.stop.get(facts.rungs).map(|(rung, _)| *rung);
                facts.rungs += 1;
                check("ladder_in_order", expected == Some(*rung), || {
                    format!("{rung:?} instead of {expected:?}")
                })?;
            }
            Effect::CloseSession(Close::Kill) => {
                let spared = !(self.profile.life == Life::Warm) || facts.harsh;
                check("warm_spared", spared, || "a warm agent was killed for nothing".into())?;
            }
            Effect::Report(anomaly) => {
                return Err(Violation::new("no_anomaly", format!("{anomaly:?}")));
            }
            _ => {}
        }
        Ok(())
    }
}

fn opens(frames: &[FrameBody]) -> bool {
    matches!(
        frames,
        [FrameBody::MessageStarted { .. }, FrameBody::AgentStatus { status: AgentStatus::Working, .. }, ..]
    )
}

fn acts_on_agent(effects: &Effects) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Interrupt(_) | Effect::CloseSession(_)))
}
