//! The world around the turns: nodes, schedule, faults, and what must hold at the end.

use dispatch_core::{
    agent::EndedHow,
    routing::{Route, Routes},
    task::{PermissionPolicy, TaskState, TerminalReason},
    turn::{Event, Why},
};

use super::{
    Planted, Schedule, Violation,
    agent::{Agent, Life, failure},
    check,
    choices::Choices,
    run::Run,
    store::{ModelStore, SessionRow},
    workspace::ModelWorkspace,
};

/// Steps after which a healed world that has not settled never will.
const PATIENCE: usize = 5000;

/// What a schedule came to.
#[derive(Debug)]
pub struct Report {
    /// The promise that was broken, if one was.
    pub broken: Option<Violation>,
    /// The picks that were made.
    pub picks: Vec<u32>,
    /// How many steps were taken.
    pub steps: usize,
    /// How the tasks ended.
    pub ends: Vec<(TaskState, TerminalReason)>,
    /// One line a step, where it was asked for.
    pub trace: Vec<String>,
}

/// Runs one schedule.
#[must_use]
pub fn simulate(schedule: Schedule, planted: Planted, with_trace: bool) -> Report {
    let mut world = World::new(schedule, planted, with_trace);
    let broken = world.run().err();
    let ended = |row: &super::store::TaskRow| row.settled.as_ref().map(|end| (end.state, end.reason));
    Report {
        broken,
        ends: world.store.tasks.iter().filter_map(ended).collect(),
        steps: world.steps,
        trace: world.trace.unwrap_or_default(),
        picks: world.choices.into_picked(),
    }
}

pub(super) struct Node {
    pub(super) up: bool,
    pub(super) shutting: bool,
    pub(super) grace_over: bool,
}

/// What a task was asked for; its row does not say.
pub(super) struct Asked {
    pub(super) by: Routes,
    pub(super) from_chat: bool,
    pub(super) has_path: bool,
    pub(super) permissions: PermissionPolicy,
}

pub(super) struct World {
    pub(super) choices: Choices,
    pub(super) planted: Planted,
    pub(super) store: ModelStore,
    pub(super) workspace: ModelWorkspace,
    pub(super) asked: Vec<Asked>,
    pub(super) nodes: Vec<Node>,
    /// The node that each of two machines runs now.
    pub(super) hosts: [usize; 2],
    pub(super) agents: Vec<Agent>,
    pub(super) runs: Vec<Run>,
    pub(super) faults: bool,
    pub(super) steps: usize,
    pub(super) trace: Option<Vec<String>>,
}

pub(super) type Checked<T = ()> = Result<T, Violation>;

impl World {
    fn new(schedule: Schedule, planted: Planted, with_trace: bool) -> Self {
        let mut world = Self {
            choices: Choices::new(schedule),
            planted,
            store: ModelStore::default(),
            workspace: ModelWorkspace::default(),
            asked: vec![],
            nodes: vec![],
            hosts: [0, 1],
            agents: vec![],
            runs: vec![],
            faults: true,
            steps: 0,
            trace: with_trace.then(Vec::new),
        };
        world.store.bug = planted.store;
        world.store.sessions = vec![SessionRow::default(), SessionRow::default()];
        world.join();
        world.join();
        for _ in 0..=2 + world.choices.below(2) {
            world.create_task();
        }
        world
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn run(&mut self) -> Checked {
        for _ in 0..40 + self.choices.below(160) {
            self.steps += 1;
            if self.choices.chance(6) { self.outside()? } else { self.progress()? }
        }
        self.say(|| "the faults stop".into());
        self.faults = false;
        for _ in 0..PATIENCE {
            self.steps += 1;
            self.heal()?;
            if self.runs.is_empty() && self.store.tasks.iter().all(|task| task.state.is_terminal()) {
                return self.all_settled();
            }
            self.progress()?;
        }
        let open: Vec<_> = self.store.tasks.iter().map(|task| task.state.as_str()).collect();
        let phases: Vec<_> = self.runs.iter().map(|run| run.machine.phase().to_string()).collect();
        Err(Violation::new("all_settle", format!("tasks {open:?}, turns {phases:?}")))
    }

    fn create_task(&mut self) {
        use Route::{ClaudeSdk, Native, OneShotAcp, OneShotPty, OpencodeServer, WarmAcp};
        let session = self.choices.below(2);
        let by = self.choices.of(&[
            Routes::of(&[OneShotAcp]),
            Routes::of(&[OneShotPty]),
            Routes::of(&[WarmAcp, OneShotAcp]),
            Routes::of(&[OpencodeServer]),
            Routes::of(&[ClaudeSdk, OneShotPty]),
            Routes::of(&[Native]),
        ]);
        let (from_chat, has_path) = (self.choices.chance(50), self.choices.chance(50));
        let permissions = self.choices.of(&[
            PermissionPolicy::Ask,
            PermissionPolicy::Ask,
            PermissionPolicy::Allow,
            PermissionPolicy::Deny,
        ]);
        self.asked.push(Asked { by, from_chat, has_path, permissions });
        self.store.create_task(session);
    }

    fn join(&mut self) -> usize {
        self.nodes.push(Node { up: true, shutting: false, grace_over: false });
        self.store.leases.push(true);
        self.nodes.len() - 1
    }

    // What comes from outside.

    fn outside(&mut self) -> Checked {
        let node = self.hosts[self.choices.below(2)];
        match self.choices.below(9) {
            0..=2 => {
                let task = self.choices.below(self.store.tasks.len());
                let answer = self.store.request_stop(task)?;
                self.say(|| format!("task {task} is stopped: {answer:?}"));
            }
            3 => self.crash(node),
            4 => self.lapse(node),
            5 => self.tell_lapse(node),
            6 => self.shut_down(node),
            7 => self.grace_over(node),
            _ if self.store.tasks.len() < 6 => self.create_task(),
            _ => {}
        }
        Ok(())
    }

    /// The node dies, and its supervisor ends its agents.
    fn crash(&mut self, node: usize) {
        self.say(|| format!("node {node} crashes"));
        self.nodes[node].up = false;
        for run in self.runs.iter().filter(|run| run.node == node) {
            self.store.tasks[run.task].left_behind = true;
        }
        self.runs.retain(|run| run.node != node);
        self.kill_agents(node);
    }

    /// The lease lapses in the store; the node does not know it yet, but its agents are fenced.
    pub(super) fn lapse(&mut self, node: usize) {
        if !std::mem::replace(&mut self.store.leases[node], false) {
            return;
        }
        self.say(|| format!("the lease of node {node} lapses"));
        self.kill_agents(node);
    }

    pub(super) fn kill_agents(&mut self, node: usize) {
        for (i, agent) in self.agents.iter_mut().enumerate().filter(|(_, agent)| agent.node == node) {
            let worked = agent.life == Life::Working;
            agent.life = Life::Gone;
            if let Some(run) = self.runs.iter_mut().find(|run| run.agent == Some(i))
                && worked
            {
                let lost = EndedHow::Crashed(failure(TerminalReason::AgentCrashed));
                run.news.push_back(Event::Ended(dispatch_core::agent::End::new(lost)));
            }
        }
    }

    fn tell_lapse(&mut self, node: usize) {
        if self.store.leases[node] || !self.nodes[node].up {
            return;
        }
        for run in self.runs.iter_mut().filter(|run| run.node == node && !run.lost) {
            run.lost = true;
            run.queue.clear();
            run.inbox.push_back(Event::LeaseLost);
        }
    }

    fn shut_down(&mut self, node: usize) {
        if !self.nodes[node].up || std::mem::replace(&mut self.nodes[node].shutting, true) {
            return;
        }
        self.say(|| format!("node {node} is shut down"));
        for run in self.runs.iter_mut().filter(|run| run.node == node) {
            run.inbox.push_back(Event::ShuttingDown);
        }
    }

    fn grace_over(&mut self, node: usize) {
        if !self.nodes[node].shutting {
            return;
        }
        let second = std::mem::replace(&mut self.nodes[node].grace_over, true);
        self.say(|| format!("node {node} waits no longer"));
        for run in self.runs.iter_mut().filter(|run| run.node == node) {
            run.inbox.push_back(Event::StopAccepted(Why::Shutdown));
            if second {
                run.inbox.push_back(Event::Hurried);
            }
        }
    }

    /// Puts right what the faults left, as restarts and clocks would.
    fn heal(&mut self) -> Checked {
        for host in 0..self.hosts.len() {
            let node = self.hosts[host];
            if self.nodes[node].shutting && !self.nodes[node].grace_over {
                self.grace_over(node);
            }
            if !self.nodes[node].up {
                self.lapse(node);
            }
            self.tell_lapse(node);
        }
        self.replace_nodes()?;
        self.store.recover()
    }

    /// Nodes that have nothing left to do go, and new ones come.
    fn replace_nodes(&mut self) -> Checked {
        for host in 0..self.hosts.len() {
            let node = self.hosts[host];
            let Node { up, shutting, .. } = self.nodes[node];
            let goes = !up || shutting || !self.store.leases[node];
            if !goes || self.runs.iter().any(|run| run.node == node) {
                continue;
            }
            if up && shutting {
                self.leaves(node)?;
            }
            if !up && self.store.leases[node] {
                continue; // Nobody else may take over before the lease lapses.
            }
            self.hosts[host] = self.join();
        }
        Ok(())
    }

    /// A node that was shut down leaves nothing behind (SPEC D7).
    fn leaves(&mut self, node: usize) -> Checked {
        for agent in self.agents.iter_mut().filter(|agent| agent.node == node) {
            if agent.life == Life::Pooled {
                agent.life = Life::Gone;
            }
            check("no_orphans", !agent.runs(), || {
                format!("an agent of node {node} is still {:?}", agent.life)
            })?;
        }
        self.lapse(node);
        Ok(())
    }

    // What the nodes do.

    fn progress(&mut self) -> Checked {
        let pick = self.choices.below(self.runs.len() + 1);
        if pick < self.runs.len() {
            return self.progress_turn(pick);
        }
        self.replace_nodes()?;
        let node = self.hosts[self.choices.below(2)];
        let Node { up, shutting, .. } = self.nodes[node];
        if !up {
            return Ok(());
        }
        if self.choices.chance(20) {
            self.store.recover()?;
        }
        let running = self.runs.iter().filter(|run| run.node == node).count();
        if !shutting
            && running < 2
            && let Some(task) = self.store.claim(node)?
        {
            self.begin_turn(node, task)?;
        }
        Ok(())
    }
}
