//! Tasks.

use std::str::FromStr;

use dispatch_core::{
    agent::Cost,
    ids::{Epoch, Timestamp},
    task::{Task, TaskState},
};

use super::at::At;
use crate::fault::BadRow;

/// A task's place in the queue or its end: `pending` is told apart into the one task of its session that
/// may be claimed and those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    Ready,
    Running,
    Ended(TaskState),
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Running => TaskState::Running.as_str(),
            Self::Ended(state) => state.as_str(),
        }
    }

    pub fn state(self) -> TaskState {
        match self {
            Self::Queued | Self::Ready => TaskState::Pending,
            Self::Running => TaskState::Running,
            Self::Ended(state) => state,
        }
    }

    /// The stages that a task in `state` may be in.
    pub fn of(state: TaskState) -> &'static [&'static str] {
        match state {
            TaskState::Pending => &["queued", "ready"],
            TaskState::Running => &["running"],
            TaskState::Completed => &["completed"],
            TaskState::Failed => &["failed"],
            TaskState::Cancelled => &["cancelled"],
            TaskState::Interrupted => &["interrupted"],
        }
    }
}

impl FromStr for Stage {
    type Err = dispatch_core::task::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "queued" => Ok(Self::Queued),
            "ready" => Ok(Self::Ready),
            "running" => Ok(Self::Running),
            _ => match text.parse()? {
                state @ (TaskState::Pending | TaskState::Running) => {
                    Err(dispatch_core::task::UnknownWord { set: "Stage", text: state.to_string() })
                }
                state => Ok(Self::Ended(state)),
            },
        }
    }
}

/// A task with what its neighbours hold of it.
pub(crate) struct TaskRow {
    pub num: i64,
    pub id: String,
    pub project: String,
    pub session: String,
    pub chat: String,
    pub from_chat: bool,
    pub user_message: Option<String>,
    pub input: Option<String>,
    pub options: Option<String>,
    pub permissions: Option<String>,
    pub stage: String,
    pub reason: Option<String>,
    pub stopped: bool,
    pub attended: bool,
    pub route: Option<String>,
    pub attempt: u32,
    pub epoch: Option<i64>,
    pub assistant_message: Option<String>,
    pub summary: Option<String>,
    pub cost: Option<f64>,
    pub currency: Option<String>,
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
}

impl TaskRow {
    pub fn read(self) -> Result<Task, BadRow> {
        let at = At { table: "task", row: self.num };
        let needed = |column, value: Option<String>| value.ok_or_else(|| at.bad(column, "missing"));
        let stage: Stage = at.word("state", &self.stage)?;
        Ok(Task {
            id: at.word("id", &self.id)?,
            project: at.word("project", &self.project)?,
            session: at.word("session", &self.session)?,
            chat: at.word("chat", &self.chat)?,
            from_chat: self.from_chat,
            user_message: at.word("user_message", &needed("user_message", self.user_message)?)?,
            input: needed("input", self.input)?,
            options: at.json("options", &needed("options", self.options)?)?,
            permissions: at.word("permissions", &needed("permissions", self.permissions)?)?,
            state: stage.state(),
            reason: at.maybe("reason", self.reason.as_ref())?,
            stop_requested: self.stopped,
            attended: self.attended,
            route: at.maybe("route", self.route.as_ref())?,
            attempt: self.attempt,
            epoch: self.epoch.map(Epoch),
            assistant_message: at.maybe("assistant_message", self.assistant_message.as_ref())?,
            summary: self.summary,
            cost: self.cost.zip(self.currency).map(|(amount, currency)| Cost { amount, currency }),
            created_at: Timestamp(self.created_at),
            started_at: self.started_at.map(Timestamp),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}
