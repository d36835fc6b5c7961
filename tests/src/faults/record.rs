//! What the record says of a task.

use dispatch_core::{
    change::{Change, Checkpoint, CheckpointKind},
    conversation::{Message, MessageState, Part, Role},
    frame::{Frame, FrameBody},
    ids::{Seq, TaskId},
    ports::{ChangeFilter, Records},
    task::{Task, TaskState, TerminalReason},
};

use super::bench::Bench;

/// What the record says of a task, its session and its chat.
#[derive(Debug, Clone)]
pub struct Record {
    /// The task.
    pub task: Task,
    /// The assistant messages of its chat.
    pub answers: Vec<Message>,
    /// The frames of its session.
    pub frames: Vec<Frame>,
    /// The changes that its turns queued.
    pub changes: Vec<Change>,
    /// The checkpoints that its turns took.
    pub checkpoints: Vec<Checkpoint>,
}

impl Record {
    pub(super) async fn read(bench: &Bench, id: TaskId) -> Self {
        let store = &bench.store;
        let task = store.task(id).await.expect("the task");
        let mut answers = store.messages(task.chat).await.expect("its chat");
        answers.retain(|message| message.role == Role::Assistant);
        let frames = store.frames(task.session, Seq(0), 0).await.expect("its frames");
        let changes = store
            .changes(&ChangeFilter { task: Some(id), ..ChangeFilter::default() })
            .await
            .expect("changes");
        let checkpoints = store.checkpoints(id).await.expect("its checkpoints");
        Self { task, answers, frames, changes, checkpoints }
    }

    /// The frames' names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.frames.iter().map(|frame| frame.body.name()).collect()
    }

    /// The ids of the permission requests, in order.
    pub fn asked(&self) -> Vec<String> {
        let id = |frame: &Frame| match &frame.body {
            FrameBody::PermissionRequest { request, .. } => Some(request.id.clone()),
            _ => None,
        };
        self.frames.iter().filter_map(id).collect()
    }

    /// The text that was streamed.
    pub fn streamed(&self) -> String {
        let text = |frame: &Frame| match &frame.body {
            FrameBody::Delta { content, placeholder: false } => Some(content.clone()),
            _ => None,
        };
        self.frames.iter().filter_map(text).collect()
    }

    /// The text in the message's parts.
    pub fn told(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text { text, placeholder: false } => Some(text.clone()),
            _ => None,
        };
        self.answers.iter().flat_map(|message| &message.parts).filter_map(text).collect()
    }

    /// The kinds of its checkpoints, in order.
    pub fn kinds(&self) -> Vec<CheckpointKind> {
        self.checkpoints.iter().map(|checkpoint| checkpoint.kind).collect()
    }

    /// Whether a notice of this code was given.
    pub fn has_notice(&self, wanted: dispatch_core::agent::NoticeCode) -> bool {
        self.frames
            .iter()
            .any(|frame| matches!(&frame.body, FrameBody::Notice { code, .. } if *code == wanted))
    }

    /// Checks that the task ended like this, and that message, frames and changes agree with it: SPEC T10,
    /// T13 and the table below T16.
    ///
    /// # Panics
    /// When something does not.
    pub fn assert_ended(&self, state: TaskState, reason: TerminalReason) {
        assert_eq!((self.task.state, self.task.reason), (state, Some(reason)), "{self:#?}");
        self.assert_whole();
        let last = self.names();
        let begun = !self.answers.is_empty();
        let mut end = vec!["task_state", "agent_status"];
        if begun {
            end.insert(0, "message_complete");
        }
        if !self.changes.is_empty() {
            end.insert(0, "pending_change");
        }
        assert!(last.ends_with(&end), "{last:?} ends otherwise than {end:?}");
        let ends = |name| last.iter().filter(|frame| **frame == name).count();
        assert_eq!(
            (ends("message_complete"), ends("pending_change")),
            (usize::from(begun), self.changes.len())
        );
        let wanted = match state {
            TaskState::Completed => MessageState::Complete,
            TaskState::Cancelled => MessageState::Cancelled,
            _ => MessageState::Failed,
        };
        for message in &self.answers {
            assert_eq!(message.state, wanted, "{self:#?}");
        }
        if matches!(state, TaskState::Cancelled | TaskState::Interrupted) {
            assert_eq!(self.changes, [], "a stopped turn queues nothing");
        }
        assert_eq!(self.streamed(), self.told(), "the message holds what was streamed");
    }

    /// Checks that the task waits to be run again, with its message still empty (SPEC D6).
    ///
    /// # Panics
    /// When it does not.
    pub fn assert_pending(&self) {
        assert_eq!(self.task.state, TaskState::Pending, "{self:#?}");
        self.assert_whole();
        for message in &self.answers {
            assert_eq!((message.state, message.parts.len()), (MessageState::Streaming, 0), "{self:#?}");
        }
        assert_eq!(self.changes, []);
    }

    fn assert_whole(&self) {
        assert!(self.answers.len() <= 1, "one attempt, one message: {self:#?}");
        assert!(self.frames.iter().map(|frame| frame.seq.0).eq(1..=self.frames.len() as i64), "{self:#?}");
        let ended =
            |frame: &&Frame| matches!(frame.body, FrameBody::TaskState { state, .. } if state.is_terminal());
        let ends = self.frames.iter().filter(ended).count();
        assert_eq!(ends, usize::from(self.task.state.is_terminal()), "ended once: {:?}", self.names());
    }
}
