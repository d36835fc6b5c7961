//! How a turn reaches a coding agent.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    agent::{AgentCommand, AgentSettings, AgentUpdate, Answer, End, Failure, Notice, OwnSettings},
    conversation::Message,
    ids::{ChatId, Epoch, SessionId, TaskId, Timestamp},
    profile::{BackendProfile, Stop},
    routing::{AgentFacts, Route, Routes},
    task::{Name, PermissionPolicy},
};

/// What an agent is started for.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The task, for tags and logs.
    pub task: TaskId,
    /// The claim that the turn runs under.
    pub epoch: Epoch,
    /// The line of work.
    pub session: SessionId,
    /// The conversation, which keys warm agents.
    pub chat: ChatId,
    /// Which start of the dispatcher this is; processes are tagged with it, so that leftovers are found.
    pub run_tag: String,
    /// The agent; `None` is native inference.
    pub agent: Option<Name>,
    /// Where the agent works: the worktree's top folder. Empty where there is none, which is native
    /// inference alone.
    pub cwd: PathBuf,
    /// The model, where one is asked for.
    pub model: Option<Name>,
    /// The mode, where one is asked for.
    pub mode: Option<Name>,
    /// The thinking option, where one is asked for.
    pub thinking: Option<Name>,
    /// How permission requests are answered, for an agent that must be told before it starts. Those that ask
    /// are answered by the turn, whatever this says.
    pub permissions: PermissionPolicy,
    /// The agent's own id of a conversation to go on with, where the agent can; otherwise it begins a new
    /// one, and says which of the two happened in a notice. An agent of a chat that
    /// [starts](AgentSession::start) with [`SessionNew`](crate::agent::NoticeCode::SessionNew) is told the chat's
    /// [record](crate::replay::record) before its prompt.
    pub resume: Option<String>,
    /// The claim under which that was recorded. A kept agent remembers all of the conversation only if it ran that
    /// turn: any node may have.
    pub resume_epoch: Option<Epoch>,
    /// What was chosen in that conversation before tasks asked for something else.
    pub own: OwnSettings,
    /// What was said in the chat before, oldest first, for a backend whose profile wants to be told.
    pub history: Vec<Message>,
}

/// What is asked of the agent in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The user's words; behind the record of the chat for an agent that does not remember it.
    pub text: String,
}

/// What a started agent says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionInfo {
    /// The agent's own id of the conversation.
    pub agent_session: Option<String>,
    /// What was chosen in it before tasks asked for something else; handed to its next turn.
    pub own: OwnSettings,
    /// The slash commands known so far.
    pub commands: Vec<AgentCommand>,
    /// What may be chosen with the agent, as far as it told.
    pub settings: AgentSettings,
    /// What the user should know, for example an option that the agent lacks.
    pub notices: Vec<Notice>,
}

/// How an agent is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Its turn ended by itself, or was stopped before its prompt, perhaps while it was being started: a warm
    /// agent stays if it is known to be idle and in order, others end.
    Return,
    /// It is to be gone now.
    Kill,
}

/// A way to start agents.
#[async_trait]
pub trait Backend: Send + Sync {
    /// How this backend differs from others.
    fn profile(&self) -> &'static BackendProfile;

    /// Starts the agent's process (or finds a warm one) without talking to it yet. Dropping the future gives
    /// up: what it had begun is undone.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot be started; nothing runs then.
    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure>;

    /// Returns when nothing runs any more of calls of [`open`](Self::open) that were given up.
    async fn undone(&self);
}

/// An agent that is kept between turns, or a server of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmAgent {
    /// The agent.
    pub agent: Name,
    /// How it is reached.
    pub route: Route,
    /// The conversation that it is kept for; none for a server that all share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// Its process, as this machine numbers it.
    pub pid: u32,
    /// How many turns it runs now.
    pub turns: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its last turn ended, or it was started.
    pub idle_since: Timestamp,
}

/// The agents that can be reached, and how.
#[async_trait]
pub trait Agents: Send + Sync {
    /// What is known of an agent now. Looks at the machine, so that a program installed meanwhile is found.
    fn facts(&self, agent: &Name) -> AgentFacts;

    /// The routes that are built and switched on.
    fn available(&self) -> Routes;

    /// The backend of a route; `None` when the route is not built or switched on.
    fn backend(&self, route: Route) -> Option<Arc<dyn Backend>>;

    /// The agents that are kept now.
    fn warm(&self) -> Vec<WarmAgent>;

    /// Lets go of what is kept for these chats, as they are closed (SPEC R4): at once where it is idle, else
    /// when its turn ends. When this returns, nothing of it runs any more; dropping the future takes nothing back.
    async fn close_chats(&self, chats: &[ChatId]);

    /// Ends what is kept and used by no turn, at once: another node may go on with its conversations. When this
    /// returns, nothing of it runs any more.
    async fn end_idle(&self);

    /// Ends everything that is kept. When this returns, nothing of it runs any more.
    async fn shut_down(&self);
}

/// An agent that was opened. Two handles, because Stop must be sendable while the stream is awaited.
pub struct Opened {
    /// The conversation.
    pub session: Box<dyn AgentSession>,
    /// The other hand on it.
    pub control: Arc<dyn AgentControl>,
}

/// One agent's conversation, driven by one owner. The calls come in this order: `start`, `prompt`, `next`
/// until it gives an end, `close`; `close` may come at any time, and always comes.
#[async_trait]
pub trait AgentSession: Send {
    /// Gets the agent ready for a prompt: handshake, conversation, model, mode and thinking option.
    /// Dropping the future gives up; only `close` may be called after that.
    ///
    /// # Errors
    /// A [`Failure`] with the agent's words, or the end of what it printed, when it does not get ready.
    async fn start(&mut self) -> Result<SessionInfo, Failure>;

    /// Sends the prompt. It may have gone out even if this fails.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot be sent.
    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure>;

    /// Waits for news and appends a batch of it to `into`; returns the end once the turn has ended, with
    /// or after its last updates. Cancel-safe: what was not handed over comes with the next call.
    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End>;

    /// Lets the agent go. When this returns, nothing of the turn runs any more: with [`Close::Kill`], or
    /// for agents that do not outlive their turn, the whole process tree is gone.
    async fn close(self: Box<Self>, how: Close);
}

/// The hand that reaches an agent while its stream is awaited. Everything is safe to repeat and does
/// nothing once the agent is gone.
#[async_trait]
pub trait AgentControl: Send + Sync {
    /// Climbs one rung of the stop ladder. It does not wait for the effect: the end comes in the stream.
    ///
    /// The first rung is climbed once [`prompt`](AgentSession::prompt) has returned, so that there is a turn to be
    /// ended; a later one at any time.
    async fn stop(&self, rung: Stop);

    /// Answers a permission request of this turn; an unknown or answered one is left alone.
    async fn answer(&self, id: &str, answer: Answer);
}
