//! The durable record, as people and programs read it and act on it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    agent::{Answer, Cost, PermissionRequest},
    change::{Change, ChangeState, Checkpoint},
    conversation::Message,
    frame::Frame,
    ids::{ChangeId, ChatId, CheckpointId, NodeId, ProjectId, Seq, SessionId, TaskId, Timestamp},
    task::{Name, NewTask, Project, Task, TaskState},
};

use super::{
    backend::WarmAgent,
    store::{NewCheckpoint, SettledChange},
};

/// Why a request was refused or could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such thing.
    #[error("no {what} {id}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// What it was called.
        id: String,
    },
    /// An abbreviated id fits several.
    #[error("{what} {id} is ambiguous: give more of its digits")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// What was given.
        id: String,
    },
    /// The request contradicts the record: a closed session, a chat of another session, …
    #[error("{0}")]
    Refused(String),
}

/// A project to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    /// What a person calls it.
    pub name: String,
    /// The repository's top folder.
    pub path: Option<PathBuf>,
}

/// Which tasks to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// In this state.
    pub state: Option<TaskState>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
}

/// Which changes to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// In this state.
    pub state: Option<ChangeState>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
}

/// A user's decision about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is in the user's checkout.
    Applied,
    /// It is refused.
    Rejected,
}

/// A change that a user makes of a checkpoint (SPEC S3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChange {
    /// The task whose checkpoint it is.
    pub task: TaskId,
    /// The change.
    pub change: SettledChange,
}

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Its project.
    pub project: ProjectId,
    /// Its title.
    pub title: String,
    /// The model that it was given.
    pub model: Option<Name>,
    /// Whether it takes more tasks.
    pub open: bool,
    /// Its chats, oldest first.
    pub chats: Vec<ChatId>,
    /// How many of its tasks wait.
    pub waiting: u64,
    /// The task that runs.
    pub running: Option<TaskId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which sessions to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Open or closed ones.
    pub open: Option<bool>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
}

/// What a pending task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nothing: it is not pending.
    Nothing,
    /// Other tasks of its session come first.
    Behind {
        /// The one that runs or is to run next.
        head: TaskId,
        /// How many come before it, that one included.
        ahead: u64,
    },
    /// A node with a free slot for its agent.
    Slot,
    /// The one process that it was made in.
    ItsProcess,
}

/// A dispatcher process that may claim tasks, as far as can be told from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// What a person reads.
    pub label: String,
    /// How many turns it runs.
    pub running: u64,
    /// When it joined.
    pub joined_at: Timestamp,
}

/// A permission request that waits for a user's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenPermission {
    /// The task whose turn asks.
    pub task: TaskId,
    /// The session.
    pub session: SessionId,
    /// The agent.
    pub agent: Option<Name>,
    /// What it asks.
    pub request: PermissionRequest,
    /// When it asked.
    pub asked_at: Timestamp,
    /// When it is refused if nobody answers.
    pub lapses_at: Timestamp,
    /// What was answered, until the turn has heard it.
    pub answer: Option<Answer>,
}

/// An agent that a node keeps between turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmView {
    /// The node.
    pub node: NodeId,
    /// What a person reads of it.
    pub label: String,
    /// The agent.
    pub agent: WarmAgent,
}

/// Sums over turns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// How many tasks.
    pub tasks: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Costs, one entry a currency.
    pub costs: Vec<Cost>,
}

/// The durable record, as people and programs read it and act on it.
#[async_trait]
pub trait Records: Send + Sync {
    /// The project with this path, made if there is none; without a path, the pathless one of this name.
    async fn ensure_project(&self, new: NewProject) -> Result<Project, RecordsError>;

    /// A project by its id.
    async fn project(&self, id: ProjectId) -> Result<Project, RecordsError>;

    /// All projects, by name.
    async fn projects(&self) -> Result<Vec<Project>, RecordsError>;

    /// The project with this path, if there is one.
    async fn project_at(&self, path: &Path) -> Result<Option<Project>, RecordsError>;

    /// Makes a task, with what is missing of session, chat and its one user message, in one transaction (SPEC T3).
    /// A task of this id that is there already is returned as it stands.
    ///
    /// # Errors
    /// [`RecordsError::Refused`] for an empty input, a closed session or chat, a chat of another session, a
    /// session of another project.
    async fn create_task(&self, new: NewTask) -> Result<Task, RecordsError>;

    /// A task by its id.
    async fn task(&self, id: TaskId) -> Result<Task, RecordsError>;

    /// The one task whose id begins with `prefix` (at least four digits).
    async fn find_task(&self, prefix: &str) -> Result<Task, RecordsError>;

    /// Tasks, newest first. A row that cannot be read is left out and reported in the log.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, RecordsError>;

    /// What a task waits for.
    async fn waits_for(&self, task: TaskId) -> Result<WaitsFor, RecordsError>;

    /// Makes an interrupted task, or one that a shutdown cancelled, pending again for a new attempt with a
    /// new message; its agent's conversation goes on where that was recorded (SPEC D6, D7). It is the oldest
    /// of its session again. A task that is pending or running already is returned as it stands.
    ///
    /// # Errors
    /// [`RecordsError::Refused`] when it ended in another way, or its session or chat is closed.
    async fn resume_task(&self, task: TaskId) -> Result<Task, RecordsError>;

    /// A session by its id.
    async fn session(&self, id: SessionId) -> Result<SessionView, RecordsError>;

    /// The one session whose id begins with `prefix` (at least four digits).
    async fn find_session(&self, prefix: &str) -> Result<SessionView, RecordsError>;

    /// Sessions, newest first. A row that cannot be read is left out and reported in the log.
    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionView>, RecordsError>;

    /// Closes a session: it takes no more tasks, its waiting ones are cancelled, and a Stop of its running
    /// one is accepted, whose id is in the answer. Closing again changes nothing (SPEC R4).
    async fn close_session(&self, session: SessionId) -> Result<SessionView, RecordsError>;

    /// Opens a closed session again: it takes tasks, and its worktree comes back with what its last checkpoint
    /// holds (SPEC R4). What was cancelled stays so. Opening an open one changes nothing.
    ///
    /// # Errors
    /// [`RecordsError::Refused`] while its turn is still being stopped.
    async fn reopen_session(&self, session: SessionId) -> Result<SessionView, RecordsError>;

    /// The nodes that are not known to be dead, oldest first.
    async fn nodes(&self) -> Result<Vec<NodeView>, RecordsError>;

    /// What the nodes that are not known to be dead keep between turns.
    async fn warm(&self) -> Result<Vec<WarmView>, RecordsError>;

    /// The permission requests that wait for an answer, of one task or of all, oldest first.
    async fn permissions(&self, task: Option<TaskId>) -> Result<Vec<OpenPermission>, RecordsError>;

    /// Answers an open permission request; the node that runs the turn is woken. The same answer again
    /// changes nothing.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] when no request of that id is open in the task's turn,
    /// [`RecordsError::Refused`] when it was answered otherwise.
    async fn answer_permission(&self, task: TaskId, id: &str, answer: Answer) -> Result<(), RecordsError>;

    /// The messages of a chat, oldest first, with their parts.
    async fn messages(&self, chat: ChatId) -> Result<Vec<Message>, RecordsError>;

    /// The frames of a session after `after`, in order, at most `limit`.
    async fn frames(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Frame>, RecordsError>;

    /// The one change whose id begins with `prefix` (at least four digits).
    async fn find_change(&self, prefix: &str) -> Result<Change, RecordsError>;

    /// Changes, newest first.
    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<Change>, RecordsError>;

    /// Records a decision about a pending change; the same decision again changes nothing.
    ///
    /// # Errors
    /// [`RecordsError::Refused`] when it was decided otherwise, superseded or withdrawn.
    async fn decide(&self, change: ChangeId, decision: Decision) -> Result<Change, RecordsError>;

    /// Records a change that a user made of a checkpoint, beside the others.
    async fn add_change(&self, new: NewChange) -> Result<Change, RecordsError>;

    /// Records a checkpoint that no turn took (before a restore, before a worktree is removed); the same
    /// snapshot twice is recorded once. One of kind `pre-restore` says that the session's rejected edits
    /// leave its worktree (SPEC R3).
    async fn add_checkpoint(&self, task: TaskId, new: NewCheckpoint) -> Result<Checkpoint, RecordsError>;

    /// The checkpoints of a task's turns, oldest first.
    async fn checkpoints(&self, task: TaskId) -> Result<Vec<Checkpoint>, RecordsError>;

    /// The one checkpoint whose id begins with `prefix` (at least four digits).
    async fn find_checkpoint(&self, prefix: &str) -> Result<Checkpoint, RecordsError>;

    /// A checkpoint by its id.
    async fn checkpoint(&self, id: CheckpointId) -> Result<Checkpoint, RecordsError>;

    /// What all turns of a project used.
    async fn totals(&self, project: ProjectId) -> Result<Totals, RecordsError>;
}
