//! A turn on the bench: plans, events, and a book of the effects that still owe an answer.

use std::time::Duration;

use dispatch_core::{
    agent::{
        AgentUpdate, End, EndedHow, Failure, OptionKind, PermissionOption, PermissionRequest, Printed,
        ToolCall, ToolCallPatch, ToolStatus, Usage,
    },
    change::{ChangeDraft, FileChange, FileChangeKind, Snapshot},
    ports::{Collected, Release, SessionInfo, WriteAnswer},
    profile::{BackendProfile, Conversation, Life, Stop, TurnLimits},
    routing::Route,
    task::{PermissionPolicy, TerminalReason},
    turn::{Effect, Effects, Event, Phase, Turn, TurnPlan},
};

/// The shapes of the real profiles: a warm agent, a process per turn that is asked first, one that cannot
/// be asked, and inference in process, which can only be asked.
pub static WARM: BackendProfile = BackendProfile {
    name: "warm",
    route: Route::WarmAcp,
    life: Life::Warm,
    conversation: Conversation::OfChat,
    stop: &[
        (Stop::Ask, Duration::from_secs(10)),
        (Stop::Terminate, Duration::from_secs(5)),
        (Stop::Kill, Duration::from_secs(2)),
    ],
};
pub static ONE_SHOT: BackendProfile = BackendProfile {
    name: "one-shot",
    route: Route::OneShotAcp,
    life: Life::PerTurn,
    conversation: Conversation::OfTask,
    ..WARM
};
pub static PTY: BackendProfile = BackendProfile {
    name: "pty",
    route: Route::OneShotPty,
    life: Life::PerTurn,
    conversation: Conversation::OfTask,
    stop: &[(Stop::Terminate, Duration::from_secs(5)), (Stop::Kill, Duration::from_secs(2))],
};
pub static NATIVE: BackendProfile = BackendProfile {
    name: "native",
    route: Route::Native,
    life: Life::PerTurn,
    conversation: Conversation::Told,
    stop: &[(Stop::Ask, Duration::from_secs(10))],
};
pub static PROFILES: [&BackendProfile; 4] = [&WARM, &ONE_SHOT, &PTY, &NATIVE];

pub fn plan(profile: &'static BackendProfile) -> TurnPlan {
    TurnPlan {
        agent: "goose".into(),
        profile,
        limits: TurnLimits { output_bytes: 4096, ..TurnLimits::default() },
        permissions: PermissionPolicy::Ask,
        rules: [].into(),
        worktree: match profile.route {
            Route::Native => None,
            Route::WarmAcp => Some(Release::Keep),
            _ => Some(Release::Remove),
        },
        commands: vec![],
        notices: vec![],
        resumed: false,
    }
}

pub fn tree(name: &str) -> Snapshot {
    let text = |what: &str| format!("{what}-{name}");
    Snapshot { commit: text("commit"), reference: text("ref"), tree: name.to_owned(), skipped: vec![] }
}

/// A worktree that differs from its base, and from how the turn found it.
pub fn changed() -> Event {
    let file = FileChange {
        path: "file".into(),
        kind: FileChangeKind::Modified,
        from: None,
        additions: 2,
        deletions: 1,
        binary: false,
    };
    let draft = ChangeDraft {
        base_tree: "base".into(),
        result_tree: "after".into(),
        snapshot: tree("after"),
        files: vec![file],
        warnings: vec![],
    };
    Event::ChangeCollected(Ok(Collected { after: tree("after"), draft: Some(draft) }))
}

/// A worktree as the turn found it.
pub fn unchanged() -> Event {
    Event::ChangeCollected(Ok(Collected { after: tree("before"), draft: None }))
}

pub fn checkpoint() -> Event {
    Event::CheckpointTaken(Ok("before".into()))
}

pub fn ready() -> Event {
    Event::SessionReady(SessionInfo::default())
}

pub fn failure(reason: TerminalReason) -> Failure {
    Failure::new(reason, "the agent's own words")
}

pub fn ended(how: EndedHow) -> Event {
    Event::Ended(End::new(how))
}

pub fn printed(how: EndedHow, stdout: &str, stderr: &str) -> Event {
    let printed = Printed { stdout: stdout.into(), stderr: stderr.into() };
    Event::Ended(End { how, usage: Usage::default(), printed })
}

pub fn completed() -> Event {
    ended(EndedHow::Completed)
}

pub fn crashed() -> Event {
    ended(EndedHow::Crashed(failure(TerminalReason::AgentCrashed)))
}

pub fn failed() -> Event {
    ended(EndedHow::Failed(failure(TerminalReason::AgentFailed)))
}

pub fn text(content: &str) -> Event {
    Event::Updates(vec![AgentUpdate::Text(content.into())])
}

pub fn tool(id: &str, status: ToolStatus) -> Event {
    let patch = ToolCallPatch { id: id.into(), status: Some(status), ..ToolCallPatch::default() };
    Event::Updates(vec![AgentUpdate::ToolCall(patch)])
}

pub fn asks_with(id: &str, kinds: &[OptionKind]) -> Event {
    let option = |kind: &OptionKind| PermissionOption {
        id: format!("{kind:?}"),
        name: format!("{kind:?}"),
        kind: *kind,
    };
    Event::Updates(vec![AgentUpdate::Permission(PermissionRequest {
        id: id.into(),
        tool_call: ToolCall::default(),
        options: kinds.iter().map(option).collect(),
        paths: vec![],
    })])
}

pub fn asks(id: &str) -> Event {
    asks_with(id, &[OptionKind::AllowOnce, OptionKind::RejectOnce])
}

pub fn takes_back(id: &str) -> Event {
    Event::Updates(vec![AgentUpdate::PermissionWithdrawn(id.into())])
}

/// Both in one batch.
pub fn asks_and_takes_back(id: &str) -> Event {
    let batch = [asks(id), takes_back(id)].into_iter().flat_map(|event| match event {
        Event::Updates(batch) => batch,
        other => panic!("{other:?}"),
    });
    Event::Updates(batch.collect())
}

/// The events that bring a turn of `plan` to where its agent works.
pub fn to_running(plan: &TurnPlan) -> Vec<Event> {
    let mut events = to_starting(plan);
    events.extend([ready(), Event::PromptSentRecorded(WriteAnswer::Done)]);
    events
}

/// The events that bring a turn of `plan` to where its agent gets ready.
pub fn to_starting(plan: &TurnPlan) -> Vec<Event> {
    let begun = Event::MessageBegun(WriteAnswer::Done);
    match plan.worktree {
        Some(_) => vec![Event::WorkspaceReady, begun, checkpoint()],
        None => vec![begun],
    }
}

/// An effect that still owes its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Prepare,
    Begin,
    Checkpoint,
    Open,
    Record,
    End,
    Close,
    Collect,
    Settle,
    Requeue,
    Release,
}

impl Owed {
    fn of(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::PrepareWorkspace => Self::Prepare,
            Effect::BeginMessage => Self::Begin,
            Effect::Checkpoint => Self::Checkpoint,
            Effect::OpenSession => Self::Open,
            Effect::RecordPromptSent => Self::Record,
            Effect::SendPrompt => Self::End,
            Effect::CloseSession(_) => Self::Close,
            Effect::CollectChange => Self::Collect,
            Effect::Settle(_) => Self::Settle,
            Effect::Requeue(_) => Self::Requeue,
            Effect::ReleaseWorkspace(_) => Self::Release,
            _ => return None,
        })
    }

    fn answered_by(event: &Event) -> Option<Self> {
        Some(match event {
            Event::WorkspaceReady | Event::WorkspaceFailed(_) => Self::Prepare,
            Event::MessageBegun(_) => Self::Begin,
            Event::CheckpointTaken(_) => Self::Checkpoint,
            Event::SessionReady(_) | Event::SessionFailed(_) => Self::Open,
            Event::PromptSentRecorded(_) => Self::Record,
            Event::Ended(_) => Self::End,
            Event::SessionClosed => Self::Close,
            Event::ChangeCollected(_) => Self::Collect,
            Event::Settled(_) => Self::Settle,
            Event::Requeued(_) => Self::Requeue,
            Event::WorkspaceReleased => Self::Release,
            _ => return None,
        })
    }

    fn answer(self) -> Event {
        match self {
            Self::Prepare => Event::WorkspaceReady,
            Self::Begin => Event::MessageBegun(WriteAnswer::Done),
            Self::Checkpoint => checkpoint(),
            Self::Open => ready(),
            Self::Record => Event::PromptSentRecorded(WriteAnswer::Done),
            Self::End => completed(),
            Self::Close => Event::SessionClosed,
            Self::Collect => unchanged(),
            Self::Settle => Event::Settled(WriteAnswer::Done),
            Self::Requeue => Event::Requeued(WriteAnswer::Done),
            Self::Release => Event::WorkspaceReleased,
        }
    }
}

/// A turn with its book.
#[derive(Clone)]
pub struct Bench {
    pub turn: Turn,
    owed: Vec<Owed>,
    /// One line a step, for messages.
    pub log: Vec<String>,
}

impl Bench {
    pub fn new(plan: TurnPlan) -> Self {
        let (turn, effects) = Turn::begin(plan);
        let mut bench = Self { turn, owed: vec![], log: vec![] };
        bench.note(&effects);
        bench
    }

    pub fn at(plan: TurnPlan, events: impl IntoIterator<Item = Event>) -> Self {
        let mut bench = Self::new(plan);
        for event in events {
            bench.feed(event);
        }
        bench
    }

    pub fn feed(&mut self, event: Event) -> Effects {
        if let Some(answered) = Owed::answered_by(&event)
            && let Some(place) = self.owed.iter().position(|owed| *owed == answered)
        {
            self.owed.remove(place);
        }
        let (at, told) = (self.turn.phase(), event.to_string());
        let effects = self.turn.step(event);
        let done = dispatch_core::trace::list(&effects);
        self.log.push(format!("{at} + {told} -> {}: {done}", self.turn.phase()));
        self.note(&effects);
        effects
    }

    fn note(&mut self, effects: &Effects) {
        for owed in effects.iter().filter_map(Owed::of) {
            if owed == Owed::Close {
                // Letting the agent go drops what it was waited for (`AgentSession::start`).
                self.owed.retain(|owed| !matches!(owed, Owed::Open | Owed::End));
            }
            self.owed.push(owed);
        }
    }

    /// Whether the worktree is being given back now.
    pub fn gives_back(&self) -> bool {
        self.owed.contains(&Owed::Release)
    }

    /// Answers whatever is owed, oldest first, until nothing is; returns the effects. The turn must then be done.
    pub fn finish(&mut self) -> Effects {
        let mut all = vec![];
        for _ in 0..30 {
            let Some(owed) = self.owed.first().copied() else { break };
            all.extend(self.feed(owed.answer()));
        }
        assert_eq!(self.turn.phase(), Phase::Done, "stuck: {:#?}", self.log);
        assert!(self.owed.is_empty(), "still owed {:?}: {:#?}", self.owed, self.log);
        all
    }
}
