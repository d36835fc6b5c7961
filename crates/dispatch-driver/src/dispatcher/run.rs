//! The dispatcher's loop.

use std::{sync::Arc, time::Duration};

use dispatch_core::{
    ids::NodeId,
    ports::{ClaimRequest, Class, Recovered, StoreError},
    task::{Claim, Name},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    claims::Passes,
    config::{DispatcherConfig, Shutdown, Summary},
    nodes::Nodes,
    stage::{HURRIED, Stage},
    turns::{Ended, Turns},
};
use crate::node::Node;

/// How long a claim may take before it is made again: what it claimed is then handed out again.
const CLAIM_LIMIT: Duration = Duration::from_secs(10);

/// The longest poll interval, so that a clock can name the next one: longer ones are taken for it.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a node is one at least before the next is joined, unless the poll comes sooner: a turn that is lost
/// with the store each time when it begins is not begun in a hot loop.
const REJOIN: Duration = Duration::from_secs(2);

/// What a call to the store came to.
enum Answered {
    Claimed(Arc<Node>, Result<Vec<Claim>, StoreError>),
    Recovered(Result<Vec<Recovered>, StoreError>),
    Joined(Result<Arc<Node>, StoreError>),
    Left(NodeId, Result<(), StoreError>),
}

/// What the dispatcher waits for.
enum News {
    Asked(Shutdown),
    Ended(Ended),
    Answered(Answered),
    LeaseLost,
    Woken,
    /// It is time for something.
    Time,
}

/// Runs tasks as they come.
pub struct Dispatcher {
    config: DispatcherConfig,
    nodes: Nodes,
    turns: Turns,
    calls: JoinSet<Answered>,
    passes: Passes,
    recovers_at: Instant,
    is_recovering: bool,
    /// When another node may be joined.
    joins_at: Instant,
    /// When joining and leaving may be tried again.
    retries_at: Instant,
    stage: Stage,
    next_stage: Option<(Stage, Instant)>,
    /// Whether the last claim failed, so that a store that stays away is not told of at every poll.
    is_store_away: bool,
    failure: Option<StoreError>,
    summary: Summary,
}

impl Dispatcher {
    /// Runs tasks as they come, until it is told to shut down and its turns have ended; then it leaves the
    /// record. Meanwhile it settles what dead nodes left (SPEC D6), and joins again where its lease is lost.
    ///
    /// A store that fails is tried again at the next poll. `shutdown` may tell several things, the later
    /// the harder; when all its senders are gone, that is a graceful one. Dropping the future ends the
    /// turns' agents and leaves the rest to the recovery of another node.
    ///
    /// # Errors
    /// When it lost its lease and the store refuses for good to let it join again. Its turns have ended then.
    pub async fn run(
        node: Node,
        config: DispatcherConfig,
        mut shutdown: mpsc::Receiver<Shutdown>,
    ) -> Result<Summary, StoreError> {
        let mut dispatcher = Self::new(node, config);
        loop {
            dispatcher.begin_what_is_due();
            if dispatcher.is_done() {
                break;
            }
            match dispatcher.next(&mut shutdown).await {
                News::Asked(how) => dispatcher.shut_down(how),
                News::Ended(ended) => dispatcher.ended(&ended),
                News::Answered(answered) => dispatcher.answered(answered),
                News::LeaseLost => dispatcher.nodes.retire(),
                News::Woken => dispatcher.passes.ask(),
                News::Time => {}
            }
        }
        dispatcher.leave(&mut shutdown).await;
        dispatcher.failure.map_or(Ok(dispatcher.summary), Err)
    }

    fn new(node: Node, config: DispatcherConfig) -> Self {
        let config = DispatcherConfig { poll: config.poll.min(LONGEST_POLL), ..config };
        let now = Instant::now();
        Self {
            passes: Passes::new(config.poll),
            config,
            nodes: Nodes::new(node),
            turns: Turns::default(),
            calls: JoinSet::new(),
            recovers_at: now,
            is_recovering: false,
            joins_at: now,
            retries_at: now,
            stage: Stage::Open,
            next_stage: None,
            is_store_away: false,
            failure: None,
            summary: Summary::default(),
        }
    }

    fn is_done(&self) -> bool {
        let is_idle = self.turns.is_empty() && self.calls.is_empty();
        self.stage == Stage::Over || (self.stage > Stage::Open && is_idle)
    }

    async fn next(&mut self, shutdown: &mut mpsc::Receiver<Shutdown>) -> News {
        let time = self.next_time();
        let node = self.nodes.current();
        let is_open = self.stage == Stage::Open;
        tokio::select! {
            biased;
            // Once it was heard, an empty closed channel says nothing new.
            asked = shutdown.recv(), if is_open || !(shutdown.is_closed() && shutdown.is_empty()) => {
                News::Asked(asked.unwrap_or(Shutdown::Graceful))
            }
            ended = self.turns.next() => News::Ended(ended),
            Some(Ok(answered)) = self.calls.join_next() => News::Answered(answered),
            () = lease_lost(node) => News::LeaseLost,
            () = woken(node), if is_open => News::Woken,
            () = sleep_until(time) => News::Time,
        }
    }

    /// When something is due that nothing else tells of.
    fn next_time(&self) -> Instant {
        // Nothing may be: then it looks again now and then.
        let mut soonest = Instant::now() + CLAIM_LIMIT;
        let mut consider = |at: Instant| soonest = soonest.min(at);
        self.next_stage.into_iter().for_each(|(_, at)| consider(at));
        if self.stage == Stage::Open {
            if self.nodes.current().is_some() && self.free() > 0 {
                consider(self.passes.next());
            }
            if self.nodes.current().is_some() && !self.is_recovering {
                consider(self.recovers_at);
            }
            for at in [self.retries_at, self.joins_at] {
                if at > Instant::now() {
                    consider(at);
                }
            }
        }
        soonest
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        if let Some((stage, _)) = self.next_stage.filter(|(_, at)| *at <= now) {
            self.enter(stage);
        }
        if self.stage != Stage::Open {
            return;
        }
        if self.retries_at <= now {
            self.change_nodes();
        }
        let Some(node) = self.nodes.current().cloned() else { return };
        if !self.is_recovering && self.recovers_at <= now {
            self.is_recovering = true;
            self.recovers_at = now + node.pace().every;
            let node = Arc::clone(&node);
            self.calls.spawn(async move { Answered::Recovered(node.recover().await) });
        }
        if self.free() > 0 && self.passes.begin() {
            let request = self.request(&node);
            self.calls.spawn(async move {
                let claimed = node.claim(&request, CLAIM_LIMIT).await;
                Answered::Claimed(node, claimed)
            });
        }
    }

    /// Joins again where that is due, and leaves as those nodes whose turns have ended.
    fn change_nodes(&mut self) {
        let turns = &self.turns;
        let has_turns = |node| turns.of_node(node).next().is_some();
        let predecessor = self.nodes.predecessor(has_turns).cloned();
        if let Some(node) = predecessor.filter(|_| self.joins_at <= Instant::now()) {
            self.nodes.is_joining = true;
            self.calls.spawn(async move { Answered::Joined(node.successor().await.map(Arc::new)) });
        }
        for node in self.nodes.leavers(has_turns) {
            self.calls.spawn(async move { Answered::Left(node.id(), node.leave().await) });
        }
    }

    fn free(&self) -> usize {
        self.config.slots.saturating_sub(self.turns.len())
    }

    fn request(&self, node: &Node) -> ClaimRequest {
        let room = |(agent, limit): (&Option<Name>, &usize)| {
            (agent.clone(), limit.saturating_sub(self.turns.of_agent(agent.as_ref())))
        };
        ClaimRequest {
            free: self.free(),
            only: None,
            running: self.turns.of_node(node.id()).collect(),
            limits: self.config.per_agent.iter().map(room).collect(),
        }
    }

    fn ended(&mut self, ended: &Ended) {
        self.summary.count(&ended.report);
        self.passes.ask();
        let current = self.nodes.current().map(|node| node.id());
        if let Some(node) = ended.held_by.filter(|node| current == Some(*node)) {
            tracing::warn!(%node, "a turn was lost with the store; this node is given up so that it can be settled");
            self.nodes.retire();
        }
    }

    fn answered(&mut self, answered: Answered) {
        match answered {
            Answered::Claimed(node, claimed) => {
                self.passes.end();
                self.claimed(&node, claimed);
            }
            Answered::Recovered(recovered) => {
                self.is_recovering = false;
                match recovered {
                    Ok(recovered) if recovered.is_empty() => {}
                    Ok(_) => self.passes.ask(),
                    Err(error) => tracing::warn!(%error, "what dead nodes left could not be settled"),
                }
            }
            Answered::Joined(joined) => {
                self.nodes.is_joining = false;
                self.joined(joined);
            }
            Answered::Left(node, left) => {
                self.nodes.left(node, left.is_ok());
                match left {
                    Ok(()) => self.recovers_at = Instant::now(),
                    Err(error) => {
                        tracing::warn!(%node, %error, "the record could not be left; trying again");
                        self.retries_at = Instant::now() + self.config.poll;
                    }
                }
            }
        }
    }

    fn claimed(&mut self, node: &Arc<Node>, claimed: Result<Vec<Claim>, StoreError>) {
        let was_away = std::mem::replace(&mut self.is_store_away, claimed.is_err());
        match claimed {
            Ok(claims) => {
                if was_away {
                    tracing::info!("tasks can be claimed again");
                }
                let is_wanted = self.stage == Stage::Open && self.nodes.is_current(node);
                for claim in claims {
                    if is_wanted {
                        self.turns.run(node, claim);
                    } else {
                        self.turns.give_back(node, claim);
                    }
                }
            }
            Err(error) if was_away => tracing::debug!(%error, "tasks still cannot be claimed"),
            Err(error) => tracing::warn!(%error, "tasks cannot be claimed; trying again at every poll"),
        }
    }

    fn joined(&mut self, joined: Result<Arc<Node>, StoreError>) {
        match joined {
            Ok(node) => {
                tracing::info!(node = %node.id(), "joined again, as another node");
                self.summary.rejoined += 1;
                self.nodes.joined(node);
                self.joins_at = Instant::now() + self.config.poll.min(REJOIN);
                self.passes.ask();
            }
            Err(error) if error.class() == Class::Retry => {
                tracing::warn!(%error, "could not join again; trying on");
                self.retries_at = Instant::now() + self.config.poll;
            }
            Err(error) => {
                tracing::error!(%error, "could not join again; shutting down");
                self.failure = Some(error);
                self.shut_down(Shutdown::Graceful);
            }
        }
    }

    fn shut_down(&mut self, how: Shutdown) {
        let stage = match how {
            Shutdown::Graceful => Stage::Grace,
            Shutdown::Now => Stage::Hurried,
        };
        if self.stage < stage {
            self.enter(stage);
        }
    }

    fn enter(&mut self, stage: Stage) {
        let before = std::mem::replace(&mut self.stage, stage);
        self.next_stage = stage.next(&self.config);
        tracing::info!(?stage, turns = self.turns.len(), "shutting down");
        let is_entered = |told: Stage| before < told && told <= stage;
        for node in self.nodes.all() {
            if is_entered(Stage::Grace) {
                node.shut_down();
            }
            if is_entered(Stage::Stopping) {
                node.end_grace();
            }
            if is_entered(Stage::Hurried) {
                node.hurry_all();
            }
            if is_entered(Stage::Abandoned) {
                node.abandon_all();
            }
        }
        if stage == Stage::Over {
            self.summary.abandoned += self.turns.give_up();
            self.calls.abort_all();
        }
    }

    /// Leaves the record. What fails here lapses by itself, so an end at once does not wait for it.
    async fn leave(&self, shutdown: &mut mpsc::Receiver<Shutdown>) {
        let leaving = async {
            // All of them have the same ones.
            if let Some(node) = self.nodes.all().next() {
                node.release_agents().await;
            }
            for node in self.nodes.all() {
                if let Err(error) = node.leave().await {
                    tracing::warn!(node = %node.id(), %error, "the record could not be left");
                }
            }
        };
        let hurried = async {
            if self.stage < Stage::Hurried {
                until_hurried(shutdown).await;
            }
            sleep(HURRIED).await;
        };
        tokio::select! {
            () = leaving => {}
            () = hurried => tracing::warn!("the record was not left in time; the lease lapses by itself"),
        }
    }
}

/// Waits until it is to end at once.
async fn until_hurried(shutdown: &mut mpsc::Receiver<Shutdown>) {
    loop {
        match shutdown.recv().await {
            Some(Shutdown::Now) => return,
            Some(Shutdown::Graceful) => {}
            None => std::future::pending().await,
        }
    }
}

async fn lease_lost(node: Option<&Arc<Node>>) {
    match node {
        Some(node) => node.lease_lost().await,
        None => std::future::pending().await,
    }
}

async fn woken(node: Option<&Arc<Node>>) {
    match node {
        Some(node) => node.woken().await,
        None => std::future::pending().await,
    }
}
