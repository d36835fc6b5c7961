//! Rows as a database returns them, and what they mean in the vocabulary: the same for every engine.

use std::{os::unix::ffi::OsStringExt, path::PathBuf, str::FromStr};

use dispatch_core::{
    agent::{AgentOffer, Answer, Cost},
    change::{Change, ChangeDraft, Checkpoint},
    conversation::{Cut, Message, Part, Role},
    frame::{About, Frame},
    ids::{Epoch, Seq, Timestamp},
    ports::{NodeView, OpenPermission, PermissionAnswer, SessionView, WarmAgent, WarmView},
    profile::TurnLimits,
    task::{Name, Project, Task, TaskState},
};
use serde::de::DeserializeOwned;

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

/// Where a value was read, for the report when it cannot be understood.
#[derive(Clone, Copy)]
struct At {
    table: &'static str,
    row: i64,
}

impl At {
    fn bad(self, column: &'static str, why: impl ToString) -> BadRow {
        BadRow { table: self.table, row: self.row, column, why: why.to_string() }
    }

    fn word<T: FromStr<Err: ToString>>(self, column: &'static str, text: &str) -> Result<T, BadRow> {
        text.parse().map_err(|why: T::Err| self.bad(column, why))
    }

    fn maybe<T: FromStr<Err: ToString>>(
        self,
        column: &'static str,
        text: Option<&String>,
    ) -> Result<Option<T>, BadRow> {
        text.map(|text| self.word(column, text)).transpose()
    }

    fn json<T: DeserializeOwned>(self, column: &'static str, text: &str) -> Result<T, BadRow> {
        serde_json::from_str(text).map_err(|why| self.bad(column, why))
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

/// A message; the user's is made of its task's input.
pub(crate) struct MessageRow {
    pub num: i64,
    pub id: String,
    pub chat: String,
    pub task: String,
    pub role: String,
    pub state: String,
    pub model: Option<String>,
    pub content: String,
    pub content_truncated: bool,
    pub reasoning: String,
    pub reasoning_truncated: bool,
    pub parts: Option<String>,
    pub input: Option<String>,
    pub usage: String,
    pub created_at: i64,
    pub finished_at: Option<i64>,
}

impl MessageRow {
    pub fn read(self) -> Result<Message, BadRow> {
        let at = At { table: "message", row: self.num };
        let role = at.word("role", &self.role)?;
        let mut message = Message {
            id: at.word("id", &self.id)?,
            chat: at.word("chat", &self.chat)?,
            task: at.word("task", &self.task)?,
            role,
            state: at.word("state", &self.state)?,
            model: self.model.as_deref().and_then(Name::new),
            content: self.content,
            content_truncated: self.content_truncated,
            reasoning: self.reasoning,
            reasoning_truncated: self.reasoning_truncated,
            parts: vec![],
            usage: at.json("usage", &self.usage)?,
            created_at: Timestamp(self.created_at),
            finished_at: self.finished_at.map(Timestamp),
        };
        match (role, self.input, self.parts) {
            (Role::User, input, _) => {
                let text = input.ok_or_else(|| at.bad("input", "missing"))?;
                let cut = Cut::join(std::iter::once(text.as_str()), TurnLimits::default().content_chars);
                message.content = cut.text;
                message.content_truncated = cut.truncated;
                message.parts = vec![Part::Text { text, placeholder: false }];
            }
            (Role::Assistant, _, Some(parts)) => message.parts = at.json("parts", &parts)?,
            (Role::Assistant, _, None) => {}
        }
        Ok(message)
    }
}

/// A frame with the ids that it is about.
pub(crate) struct FrameRow {
    pub session: String,
    pub seq: i64,
    pub ts: i64,
    pub chat: Option<String>,
    pub message: Option<String>,
    pub task: Option<String>,
    pub body: String,
}

impl FrameRow {
    pub fn read(self) -> Result<Frame, BadRow> {
        let at = At { table: "frame", row: self.seq };
        Ok(Frame {
            seq: Seq(self.seq),
            session_id: at.word("session", &self.session)?,
            ts: Timestamp(self.ts),
            about: About {
                chat_id: at.maybe("chat", self.chat.as_ref())?,
                message_id: at.maybe("message", self.message.as_ref())?,
                task_id: at.maybe("task", self.task.as_ref())?,
            },
            body: frame_body(self.seq, &self.body)?,
        })
    }
}

/// What happened, from a frame's stored text.
pub(crate) fn frame_body(seq: i64, text: &str) -> Result<dispatch_core::frame::FrameBody, BadRow> {
    At { table: "frame", row: seq }.json("body", text)
}

/// A change with the ids that it is about.
pub(crate) struct ChangeRow {
    pub num: i64,
    pub id: String,
    pub project: String,
    pub session: String,
    pub task: String,
    pub agent: String,
    pub state: String,
    pub from_failed_turn: bool,
    pub rejected_before: bool,
    pub superseded_by: Option<String>,
    pub draft: String,
    pub created_at: i64,
    pub decided_at: Option<i64>,
}

impl ChangeRow {
    pub fn read(self) -> Result<Change, BadRow> {
        let at = At { table: "change", row: self.num };
        Ok(Change {
            id: at.word("id", &self.id)?,
            project: at.word("project", &self.project)?,
            session: at.word("session", &self.session)?,
            task: at.word("task", &self.task)?,
            agent: self.agent,
            state: at.word("state", &self.state)?,
            from_failed_turn: self.from_failed_turn,
            rejected_before: self.rejected_before,
            superseded_by: at.maybe("superseded_by", self.superseded_by.as_ref())?,
            draft: at.json("draft", &self.draft)?,
            created_at: Timestamp(self.created_at),
            decided_at: self.decided_at.map(Timestamp),
        })
    }
}

/// The tree that a change made, from its stored text; what cannot be read is reported and counts for nothing.
pub(crate) fn result_tree(change: i64, draft: &str) -> Option<String> {
    let draft = At { table: "change", row: change }.json::<ChangeDraft>("draft", draft);
    or_left_out(draft).map(|draft| draft.result_tree)
}

/// A checkpoint with the ids that it is about.
pub(crate) struct CheckpointRow {
    pub num: i64,
    pub id: String,
    pub task: String,
    pub session: String,
    pub message: Option<String>,
    pub kind: String,
    pub worktree: String,
    pub snapshot: String,
    pub created_at: i64,
}

impl CheckpointRow {
    pub fn read(self) -> Result<Checkpoint, BadRow> {
        let at = At { table: "checkpoint", row: self.num };
        Ok(Checkpoint {
            id: at.word("id", &self.id)?,
            task: at.word("task", &self.task)?,
            session: at.word("session", &self.session)?,
            message: at.maybe("message", self.message.as_ref())?,
            kind: at.word("kind", &self.kind)?,
            worktree: self.worktree,
            snapshot: at.json("snapshot", &self.snapshot)?,
            created_at: Timestamp(self.created_at),
        })
    }
}

/// A session with what is known of its chats and tasks.
pub(crate) struct SessionRow {
    pub num: i64,
    pub id: String,
    pub project: String,
    pub title: String,
    pub model: Option<String>,
    pub open: bool,
    /// Oldest first.
    pub chats: Vec<String>,
    pub waiting: i64,
    pub running: Option<String>,
    pub created_at: i64,
}

impl SessionRow {
    pub fn read(self) -> Result<SessionView, BadRow> {
        let at = At { table: "session", row: self.num };
        let chats = self.chats.iter().filter_map(|chat| or_left_out(at.word("chat", chat)));
        Ok(SessionView {
            id: at.word("id", &self.id)?,
            project: at.word("project", &self.project)?,
            title: self.title,
            model: self.model.as_deref().and_then(Name::new),
            open: self.open,
            chats: chats.collect(),
            waiting: self.waiting.unsigned_abs(),
            running: at.maybe("running", self.running.as_ref())?,
            created_at: Timestamp(self.created_at),
        })
    }
}

/// A node and how much it does.
pub(crate) struct NodeRow {
    pub num: i64,
    pub id: String,
    pub label: String,
    pub running: i64,
    pub joined_at: i64,
}

impl NodeRow {
    pub fn read(self) -> Result<NodeView, BadRow> {
        let at = At { table: "node", row: self.num };
        Ok(NodeView {
            id: at.word("id", &self.id)?,
            label: self.label,
            running: self.running.unsigned_abs(),
            joined_at: Timestamp(self.joined_at),
        })
    }
}

/// A permission request that waits for a user, with what it is about.
pub(crate) struct PermissionRow {
    pub num: i64,
    pub task: String,
    pub session: String,
    /// Empty for native inference.
    pub agent: String,
    pub request: String,
    pub asked_at: i64,
    pub lapses_at: i64,
    pub answer: Option<String>,
}

impl PermissionRow {
    pub fn read(self) -> Result<OpenPermission, BadRow> {
        let at = At { table: "permission", row: self.num };
        Ok(OpenPermission {
            task: at.word("task", &self.task)?,
            session: at.word("session", &self.session)?,
            agent: Name::new(&self.agent),
            request: at.json("request", &self.request)?,
            asked_at: Timestamp(self.asked_at),
            lapses_at: Timestamp(self.lapses_at),
            answer: self.answer.map(|answer| user_answer(at, &answer)).transpose()?,
        })
    }
}

/// A user's answer that its turn has not heard yet.
pub(crate) struct AnswerRow {
    pub num: i64,
    pub task: String,
    pub id: String,
    pub answer: String,
}

impl AnswerRow {
    pub fn read(self) -> Result<PermissionAnswer, BadRow> {
        let at = At { table: "permission", row: self.num };
        Ok(PermissionAnswer {
            task: at.word("task", &self.task)?,
            id: self.id,
            answer: user_answer(at, &self.answer)?,
        })
    }
}

/// How the column says what a user answered; `None` for what only a turn can answer.
pub(crate) fn answer_column(answer: Answer) -> Option<&'static str> {
    match answer {
        Answer::Allow => Some("allow"),
        Answer::Deny => Some("deny"),
        Answer::Lapsed | Answer::Cancelled => None,
    }
}

fn user_answer(at: At, text: &str) -> Result<Answer, BadRow> {
    let known = [Answer::Allow, Answer::Deny];
    let found = known.into_iter().find(|answer| answer_column(*answer) == Some(text));
    found.ok_or_else(|| at.bad("answer", format!("`{text}` is no answer of a user")))
}

/// What an agent was last known to offer.
pub(crate) struct OfferRow {
    pub commands: String,
    pub settings: String,
}

impl OfferRow {
    /// What can be read of it.
    pub fn read(self) -> AgentOffer {
        let at = At { table: "agent_offer", row: 0 };
        AgentOffer {
            commands: or_left_out(at.json("commands", &self.commands)).unwrap_or_default(),
            settings: or_left_out(at.json("settings", &self.settings)).unwrap_or_default(),
        }
    }
}

/// An agent that a node keeps.
pub(crate) struct WarmRow {
    pub num: i64,
    pub node: String,
    pub label: String,
    pub agent: String,
}

impl WarmRow {
    pub fn read(self) -> Result<WarmView, BadRow> {
        let at = At { table: "warm", row: self.num };
        let agent: WarmAgent = at.json("agent", &self.agent)?;
        Ok(WarmView { node: at.word("node", &self.node)?, label: self.label, agent })
    }
}

/// A project.
pub(crate) struct ProjectRow {
    pub num: i64,
    pub id: String,
    pub name: String,
    pub path: Option<Vec<u8>>,
}

impl ProjectRow {
    pub fn read(self) -> Result<Project, BadRow> {
        let at = At { table: "project", row: self.num };
        Ok(Project { id: at.word("id", &self.id)?, name: self.name, path: self.path.map(path_of) })
    }
}

/// A path from its stored bytes.
pub(crate) fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The value, or `None` with a report in the log: a listing is not spoilt by one row (SAFETY A39).
pub(crate) fn or_left_out<T>(read: Result<T, BadRow>) -> Option<T> {
    read.inspect_err(|bad| tracing::warn!(table = bad.table, row = bad.row, "left out: {bad}")).ok()
}
