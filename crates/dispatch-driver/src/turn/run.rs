//! A turn's loop: what happens becomes events of the machine, in order.

mod perform;

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use dispatch_core::{
    agent::{End, EndedHow, Failure, OwnSettings},
    ids::MessageId,
    ports::{
        AgentControl, AgentConversation, Backend, CancelFlag, Lineage, SessionInfo, SessionSpec,
        WorkspaceInfo, WriteAnswer,
    },
    profile::Conversation,
    task::{Claim, TerminalReason},
    turn::{Effect, Event, Phase, Turn, TurnPlan},
};
use tokio::task::JoinSet;

use super::{config::TurnConfig, report::TurnReport};
use crate::{
    conversation::OwnConversation,
    course::Course,
    inbox::Inbox,
    kept::Kept,
    ports::Ports,
    session::{News, Session},
    settler::Settler,
    timers::Timers,
    workspace_calls::WorkspaceCalls,
    writer::{Lost, Writer},
};

/// What a call to a port came to.
enum Answered {
    Event(Event),
    Nothing,
    WorkspaceReady(WorkspaceInfo),
    MessageBegun(WriteAnswer, MessageId),
    Settled(WriteAnswer, TurnReport),
    Requeued(WriteAnswer),
}

pub(super) struct RunningTurn {
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
    /// The stop ladder was begun.
    is_stopping: bool,
    spec: SessionSpec,
    prompt: String,
    message: Option<MessageId>,
    /// Where the conversation that the agent goes on with is to be found.
    lineage: Option<Lineage>,
    /// The agent's conversation before its prompt: one that is never told anything is not to be gone on with.
    ready: Option<AgentConversation>,
    /// The agent's conversation, from its prompt on.
    conversation: Arc<OwnConversation>,
    report: TurnReport,
    store_lost: bool,
}

impl RunningTurn {
    pub(super) fn begin(
        ports: Ports,
        kept: Option<Arc<Kept>>,
        config: &TurnConfig,
        claim: Claim,
        course: Course,
        agent: String,
    ) -> Self {
        let key = claim.key();
        let lineage = match course.profile.conversation {
            Conversation::OfTask => claim.resumed.then_some(Lineage::Task),
            Conversation::OfChat => Some(Lineage::Chat),
            Conversation::Told => None,
        };
        let task = claim.task;
        let Course { route, backend, profile, commands, worktree, notices } = course;
        let (machine, due) = Turn::begin(TurnPlan {
            agent: agent.clone(),
            profile,
            limits: config.limits,
            permissions: task.permissions,
            rules: Arc::clone(&config.rules),
            worktree: worktree.as_ref().map(|(_, release)| *release),
            commands,
            notices,
            resumed: claim.resumed,
        });
        let workspace = worktree.map(|(spec, _)| {
            WorkspaceCalls::new(Arc::clone(&ports.workspace), Arc::clone(&ports.store), key, spec)
        });
        let conversation = Arc::new(OwnConversation::new(Arc::clone(&ports.store), key));
        let writer = Writer::spawn(Arc::clone(&ports.store), Arc::clone(&ports.publisher), key);
        let spec = SessionSpec {
            task: task.id,
            epoch: key.epoch,
            session: task.session,
            chat: task.chat,
            run_tag: config.run_tag.clone(),
            agent: task.options.agent,
            // Native inference without a project has no worktree and no file tools (SPEC T1).
            cwd: PathBuf::new(),
            model: task.options.model.clone(),
            mode: task.options.mode,
            thinking: task.options.thinking,
            permissions: task.permissions,
            resume: None,
            resume_epoch: None,
            own: OwnSettings::default(),
            history: Vec::new(),
        };
        let settler = Settler {
            ports,
            kept,
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
            is_stopping: false,
            spec,
            prompt: task.input,
            message: None,
            lineage,
            ready: None,
            conversation,
            report: TurnReport::Abandoned,
            store_lost: false,
        }
    }

    pub(super) async fn run(mut self, inbox: &mut Inbox) -> TurnReport {
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
                    Some(News::Conversation(id)) => self.record_conversation(id),
                    Some(News::Event(event)) => {
                        if let Event::SessionReady(SessionInfo { agent_session: Some(id), own, .. }) = &event {
                            self.ready = Some(AgentConversation { id: id.clone(), own: own.clone() });
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
            Ok(Answered::Nothing) => return None,
            Ok(Answered::WorkspaceReady(WorkspaceInfo { path, id, .. })) => {
                self.spec.cwd = path;
                self.conversation.set_worktree(id);
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
}

async fn next_news(session: &mut Option<Session>) -> Option<News> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}
