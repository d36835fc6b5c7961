//! One running dispatcher process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dispatch_core::{
    agent::Answer,
    ids::{NodeId, TaskId},
    ports::{ClaimRequest, Lease, NodeInfo, Recovered, StopAnswer, StoreError},
    task::Claim,
};
use tokio::task::JoinHandle;

use crate::{
    contained::contained,
    inbox::{Signal, TurnHandle, inbox},
    store_calls::persistently,
    turn::{Ports, TurnConfig, TurnReport, run_turn},
};

/// How often a lease is renewed, and so how late a Stop from elsewhere can be heard of at worst (SPEC D5).
const RENEWAL: Duration = Duration::from_secs(3);

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// This start of this process.
    pub id: NodeId,
    /// What a person reads.
    pub label: String,
    /// What is the same for all its turns.
    pub turns: TurnConfig,
}

/// One running dispatcher process: the holder of a lease. Dropping it without [`Node::leave`] leaves its
/// turns to the recovery of another.
pub struct Node {
    ports: Ports,
    turns: TurnConfig,
    lease: Lease,
    running: Arc<Running>,
    renewal: JoinHandle<()>,
}

/// The turns that run here.
#[derive(Default)]
struct Running(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    by_task: BTreeMap<TaskId, TurnHandle>,
    /// What was told to all: a turn that is just being claimed has not begun to listen.
    told_all: Vec<Signal>,
}

/// A turn that is told things as long as this lives, however its run ends.
struct Listed<'a>(&'a Running, TaskId);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.with(|turns| turns.by_task.remove(&self.1));
    }
}

impl Running {
    fn with<T>(&self, look: impl FnOnce(&mut Turns) -> T) -> T {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, task: TaskId, signal: Signal) {
        if let Some(turn) = self.with(|turns| turns.by_task.get(&task).cloned()) {
            turn.send(signal);
        }
    }

    fn list(&self, task: TaskId, turn: TurnHandle) -> Listed<'_> {
        self.with(|turns| {
            turns.told_all.iter().for_each(|signal| turn.send(signal.clone()));
            turns.by_task.insert(task, turn);
        });
        Listed(self, task)
    }

    fn tell_all(&self, signal: &Signal) {
        self.with(|turns| {
            turns.told_all.push(signal.clone());
            turns.by_task.values().for_each(|turn| turn.send(signal.clone()));
        });
    }
}

impl Node {
    /// Joins the record as a node and begins to renew its lease.
    ///
    /// # Errors
    /// When the store refuses: another live process is this node, or the store cannot be reached.
    pub async fn join(ports: Ports, config: NodeConfig) -> Result<Self, StoreError> {
        let info = NodeInfo { id: config.id, label: config.label };
        let lease = persistently(|| ports.store.join(&info)).await?;
        let running = Arc::new(Running::default());
        let renewal = tokio::spawn(renew(ports.clone(), lease.clone(), Arc::clone(&running)));
        Ok(Self { ports, turns: config.turns, lease, running, renewal })
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
        Ok(recovered)
    }

    /// Runs the task's turn to its end, if it can be claimed now. `None` when it cannot: it waits for
    /// another of its session, it has ended, or another node has it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_task(&self, task: TaskId) -> Result<Option<TurnReport>, StoreError> {
        let request = ClaimRequest::only(task);
        let claims = persistently(|| self.ports.store.claim(&self.lease, &request)).await?;
        match claims.into_iter().next() {
            Some(claim) => Ok(Some(self.run_claim(claim).await)),
            None => Ok(None),
        }
    }

    async fn run_claim(&self, claim: Claim) -> TurnReport {
        let task = claim.task.id;
        let (handle, inbox) = inbox();
        if claim.task.stop_requested {
            handle.send(Signal::StopAccepted);
        }
        let _listed = self.running.list(task, handle);
        run_turn(&self.ports, &self.turns, claim, inbox).await
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

    /// Leaves the record.
    ///
    /// # Errors
    /// When the store fails; the lease then lapses by itself.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.renewal.abort();
        self.ports.store.leave(&self.lease).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(ports: Ports, lease: Lease, running: Arc<Running>) {
    let mut ticks = tokio::time::interval(RENEWAL);
    loop {
        ticks.tick().await;
        let renewed = contained(ports.store.renew(&lease)).await.unwrap_or_else(|source| {
            Err(StoreError::Failed { doing: "renew the lease", source: source.into() })
        });
        match renewed {
            Ok(Some(stopped)) => {
                stopped.into_iter().for_each(|task| running.tell(task, Signal::StopAccepted))
            }
            Ok(None) => {
                tracing::error!(node = %lease.node, "the lease is lost; its turns end");
                return running.tell_all(&Signal::LeaseLost);
            }
            Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }
}
