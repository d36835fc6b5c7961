//! What agents ask and offer.

use dispatch_core::{
    agent::{AgentOffer, Answer},
    ids::{Epoch, Timestamp},
    ports::{AgentConversation, OpenPermission, PermissionAnswer},
    task::Name,
};

use super::at::{At, or_left_out};
use crate::fault::BadRow;

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

/// An agent's own conversation, and the claim under which it was recorded.
pub(crate) struct ConversationRow {
    pub id: String,
    pub own: String,
    pub epoch: i64,
}

impl ConversationRow {
    /// What can be read of it.
    pub fn read(self) -> (AgentConversation, Epoch) {
        let at = At { table: "agent_session", row: 0 };
        let own = or_left_out(at.json("own", &self.own)).unwrap_or_default();
        (AgentConversation { id: self.id, own }, Epoch(self.epoch))
    }
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
