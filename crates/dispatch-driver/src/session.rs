//! The task that owns a turn's agent session: one owner, one command at a time, news in order.

use std::{path::PathBuf, sync::Arc};

use dispatch_core::{
    agent::{AgentUpdate, End, EndedHow, Failure, NoticeCode},
    conversation::Message,
    ids::Epoch,
    ports::{AgentControl, AgentSession, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec},
    replay,
    turn::Event,
};
use tokio::sync::{mpsc, watch};

use crate::{paths, request_ids};

/// How many batches may wait for the turn. A full channel stops reading the agent.
const BATCHES: usize = 8;

/// How an agent that began anew is closed when it was not told what was said before: kept, it would be taken for one
/// that remembers it.
const NEVER_TOLD: Close = Close::Kill;

/// What the turn asks of its session.
#[derive(Debug)]
enum Command {
    Prompt(Prompt),
    Close(Close),
}

/// What comes from the session.
pub(crate) enum News {
    /// The hand that reaches the agent from now on.
    Control(Arc<dyn AgentControl>),
    /// The agent's own id of the conversation, which it told only now.
    Conversation(String),
    /// Something for the machine.
    Event(Event),
}

/// The turn's side of its session.
pub(crate) struct Session {
    commands: mpsc::UnboundedSender<Command>,
    news: mpsc::Receiver<News>,
    has_prompt: watch::Receiver<bool>,
}

impl Session {
    /// Starts the agent; `SessionReady` or `SessionFailed` follows in the news. What was said in its chat before is
    /// looked up `if_forgotten`, and goes before the prompt.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        spec: impl Future<Output = Result<SessionSpec, Failure>> + Send + 'static,
        if_forgotten: Option<impl Future<Output = Result<Vec<Message>, Failure>> + Send + 'static>,
    ) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (outbox, news) = mpsc::channel(BATCHES);
        let (tells_of_prompt, has_prompt) = watch::channel(false);
        tokio::spawn(Owner { inbox, outbox, has_prompt: tells_of_prompt }.run(backend, spec, if_forgotten));
        Self { commands, news, has_prompt }
    }

    pub(crate) fn prompt(&self, prompt: Prompt) {
        let _ = self.commands.send(Command::Prompt(prompt));
    }

    pub(crate) fn close(&self, how: Close) {
        let _ = self.commands.send(Command::Close(how));
    }

    /// Returns when the agent has the prompt, or will never have it: its session is being closed.
    pub(crate) fn prompted(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut has_prompt = self.has_prompt.clone();
        async move {
            // An owner that is gone hands nothing over any more.
            let _ = has_prompt.wait_for(|has_prompt| *has_prompt).await;
        }
    }

    /// The next news; `None` once the owner is gone, which is after `SessionClosed` or a panic.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

/// Where a turn works, and under which claim.
struct Place {
    worktree: PathBuf,
    epoch: Epoch,
}

struct Owner {
    inbox: mpsc::UnboundedReceiver<Command>,
    outbox: mpsc::Sender<News>,
    has_prompt: watch::Sender<bool>,
}

impl Owner {
    async fn run(
        mut self,
        backend: Arc<dyn Backend>,
        spec: impl Future<Output = Result<SessionSpec, Failure>> + Send,
        if_forgotten: Option<impl Future<Output = Result<Vec<Message>, Failure>> + Send>,
    ) {
        let opening = async {
            let spec = spec.await?;
            let place = Place { worktree: spec.cwd.clone(), epoch: spec.epoch };
            Ok::<_, Failure>((backend.open(spec).await?, place))
        };
        let opened = tokio::select! {
            biased;
            _ = closed(&mut self.inbox) => {
                // What was begun is undone by giving up on it, which takes its time.
                backend.undone().await;
                return self.tell(Event::SessionClosed).await;
            }
            opened = opening => opened,
        };
        let (Opened { mut session, control }, place) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                self.tell(Event::SessionFailed(failure)).await;
                self.until_closed().await;
                return self.tell(Event::SessionClosed).await;
            }
        };
        let _ = self.outbox.send(News::Control(control)).await;
        let how = self.drive(&mut *session, &place, if_forgotten).await;
        self.has_prompt.send_replace(true);
        session.close(how).await;
        self.tell(Event::SessionClosed).await;
    }

    /// Drives the session until it is to be closed; returns how.
    async fn drive(
        &mut self,
        session: &mut dyn AgentSession,
        place: &Place,
        if_forgotten: Option<impl Future<Output = Result<Vec<Message>, Failure>> + Send>,
    ) -> Close {
        let started = tokio::select! {
            biased;
            how = closed(&mut self.inbox) => return how,
            started = session.start() => started,
        };
        let started = match started {
            Ok(info) => tokio::select! {
                biased;
                told = tell_again(info, if_forgotten) => told,
                _ = closed(&mut self.inbox) => return NEVER_TOLD,
            },
            Err(failure) => Err(failure),
        };
        let record = match started {
            Ok((info, record)) => {
                self.tell(Event::SessionReady(info)).await;
                record
            }
            Err(failure) => {
                self.tell(Event::SessionFailed(failure)).await;
                return self.until_closed().await;
            }
        };
        let prompt = match self.inbox.recv().await {
            Some(Command::Prompt(Prompt { text })) => Prompt { text: record.unwrap_or_default() + &text },
            Some(Command::Close(_)) if record.is_some() => return NEVER_TOLD,
            Some(Command::Close(how)) => return how,
            None => return Close::Kill,
        };
        let Self { inbox, outbox, has_prompt } = self;
        let conversing = async {
            let sent = session.prompt(prompt).await;
            has_prompt.send_replace(true);
            match sent {
                Ok(()) => listen(session, place, outbox).await,
                Err(failure) => End::new(EndedHow::Crashed(failure)),
            }
        };
        tokio::select! {
            biased;
            how = closed(inbox) => return how,
            end = conversing => self.tell(Event::Ended(end)).await,
        }
        self.until_closed().await
    }

    async fn tell(&self, event: Event) {
        // The turn is gone only if it panicked; the session is closed all the same.
        let _ = self.outbox.send(News::Event(event)).await;
    }

    async fn until_closed(&mut self) -> Close {
        closed(&mut self.inbox).await
    }
}

/// An agent that is ready, and was to go on with its chat's conversation, but begins a new one, is told what was said
/// before: the record of it goes before its prompt (SPEC W2).
async fn tell_again(
    mut info: SessionInfo,
    if_forgotten: Option<impl Future<Output = Result<Vec<Message>, Failure>>>,
) -> Result<(SessionInfo, Option<String>), Failure> {
    let anew = info.notices.iter_mut().find(|notice| notice.code == NoticeCode::SessionNew);
    let (Some(notice), Some(history)) = (anew, if_forgotten) else { return Ok((info, None)) };
    let record = replay::record(&history.await?);
    if record.is_some() {
        notice.code = NoticeCode::SessionReplayed;
        notice.text.push_str("; what was said in the chat before is told to it as text");
    }
    Ok((info, record))
}

/// Waits until the session is to be closed; a turn that is gone wants it killed.
async fn closed(inbox: &mut mpsc::UnboundedReceiver<Command>) -> Close {
    loop {
        match inbox.recv().await {
            Some(Command::Close(how)) => return how,
            Some(Command::Prompt(_)) => {}
            None => return Close::Kill,
        }
    }
}

/// Passes on what the agent says, up to its end.
async fn listen(session: &mut dyn AgentSession, place: &Place, outbox: &mpsc::Sender<News>) -> End {
    loop {
        let mut batch: Vec<AgentUpdate> = Vec::new();
        let end = session.next(&mut batch).await;
        let is_idle = batch.is_empty();
        let mut conversation = None;
        batch.retain_mut(|update| match update {
            AgentUpdate::Permission(request) => {
                request.id = request_ids::recorded(place.epoch, &request.id);
                request.paths = paths::inside(&place.worktree, &request.tool_call).unwrap_or_default();
                true
            }
            AgentUpdate::PermissionWithdrawn(id) => {
                *id = request_ids::recorded(place.epoch, id);
                true
            }
            AgentUpdate::Conversation(id) => {
                conversation = Some(std::mem::take(id));
                false
            }
            _ => true,
        });
        if let Some(id) = conversation {
            let _ = outbox.send(News::Conversation(id)).await;
        }
        if !batch.is_empty() {
            let _ = outbox.send(News::Event(Event::Updates(batch))).await;
        }
        if let Some(end) = end {
            return end;
        }
        if is_idle {
            // A session that returns without news must not keep its owner from being told to close it.
            tokio::task::yield_now().await;
        }
    }
}
