//! The durable record, as dispatch writes it.

use std::time::Duration;

use async_trait::async_trait;

use super::backend::WarmAgent;
use crate::{
    agent::{AgentOffer, Answer, Cost, OwnSettings, Usage},
    change::{ChangeDraft, CheckpointKind, Snapshot},
    conversation::{Message, MessageState, Part},
    frame::{About, Frame, FrameBody},
    ids::{ChangeId, ChatId, Epoch, MessageId, NodeId, Seq, SessionId, TaskId, Timestamp},
    routing::{ChangeUse, Route},
    task::{Claim, Name, TaskState, TerminalReason, TurnKey},
};

/// Whether an error may go away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may: the call can be made again.
    Retry,
    /// It will not.
    GiveUp,
}

/// Why the record could not be read or written. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy for now.
    #[error("{doing}: {source}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The adapter's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot do it: read-only, full, newer than this build, broken.
    #[error("{doing}: {source}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The adapter's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another live process is this node.
    #[error("node {node} is already running")]
    NodeTaken {
        /// The node.
        node: NodeId,
    },
}

impl StoreError {
    /// Whether calling again may help.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } => Class::Retry,
            Self::Failed { .. } | Self::NodeTaken { .. } => Class::GiveUp,
        }
    }
}

/// What became of a write under a [`TurnKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAnswer {
    /// It was made.
    Done,
    /// The key's epoch is not the task's any more, or the task is not running: nothing was changed.
    Fenced,
    /// A Stop was accepted first: nothing was changed.
    StopFirst,
}

/// A dispatcher process as the record knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// One start of one process.
    pub id: NodeId,
    /// What a person reads: host and process id.
    pub label: String,
}

/// A node's right to claim tasks and to write for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its holder.
    pub node: NodeId,
    /// How long it lasts from each renewal; `None` lasts as long as the process (a lock file).
    pub ttl: Option<Duration>,
}

/// What the record has for a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Its tasks whose turn a Stop was accepted for.
    pub stops: Vec<TaskId>,
    /// Users' answers to permission requests of its turns, each until the turn has recorded it as resolved.
    pub answers: Vec<PermissionAnswer>,
    /// Chats that are closed, and that it keeps an agent for by its own last word ([`Store::record_warm`]).
    pub closed: Vec<ChatId>,
}

/// A user's answer to a permission request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionAnswer {
    /// The task whose turn asks.
    pub task: TaskId,
    /// The request's id, unique within the turn.
    pub id: String,
    /// The answer.
    pub answer: Answer,
}

/// An agent's own conversation, as a turn leaves it to the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConversation {
    /// The agent's own id of it.
    pub id: String,
    /// What was chosen in it before tasks asked for something else.
    pub own: OwnSettings,
}

/// Whose conversation with an agent is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// The task's own, of an earlier attempt.
    Task,
    /// The chat's.
    Chat,
}

/// What a Stop was answered (SPEC S1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAnswer {
    /// It was running: its turn is being stopped.
    Stopping,
    /// It was only waiting, and is cancelled now.
    Cancelled,
    /// It had ended before.
    AlreadyEnded(TaskState),
    /// There is no such task.
    NotFound,
}

/// A checkpoint to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCheckpoint {
    /// When it was taken.
    pub kind: CheckpointKind,
    /// The assistant message that it belongs to.
    pub message: Option<MessageId>,
    /// Which worktree it is of.
    pub worktree: String,
    /// What was saved.
    pub snapshot: Snapshot,
}

/// The end of an assistant message.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledMessage {
    /// The message.
    pub id: MessageId,
    /// Its final state.
    pub state: MessageState,
    /// The text, cut.
    pub content: String,
    /// Whether it was cut.
    pub content_truncated: bool,
    /// The reasoning, cut.
    pub reasoning: String,
    /// Whether it was cut.
    pub reasoning_truncated: bool,
    /// The parts, whole.
    pub parts: Vec<Part>,
    /// What the turn used.
    pub usage: Usage,
}

/// What a turn's end does to the changes of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeVerdict {
    /// Nothing: the turn changed nothing, or may not queue what it changed.
    Leave,
    /// The session's worktree is back at its base: its pending change is withdrawn (SPEC R1).
    Withdraw,
    /// A change is queued.
    Queue(Box<SettledChange>),
}

/// A change to record with a turn's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledChange {
    /// The id that it gets.
    pub id: ChangeId,
    /// Who made it.
    pub agent: String,
    /// What it does to the session's pending one.
    pub mode: ChangeUse,
    /// Whether the turn failed.
    pub from_failed_turn: bool,
    /// What it changes.
    pub draft: ChangeDraft,
}

/// Everything that a turn's end writes, in one transaction (SPEC T10, T13).
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The task's final state.
    pub state: TaskState,
    /// Why.
    pub reason: TerminalReason,
    /// The task's summary.
    pub summary: Option<String>,
    /// What the turn cost.
    pub cost: Option<Cost>,
    /// The assistant message, where this attempt began it. Without it, the store ends one that an earlier
    /// attempt left empty: none stays `streaming`.
    pub message: Option<SettledMessage>,
    /// What happens to the session's changes.
    pub change: ChangeVerdict,
    /// The frames that end the turn, in order. The store puts the superseded change's id into
    /// `pending_change`, which it alone knows.
    pub frames: Vec<FrameBody>,
}

/// Where appended frames went: their `seq` is `first`, `first + 1`, … in the order they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The first frame's place.
    pub first: Seq,
    /// When they were stored.
    pub ts: Timestamp,
}

impl Appended {
    /// The stored frames, made of what was appended.
    pub fn frames(
        self,
        session: SessionId,
        about: About,
        bodies: impl IntoIterator<Item = FrameBody>,
    ) -> impl Iterator<Item = Frame> {
        let Self { first, ts } = self;
        (first.0..).zip(bodies).map(move |(seq, body)| Frame {
            seq: Seq(seq),
            session_id: session,
            ts,
            about,
            body,
        })
    }
}

/// A turn that recovery found without its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its task.
    pub task: TaskId,
    /// What became of it.
    pub became: RecoveredAs,
}

/// What recovery made of a turn (SPEC D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveredAs {
    /// Its prompt had not gone out: pending again, in its place.
    Pending,
    /// Its prompt had gone out: interrupted, with everything streamed kept.
    Interrupted,
    /// A Stop had been accepted: cancelled.
    Cancelled,
}

/// What a node asks for when it claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimRequest {
    /// How many more turns the node can run.
    pub free: usize,
    /// Just this task, if it is claimable.
    pub only: Option<TaskId>,
    /// The turns that the node runs. One of its claims that is not among them had its answer lost on the
    /// way, and is handed out again; it uses a free slot.
    pub running: Vec<TaskId>,
    /// How many more turns of an agent the node may run, for each agent that has a limit; `None` is native
    /// inference.
    pub limits: Vec<(Option<Name>, usize)>,
}

impl ClaimRequest {
    /// A request for one task.
    #[must_use]
    pub fn only(task: TaskId) -> Self {
        Self { free: 1, only: Some(task), ..Self::default() }
    }

    /// A request for any tasks, as many as there are slots.
    #[must_use]
    pub fn any(free: usize) -> Self {
        Self { free, ..Self::default() }
    }
}

/// Wake-ups of a node: something was recorded that it may want to act on, by this process or another.
///
/// They are hints (SPEC D1): a burst may come as one, none is promised for a particular write, and after
/// every interruption of the channel there is one, so that a pass catches up. A channel that cannot be set
/// up is tried again and reported in the log; whoever waits polls beside it.
#[async_trait]
pub trait Wakeups: Send {
    /// Waits for the next one. Cancel-safe: one that was not returned comes again.
    async fn next(&mut self);
}

/// The durable record, as dispatch writes it.
///
/// A write under a [`TurnKey`] changes nothing unless the task is running under that epoch. Writes are
/// durable when their call returns, as far as the adapter promises durability at all.
///
/// Every call can be made again when its answer was lost: what the first one did is not done twice, and the
/// second one is answered as the first was.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes this process a node.
    ///
    /// # Errors
    /// [`StoreError::NodeTaken`] when a live process holds the same id.
    async fn join(&self, node: &NodeInfo) -> Result<Lease, StoreError>;

    /// Renews a lease; returns what the record has for the node, or `None` when the lease has lapsed: it is
    /// lost for good, and its turns must end at once.
    async fn renew(&self, lease: &Lease) -> Result<Option<Orders>, StoreError>;

    /// Gives the lease back. Turns that it still holds are recovered like a dead node's.
    async fn leave(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Settles the turns of nodes that are dead (SPEC D6); each once, whoever asks.
    async fn recover(&self) -> Result<Vec<Recovered>, StoreError>;

    /// Claims the oldest claimable tasks that the request leaves room for; empty when there are none.
    ///
    /// At most one task of a session is ever running, and a task is held by at most one node. Each claim
    /// carries a new epoch; writes of an older one change nothing. Nothing is claimed on a lapsed lease. A
    /// claimed task is `running`, with its start time. A task that is attended by another node is not
    /// claimable. What a claim costs depends neither on how many tasks wait behind others nor on how many
    /// wait for an agent without room.
    async fn claim(&self, lease: &Lease, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError>;

    /// Wake-ups from now on: when a task became claimable, a Stop was accepted, a permission request was
    /// answered, or a chat was closed.
    fn wakeups(&self) -> Box<dyn Wakeups>;

    /// Records the route that the first claim chose; a later attempt keeps it.
    async fn record_route(&self, turn: &TurnKey, route: Route) -> Result<WriteAnswer, StoreError>;

    /// Records an empty assistant message, state `streaming`; an earlier attempt's that is still empty is
    /// used again, and its id returned in place of `fresh`.
    async fn begin_message(
        &self,
        turn: &TurnKey,
        fresh: MessageId,
        model: Option<&Name>,
    ) -> Result<(WriteAnswer, MessageId), StoreError>;

    /// Records a checkpoint; the same snapshot twice is recorded once. As a worktree is removed after its
    /// turn was settled, this one write needs the epoch alone: the task may have ended under it.
    async fn record_checkpoint(
        &self,
        turn: &TurnKey,
        checkpoint: NewCheckpoint,
    ) -> Result<WriteAnswer, StoreError>;

    /// Records the agent's conversation, before its prompt goes out.
    async fn record_agent_session(
        &self,
        turn: &TurnKey,
        conversation: &AgentConversation,
        worktree: &str,
    ) -> Result<WriteAnswer, StoreError>;

    /// The conversation that a turn goes on with: the last one recorded for the same agent, route and worktree in
    /// this lineage (SPEC W2), with the claim under which it was recorded; `None` when there is none.
    async fn agent_session(
        &self,
        turn: &TurnKey,
        lineage: Lineage,
        worktree: &str,
    ) -> Result<Option<(AgentConversation, Epoch)>, StoreError>;

    /// The tree that a change of the turn's session worktree is compared with: what the last applied change of the
    /// session's worktree made of it (SPEC R3); `None`, for its base, where none was applied.
    async fn compared_with(&self, turn: &TurnKey) -> Result<Option<String>, StoreError>;

    /// What was said in the turn's chat before its task: the messages of tasks before it, oldest first, with
    /// their parts. Messages that cannot be read are left out.
    async fn history(&self, turn: &TurnKey) -> Result<Vec<Message>, StoreError>;

    /// What an agent was last known to offer: the last `agent_commands` and `agent_settings` frames of any
    /// turn with it; empty where none is known.
    async fn agent_offer(&self, agent: &Name) -> Result<AgentOffer, StoreError>;

    /// Records what a node keeps between turns, whole; it is forgotten when the node leaves or is found dead.
    async fn record_warm(&self, lease: &Lease, warm: &[WarmAgent]) -> Result<(), StoreError>;

    /// Records that the prompt is about to go out. Answers [`WriteAnswer::StopFirst`] when a Stop was
    /// accepted: then it must not.
    async fn record_prompt_sent(&self, turn: &TurnKey) -> Result<WriteAnswer, StoreError>;

    /// Appends frames (at least one) to the turn's session; tells where they went, or `None` when fenced.
    /// The frames themselves stay with the caller, so that text is never copied to be published.
    ///
    /// A `permission_request` that waits for a user is open from then on, until a `permission_resolved` of the same
    /// turn names it or the turn ends. `agent_commands` and `agent_settings` are kept as the agent's offer.
    ///
    /// `batch` counts the appends of a claim, from 1: the last one made again is only answered again, and
    /// one before it, which was given up while it was on its way, is fenced.
    async fn append(
        &self,
        turn: &TurnKey,
        batch: u64,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Result<Option<Appended>, StoreError>;

    /// Ends the turn: everything in one transaction, with its last frames, which are returned.
    ///
    /// Answers [`WriteAnswer::StopFirst`] when a Stop was accepted and the settlement does not say
    /// `cancelled`: whichever commits first has decided (SPEC S2).
    async fn settle(
        &self,
        turn: &TurnKey,
        settlement: &Settlement,
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError>;

    /// Makes a running task whose prompt has not gone out pending again, in its place, and appends
    /// `frames`. [`WriteAnswer::StopFirst`] when a Stop was accepted.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the prompt has gone out: such a task is never run again by itself.
    async fn requeue(
        &self,
        turn: &TurnKey,
        frames: &[FrameBody],
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError>;

    /// Accepts a Stop: marks a running task, or cancels a waiting one; any number of times (SPEC S1).
    async fn request_stop(&self, task: TaskId) -> Result<StopAnswer, StoreError>;

    /// The epoch that the task runs under now; `None` when it is not running.
    async fn running_epoch(&self, task: TaskId) -> Result<Option<Epoch>, StoreError>;
}
