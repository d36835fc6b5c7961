//! The store with faults around it.

use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::{
    agent::AgentOffer,
    conversation::Message,
    frame::{Frame, FrameBody},
    ids::{Epoch, MessageId, TaskId},
    ports::{
        AgentConversation, Appended, ClaimRequest, Lease, Lineage, NewCheckpoint, NodeInfo, Orders,
        Recovered, Settlement, StopAnswer, Store, StoreError, Wakeups, WarmAgent, WriteAnswer,
    },
    routing::Route,
    task::{Claim, Name, TurnKey},
};

use super::plan::{Fault, Faults, Planted};

/// A store with faults around each of its methods.
pub struct FaultyStore {
    /// The real one.
    pub inner: Arc<dyn Store>,
    /// What is planted.
    pub faults: Arc<Faults>,
}

fn error(fault: Fault, planted: Planted) -> StoreError {
    let (doing, source) = ("planted", planted.into());
    match fault {
        Fault::Unavailable => StoreError::Unavailable { doing, source },
        Fault::Failed | Fault::Panic => StoreError::Failed { doing, source },
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn join(&self, node: &NodeInfo) -> Result<Lease, StoreError> {
        let lease = self.faults.around("join", self.inner.join(node), error).await?;
        Ok(Lease { ttl: self.faults.ttl().or(lease.ttl), ..lease })
    }

    async fn renew(&self, lease: &Lease) -> Result<Option<Orders>, StoreError> {
        let renewed = self.faults.around("renew", self.inner.renew(lease), error).await?;
        Ok(renewed.filter(|_| !self.faults.has_lapsed(lease.node)))
    }

    async fn leave(&self, lease: &Lease) -> Result<(), StoreError> {
        self.faults.around("leave", self.inner.leave(lease), error).await
    }

    async fn recover(&self) -> Result<Vec<Recovered>, StoreError> {
        self.faults.around("recover", self.inner.recover(), error).await
    }

    async fn claim(&self, lease: &Lease, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        self.faults.around("claim", self.inner.claim(lease, request), error).await
    }

    fn wakeups(&self) -> Box<dyn Wakeups> {
        self.faults.at_once("wakeups");
        Box::new(FaultyWakeups { inner: self.inner.wakeups(), faults: Arc::clone(&self.faults) })
    }

    async fn record_route(&self, turn: &TurnKey, route: Route) -> Result<WriteAnswer, StoreError> {
        self.faults.around("record_route", self.inner.record_route(turn, route), error).await
    }

    async fn begin_message(
        &self,
        turn: &TurnKey,
        fresh: MessageId,
        model: Option<&Name>,
    ) -> Result<(WriteAnswer, MessageId), StoreError> {
        self.faults.around("begin_message", self.inner.begin_message(turn, fresh, model), error).await
    }

    async fn record_checkpoint(
        &self,
        turn: &TurnKey,
        checkpoint: NewCheckpoint,
    ) -> Result<WriteAnswer, StoreError> {
        self.faults.around("record_checkpoint", self.inner.record_checkpoint(turn, checkpoint), error).await
    }

    async fn record_agent_session(
        &self,
        turn: &TurnKey,
        conversation: &AgentConversation,
        worktree: &str,
    ) -> Result<WriteAnswer, StoreError> {
        let effect = self.inner.record_agent_session(turn, conversation, worktree);
        self.faults.around("record_agent_session", effect, error).await
    }

    async fn agent_session(
        &self,
        turn: &TurnKey,
        lineage: Lineage,
        worktree: &str,
    ) -> Result<Option<(AgentConversation, Epoch)>, StoreError> {
        let found = self.inner.agent_session(turn, lineage, worktree);
        self.faults.around("agent_session", found, error).await
    }

    async fn compared_with(&self, turn: &TurnKey) -> Result<Option<String>, StoreError> {
        self.faults.around("compared_with", self.inner.compared_with(turn), error).await
    }

    async fn history(&self, turn: &TurnKey) -> Result<Vec<Message>, StoreError> {
        self.faults.around("history", self.inner.history(turn), error).await
    }

    async fn agent_offer(&self, agent: &Name) -> Result<AgentOffer, StoreError> {
        self.faults.around("agent_offer", self.inner.agent_offer(agent), error).await
    }

    async fn record_warm(&self, lease: &Lease, warm: &[WarmAgent]) -> Result<(), StoreError> {
        self.faults.around("record_warm", self.inner.record_warm(lease, warm), error).await
    }

    async fn record_prompt_sent(&self, turn: &TurnKey) -> Result<WriteAnswer, StoreError> {
        self.faults.around("record_prompt_sent", self.inner.record_prompt_sent(turn), error).await
    }

    async fn append(
        &self,
        turn: &TurnKey,
        batch: u64,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Result<Option<Appended>, StoreError> {
        self.faults.around("append", self.inner.append(turn, batch, message, frames), error).await
    }

    async fn settle(
        &self,
        turn: &TurnKey,
        settlement: &Settlement,
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        self.faults.around("settle", self.inner.settle(turn, settlement), error).await
    }

    async fn requeue(
        &self,
        turn: &TurnKey,
        frames: &[FrameBody],
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        self.faults.around("requeue", self.inner.requeue(turn, frames), error).await
    }

    async fn request_stop(&self, task: TaskId) -> Result<StopAnswer, StoreError> {
        self.faults.around("request_stop", self.inner.request_stop(task), error).await
    }

    async fn running_epoch(&self, task: TaskId) -> Result<Option<Epoch>, StoreError> {
        self.faults.around("running_epoch", self.inner.running_epoch(task), error).await
    }
}

/// Wake-ups that can be swallowed, and that can come from nowhere.
struct FaultyWakeups {
    inner: Box<dyn Wakeups>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Wakeups for FaultyWakeups {
    async fn next(&mut self) {
        loop {
            tokio::select! {
                () = self.inner.next() => if !self.faults.is_deaf() { return },
                () = self.faults.rung() => return,
            }
        }
    }
}
