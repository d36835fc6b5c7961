//! One running dispatcher process.

use std::{sync::Arc, time::Duration};

use dispatch_core::{
    agent::Answer,
    ids::{NodeId, TaskId},
    ports::{ClaimRequest, Lease, NodeInfo, Recovered, StopAnswer, StoreError, WriteAnswer},
    task::{Claim, TurnKey},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    contained::contained,
    inbox::{Signal, inbox},
    kept::Kept,
    lease::{Keeper, News, Pace, listen},
    ports::Ports,
    random::random_bytes,
    running::Running,
    store_calls::persistently,
    turn::{TurnConfig, TurnReport, run_turn_of},
};

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// This start of this process.
    pub id: NodeId,
    /// What a person reads.
    pub label: String,
    /// What is the same for all its turns. Their processes are tagged with the node's id below the tag given.
    pub turns: TurnConfig,
}

/// One running dispatcher process: the holder of a lease. It hears the record's wake-ups, so that a Stop
/// that any process accepted reaches its turns at once. Dropping it without [`Node::leave`] leaves its turns
/// to the recovery of another.
pub struct Node {
    pub(crate) ports: Ports,
    config: NodeConfig,
    /// The configuration of its turns, with its own tag.
    turns: TurnConfig,
    pub(crate) lease: Lease,
    kept: Arc<Kept>,
    running: Arc<Running>,
    news: Arc<News>,
    background: [JoinHandle<()>; 2],
    /// Told when recovery has settled something; shared with the nodes that follow this one.
    recovered: Arc<Notify>,
}

impl Node {
    /// Joins the record as a node and begins to renew its lease.
    ///
    /// # Errors
    /// When the store refuses: another live process is this node, or the store cannot be reached.
    pub async fn join(ports: Ports, config: NodeConfig) -> Result<Self, StoreError> {
        let info = NodeInfo { id: config.id, label: config.label.clone() };
        let mut sent = Instant::now();
        let lease = persistently(|| {
            sent = Instant::now();
            ports.store.join(&info)
        });
        let lease = lease.await?;
        let (running, news) = (Arc::new(Running::default()), Arc::new(News::default()));
        let kept = Kept::new(Arc::clone(&ports.store), Arc::clone(&ports.agents), lease.clone());
        let kept = Arc::new(kept);
        let keeper = Keeper {
            store: Arc::clone(&ports.store),
            agents: Arc::clone(&ports.agents),
            lease: lease.clone(),
            kept: Arc::clone(&kept),
            running: Arc::clone(&running),
            news: Arc::clone(&news),
            closing: Arc::default(),
        };
        // From here on, before anybody looks for the first time: nothing falls between.
        let listening =
            listen(ports.store.wakeups(), Arc::clone(&running), Arc::clone(&ports.agents), Arc::clone(&news));
        let background = [tokio::spawn(keeper.keep(sent)), tokio::spawn(listening)];
        let run_tag = format!("{}/{}", config.turns.run_tag, config.id);
        let turns = TurnConfig { run_tag, ..config.turns.clone() };
        let recovered = Arc::default();
        Ok(Self { ports, config, turns, lease, kept, running, news, background, recovered })
    }

    /// Joins the record again, as another node with the same ports and configuration.
    pub(crate) async fn successor(&self) -> Result<Self, StoreError> {
        let config = NodeConfig { id: NodeId::from_random(random_bytes()), ..self.config.clone() };
        let mut successor = Self::join(self.ports.clone(), config).await?;
        successor.recovered = Arc::clone(&self.recovered);
        Ok(successor)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.config.id
    }

    /// Waits for news in the record: a task may be claimable. Cancel-safe, for one waiter; a burst is one
    /// piece of news.
    pub async fn woken(&self) {
        self.news.woken.notified().await;
    }

    /// What is told, to one waiter, each time when this node or one that follows it has settled what a dead one
    /// left: time to tidy up what else that one left on this machine.
    #[must_use]
    pub fn recovered(&self) -> Arc<Notify> {
        Arc::clone(&self.recovered)
    }

    /// Waits until the lease is lost. Its turns have been told then.
    pub async fn lease_lost(&self) {
        self.news.lost().await;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.news.is_lost()
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace::of(&self.lease)
    }

    /// Settles what dead nodes left (SPEC D6).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover(&self) -> Result<Vec<Recovered>, StoreError> {
        let recovered = persistently(|| self.ports.store.recover()).await?;
        for Recovered { task, became } in &recovered {
            tracing::info!(%task, ?became, "a turn was left by a node that is gone");
        }
        if !recovered.is_empty() {
            self.recovered.notify_one();
        }
        Ok(recovered)
    }

    /// Runs the task's turn to its end, if it can be claimed now. `None` when it cannot: it waits for
    /// another of its session, it has ended, or another node has it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_task(&self, task: TaskId) -> Result<Option<TurnReport>, StoreError> {
        let request = ClaimRequest { running: self.running.tasks(), ..ClaimRequest::only(task) };
        let claims = persistently(|| self.ports.store.claim(&self.lease, &request)).await?;
        match claims.into_iter().next() {
            Some(claim) => Ok(Some(self.run_claim(claim).await)),
            None => Ok(None),
        }
    }

    /// Claims what the request leaves room for. An answer that does not come in time is as good as lost:
    /// what it claimed is handed out again.
    pub(crate) async fn claim(
        &self,
        request: &ClaimRequest,
        limit: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        const DOING: &str = "claim tasks";
        let claimed = timeout(limit, contained(self.ports.store.claim(&self.lease, request))).await;
        let claimed =
            claimed.map_err(|late| StoreError::Unavailable { doing: DOING, source: late.into() })?;
        claimed.map_err(|panicked| StoreError::Failed { doing: DOING, source: panicked.into() })?
    }

    pub(crate) async fn run_claim(&self, claim: Claim) -> TurnReport {
        let task = claim.task.id;
        let (handle, inbox) = inbox();
        if claim.task.stop_requested {
            handle.send(Signal::StopAccepted);
        }
        let _listed = self.running.list(task, handle);
        run_turn_of(Some(&self.kept), &self.ports, &self.turns, claim, inbox).await
    }

    /// Makes a claim's task pending again, as nothing of it is to be begun here.
    pub(crate) async fn give_back(&self, mut claim: Claim) -> TurnReport {
        let key = claim.key();
        match persistently(|| self.ports.store.requeue(&key, &[])).await {
            Ok((WriteAnswer::Done, frames)) => {
                self.ports.publisher.publish(&frames.into());
                TurnReport::Requeued
            }
            Ok((WriteAnswer::StopFirst, _)) => {
                claim.task.stop_requested = true;
                self.run_claim(claim).await
            }
            Ok((WriteAnswer::Fenced, _)) => TurnReport::Abandoned,
            Err(error) => {
                tracing::error!(task = %key.task, %error, "a claim could not be given back");
                TurnReport::Abandoned
            }
        }
    }

    /// Whether a turn that was given up here is still this node's: then nobody settles it as long as the
    /// node lives. A store that does not say so is not relied on.
    pub(crate) async fn still_holds(&self, turn: &TurnKey) -> bool {
        let epoch = persistently(|| self.ports.store.running_epoch(turn.task)).await;
        epoch.map_or(true, |epoch| epoch == Some(turn.epoch))
    }

    /// Stops a task (SPEC S1), wherever it runs.
    ///
    /// # Errors
    /// When the store fails; nothing is decided then.
    pub async fn stop(&self, task: TaskId) -> Result<StopAnswer, StoreError> {
        let answer = persistently(|| self.ports.store.request_stop(task)).await?;
        if answer == StopAnswer::Stopping {
            self.running.tell(task, Signal::StopAccepted);
        }
        Ok(answer)
    }

    /// Tells a turn of this node that nobody waits for its stop any longer.
    pub fn hurry(&self, task: TaskId) {
        self.running.tell(task, Signal::Hurry);
    }

    /// Answers a permission request of a turn of this node.
    pub fn answer(&self, task: TaskId, id: String, answer: Answer) {
        self.running.tell(task, Signal::Answer { id, answer });
    }

    /// Tells all turns of this node that it takes no more work.
    pub fn shut_down(&self) {
        self.running.tell_all(&Signal::ShuttingDown);
    }

    /// Tells all turns of this node that the grace period of a shutdown is over.
    pub fn end_grace(&self) {
        self.running.tell_all(&Signal::ShutdownDeadline);
    }

    /// Tells all turns of this node that nobody waits for their stop any longer.
    pub fn hurry_all(&self) {
        self.running.tell_all(&Signal::Hurry);
    }

    /// Tells all turns of this node to end without writing anything: recovery settles them.
    pub(crate) fn abandon_all(&self) {
        self.running.tell_all(&Signal::LeaseLost);
    }

    /// Ends the agents that are kept between turns, once no turn runs any more.
    pub async fn release_agents(&self) {
        if contained(self.ports.agents.shut_down()).await.is_err() {
            tracing::error!("what is kept between turns could not be ended");
        }
    }

    /// Leaves the record. Turns that the node still holds are any recovery's from then on.
    ///
    /// # Errors
    /// When the store fails; the lease then lapses by itself, or it is left by another call.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.end_background();
        persistently(|| self.ports.store.leave(&self.lease)).await
    }

    fn end_background(&self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_background();
    }
}
