//! What the suite asks of an adapter under test.

use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::{
    ids::{ChangeId, ChatId, MessageId, Seq, SessionId, TaskId},
    ports::{Records, Store},
};

/// The record as one process sees it.
#[derive(Clone)]
pub struct View {
    /// The side that dispatch writes.
    pub store: Arc<dyn Store>,
    /// The side that people and programs read.
    pub records: Arc<dyn Records>,
}

/// A stored thing to damage, so that its row cannot be understood any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The task's state becomes a word that nobody knows.
    TaskState(TaskId),
    /// The task's options become something that is not JSON.
    TaskOptions(TaskId),
    /// The frame's body becomes something that is not JSON.
    FrameBody(SessionId, Seq),
    /// The message's parts become something that is not JSON.
    MessageParts(MessageId),
    /// The change's draft becomes something that is not JSON.
    ChangeDraft(ChangeId),
}

/// One record under test, and what can be done to it from outside.
///
/// Where leases have a time limit, it is longer than any clause takes.
#[async_trait]
pub trait StoreSubject: Send + Sync {
    /// Opens one more view of the record, as one more process would have it.
    async fn open(&self) -> View;

    /// Lets the process that had this view die: nothing was given back, and every other process finds it
    /// dead from now on, whatever its leases' time limit. Nobody else holds the view.
    async fn die(&self, view: View);

    /// Damages one row.
    async fn damage(&self, what: Damage);

    /// Closes a chat; no port does that yet.
    async fn close_chat(&self, chat: ChatId);
}
