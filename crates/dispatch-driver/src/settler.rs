//! How a turn's end gets into the record.

use std::sync::Arc;

use dispatch_core::{
    frame::FrameBody,
    ids::{ChangeId, MessageId},
    ports::{ChangeVerdict, Settlement, StoreError, WriteAnswer},
    profile::TurnLimits,
    routing::Route,
    task::{Name, TurnKey},
    turn::{Outcome, SettledWith, settlement},
};

use crate::{
    kept::Kept,
    ports::Ports,
    random::random_bytes,
    store_calls::persistently,
    writer::{Lost, Writer},
};

/// Writes a turn's end.
#[derive(Clone)]
pub(crate) struct Settler {
    pub(crate) ports: Ports,
    /// What is to be told before, where the turn is a node's.
    pub(crate) kept: Option<Arc<Kept>>,
    pub(crate) writer: Writer,
    pub(crate) key: TurnKey,
    pub(crate) agent: String,
    pub(crate) model: Option<Name>,
    pub(crate) route: Option<Route>,
    pub(crate) limits: TurnLimits,
}

impl Settler {
    /// Writes and publishes the end, after all frames; returns the change that was queued.
    pub(crate) async fn settle(
        &self,
        outcome: Outcome,
        message: Option<MessageId>,
    ) -> Result<(WriteAnswer, Option<ChangeId>), StoreError> {
        if self.write_out().await? == WriteAnswer::Fenced {
            return Ok((WriteAnswer::Fenced, None));
        }
        if let Some(kept) = &self.kept
            && let Err(error) = kept.tell_what_is_new().await
        {
            tracing::error!(task = %self.key.task, %error, "what is kept after a turn could not be recorded");
        }
        let change = ChangeId::from_random(random_bytes());
        let settlement = self.writer.with_transcript(|transcript| {
            let with = SettledWith {
                agent: &self.agent,
                model: self.model.as_ref(),
                route: self.route,
                limits: &self.limits,
                message,
                transcript,
                change,
            };
            settlement(outcome, &with)
        });
        let (answer, frames) = persistently(|| self.ports.store.settle(&self.key, &settlement)).await?;
        let queued = frames.iter().any(|frame| matches!(frame.body, FrameBody::PendingChange { .. }));
        self.ports.publisher.publish(&frames.into());
        if answer == WriteAnswer::Done {
            self.log(&settlement);
        }
        Ok((answer, queued.then_some(change)))
    }

    pub(crate) async fn requeue(&self, last: &[FrameBody]) -> Result<WriteAnswer, StoreError> {
        if self.write_out().await? == WriteAnswer::Fenced {
            return Ok(WriteAnswer::Fenced);
        }
        let (answer, frames) = persistently(|| self.ports.store.requeue(&self.key, last)).await?;
        self.ports.publisher.publish(&frames.into());
        Ok(answer)
    }

    fn log(&self, settlement: &Settlement) {
        let usage = settlement.message.as_ref().map(|message| &message.usage);
        let (files, (additions, deletions)) = match &settlement.change {
            ChangeVerdict::Queue(change) => (change.draft.files.len(), change.draft.totals()),
            ChangeVerdict::Leave | ChangeVerdict::Withdraw => (0, (0, 0)),
        };
        tracing::info!(
            task = %self.key.task,
            session = %self.key.session,
            agent = self.agent,
            route = self.route.map(Route::as_str),
            state = %settlement.state,
            reason = %settlement.reason,
            input_tokens = usage.and_then(|usage| usage.input_tokens),
            output_tokens = usage.and_then(|usage| usage.output_tokens),
            files_changed = files,
            additions,
            deletions,
            "turn ended"
        );
    }

    /// Waits for the frames: an end is never recorded over missing ones.
    async fn write_out(&self) -> Result<WriteAnswer, StoreError> {
        match self.writer.flush().await {
            Ok(()) => Ok(WriteAnswer::Done),
            Err(Lost::Fenced) => Ok(WriteAnswer::Fenced),
            Err(Lost::Store) => Err(StoreError::Failed {
                doing: "record the end of a turn",
                source: "frames before it could not be recorded".into(),
            }),
        }
    }
}
