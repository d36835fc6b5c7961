//! What happens in a turn: its effects, its calls, its agent.

use std::{collections::VecDeque, sync::Arc};

use dispatch_core::{
    agent::{AgentCommand, Answer, EndedHow, Notice, NoticeCode},
    conversation::Transcript,
    frame::push_merged,
    ids::{SessionId, TaskId},
    ports::{Close, Release, SessionInfo, WorkspaceOwner},
    profile::TurnLimits,
    routing::{AgentFacts, Route, Routes, RoutingFacts, WorktreeUse, choose},
    task::{Name, TerminalReason},
    trace,
    turn::{Effect, Effects, Event, Timer, TurnPlan, Why},
};

use super::{
    Violation,
    agent::{Agent, Life, failure},
    check,
    machine::Machine,
    run::{Aside, Call, Facts, PROFILES, Run, What},
    store::id,
    world::{Checked, World},
};

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

impl World {
    pub(super) fn begin_turn(&mut self, node: usize, task: usize) -> Checked {
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
                rules: Arc::default(),
                worktree: owner.map(|owner| match owner {
                    WorkspaceOwner::Task(_) => Release::Remove,
                    WorkspaceOwner::Session(_) => Release::Keep,
                }),
                commands: vec![],
                notices: vec![],
                resumed: false,
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

    pub(super) fn progress_turn(&mut self, at: usize) -> Checked {
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
}
