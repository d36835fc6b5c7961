//! One turn: the machine in the middle, the world around it.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use dispatch_core::{
    agent::{End, EndedHow, Failure},
    frame::FrameBody,
    ids::{ChangeId, MessageId},
    ports::{
        AgentControl, Agents, Backend, CancelFlag, Prompt, Publisher, Release, SessionSpec, Store,
        StoreError, Workspace, WriteAnswer,
    },
    profile::TurnLimits,
    routing::Route,
    task::{Claim, Name, TaskState, TerminalReason},
    turn::{Effect, Event, Outcome, Phase, Turn, TurnPlan},
};
use tokio::task::JoinSet;

use crate::{
    contained::ContainedPublisher,
    course::{Course, Hindrance},
    inbox::Inbox,
    random::random_bytes,
    session::{News, Session},
    settler::Settler,
    store_calls::persistently,
    timers::Timers,
    workspace_calls::WorkspaceCalls,
    writer::{Lost, Writer},
};

/// The world as a turn needs it.
#[derive(Clone)]
pub struct Ports {
    /// The durable record.
    pub store: Arc<dyn Store>,
    /// Worktrees and checkpoints.
    pub workspace: Arc<dyn Workspace>,
    /// The agents that can be reached.
    pub agents: Arc<dyn Agents>,
    /// Who watches.
    pub publisher: Arc<dyn Publisher>,
}

/// What is the same for all turns of a node.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// Their limits.
    pub limits: TurnLimits,
    /// What their processes are tagged with.
    pub run_tag: String,
    /// Whether a task whose agent is missing may run natively instead.
    pub may_fall_back: bool,
}

/// How a turn ended, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnReport {
    /// It was settled like this.
    Settled {
        /// The task's final state.
        state: TaskState,
        /// Why.
        reason: TerminalReason,
        /// The change that was queued.
        change: Option<ChangeId>,
    },
    /// Its task is pending again.
    Requeued,
    /// Its end is written by somebody else: the lease or the store was lost.
    Abandoned,
}

/// Runs one turn to its end. When this returns, nothing of it runs any more.
pub async fn run_turn(ports: &Ports, config: &TurnConfig, claim: Claim, mut inbox: Inbox) -> TurnReport {
    let publisher = Arc::new(ContainedPublisher(Arc::clone(&ports.publisher)));
    let ports = &Ports { publisher, ..ports.clone() };
    let key = claim.key();
    let agent = claim.task.options.agent.as_ref().map_or("native", Name::as_str).to_owned();
    tracing::info!(task = %key.task, session = %key.session, agent, attempt = claim.task.attempt, "turn begins");
    let report = match Course::set(ports, config, &claim).await {
        Ok(course) => {
            RunningTurn::begin(ports.clone(), config, claim, course, agent.clone()).run(&mut inbox).await
        }
        Err(Hindrance::Failure(failure)) => fail_before_turn(ports, config, &claim, failure, &agent).await,
        Err(Hindrance::Store(error)) => {
            tracing::error!(task = %key.task, %error, "the route could not be recorded");
            TurnReport::Abandoned
        }
    };
    if !matches!(report, TurnReport::Settled { .. }) {
        tracing::info!(task = %key.task, session = %key.session, agent, ?report, "turn given up here");
    }
    report
}

/// Settles a task whose turn cannot even begin.
async fn fail_before_turn(
    ports: &Ports,
    config: &TurnConfig,
    claim: &Claim,
    failure: Failure,
    agent: &str,
) -> TurnReport {
    let writer = Writer::spawn(Arc::clone(&ports.store), Arc::clone(&ports.publisher), claim.key());
    let settler = Settler {
        ports: ports.clone(),
        writer,
        key: claim.key(),
        agent: agent.to_owned(),
        model: claim.task.options.model.clone(),
        route: claim.task.route,
        limits: config.limits,
    };
    let mut outcome = Outcome::failed(failure);
    loop {
        let report = TurnReport::Settled { state: outcome.state, reason: outcome.reason, change: None };
        match settler.settle(outcome, None).await {
            Ok((WriteAnswer::Done, _)) => break report,
            Ok((WriteAnswer::StopFirst, _)) => outcome = Outcome::stopped(),
            Ok((WriteAnswer::Fenced, _)) | Err(_) => break TurnReport::Abandoned,
        }
    }
}

/// What a call to a port came to.
enum Answered {
    Event(Event),
    WorkspaceReady(PathBuf),
    MessageBegun(WriteAnswer, MessageId),
    Settled(WriteAnswer, TurnReport),
    Requeued(WriteAnswer),
}

struct RunningTurn {
    machine: Turn,
    /// Effects that are to be done, in order.
    due: VecDeque<Effect>,
    /// Events that need no waiting.
    told: VecDeque<Event>,
    calls: JoinSet<Answered>,
    /// Words to the agent that nobody waits for.
    asides: JoinSet<()>,
    timers: Timers,
    writer: Writer,
    settler: Settler,
    backend: Arc<dyn Backend>,
    workspace: Option<WorkspaceCalls>,
    cancel: CancelFlag,
    session: Option<Session>,
    control: Option<Arc<dyn AgentControl>>,
    spec: SessionSpec,
    prompt: String,
    message: Option<MessageId>,
    /// The agent's own id of the conversation, until it is recorded.
    conversation: Option<String>,
    report: TurnReport,
    store_lost: bool,
}

impl RunningTurn {
    fn begin(ports: Ports, config: &TurnConfig, claim: Claim, course: Course, agent: String) -> Self {
        let key = claim.key();
        let task = claim.task;
        let Course { route, backend, profile, commands, worktree, notices } = course;
        let (machine, due) = Turn::begin(TurnPlan {
            agent: agent.clone(),
            profile,
            limits: config.limits,
            permissions: task.permissions,
            worktree: worktree.as_ref().map(|(_, release)| *release),
            commands,
            notices,
        });
        let workspace = worktree.map(|(spec, _)| {
            WorkspaceCalls::new(Arc::clone(&ports.workspace), Arc::clone(&ports.store), key, spec)
        });
        let writer = Writer::spawn(Arc::clone(&ports.store), Arc::clone(&ports.publisher), key);
        let spec = SessionSpec {
            task: task.id,
            chat: task.chat,
            run_tag: config.run_tag.clone(),
            agent: task.options.agent,
            // Native inference without a project has no worktree and no file tools (SPEC T1).
            cwd: PathBuf::new(),
            model: task.options.model.clone(),
            mode: task.options.mode,
            thinking: task.options.thinking,
            resume: claim.resume,
        };
        let settler = Settler {
            ports,
            writer: writer.clone(),
            key,
            agent,
            model: task.options.model,
            route: Some(route),
            limits: config.limits,
        };
        Self {
            machine,
            due: due.into(),
            told: VecDeque::new(),
            calls: JoinSet::new(),
            asides: JoinSet::new(),
            timers: Timers::new(),
            writer,
            settler,
            backend,
            workspace,
            cancel: CancelFlag::default(),
            session: None,
            control: None,
            spec,
            prompt: task.input,
            message: None,
            conversation: None,
            report: TurnReport::Abandoned,
            store_lost: false,
        }
    }

    async fn run(mut self, inbox: &mut Inbox) -> TurnReport {
        loop {
            while let Some(effect) = self.due.pop_front() {
                self.perform(effect);
            }
            if self.machine.phase() == Phase::Done {
                break;
            }
            let event = self.next_event(inbox).await;
            self.due.extend(self.machine.step(event));
        }
        // Calls that were given up on still end by themselves; their ends are not lost work.
        while self.calls.join_next().await.is_some() {}
        self.report
    }

    /// Waits for whatever comes first. A Stop is looked at before anything else.
    async fn next_event(&mut self, inbox: &mut Inbox) -> Event {
        loop {
            if let Some(event) = self.told.pop_front() {
                return event;
            }
            // What an agent that is let go still says is not kept, and its owner must get rid of it to end.
            let full = self.machine.phase() != Phase::Closing && self.writer.is_full();
            tokio::select! {
                biased;
                signal = inbox.next() => return signal.into(),
                Some(answered) = self.calls.join_next() => {
                    if let Some(event) = self.take_answer(answered) {
                        return event;
                    }
                }
                () = self.writer.progress() => {
                    if let Some(event) = self.writer_lost() {
                        return event;
                    }
                }
                news = next_news(&mut self.session), if !full => match news {
                    Some(News::Control(control)) => self.control = Some(control),
                    Some(News::Event(event)) => {
                        if let Event::SessionReady(info) = &event {
                            self.conversation.clone_from(&info.agent_session);
                        }
                        self.timers.news();
                        return event;
                    }
                    // The owner is gone without a word only if it panicked: its agent is gone with it.
                    None => {
                        self.session = None;
                        return self.session_vanished();
                    }
                },
                timer = self.timers.next() => return Event::Elapsed(timer),
            }
        }
    }

    fn session_vanished(&mut self) -> Event {
        let failure = || Failure::new(TerminalReason::Internal, "the backend failed: see the log");
        self.told.push_back(Event::SessionClosed);
        match self.machine.phase() {
            Phase::Starting => Event::SessionFailed(failure()),
            Phase::Running | Phase::Stopping { .. } => Event::Ended(End::new(EndedHow::Crashed(failure()))),
            _ => Event::SessionClosed,
        }
    }

    fn writer_lost(&mut self) -> Option<Event> {
        let event = match self.writer.lost()? {
            Lost::Fenced => Event::LeaseLost,
            Lost::Store => Event::StoreLost,
        };
        // Told once: the machine needs no reminder.
        (!std::mem::replace(&mut self.store_lost, true)).then_some(event)
    }

    fn take_answer(&mut self, answered: Result<Answered, tokio::task::JoinError>) -> Option<Event> {
        Some(match answered {
            Ok(Answered::Event(event)) => event,
            Ok(Answered::WorkspaceReady(path)) => {
                self.spec.cwd = path;
                Event::WorkspaceReady
            }
            Ok(Answered::MessageBegun(answer, id)) => {
                self.message = Some(id);
                self.writer.set_message(id);
                Event::MessageBegun(answer)
            }
            Ok(Answered::Settled(answer, report)) => {
                if answer == WriteAnswer::Done {
                    self.report = report;
                }
                Event::Settled(answer)
            }
            Ok(Answered::Requeued(answer)) => {
                if answer == WriteAnswer::Done {
                    self.report = TurnReport::Requeued;
                }
                Event::Requeued(answer)
            }
            Err(error) => {
                tracing::error!(task = %self.spec.task, %error, "a port failed; the turn is given up");
                Event::StoreLost
            }
        })
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::PrepareWorkspace => self.prepare_workspace(),
            Effect::CancelWorkspaceCall => self.cancel.raise(),
            Effect::BeginMessage => self.begin_message(),
            Effect::Checkpoint => self.checkpoint(),
            Effect::OpenSession => {
                self.session = Some(Session::open(Arc::clone(&self.backend), self.spec.clone()));
            }
            Effect::RecordPromptSent => self.record_prompt_sent(),
            Effect::SendPrompt => {
                self.timers.news();
                if let Some(session) = &self.session {
                    session.prompt(Prompt { text: std::mem::take(&mut self.prompt) });
                }
            }
            Effect::Append(frames) => self.writer.push(frames),
            Effect::Answer(id, answer) => {
                self.aside(|control| async move { control.answer(&id, answer).await })
            }
            Effect::Interrupt(rung) => self.aside(move |control| async move { control.stop(rung).await }),
            Effect::Arm(timer, after) => self.timers.arm(timer, after),
            Effect::Disarm(timer) => self.timers.disarm(timer),
            Effect::CloseSession(how) => match &self.session {
                Some(session) => session.close(how),
                None => self.told.push_back(Event::SessionClosed),
            },
            Effect::CollectChange => self.collect(),
            Effect::Settle(outcome) => self.settle(*outcome),
            Effect::Requeue(frames) => self.requeue(frames),
            Effect::ReleaseWorkspace(how) => self.release_workspace(how),
            Effect::Report(anomaly) => {
                tracing::error!(task = %self.spec.task, at = %anomaly.at, event = anomaly.event, "unexpected event");
            }
        }
    }

    fn prepare_workspace(&mut self) {
        let Some(calls) = self.workspace.clone() else { return };
        let cancel = self.fresh_cancel();
        let Settler { key, agent, route, .. } = self.settler.clone();
        self.calls.spawn(async move {
            match calls.prepare(&cancel).await {
                Ok(info) => {
                    tracing::info!(
                        task = %key.task,
                        session = %key.session,
                        agent,
                        route = route.map(Route::as_str),
                        worktree = %info.path.display(),
                        base = info.base_commit,
                        "worktree ready"
                    );
                    Answered::WorkspaceReady(info.path)
                }
                Err(error) => Answered::Event(Event::WorkspaceFailed(error.into_failure())),
            }
        });
    }

    fn begin_message(&mut self) {
        let Settler { ports, key, model, .. } = self.settler.clone();
        self.calls.spawn(async move {
            let fresh = MessageId::from_random(random_bytes());
            match persistently(|| ports.store.begin_message(&key, fresh, model.as_ref())).await {
                Ok((answer, id)) => Answered::MessageBegun(answer, id),
                Err(error) => store_lost(&error, "the message could not be begun"),
            }
        });
    }

    fn checkpoint(&mut self) {
        let (cancel, message) = (self.fresh_cancel(), self.message);
        let Some(calls) = self.workspace.clone() else { return };
        let task = self.spec.task;
        self.calls.spawn(async move {
            let taken = calls.checkpoint(message, &cancel).await;
            if let Err(error) = &taken {
                tracing::warn!(%task, error, "the turn has no checkpoint to go back to");
            }
            Answered::Event(Event::CheckpointTaken(taken))
        });
    }

    /// What an interrupted task can be resumed with is recorded before that can be needed.
    fn record_prompt_sent(&mut self) {
        let Settler { ports, key, .. } = self.settler.clone();
        let (conversation, workspace) = (self.conversation.take(), self.workspace.clone());
        let recorded = async move {
            if let Some(id) = conversation {
                let worktree = match workspace {
                    Some(calls) => calls.worktree().await,
                    None => String::new(),
                };
                persistently(|| ports.store.record_agent_session(&key, &id, &worktree)).await?;
            }
            persistently(|| ports.store.record_prompt_sent(&key)).await
        };
        self.calls.spawn(async move {
            match recorded.await {
                Ok(answer) => Answered::Event(Event::PromptSentRecorded(answer)),
                Err(error) => store_lost(&error, "that the prompt goes out could not be recorded"),
            }
        });
    }

    fn collect(&mut self) {
        let (cancel, message) = (self.fresh_cancel(), self.message);
        let Some(calls) = self.workspace.clone() else { return };
        self.calls.spawn(async move {
            Answered::Event(Event::ChangeCollected(calls.collect(message, &cancel).await))
        });
    }

    fn settle(&mut self, mut outcome: Outcome) {
        if outcome.undiffed {
            // The worktree alone holds what the turn changed, so its user must find it (SPEC T14).
            let kept = format!("; the worktree is kept at {}", self.spec.cwd.display());
            outcome.words.get_or_insert_default().push_str(&kept);
        }
        let (settler, message) = (self.settler.clone(), self.message);
        self.calls.spawn(async move {
            let (state, reason) = (outcome.state, outcome.reason);
            match settler.settle(outcome, message).await {
                Ok((answer, change)) => {
                    Answered::Settled(answer, TurnReport::Settled { state, reason, change })
                }
                Err(error) => store_lost(&error, "the end could not be recorded"),
            }
        });
    }

    fn requeue(&mut self, frames: Vec<FrameBody>) {
        let settler = self.settler.clone();
        self.calls.spawn(async move {
            match settler.requeue(&frames).await {
                Ok(answer) => Answered::Requeued(answer),
                Err(error) => store_lost(&error, "the task could not be made pending again"),
            }
        });
    }

    fn release_workspace(&mut self, how: Release) {
        let (calls, message) = (self.workspace.clone(), self.message);
        self.calls.spawn(async move {
            if let Some(calls) = calls {
                calls.release(message, how).await;
            }
            Answered::Event(Event::WorkspaceReleased)
        });
    }

    /// Says something to the agent without waiting for it.
    fn aside<F>(&mut self, say: impl FnOnce(Arc<dyn AgentControl>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Those that were said need no more room.
        while self.asides.try_join_next().is_some() {}
        if let Some(control) = &self.control {
            self.asides.spawn(say(Arc::clone(control)));
        }
    }

    fn fresh_cancel(&mut self) -> CancelFlag {
        self.cancel = CancelFlag::default();
        self.cancel.clone()
    }
}

async fn next_news(session: &mut Option<Session>) -> Option<News> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

fn store_lost(error: &StoreError, what: &str) -> Answered {
    tracing::error!(%error, "{what}");
    Answered::Event(Event::StoreLost)
}
