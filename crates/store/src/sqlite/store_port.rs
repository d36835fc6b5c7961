//! The `Store` port.

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
use rusqlite::{OptionalExtension, Transaction};

use super::{
    SqliteStore, changes, claim, conversations, frames, node, offers, permissions, recover, turns,
    turns::Turn,
    warm,
    writer::{Durable, Write},
};
use crate::{
    end::{End, encode},
    fault::Fault,
    noted::Noted,
};

impl SqliteStore {
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        durable: Durable,
        job: impl FnOnce(&Write<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(durable, job).await.map_err(|fault| fault.into_store(doing))
    }

    async fn look<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(job).await.map_err(|fault| fault.into_store(doing))
    }

    /// Writes for a turn that is not fenced off.
    async fn write_turn(
        &self,
        doing: &'static str,
        key: &TurnKey,
        job: impl FnOnce(&Transaction<'_>, &Turn) -> Result<(), Fault> + Send + 'static,
    ) -> Result<WriteAnswer, StoreError> {
        let key = *key;
        self.write(doing, Durable::Soon, move |tx| {
            let Some(turn) = Turn::of(tx, &key)? else { return Ok(WriteAnswer::Fenced) };
            job(tx, &turn)?;
            Ok(WriteAnswer::Done)
        })
        .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn join(&self, node: &NodeInfo) -> Result<Lease, StoreError> {
        let (nodes, info) = (self.nodes.clone(), node.clone());
        self.write("joining", Durable::Soon, move |tx| node::join(tx, &nodes, &info)).await?;
        Ok(Lease { node: node.id, ttl: None })
    }

    async fn renew(&self, lease: &Lease) -> Result<Option<Orders>, StoreError> {
        let node = lease.node;
        self.look("renewing the lease", move |tx| {
            let Some(node) = node::number(tx, node)? else { return Ok(None) };
            Ok(Some(Orders {
                stops: node::stopped(tx, node)?,
                answers: permissions::answers(tx, node)?,
                closed: warm::closed_chats(tx, node)?,
            }))
        })
        .await
    }

    async fn leave(&self, lease: &Lease) -> Result<(), StoreError> {
        let (nodes, node) = (self.nodes.clone(), lease.node);
        self.write("leaving", Durable::Soon, move |tx| {
            node::leave(tx, node)?;
            recover::abandon(tx, &node.to_string())?;
            if let Some(lock) = nodes.held().remove(&node) {
                lock.release();
            }
            Ok(())
        })
        .await
    }

    async fn recover(&self) -> Result<Vec<Recovered>, StoreError> {
        let nodes = self.nodes.clone();
        self.write("recovering", Durable::Now, move |tx| recover::recover(tx, &nodes.folder)).await
    }

    async fn claim(&self, lease: &Lease, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let (node, request) = (lease.node, request.clone());
        if !self.nodes.held().contains_key(&node) {
            return Ok(vec![]);
        }
        self.write("claiming", Durable::Soon, move |tx| claim::claim(tx, node, &request)).await
    }

    fn wakeups(&self) -> Box<dyn Wakeups> {
        Box::new(self.bell.listen())
    }

    async fn record_route(&self, turn: &TurnKey, route: Route) -> Result<WriteAnswer, StoreError> {
        self.write_turn("recording the route", turn, move |tx, turn| {
            tx.prepare_cached("UPDATE task SET route = coalesce(route, ?2) WHERE num = ?1")?
                .execute((turn.task, route.as_str()))?;
            Ok(())
        })
        .await
    }

    async fn begin_message(
        &self,
        turn: &TurnKey,
        fresh: MessageId,
        model: Option<&Name>,
    ) -> Result<(WriteAnswer, MessageId), StoreError> {
        let (key, model) = (*turn, model.cloned());
        self.write("beginning the message", Durable::Soon, move |tx| {
            let Some(turn) = Turn::of(tx, &key)? else { return Ok((WriteAnswer::Fenced, fresh)) };
            let begun = conversations::begin_message(tx, turn.task, fresh, model.as_ref())?;
            Ok((WriteAnswer::Done, begun))
        })
        .await
    }

    async fn record_checkpoint(
        &self,
        turn: &TurnKey,
        checkpoint: NewCheckpoint,
    ) -> Result<WriteAnswer, StoreError> {
        let key = *turn;
        self.write("recording a checkpoint", Durable::Soon, move |tx| {
            let Some(task) = Turn::task_of(tx, &key)? else { return Ok(WriteAnswer::Fenced) };
            conversations::add_checkpoint(tx, task, &checkpoint)?;
            Ok(WriteAnswer::Done)
        })
        .await
    }

    async fn record_agent_session(
        &self,
        turn: &TurnKey,
        conversation: &AgentConversation,
        worktree: &str,
    ) -> Result<WriteAnswer, StoreError> {
        let (conversation, worktree) = (conversation.clone(), worktree.to_owned());
        self.write_turn("recording the agent's session", turn, move |tx, turn| {
            conversations::record_agent_session(tx, turn.task, &conversation, &worktree)
        })
        .await
    }

    async fn agent_session(
        &self,
        turn: &TurnKey,
        lineage: Lineage,
        worktree: &str,
    ) -> Result<Option<(AgentConversation, Epoch)>, StoreError> {
        let (key, worktree) = (*turn, worktree.to_owned());
        self.look("reading the agent's session", move |tx| {
            conversations::agent_session(tx, &key, lineage, &worktree)
        })
        .await
    }

    async fn compared_with(&self, turn: &TurnKey) -> Result<Option<String>, StoreError> {
        let key = *turn;
        self.look("reading the applied change", move |tx| changes::compared_with(tx, &key)).await
    }

    async fn history(&self, turn: &TurnKey) -> Result<Vec<Message>, StoreError> {
        let key = *turn;
        self.look("reading a chat", move |tx| conversations::history(tx, &key)).await
    }

    async fn agent_offer(&self, agent: &Name) -> Result<AgentOffer, StoreError> {
        let agent = agent.clone();
        self.look("reading what an agent offers", move |tx| offers::offer(tx, &agent)).await
    }

    async fn record_warm(&self, lease: &Lease, warm: &[WarmAgent]) -> Result<(), StoreError> {
        let (node, warm) = (lease.node, warm.to_vec());
        self.write("recording what is kept", Durable::Soon, move |tx| warm::record(tx, node, &warm)).await
    }

    async fn record_prompt_sent(&self, turn: &TurnKey) -> Result<WriteAnswer, StoreError> {
        let key = *turn;
        self.write("recording the prompt", Durable::Now, move |tx| turns::record_prompt_sent(tx, &key)).await
    }

    async fn append(
        &self,
        turn: &TurnKey,
        batch: u64,
        message: Option<MessageId>,
        frames: &[FrameBody],
    ) -> Result<Option<Appended>, StoreError> {
        const DOING: &str = "appending frames";
        let ready = encode(frames).and_then(|bodies| Ok((bodies, Noted::of(frames)?)));
        let (key, (bodies, noted)) = (*turn, ready.map_err(|fault| fault.into_store(DOING))?);
        self.write(DOING, Durable::Soon, move |tx| {
            let source = || Ok(Turn::of(tx, &key)?.map(|turn| turn.source(&key)));
            frames::append_batch(tx, &key, batch, message, (&bodies, &noted), source)
        })
        .await
    }

    async fn settle(
        &self,
        turn: &TurnKey,
        settlement: &Settlement,
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        const DOING: &str = "settling";
        let (key, end) = (*turn, End::try_from(settlement).map_err(|fault| fault.into_store(DOING))?);
        self.write(DOING, Durable::Now, move |tx| turns::settle(tx, &key, end)).await
    }

    async fn requeue(
        &self,
        turn: &TurnKey,
        frames: &[FrameBody],
    ) -> Result<(WriteAnswer, Vec<Frame>), StoreError> {
        let (key, frames) = (*turn, frames.to_vec());
        self.write("requeueing", Durable::Soon, move |tx| turns::requeue(tx, &key, frames)).await
    }

    async fn request_stop(&self, task: TaskId) -> Result<StopAnswer, StoreError> {
        self.write("stopping", Durable::Now, move |tx| recover::request_stop(tx, task)).await
    }

    async fn running_epoch(&self, task: TaskId) -> Result<Option<Epoch>, StoreError> {
        self.look("reading a task", move |tx| {
            let epoch = tx
                .prepare_cached("SELECT epoch FROM task WHERE id = ?1 AND state = 'running'")?
                .query_row([task.to_string()], |row| row.get(0))
                .optional()?;
            Ok(epoch.map(Epoch))
        })
        .await
    }
}
