//! What the clauses are written with.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dispatch_core::{
    agent::{Cost, OwnSettings, PermissionRequest, ToolCall, Usage},
    change::{ChangeDraft, CheckpointKind, FileChange, FileChangeKind, Snapshot},
    conversation::{Message, MessageState, Part, Role},
    frame::{Frame, FrameBody},
    ids::{ChangeId, MessageId, NodeId, Seq, SessionId, TaskId},
    ports::{
        AgentConversation, Appended, ChangeFilter, ChangeVerdict, ClaimRequest, Lease, Lineage,
        NewCheckpoint, NewProject, NodeInfo, Orders, SettledChange, SettledMessage, Settlement, TaskFilter,
        Wakeups, WriteAnswer,
    },
    routing::ChangeUse,
    task::{
        Claim, Name, NewTask, PermissionPolicy, Project, Task, TaskState, TerminalReason, TurnKey,
        TurnOptions,
    },
};

use super::subject::{StoreSubject, View};

/// Random bytes for an id.
pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("because the system has randomness");
    bytes
}

/// One process: a view, a node in it, and a project to work in.
pub struct Kit {
    pub view: View,
    pub lease: Lease,
    pub project: Project,
}

/// A turn under way, its message begun.
pub struct Running {
    pub claim: Claim,
    pub key: TurnKey,
    pub message: MessageId,
    appends: AtomicU64,
}

impl Running {
    /// The number of the turn's next append.
    pub fn batch(&self) -> u64 {
        self.appends.fetch_add(1, Ordering::Relaxed) + 1
    }
}

pub fn a_node() -> NodeInfo {
    NodeInfo { id: NodeId::from_random(random()), label: "test".into() }
}

impl Kit {
    pub async fn new(subject: &dyn StoreSubject) -> Self {
        let view = subject.open().await;
        let lease = view.store.join(&a_node()).await.unwrap();
        let new = NewProject { name: "project".into(), path: Some("/somewhere".into()) };
        let project = view.records.ensure_project(new).await.unwrap();
        Self { view, lease, project }
    }

    pub fn new_task(&self) -> NewTask {
        NewTask {
            id: TaskId::from_random(random()),
            project: self.project.id,
            input: "do it".into(),
            options: TurnOptions { agent: Name::new("goose"), ..TurnOptions::default() },
            permissions: PermissionPolicy::Ask,
            session: None,
            chat: None,
            default_model: None,
            attended_by: None,
        }
    }

    /// A task with a session of its own.
    pub async fn task(&self) -> Task {
        self.view.records.create_task(self.new_task()).await.unwrap()
    }

    /// One more task of a session.
    pub async fn task_in(&self, session: SessionId) -> Task {
        let new = NewTask { session: Some(session), ..self.new_task() };
        self.view.records.create_task(new).await.unwrap()
    }

    /// Claims as a node does that heard of everything that it was given.
    pub async fn claim(&self, free: usize) -> Vec<Claim> {
        self.claim_as(ClaimRequest::any(free)).await
    }

    pub async fn claim_only(&self, task: TaskId) -> Option<Claim> {
        self.claim_as(ClaimRequest::only(task)).await.pop()
    }

    pub async fn claim_as(&self, request: ClaimRequest) -> Vec<Claim> {
        let running = TaskFilter { state: Some(TaskState::Running), ..TaskFilter::default() };
        let running = self.view.records.tasks(&running).await.unwrap();
        let running = running.into_iter().map(|task| task.id).collect();
        self.view.store.claim(&self.lease, &ClaimRequest { running, ..request }).await.unwrap()
    }

    /// Claims this task and begins its message.
    pub async fn begin(&self, task: TaskId) -> Running {
        let claim = self.claim_only(task).await.expect("because the task is claimable");
        let key = claim.key();
        let fresh = MessageId::from_random(random());
        let (answer, message) = self.view.store.begin_message(&key, fresh, None).await.unwrap();
        assert_eq!(answer, WriteAnswer::Done);
        Running { claim, key, message, appends: AtomicU64::new(0) }
    }

    /// A turn of a new task in a session of its own.
    pub async fn running(&self) -> Running {
        self.begin(self.task().await.id).await
    }

    /// The same with its prompt out.
    pub async fn prompted(&self) -> Running {
        let turn = self.running().await;
        assert_eq!(self.view.store.record_prompt_sent(&turn.key).await.unwrap(), WriteAnswer::Done);
        turn
    }

    /// Records the agent's conversation, in a worktree of which nothing else is known.
    pub async fn record_conversation(&self, turn: &Running, id: &str) {
        let conversation = AgentConversation { id: id.into(), own: OwnSettings::default() };
        self.view.store.record_agent_session(&turn.key, &conversation, "worktree").await.unwrap();
    }

    /// The id of the conversation of the task's own attempts before.
    pub async fn own_conversation(&self, turn: &Running, worktree: &str) -> Option<String> {
        let found = self.view.store.agent_session(&turn.key, Lineage::Task, worktree).await.unwrap();
        found.map(|(conversation, _)| conversation.id)
    }

    pub async fn append(&self, turn: &Running, text: &str) {
        self.append_all(turn, Some(turn.message), &[FrameBody::delta(text)]).await;
    }

    pub async fn append_all(
        &self,
        turn: &Running,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Appended {
        let appended = self.view.store.append(&turn.key, turn.batch(), message, frames).await;
        appended.unwrap().expect("because the turn runs")
    }

    /// Ends a turn as completed, with a change.
    pub async fn complete(&self, turn: &Running, change: ChangeVerdict) -> Vec<Frame> {
        let settlement = Settlement { change, ..completed(turn) };
        let (answer, frames) = self.view.store.settle(&turn.key, &settlement).await.unwrap();
        assert_eq!(answer, WriteAnswer::Done);
        frames
    }

    pub async fn reread(&self, task: TaskId) -> Task {
        self.view.records.task(task).await.unwrap()
    }

    pub async fn frames(&self, session: SessionId) -> Vec<Frame> {
        self.view.records.frames(session, Seq(0), 0).await.unwrap()
    }

    /// The assistant message of a task's last attempt.
    pub async fn answer(&self, task: &Task) -> Message {
        let messages = self.view.records.messages(task.chat).await.unwrap();
        let wanted = self.reread(task.id).await.assistant_message;
        messages.into_iter().find(|message| Some(message.id) == wanted).expect("because it was begun")
    }

    /// Everything that can be read, as text to compare.
    pub async fn dump(&self) -> String {
        let records = &self.view.records;
        let tasks = records.tasks(&TaskFilter::default()).await.unwrap();
        let mut dump = format!("{:#?}\n{:#?}\n", records.projects().await.unwrap(), tasks);
        for task in &tasks {
            let session = records.session(task.session).await.unwrap();
            for chat in &session.chats {
                dump += &format!("{:#?}\n", records.messages(*chat).await.unwrap());
            }
            dump += &format!("{session:#?}\n{:#?}\n", self.frames(task.session).await);
            dump += &format!("{:#?}\n", records.checkpoints(task.id).await.unwrap());
        }
        dump += &format!("{:#?}\n", records.permissions(None).await.unwrap());
        dump + &format!("{:#?}\n", records.changes(&ChangeFilter::default()).await.unwrap())
    }
}

/// The settlement of a turn that completed with "done", and no change.
pub fn completed(turn: &Running) -> Settlement {
    let usage = Usage {
        input_tokens: Some(10),
        output_tokens: Some(5),
        cost: Some(Cost { amount: 0.25, currency: "USD".into() }),
        ..Usage::default()
    };
    Settlement {
        state: TaskState::Completed,
        reason: TerminalReason::Completed,
        summary: Some("done".into()),
        cost: usage.cost.clone(),
        message: Some(SettledMessage {
            id: turn.message,
            state: MessageState::Complete,
            content: "done".into(),
            content_truncated: false,
            reasoning: "because".into(),
            reasoning_truncated: true,
            parts: vec![Part::Text { text: "done".into(), placeholder: false }],
            usage: usage.clone(),
        }),
        change: ChangeVerdict::Leave,
        frames: vec![
            FrameBody::MessageComplete { status: MessageState::Complete, model: None, usage, error: None },
            FrameBody::TaskState { state: TaskState::Completed, reason: Some(TerminalReason::Completed) },
        ],
    }
}

/// The settlement of a turn that was stopped.
pub fn cancelled(turn: &Running) -> Settlement {
    let message =
        completed(turn).message.map(|message| SettledMessage { state: MessageState::Cancelled, ..message });
    Settlement {
        state: TaskState::Cancelled,
        reason: TerminalReason::Stopped,
        message,
        frames: vec![FrameBody::TaskState {
            state: TaskState::Cancelled,
            reason: Some(TerminalReason::Stopped),
        }],
        ..completed(turn)
    }
}

/// A permission request of this id.
pub fn a_request(id: &str, tool_call: ToolCall) -> PermissionRequest {
    PermissionRequest { id: id.into(), tool_call, options: vec![], paths: vec![] }
}

/// The orders of a node whose only news is a Stop of this turn.
pub fn stopped(turn: &Running) -> Orders {
    Orders { stops: vec![turn.key.task], ..Orders::default() }
}

pub fn snapshot(name: &str) -> Snapshot {
    Snapshot {
        commit: format!("commit-{name}"),
        reference: format!("refs/boocoder/{name}"),
        tree: format!("tree-{name}"),
        skipped: vec![],
    }
}

pub fn checkpoint(kind: CheckpointKind, name: &str, message: Option<MessageId>) -> NewCheckpoint {
    NewCheckpoint { kind, message, worktree: "worktree".into(), snapshot: snapshot(name) }
}

/// A change of these files.
pub fn change(mode: ChangeUse, name: &str, paths: &[&str]) -> SettledChange {
    let file = |path: &&str| FileChange {
        path: (*path).to_owned(),
        kind: FileChangeKind::Modified,
        from: None,
        additions: 2,
        deletions: 1,
        binary: false,
    };
    SettledChange {
        id: ChangeId::from_random(random()),
        agent: "goose".into(),
        mode,
        from_failed_turn: false,
        draft: ChangeDraft {
            base_tree: "base".into(),
            result_tree: format!("tree-{name}"),
            snapshot: snapshot(name),
            files: paths.iter().map(file).collect(),
            warnings: vec!["careful".into()],
        },
    }
}

/// The names of frames, in order.
pub fn names(frames: &[Frame]) -> Vec<&'static str> {
    frames.iter().map(|frame| frame.body.name()).collect()
}

/// Whether the frames are numbered without a gap, from 1.
pub fn gapless(frames: &[Frame]) -> bool {
    frames.iter().map(|frame| frame.seq.0).eq(1..=frames.len() as i64)
}

/// The user's message of a chat.
pub fn user_messages(messages: &[Message]) -> Vec<&Message> {
    messages.iter().filter(|message| message.role == Role::User).collect()
}

/// Longer than any channel takes; nobody waits for it in vain but in a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One who listens in each of two processes.
pub struct Ears(pub [Box<dyn Wakeups>; 2]);

impl Ears {
    /// From now on, so that what happened before wakes nobody.
    pub fn new(kits: [&Kit; 2]) -> Self {
        Self(kits.map(|kit| kit.view.store.wakeups()))
    }

    pub async fn hear(&mut self, what: &str) {
        for ear in &mut self.0 {
            tokio::time::timeout(PATIENCE, ear.next()).await.unwrap_or_else(|_| panic!("not heard: {what}"));
        }
    }
}
