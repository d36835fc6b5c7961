//! The machine's effects as calls to the ports; each call is a task, whose end is an event.

use std::sync::Arc;

use dispatch_core::{
    agent::Failure,
    conversation::Message,
    frame::FrameBody,
    ids::MessageId,
    ports::{AgentControl, AgentConversation, CancelFlag, Lineage, Prompt, Release, Store, StoreError},
    profile::{Conversation, Stop},
    routing::Route,
    task::{TerminalReason, TurnKey},
    turn::{Effect, Event, Outcome},
};

use super::{Answered, RunningTurn};
use crate::{
    random::random_bytes, request_ids, session::Session, settler::Settler, store_calls::persistently,
    turn::report::TurnReport, workspace_calls::WorkspaceCalls,
};

impl RunningTurn {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::PrepareWorkspace => self.prepare_workspace(),
            Effect::CancelWorkspaceCall => self.cancel.raise(),
            Effect::BeginMessage => self.begin_message(),
            Effect::Checkpoint => self.checkpoint(),
            Effect::OpenSession => self.open_session(),
            Effect::RecordPromptSent => self.record_prompt_sent(),
            Effect::SendPrompt => {
                self.timers.news();
                if let Some(session) = &self.session {
                    session.prompt(Prompt { text: std::mem::take(&mut self.prompt) });
                }
            }
            Effect::Append(frames) => self.writer.push(frames),
            Effect::Answer(id, answer) => {
                self.aside(move |control| async move { control.answer(request_ids::own(&id), answer).await })
            }
            Effect::Interrupt(rung) => self.interrupt(rung),
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
                    Answered::WorkspaceReady(info)
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
        self.ready.take().into_iter().for_each(|ready| self.conversation.set(ready));
        let conversation = Arc::clone(&self.conversation);
        let recorded = async move {
            conversation.record().await?;
            persistently(|| ports.store.record_prompt_sent(&key)).await
        };
        self.calls.spawn(async move {
            match recorded.await {
                Ok(answer) => Answered::Event(Event::PromptSentRecorded(answer)),
                Err(error) => store_lost(&error, "that the prompt goes out could not be recorded"),
            }
        });
    }

    pub(super) fn record_conversation(&mut self, id: String) {
        self.conversation.rename(id);
        let conversation = Arc::clone(&self.conversation);
        self.calls.spawn(async move {
            conversation.try_to_record().await;
            Answered::Nothing
        });
    }

    /// Opens the agent with what is needed to go on with its conversation.
    fn open_session(&mut self) {
        let Settler { ports, key, .. } = self.settler.clone();
        let (mut spec, workspace, lineage) = (self.spec.clone(), self.workspace.clone(), self.lineage);
        let is_told = self.backend.profile().conversation == Conversation::Told;
        let if_forgotten = (lineage == Some(Lineage::Chat)).then(|| history(Arc::clone(&ports.store), key));
        let spec = async move {
            if let Some(lineage) = lineage {
                let worktree = worktree_name(workspace).await;
                let found = persistently(|| ports.store.agent_session(&key, lineage, &worktree)).await;
                let found = found.map_err(|error| not_found(&error, "the agent's conversation"))?;
                if let Some((AgentConversation { id, own }, epoch)) = found {
                    (spec.resume, spec.resume_epoch, spec.own) = (Some(id), Some(epoch), own);
                }
            }
            if is_told {
                spec.history = history(ports.store, key).await?;
            }
            Ok(spec)
        };
        self.session = Some(Session::open(Arc::clone(&self.backend), spec, if_forgotten));
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
        let conversation = Arc::clone(&self.conversation);
        self.calls.spawn(async move {
            // Nothing of the turn can be recorded after its end.
            conversation.try_to_record().await;
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

    /// Climbs a rung of the stop ladder. The first one waits until the agent has the prompt: before that there is no
    /// turn that it could be asked to end, and no backend has to remember a Stop.
    fn interrupt(&mut self, rung: Stop) {
        let is_first = !std::mem::replace(&mut self.is_stopping, true);
        let prompted = self.session.as_ref().filter(|_| is_first).map(Session::prompted);
        self.aside(move |control| async move {
            if let Some(prompted) = prompted {
                prompted.await;
            }
            control.stop(rung).await;
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

/// What was said in the chat before.
async fn history(store: Arc<dyn Store>, key: TurnKey) -> Result<Vec<Message>, Failure> {
    let found = persistently(|| store.history(&key)).await;
    found.map_err(|error| not_found(&error, "the chat's history"))
}

async fn worktree_name(calls: Option<WorkspaceCalls>) -> String {
    match calls {
        Some(calls) => calls.worktree().await,
        None => String::new(),
    }
}

/// A turn whose prompt has not gone out may fail: a new conversation in place of the one that is looked for would
/// be the wrong answer.
fn not_found(error: &StoreError, what: &str) -> Failure {
    Failure::new(TerminalReason::Internal, format!("{what} could not be looked up: {error}"))
}

fn store_lost(error: &StoreError, what: &str) -> Answered {
    tracing::error!(%error, "{what}");
    Answered::Event(Event::StoreLost)
}
