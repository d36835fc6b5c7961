//! What a turn asks for when events were lost, or when it is to be known whether the turn is over.

use super::api::Api;
use super::http::HttpError;
use super::wire::{Asked, Message, Question, Status};

/// How many of the newest messages are asked for, at first and at last. A step of the model is one.
const MESSAGES: [u32; 2] = [64, 256];

/// How a conversation stands, by its own word.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// None when it is idle.
    pub(super) status: Option<Status>,
    pub(super) messages: Vec<Message>,
    /// Conversations that its tools began.
    pub(super) children: Vec<String>,
    /// Of all conversations of the folder.
    pub(super) permissions: Vec<Asked>,
    /// Of all conversations of the folder.
    pub(super) questions: Vec<Question>,
}

impl Snapshot {
    /// Asks. The status comes first: of a conversation that is idle then, nothing is missing in what comes after it.
    pub(super) async fn take(api: &Api, session: &str, prompt: &str) -> Result<Self, HttpError> {
        let status = api.statuses().await?.remove(session).filter(|status| status.kind != "idle");
        let mut messages = api.messages(session, MESSAGES[0]).await?;
        let is_there = messages.iter().any(|message| message.info.id == prompt);
        if !is_there && messages.len() >= MESSAGES[0] as usize {
            messages = api.messages(session, MESSAGES[1]).await?;
        }
        let children = api.children(session).await?.into_iter().map(|child| child.id).collect();
        let permissions = api.permissions().await?;
        let questions = api.questions().await?;
        Ok(Self { status, messages, children, permissions, questions })
    }
}
