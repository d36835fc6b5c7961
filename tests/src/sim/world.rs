//! The world around the turns: nodes, schedule, faults, and what must hold at the end.

use std::collections::VecDeque;

use dispatch_core::{
    agent::{AgentCommand, Answer, EndedHow, Notice, NoticeCode},
    conversation::{MessageState, Part, Transcript},
    frame::{FrameBody, push_merged},
    ids::{ChangeId, MessageId, SessionId, TaskId},
    ports::{ChangeVerdict, Close, Release, SessionInfo, Settlement, WorkspaceOwner, WriteAnswer},
    profile::TurnLimits,
    routing::{AgentFacts, Route, Routes, RoutingFacts, WorktreeUse, choose},
    task::{Name, PermissionPolicy, TaskState, TerminalReason},
    trace,
    turn::{Effect, Effects, Event, Outcome, SettledWith, Timer, TurnPlan, Why, settlement},
};

use super::{
    Planted, Schedule, Violation,
    agent::{Agent, Life, failure},
    check,
    choices::Choices,
    machine::Machine,
    run::{Aside, Call, Facts, PROFILES, Run, What},
    store::{ModelStore, SessionRow, id},
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

struct Node {
    up: bool,
    shutting: bool,
    grace_over: bool,
}

/// What a task was asked for; its row does not say.
struct Asked {
    by: Routes,
    from_chat: bool,
    has_path: bool,
    permissions: PermissionPolicy,
}

struct World {
    choices: Choices,
    planted: Planted,
    store: ModelStore,
    workspace: ModelWorkspace,
    asked: Vec<Asked>,
    nodes: Vec<Node>,
    /// The node that each of two machines runs now.
    hosts: [usize; 2],
    agents: Vec<Agent>,
    runs: Vec<Run>,
    faults: bool,
    steps: usize,
    trace: Option<Vec<String>>,
}

/// What can happen next in a turn.
#[derive(Clone, Copy)]
enum Act {
    Inbox,
    News,
    Write,
    Call(usize),
    Aside(usize),
    Agent,
    Stop,
    User,
    Timer(Timer),
}

type Checked<T = ()> = Result<T, Violation>;

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

    fn say(&mut self, line: impl FnOnce() -> String) {
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
    fn lapse(&mut self, node: usize) {
        if !std::mem::replace(&mut self.store.leases[node], false) {
            return;
        }
        self.say(|| format!("the lease of node {node} lapses"));
        self.kill_agents(node);
    }

    fn kill_agents(&mut self, node: usize) {
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

    fn begin_turn(&mut self, node: usize, task: usize) -> Checked {
        let asked = &self.asked[task];
        let name = Name::new("agent").expect("because it is not empty");
        let facts = RoutingFacts {
            agent: (!asked.by.contains(Route::Native))
                .then_some((&name, AgentFacts::Installed { by: asked.by })),
            from_chat: asked.from_chat,
            available: Routes::of(Route::ALL),
            may_fall_back: true,
        };
        let row = &mut self.store.tasks[task];
        let route = match row.route {
            Some(route) => route,
            // A claude that was not asked from a chat is reached as a terminal program.
            None => choose(&facts).expect("because every agent here has a route without a chat").route,
        };
        row.route = Some(route);
        let session = row.session;
        let key = self.store.key(task);
        let owner = match route.row().worktree {
            WorktreeUse::PerTask => Some(WorkspaceOwner::Task(TaskId::from_random(id(task)))),
            WorktreeUse::SessionIfPath if !asked.has_path => None,
            _ => Some(WorkspaceOwner::Session(SessionId::from_random(id(session)))),
        };
        let permissions = asked.permissions;
        let tight = self.choices.chance(10);
        let limits = TurnLimits { output_bytes: if tight { 500 } else { 1 << 20 }, ..TurnLimits::default() };
        let profile = &PROFILES[route as usize];
        let (machine, effects) = Machine::begin(
            TurnPlan {
                agent: "agent".into(),
                profile,
                limits,
                permissions,
                worktree: owner.map(|owner| match owner {
                    WorkspaceOwner::Task(_) => Release::Remove,
                    WorkspaceOwner::Session(_) => Release::Keep,
                }),
                commands: vec![],
                notices: vec![],
            },
            self.planted.machine,
        );
        self.say(|| format!("node {node} claims task {task} ({route}, epoch {})", key.epoch.0));
        self.runs.push(Run {
            node,
            task,
            session,
            key,
            machine,
            profile,
            owner,
            tight,
            agent: None,
            calls: vec![],
            inbox: VecDeque::new(),
            news: VecDeque::new(),
            asides: vec![],
            timers: [false; Timer::ALL.len()],
            queue: vec![],
            transcript: Transcript::default(),
            lost: false,
            facts: Facts::default(),
        });
        let last = self.runs.len() - 1;
        self.perform(last, effects)
    }

    fn progress_turn(&mut self, at: usize) -> Checked {
        let mut acts = [Act::Inbox; 24];
        let count = self.acts(at, &mut acts);
        let armed = Timer::ALL.into_iter().filter(|timer| self.runs[at].timers[timer.index()]);
        let timers: Vec<_> = armed.collect();
        let runs_out = !timers.is_empty() && (count == 0 || (self.faults && self.choices.chance(3)));
        let act = if runs_out {
            Act::Timer(self.choices.of(&timers))
        } else if count > 0 {
            acts[self.choices.below(count)]
        } else {
            return Ok(());
        };
        self.act(at, act)?;
        if self.runs[at].is_done() {
            let run = self.runs.remove(at);
            self.turn_done(&run)?;
        }
        Ok(())
    }

    fn acts(&self, at: usize, acts: &mut [Act; 24]) -> usize {
        let run = &self.runs[at];
        let mut count = 0;
        let mut can = |is: bool, act: Act| {
            if is && count < acts.len() {
                acts[count] = act;
                count += 1;
            }
        };
        can(!run.inbox.is_empty(), Act::Inbox);
        can(!run.news.is_empty(), Act::News);
        can(!run.queue.is_empty() && !run.lost, Act::Write);
        for (i, call) in run.calls.iter().enumerate() {
            let waits = call.what.comes_last() && !run.queue.is_empty() && !run.lost;
            can(!waits || call.answer.is_some(), Act::Call(i));
        }
        for i in 0..run.asides.len() {
            can(true, Act::Aside(i));
        }
        can(run.agent.is_some_and(|agent| self.agents[agent].acts()), Act::Agent);
        can(!run.facts.stop_told && self.store.wants_stop(&run.key, run.task), Act::Stop);
        let asked = run.agent.is_some_and(|agent| !self.agents[agent].waits_for.is_empty());
        can(asked && !run.facts.requests.is_empty(), Act::User);
        count
    }

    fn act(&mut self, at: usize, act: Act) -> Checked {
        let run = &mut self.runs[at];
        match act {
            Act::Inbox => match run.inbox.pop_front() {
                Some(event) => self.tell(at, event),
                None => Ok(()),
            },
            Act::News => match run.news.pop_front() {
                Some(event) => self.tell(at, event),
                None => Ok(()),
            },
            Act::Stop => self.tell(at, Event::StopAccepted(Why::User)),
            Act::Timer(timer) => {
                run.timers[timer.index()] = false;
                self.tell(at, Event::Elapsed(timer))
            }
            Act::User => {
                let id = run.facts.requests[self.choices.below(run.facts.requests.len())].clone();
                let answer = self.choices.of(&[Answer::Allow, Answer::Deny]);
                self.tell(at, Event::PermissionAnswered { id, answer })
            }
            Act::Write => self.write(at),
            Act::Agent => {
                let (event, edits) = match run.agent {
                    Some(agent) => self.agents[agent].act(&mut self.choices, !self.faults),
                    None => return Ok(()),
                };
                if edits && let Some(owner) = run.owner {
                    let there = self.workspace.edit(owner);
                    check("worktree_policy", there, || "an agent works in a worktree that is gone".into())?;
                }
                run.news.push_back(event);
                Ok(())
            }
            Act::Aside(i) => {
                let aside = run.asides.swap_remove(i);
                let Some(agent) = run.agent else { return Ok(()) };
                match aside {
                    Aside::Stop(rung) => run.news.extend(self.agents[agent].hears(rung)),
                    Aside::Answer(id, answer) => self.agents[agent].answered(id, answer),
                }
                Ok(())
            }
            Act::Call(i) => self.call(at, i),
        }
    }

    /// One write of what waits to be written.
    fn write(&mut self, at: usize) -> Checked {
        if self.fails(1) {
            return self.store_fails(at);
        }
        let run = &mut self.runs[at];
        let frames = std::mem::take(&mut run.queue);
        if self.store.append(&run.key, run.task, &frames)? {
            frames.iter().for_each(|frame| run.transcript.push(frame));
        } else {
            run.lost = true;
            run.inbox.push_back(Event::LeaseLost);
        }
        Ok(())
    }

    /// The store gives up on a write: the turn is told, and its node cannot go on.
    fn store_fails(&mut self, at: usize) -> Checked {
        let run = &mut self.runs[at];
        let node = run.node;
        run.queue.clear();
        if !std::mem::replace(&mut run.lost, true) {
            run.inbox.push_back(Event::StoreLost);
        }
        self.say(|| format!("the store fails node {node}"));
        self.lapse(node);
        Ok(())
    }

    fn fails(&mut self, percent: usize) -> bool {
        self.faults && self.choices.chance(percent)
    }

    fn tell(&mut self, at: usize, event: Event) -> Checked {
        let run = &mut self.runs[at];
        if self.trace.is_none() {
            let effects = run.step(event)?;
            return self.perform(at, effects);
        }
        let (task, from, told) = (run.task, run.machine.phase(), event.to_string());
        let stepped = run.step(event);
        let to = run.machine.phase();
        let effects = stepped.as_ref().map_or_else(|_| "[…]".into(), trace::list);
        self.say(|| format!("task {task}: {from} + {told} -> {to}: {effects}"));
        self.perform(at, stepped?)
    }

    fn perform(&mut self, at: usize, effects: Effects) -> Checked {
        for effect in effects {
            self.perform_one(at, effect)?;
        }
        Ok(())
    }

    fn perform_one(&mut self, at: usize, effect: Effect) -> Checked {
        let run = &mut self.runs[at];
        let what = match effect {
            Effect::PrepareWorkspace => What::Prepare,
            Effect::BeginMessage => What::Begin,
            Effect::Checkpoint => {
                run.facts.checkpoint_tried = true;
                What::Checkpoint
            }
            Effect::OpenSession => {
                self.open(at)?;
                What::Open
            }
            Effect::RecordPromptSent => What::Record,
            Effect::CollectChange => What::Collect,
            Effect::Settle(outcome) => {
                self.agent_is_gone(at)?;
                What::Settle(outcome)
            }
            Effect::Requeue(frames) => {
                self.agent_is_gone(at)?;
                What::Requeue(frames)
            }
            Effect::ReleaseWorkspace(how) => What::Release(how),
            Effect::CloseSession(how) => {
                run.calls.retain(|call| !matches!(call.what, What::Open));
                What::Close(how)
            }
            Effect::CancelWorkspaceCall => {
                run.calls.iter_mut().for_each(|call| call.cancelled = true);
                return Ok(());
            }
            Effect::SendPrompt => {
                if let Some(agent) = run.agent.map(|agent| &mut self.agents[agent])
                    && agent.life == Life::Idle
                {
                    agent.life = Life::Working;
                } else {
                    // It died while the prompt was being recorded.
                    let lost = EndedHow::Crashed(failure(TerminalReason::AgentCrashed));
                    run.news.push_back(Event::Ended(dispatch_core::agent::End::new(lost)));
                }
                return self.store.prompt_goes_out(&run.key, run.task);
            }
            Effect::Append(frames) => {
                if !run.lost {
                    frames.into_iter().for_each(|frame| push_merged(&mut run.queue, frame));
                }
                return Ok(());
            }
            Effect::Answer(id, answer) => {
                run.asides.push(Aside::Answer(id, answer));
                return Ok(());
            }
            Effect::Interrupt(rung) => {
                run.asides.push(Aside::Stop(rung));
                return Ok(());
            }
            Effect::Arm(timer, _) => {
                run.timers[timer.index()] = true;
                return Ok(());
            }
            Effect::Disarm(timer) => {
                run.timers[timer.index()] = false;
                return Ok(());
            }
            Effect::Report(_) => return Ok(()),
        };
        self.runs[at].calls.push(Call { what, cancelled: false, answer: None });
        Ok(())
    }

    fn open(&mut self, at: usize) -> Checked {
        let run = &mut self.runs[at];
        if let Some(owner) = run.owner {
            // A node whose lease lapsed unnoticed may find that its successor was faster.
            let there = self.workspace.tree(owner).is_some() || !self.store.leases[run.node];
            check("worktree_before_agent", there, || "an agent is started without its worktree".into())?;
            let tried = run.facts.checkpoint_tried;
            check("checkpoint_first", tried, || "an agent is started without a checkpoint".into())?;
        }
        let (node, session, warm) = (run.node, run.session, run.is_warm());
        let kept =
            |agent: &Agent| agent.node == node && agent.session == session && agent.life == Life::Pooled;
        run.agent = Some(match self.agents.iter().position(kept) {
            Some(agent) if warm => {
                self.agents[agent].begin_turn(&mut self.choices);
                agent
            }
            _ => {
                self.agents.push(Agent::new(node, session, warm, &mut self.choices));
                self.agents.len() - 1
            }
        });
        if !self.store.leases[node] {
            self.kill_agents(node);
        }
        Ok(())
    }

    /// When a turn's end is written, nothing of it runs any more (SPEC S5).
    fn agent_is_gone(&self, at: usize) -> Checked {
        let run = &self.runs[at];
        let life = run.agent.map_or(Life::Gone, |agent| self.agents[agent].life);
        let gone = matches!(life, Life::Gone | Life::Pooled) || run.facts.close_elapsed;
        check("no_orphans", gone, || format!("task {} ends while its agent is {life:?}", run.task))
    }

    // The calls of a turn.

    fn call(&mut self, at: usize, i: usize) -> Checked {
        if self.runs[at].calls[i].answer.is_none() {
            let (what, cancelled) = (self.runs[at].calls[i].what.clone(), self.runs[at].calls[i].cancelled);
            let answer = self.work(at, what, cancelled)?;
            self.runs[at].calls[i].answer = Some(answer);
            // Often the answer comes at once.
            if self.choices.chance(25) {
                return Ok(());
            }
        }
        let call = self.runs[at].calls.remove(i);
        match call.answer {
            Some(answer) => self.tell(at, answer),
            None => Ok(()),
        }
    }

    fn work(&mut self, at: usize, what: What, cancelled: bool) -> Checked<Event> {
        let gives_up = (cancelled && self.choices.chance(60)) || self.fails(6);
        let owner = self.runs[at].owner;
        let (task, key) = (self.runs[at].task, self.runs[at].key);
        let event = match (what, owner) {
            (What::Prepare, Some(owner)) if !gives_up => {
                self.workspace.prepare(owner);
                Event::WorkspaceReady
            }
            (What::Prepare, _) => Event::WorkspaceFailed(failure(TerminalReason::NoWorktree)),
            (What::Checkpoint, Some(owner)) if !gives_up => {
                let taken = self.workspace.checkpoint(owner).map(|snapshot| snapshot.tree);
                Event::CheckpointTaken(taken.ok_or_else(|| "no worktree".into()))
            }
            (What::Checkpoint, _) => Event::CheckpointTaken(Err("no space".into())),
            (What::Collect, Some(owner)) if !gives_up => {
                let collected = self.workspace.collect(owner);
                Event::ChangeCollected(collected.ok_or_else(|| "no worktree".into()))
            }
            (What::Collect, _) => Event::ChangeCollected(Err("git failed".into())),
            (What::Release(how), owner) => {
                self.release(at, owner, how, gives_up)?;
                Event::WorkspaceReleased
            }
            (What::Open, _) => self.get_ready(at, gives_up),
            (What::Close(how), _) => {
                self.close(at, how)?;
                Event::SessionClosed
            }
            // An end must not be written over frames that were lost on their way.
            (what, _) if what.comes_last() && self.runs[at].lost => Event::StoreLost,
            (what, _) => {
                let store_fails = self.fails(1);
                // A store may fail before it has made the write, or after.
                if store_fails && self.choices.chance(50) {
                    self.lapse(self.runs[at].node);
                    return Ok(Event::StoreLost);
                }
                let event = match what {
                    What::Begin => Event::MessageBegun(self.store.begin_message(&key, task)?),
                    What::Record => Event::PromptSentRecorded(self.store.record_prompt_sent(&key, task)?),
                    What::Requeue(frames) => Event::Requeued(self.store.requeue(&key, task, &frames)?),
                    What::Settle(outcome) => Event::Settled(self.settle(at, *outcome)?),
                    _ => return Err(Violation::new("simulation", "a call without its worktree")),
                };
                if store_fails {
                    self.lapse(self.runs[at].node);
                    return Ok(Event::StoreLost);
                }
                event
            }
        };
        Ok(event)
    }

    fn get_ready(&mut self, at: usize, gives_up: bool) -> Event {
        let Some(agent) = self.runs[at].agent.map(|agent| &mut self.agents[agent]) else {
            return Event::SessionFailed(failure(TerminalReason::Internal));
        };
        if gives_up || agent.life == Life::Gone {
            agent.life = Life::Gone;
            return Event::SessionFailed(failure(TerminalReason::CouldNotStart));
        }
        let mut info = SessionInfo::default();
        if self.choices.chance(30) {
            let name = String::from("review");
            info.commands.push(AgentCommand { name, description: String::new(), hint: None });
            info.notices.push(Notice { code: NoticeCode::SessionNew, text: String::new() });
        }
        Event::SessionReady(info)
    }

    fn close(&mut self, at: usize, how: Close) -> Checked {
        let Some(agent) = self.runs[at].agent.map(|agent| &mut self.agents[agent]) else { return Ok(()) };
        if how == Close::Kill || !agent.warm || agent.life == Life::Gone {
            agent.life = Life::Gone;
            return Ok(());
        }
        check("pool_is_idle", agent.life != Life::Working, || "a busy agent goes back to its pool".into())?;
        agent.life = Life::Pooled;
        Ok(())
    }

    fn release(&mut self, at: usize, owner: Option<WorkspaceOwner>, how: Release, fails: bool) -> Checked {
        let run = &mut self.runs[at];
        let (Some(owner), Release::Remove) = (owner, how) else { return Ok(()) };
        check("worktree_policy", run.per_task(), || "a session's worktree is removed".into())?;
        if fails {
            run.facts.left_behind = true;
            return Ok(());
        }
        let saved = self.workspace.remove(owner, true);
        check("worktree_policy", saved, || "a worktree is removed that no checkpoint holds".into())
    }

    // The end of a turn.

    fn settle(&mut self, at: usize, outcome: Outcome) -> Checked<WriteAnswer> {
        let run = &self.runs[at];
        let (task, key) = (run.task, run.key);
        let message = self.store.tasks[task].message;
        let settled = settlement(
            outcome,
            &SettledWith {
                agent: "agent",
                model: None,
                route: self.store.tasks[task].route,
                limits: &TurnLimits::default(),
                message: message.map(|message| MessageId::from_random(id(message))),
                transcript: &run.transcript,
                change: ChangeId::from_random(id(task)),
            },
        );
        let answer = self.store.settle(&key, task, settled.clone())?;
        if answer == WriteAnswer::Done && self.store.tasks[task].epoch == key.epoch {
            self.runs[at].facts.settled = true;
            self.outcome_explained(at, &settled)?;
            self.change_policy(at, &settled)?;
            self.message_whole(at, &settled)?;
        }
        Ok(answer)
    }

    /// Every end has its cause, and nothing that failed is called completed.
    fn outcome_explained(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let facts = &run.facts;
        let explained = match settled.state {
            TaskState::Completed => facts.ended == Some(EndedHow::Completed) && !facts.diff_failed,
            TaskState::Failed => {
                facts.could_not_start
                    || facts.stalled
                    || facts.over_limit
                    || facts.diff_failed
                    || facts.ended.as_ref().is_some_and(|how| *how != EndedHow::Completed)
            }
            TaskState::Cancelled => {
                self.store.tasks[run.task].stop_accepted
                    || (facts.shutdown_told && settled.reason == TerminalReason::Shutdown)
            }
            _ => false,
        };
        check("outcome_explained", explained, || {
            format!("task {} is {} ({}) after {:?}", run.task, settled.state, settled.reason, facts.ended)
        })
    }

    /// A change is queued if and only if the turn may queue it and made one (SPEC T12, R1).
    fn change_policy(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let facts = &run.facts;
        let tree = run.owner.and_then(|owner| self.workspace.tree(owner)).map(|tree| tree.to_string());
        let ended = matches!(settled.state, TaskState::Completed | TaskState::Failed);
        let moved = tree.is_some() && tree != facts.tree_before && tree.as_deref() != Some("0");
        let knows = facts.checkpoint_tried && !facts.diff_failed;
        let expected = ended && moved && knows;
        match &settled.change {
            ChangeVerdict::Queue(change) => {
                check("change_policy", expected && Some(&change.draft.result_tree) == tree.as_ref(), || {
                    format!(
                        "task {} ({}) queued {:?} of {tree:?}",
                        run.task, settled.state, change.draft.result_tree
                    )
                })?;
                let marked = change.from_failed_turn == (settled.state == TaskState::Failed);
                check("change_policy", marked, || "a failed turn's change is not marked".into())?;
                check("change_policy", self.store.changes.contains(&run.task), || {
                    format!("the change of task {} was not recorded", run.task)
                })
            }
            _ => check("change_policy", !expected, || {
                format!("task {} ({}) changed {tree:?} and queued nothing", run.task, settled.state)
            }),
        }
    }

    /// The message holds what was told, what was streamed is what was stored, nothing in it is left open.
    fn message_whole(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let stored = self.store.transcript(run.task);
        check("one_durable_copy", stored == run.transcript, || {
            format!("stored {:?}, in memory {:?}", stored.parts(), run.transcript.parts())
        })?;
        if let Some(used) = &run.facts.used {
            let cost = used.cost.is_none() || settled.cost == used.cost;
            let tokens = used.total_tokens.is_none()
                || settled.message.as_ref().is_none_or(|m| m.usage.total_tokens == used.total_tokens);
            check("usage_kept", cost && tokens, || format!("{used:?} became {:?}", settled.cost))?;
        }
        let Some(message) = &settled.message else { return Ok(()) };
        let told = |part: &Part| match part {
            Part::Text { text, placeholder: false } => Some(text.clone()),
            _ => None,
        };
        let text: String = message.parts.iter().filter_map(told).collect();
        let kept = text == run.facts.text || (run.tight && run.facts.text.starts_with(&text));
        check("text_kept", kept, || format!("{:?} became {text:?}", run.facts.text))?;
        let open = message
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolCall { tool_call } if !tool_call.status.is_terminal()));
        check("tools_closed", !open, || format!("{:?}", message.parts))
    }

    /// A turn is done: its worktree is where SPEC 4's table says.
    fn turn_done(&mut self, run: &Run) -> Checked {
        self.say(|| format!("the turn of task {} is done", run.task));
        let facts = &run.facts;
        let per_task = run.per_task();
        if (!facts.settled && per_task) || facts.left_behind || run.lost {
            self.store.tasks[run.task].left_behind = true;
        }
        let there = run.owner.is_some_and(|owner| self.workspace.tree(owner).is_some());
        let failed = self.store.tasks[run.task].state == TaskState::Failed;
        let undiffed = facts.diff_failed && failed;
        let removed = facts.settled && per_task && !undiffed && !facts.left_behind && !run.lost;
        check("worktree_policy", !(removed && there), || {
            format!("the worktree of task {} was not removed", run.task)
        })?;
        let kept = per_task && undiffed && facts.settled;
        check("worktree_policy", !kept || there, || format!("the worktree of task {} is lost", run.task))
    }

    // When everything is quiet.

    fn all_settled(&mut self) -> Checked {
        self.seq_gapless()?;
        for task in 0..self.store.tasks.len() {
            self.message_closed(task)?;
            self.worktree_left(task)?;
        }
        for agent in &self.agents {
            let idle = matches!(agent.life, Life::Gone | Life::Pooled);
            check("no_orphans", idle, || format!("an agent is still {:?}", agent.life))?;
        }
        check("acked_not_lost", self.store.tasks.len() == self.asked.len(), || "a task is lost".into())
    }

    fn seq_gapless(&self) -> Checked {
        for session in &self.store.sessions {
            for (frame, seq) in session.frames.iter().zip(1..) {
                check("seq_gapless", frame.seq == seq, || format!("frame {seq} has seq {}", frame.seq))?;
            }
        }
        Ok(())
    }

    /// The last frames of a task are those of its end, in SPEC T13's order, and its messages are closed.
    fn message_closed(&self, task: usize) -> Checked {
        let row = &self.store.tasks[task];
        let mut frames: Vec<_> =
            self.store.sessions[row.session].frames.iter().filter(|frame| frame.task == task).collect();
        let mut expected = vec![];
        let settled = row.settled.as_ref();
        if settled.is_some_and(|settled| matches!(settled.change, ChangeVerdict::Queue(_))) {
            expected.push("pending_change");
        }
        if row.message.is_some() {
            expected.push("message_complete");
        }
        expected.extend(["task_state", "agent_status"]);
        let last = frames.split_off(frames.len().saturating_sub(expected.len()));
        let names: Vec<_> = last.iter().map(|frame| frame.body.name()).collect();
        check("message_closed", names == expected, || format!("task {task} ends with {names:?}"))?;
        let ends_early = |frame: &&&super::store::StoredFrame| {
            matches!(
                frame.body,
                FrameBody::MessageComplete { .. }
                    | FrameBody::TaskState { .. }
                    | FrameBody::PendingChange { .. }
            )
        };
        let early = frames.iter().find(ends_early);
        check("message_closed", early.is_none(), || format!("task {task} ended before its end"))?;
        let expected = match row.state {
            TaskState::Completed => MessageState::Complete,
            TaskState::Cancelled => MessageState::Cancelled,
            _ => MessageState::Failed,
        };
        for message in self.store.messages.iter().filter(|message| message.task == task) {
            check("message_closed", message.state == expected, || {
                format!("task {task} is {}, its message {}", row.state, message.state)
            })?;
        }
        Ok(())
    }

    /// A worktree of one task is left only where its turn could not say what becomes of it.
    fn worktree_left(&self, task: usize) -> Checked {
        let row = &self.store.tasks[task];
        let owner = WorkspaceOwner::Task(TaskId::from_random(id(task)));
        let failed = row.settled.as_ref().and_then(|settled| settled.summary.as_deref());
        let kept = failed.is_some_and(|words| words.contains("could not compute the changes"));
        let why = row.left_behind || kept || row.state == TaskState::Interrupted;
        check("worktree_policy", why || self.workspace.tree(owner).is_none(), || {
            format!("the worktree of task {task} ({}) is left", row.state)
        })
    }
}
