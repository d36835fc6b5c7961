//! The `Store` port.

use std::time::Duration;

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

use super::{
    PostgresStore, changes, claim,
    conversations::{self, Whose},
    db::{CALL, LONG_CALL, within},
    node, offers, recover,
    store::HeldNode,
    turns, warm,
};
use crate::{end::End, fault::Fault};

/// Waits for a call as long as calls may take, and tells the port.
async fn call<T>(doing: &'static str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, StoreError> {
    call_within(CALL, doing, work).await
}

async fn call_within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, StoreError> {
    within(limit, work).await.map_err(|fault| fault.into_store(doing))
}

#[async_trait]
impl Store for PostgresStore {
    async fn join(&self, node: &NodeInfo) -> Result<Lease, StoreError> {
        call("joining", async {
            let lease = Lease { node: node.id, ttl: Some(self.lease) };
            // Taken out meanwhile: whatever happens, one task at a time handles the lock.
            let held = self.nodes().remove(&node.id);
            let lock = match held {
                Some(held) if node::holds(&self.db, held.num).await? => {
                    self.nodes().insert(node.id, held);
                    return Ok(lease);
                }
                Some(held) => held.lock,
                None => node::lock(&self.host, node.id).await?,
            };
            let num = node::join(&self.db, &self.host, node, self.lease).await?;
            self.nodes().insert(node.id, HeldNode { num, lock });
            Ok(lease)
        })
        .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Option<Orders>, StoreError> {
        let Some(num) = self.node(lease.node) else { return Ok(None) };
        // Later than this the answer is of no use.
        call_within(CALL.min(self.lease), "renewing the lease", node::renew(&self.db, num, self.lease)).await
    }

    async fn leave(&self, lease: &Lease) -> Result<(), StoreError> {
        let Some(num) = self.node(lease.node) else { return Ok(()) };
        call("leaving", async {
            node::leave(&self.db, num).await?;
            if let Some(held) = self.nodes().remove(&lease.node) {
                held.lock.release();
            }
            recover::abandon(self).await.map(drop)
        })
        .await
    }

    async fn recover(&self) -> Result<Vec<Recovered>, StoreError> {
        call_within(LONG_CALL, "recovering", recover::recover(self)).await
    }

    async fn claim(&self, lease: &Lease, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let Some(num) = self.node(lease.node) else { return Ok(vec![]) };
        call("claiming", claim::claim(self, (num, lease.node), request)).await
    }

    fn wakeups(&self) -> Box<dyn Wakeups> {
        Box::new(self.listen())
    }

    async fn record_route(&self, turn: &TurnKey, route: Route) -> Result<WriteAnswer, StoreError> {
        const RECORD: &str = "UPDATE task SET route = coalesce(route, $3)
          WHERE id = $1 AND epoch = $2 AND state = 'running' RETURNING num";
        call("recording the route", async {
            let values: super::db::Values<'_> = &[&turn.task.to_string(), &turn.epoch.0, &route.as_str()];
            let rows = self.db.query(RECORD, values).await?;
            Ok(if rows.is_empty() { WriteAnswer::Fenced } else { WriteAnswer::Done })
        })
        .await
    }

    async fn begin_message(
        &self,
        turn: &TurnKey,
        fresh: MessageId,
        model: Option<&Name>,
    ) -> Result<(WriteAnswer, MessageId), StoreError> {
        call("beginning the message", conversations::begin_message(&self.db, turn, fresh, model)).await
    }

    async fn record_checkpoint(
        &self,
        turn: &TurnKey,
        checkpoint: NewCheckpoint,
    ) -> Result<WriteAnswer, StoreError> {
        call("recording a checkpoint", async {
            let added = conversations::add_checkpoint(&self.db, Whose::Turn(turn), &checkpoint).await?;
            Ok(if added.is_some() { WriteAnswer::Done } else { WriteAnswer::Fenced })
        })
        .await
    }

    async fn record_agent_session(
        &self,
        turn: &TurnKey,
        conversation: &AgentConversation,
        worktree: &str,
    ) -> Result<WriteAnswer, StoreError> {
        let record = conversations::record_agent_session(&self.db, turn, conversation, worktree);
        call("recording the agent's session", record).await
    }

    async fn agent_session(
        &self,
        turn: &TurnKey,
        lineage: Lineage,
        worktree: &str,
    ) -> Result<Option<(AgentConversation, Epoch)>, StoreError> {
        let find = conversations::agent_session(&self.db, turn, lineage, worktree);
        call("reading the agent's session", find).await
    }

    async fn compared_with(&self, turn: &TurnKey) -> Result<Option<String>, StoreError> {
        call("reading the applied change", changes::compared_with(&self.db, turn)).await
    }

    async fn history(&self, turn: &TurnKey) -> Result<Vec<Message>, StoreError> {
        call_within(LONG_CALL, "reading a chat", conversations::history(&self.db, turn)).await
    }

    async fn agent_offer(&self, agent: &Name) -> Result<AgentOffer, StoreError> {
        call("reading what an agent offers", offers::offer(&self.db, agent)).await
    }

    async fn record_warm(&self, lease: &Lease, warm: &[WarmAgent]) -> Result<(), StoreError> {
        let Some(num) = self.node(lease.node) else { return Ok(()) };
        call("recording what is kept", warm::record(&self.db, num, warm)).await
    }

    async fn record_prompt_sent(&self, turn: &TurnKey) -> Result<WriteAnswer, StoreError> {
        call("recording the prompt", turns::record_prompt_sent(&self.db, turn)).await
    }

    async fn append(
        &self,
        turn: &TurnKey,
        batch: u64,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Result<Option<Appended>, StoreError> {
        call("appending frames", turns::append(&self.db, turn, batch, message, frames)).await
    }

    async fn settle(
        &self,
        turn: &TurnKey,
        settlement: &Settlement,
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        call_within(LONG_CALL, "settling", async {
            let end = End::try_from(settlement)?;
            let mut tx = self.db.begin().await?;
            let settled = turns::settle(&mut tx, turn, end).await?;
            self.commit(tx).await?;
            Ok(settled)
        })
        .await
    }

    async fn requeue(
        &self,
        turn: &TurnKey,
        frames: &[FrameBody],
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        call("requeueing", async {
            let mut tx = self.db.begin().await?;
            let requeued = turns::requeue(&mut tx, turn, frames.to_vec()).await?;
            self.commit(tx).await?;
            Ok(requeued)
        })
        .await
    }

    async fn request_stop(&self, task: TaskId) -> Result<StopAnswer, StoreError> {
        call("stopping", async {
            let mut tx = self.db.begin().await?;
            let answer = recover::request_stop(&mut tx, task).await?;
            self.commit(tx).await?;
            Ok(answer)
        })
        .await
    }

    async fn running_epoch(&self, task: TaskId) -> Result<Option<Epoch>, StoreError> {
        const EPOCH: &str = "SELECT epoch FROM task WHERE id = $1 AND state = 'running'";
        call("reading a task", async {
            let rows = self.db.query(EPOCH, &[&task.to_string()]).await?;
            let epoch = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?;
            Ok(epoch.flatten().map(Epoch))
        })
        .await
    }
}
