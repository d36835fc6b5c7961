//! Fail points, in debug builds only: a dispatcher that stops dead at one call to the world, so that a test can
//! kill it exactly there.
//!
//! `BOOCODER_HALT_AT=record_prompt_sent:after` lets that call be made and never lets its caller have the answer;
//! with `:before` the call is never made. Either way the process says `halted at record_prompt_sent:after` on
//! stderr and goes on with everything else: its lease is renewed, its other turns run. The calls are those of the
//! ports [`Store`], [`Workspace`], [`Backend`] (`open`) and [`AgentSession`] (`start`, `prompt`, `next`, `close`),
//! by the names of their methods.

use std::{fmt, future::Future, sync::Arc};

use async_trait::async_trait;
use dispatch_core::{
    agent::{AgentOffer, AgentUpdate, End, Failure},
    change::{CheckpointKind, Snapshot},
    conversation::Message,
    frame::{Frame, FrameBody},
    ids::{ChatId, Epoch, MessageId, TaskId},
    ports::{
        AgentConversation, AgentSession, Agents, Appended, Backend, CancelFlag, ClaimRequest, Close,
        Collected, Lease, Lineage, NewCheckpoint, NodeInfo, Opened, Orders, Prompt, Recovered, Release,
        SessionInfo, SessionSpec, Settlement, StopAnswer, Store, StoreError, Wakeups, WarmAgent, Workspace,
        WorkspaceError, WorkspaceInfo, WorkspaceSpec, WriteAnswer,
    },
    profile::BackendProfile,
    routing::{AgentFacts, Route, Routes},
    task::{Claim, Name, TurnKey},
};
use dispatch_driver::Ports;

/// The variable that names the call.
const VARIABLE: &str = "BOOCODER_HALT_AT";

/// Where to stop.
#[derive(Clone)]
struct Halt {
    call: Arc<str>,
    is_after: bool,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, if self.is_after { "after" } else { "before" })
    }
}

impl Halt {
    /// A text that names no moment names none of these calls either.
    fn wanted() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let (call, moment) = text.split_once(':')?;
        Some(Self { call: call.into(), is_after: moment == "after" })
    }

    async fn around<T>(&self, call: &str, made: impl Future<Output = T>) -> T {
        if *self.call != *call {
            return made.await;
        }
        if self.is_after {
            made.await;
        }
        complain!("halted at {self}");
        std::future::pending().await
    }
}

/// The ports, with a halt in them where one is wanted.
pub fn ports(ports: Ports) -> Ports {
    let Some(halt) = Halt::wanted() else { return ports };
    Ports {
        store: Arc::new(Halting { halt: halt.clone(), inner: ports.store }),
        workspace: Arc::new(Halting { halt: halt.clone(), inner: ports.workspace }),
        agents: Arc::new(Halting { halt, inner: ports.agents }),
        publisher: ports.publisher,
    }
}

/// A port with a halt in it.
struct Halting<P> {
    halt: Halt,
    inner: P,
}

/// Passes the calls of a port on, through the halt; what else the port has comes in the second pair of braces.
macro_rules! halting {
    ($port:ident {
        $(async fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $answer:ty)?;)+
    } { $($other:tt)* }) => {
        #[async_trait]
        impl $port for Halting<Arc<dyn $port>> {
            $(async fn $name(&self, $($arg: $type),*) $(-> $answer)? {
                self.halt.around(stringify!($name), self.inner.$name($($arg),*)).await
            })+
            $($other)*
        }
    };
}

halting!(Store {
    async fn join(node: &NodeInfo) -> Result<Lease, StoreError>;
    async fn renew(lease: &Lease) -> Result<Option<Orders>, StoreError>;
    async fn leave(lease: &Lease) -> Result<(), StoreError>;
    async fn recover() -> Result<Vec<Recovered>, StoreError>;
    async fn claim(lease: &Lease, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError>;
    async fn record_route(turn: &TurnKey, route: Route) -> Result<WriteAnswer, StoreError>;
    async fn begin_message(
        turn: &TurnKey,
        fresh: MessageId,
        model: Option<&Name>,
    ) -> Result<(WriteAnswer, MessageId), StoreError>;
    async fn record_checkpoint(turn: &TurnKey, new: NewCheckpoint) -> Result<WriteAnswer, StoreError>;
    async fn record_agent_session(
        turn: &TurnKey,
        conversation: &AgentConversation,
        worktree: &str,
    ) -> Result<WriteAnswer, StoreError>;
    async fn agent_session(
        turn: &TurnKey,
        lineage: Lineage,
        worktree: &str,
    ) -> Result<Option<(AgentConversation, Epoch)>, StoreError>;
    async fn compared_with(turn: &TurnKey) -> Result<Option<String>, StoreError>;
    async fn history(turn: &TurnKey) -> Result<Vec<Message>, StoreError>;
    async fn agent_offer(agent: &Name) -> Result<AgentOffer, StoreError>;
    async fn record_warm(lease: &Lease, warm: &[WarmAgent]) -> Result<(), StoreError>;
    async fn record_prompt_sent(turn: &TurnKey) -> Result<WriteAnswer, StoreError>;
    async fn append(
        turn: &TurnKey,
        batch: u64,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Result<Option<Appended>, StoreError>;
    async fn settle(
        turn: &TurnKey,
        settlement: &Settlement,
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError>;
    async fn requeue(
        turn: &TurnKey,
        frames: &[FrameBody],
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError>;
    async fn request_stop(task: TaskId) -> Result<StopAnswer, StoreError>;
    async fn running_epoch(task: TaskId) -> Result<Option<Epoch>, StoreError>;
} {
    fn wakeups(&self) -> Box<dyn Wakeups> {
        self.inner.wakeups()
    }
});

halting!(Workspace {
    async fn prepare(spec: &WorkspaceSpec, cancel: &CancelFlag) -> Result<WorkspaceInfo, WorkspaceError>;
    async fn checkpoint(
        spec: &WorkspaceSpec,
        kind: CheckpointKind,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Snapshot, WorkspaceError>;
    async fn collect(
        spec: &WorkspaceSpec,
        against: Option<&str>,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Collected, WorkspaceError>;
    async fn release(spec: &WorkspaceSpec, how: Release) -> Result<Option<Snapshot>, WorkspaceError>;
} {});

#[async_trait]
impl Agents for Halting<Arc<dyn Agents>> {
    fn facts(&self, agent: &Name) -> AgentFacts {
        self.inner.facts(agent)
    }

    fn available(&self) -> Routes {
        self.inner.available()
    }

    fn backend(&self, route: Route) -> Option<Arc<dyn Backend>> {
        let inner = self.inner.backend(route)?;
        Some(Arc::new(Halting { halt: self.halt.clone(), inner }))
    }

    fn warm(&self) -> Vec<WarmAgent> {
        self.inner.warm()
    }

    async fn close_chats(&self, chats: &[ChatId]) {
        self.inner.close_chats(chats).await;
    }

    async fn end_idle(&self) {
        self.inner.end_idle().await;
    }

    async fn shut_down(&self) {
        self.inner.shut_down().await;
    }
}

#[async_trait]
impl Backend for Halting<Arc<dyn Backend>> {
    fn profile(&self) -> &'static BackendProfile {
        self.inner.profile()
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let Opened { session, control } = self.halt.around("open", self.inner.open(spec)).await?;
        let session = Box::new(Halting { halt: self.halt.clone(), inner: session });
        Ok(Opened { session, control })
    }

    async fn undone(&self) {
        self.inner.undone().await;
    }
}

#[async_trait]
impl AgentSession for Halting<Box<dyn AgentSession>> {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        self.halt.around("start", self.inner.start()).await
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        self.halt.around("prompt", self.inner.prompt(prompt)).await
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        self.halt.around("next", self.inner.next(into)).await
    }

    async fn close(self: Box<Self>, how: Close) {
        self.halt.around("close", self.inner.close(how)).await;
    }
}
