//! The turns of a dispatcher, each in a task of its own.

use std::{collections::BTreeMap, sync::Arc};

use dispatch_core::{
    ids::{NodeId, TaskId},
    task::{Claim, Name},
};
use tokio::task::{Id, JoinSet};

use crate::{contained::contained, node::Node, turn::TurnReport};

/// A turn that has ended.
pub(super) struct Ended {
    pub(super) report: TurnReport,
    /// The node that still holds it, so that nobody else can write its end.
    pub(super) held_by: Option<NodeId>,
}

/// What takes a slot.
struct Slot {
    task: TaskId,
    node: NodeId,
    agent: Option<Name>,
}

/// The turns that run.
#[derive(Default)]
pub(super) struct Turns {
    set: JoinSet<Ended>,
    /// A task may have two for a moment: one in which it is given back, and one in which it runs again.
    slots: BTreeMap<Id, Slot>,
}

impl Turns {
    /// Runs a claim's turn.
    pub(super) fn run(&mut self, node: &Arc<Node>, claim: Claim) {
        self.spawn(node, claim, |node, claim| async move { node.run_claim(claim).await });
    }

    /// Makes a claim's task pending again.
    pub(super) fn give_back(&mut self, node: &Arc<Node>, claim: Claim) {
        self.spawn(node, claim, |node, claim| async move { node.give_back(claim).await });
    }

    fn spawn<F>(
        &mut self,
        node: &Arc<Node>,
        claim: Claim,
        turn: impl FnOnce(Arc<Node>, Claim) -> F + Send + 'static,
    ) where
        F: Future<Output = TurnReport> + Send,
    {
        let (node, key) = (Arc::clone(node), claim.key());
        let slot = Slot { task: key.task, node: node.id(), agent: claim.task.options.agent.clone() };
        let run = self.set.spawn(async move {
            let report = contained(turn(Arc::clone(&node), claim)).await.unwrap_or(TurnReport::Abandoned);
            let is_orphan =
                report == TurnReport::Abandoned && !node.is_lost() && node.still_holds(&key).await;
            Ended { report, held_by: is_orphan.then(|| node.id()) }
        });
        self.slots.insert(run.id(), slot);
    }

    /// Waits for the next turn to end; for ever, when none runs. Cancel-safe.
    pub(super) async fn next(&mut self) -> Ended {
        loop {
            match self.set.join_next_with_id().await {
                Some(Ok((run, ended))) => {
                    self.slots.remove(&run);
                    return ended;
                }
                // It was given up; its slot went with it.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn of_node(&self, node: NodeId) -> impl Iterator<Item = TaskId> {
        self.slots.values().filter(move |slot| slot.node == node).map(|slot| slot.task)
    }

    pub(super) fn of_agent(&self, agent: Option<&Name>) -> usize {
        self.slots.values().filter(|slot| slot.agent.as_ref() == agent).count()
    }

    /// Gives up all turns; their processes end with their sessions. Returns how many there were.
    pub(super) fn give_up(&mut self) -> u64 {
        self.set.abort_all();
        let given_up = self.slots.len();
        self.slots.clear();
        given_up as u64
    }
}
