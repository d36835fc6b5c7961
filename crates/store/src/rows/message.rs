//! Messages and the frames that they are made of.

use dispatch_core::{
    conversation::{Cut, Message, Part, Role},
    frame::{About, Frame},
    ids::{Seq, Timestamp},
    profile::TurnLimits,
    task::Name,
};

use super::at::At;
use crate::fault::BadRow;

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
