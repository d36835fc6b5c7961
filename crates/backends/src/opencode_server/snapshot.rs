//! What a turn asks for when events were lost, or when it is to be known whether the turn is over.

use super::api::Api;
use super::http::HttpError;
use super::rows::Rows;
use super::wire::{Asked, Message, Question, Session, Status};

/// How many of the newest messages are asked for at first. A step of the model is one.
const MESSAGES: usize = 64;
/// And at last, where those do not reach back to the prompt.
const MOST: usize = 256;

/// How a conversation stands, by its own word. But for its status all of it is as much as could be had.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// None when it is idle.
    pub(super) status: Option<Status>,
    /// The newest, oldest first; `None` when nothing is known of them.
    pub(super) messages: Option<Rows<Message>>,
    /// Conversations that its tools began.
    pub(super) children: Rows<Session>,
    /// Of all conversations of the folder.
    pub(super) permissions: Rows<Asked>,
    /// Of all conversations of the folder.
    pub(super) questions: Rows<Question>,
}

impl Snapshot {
    /// Asks. The status comes first: of a conversation that is idle then, nothing is missing in what comes after it.
    ///
    /// # Errors
    /// The status is not known.
    pub(super) async fn take(api: &Api, session: &str, prompt: &str) -> Result<Self, HttpError> {
        Ok(Self {
            status: api.status(session).await?,
            messages: messages(api, session, prompt).await,
            children: known(api.children(session).await).unwrap_or_default(),
            permissions: known(api.permissions().await).unwrap_or_default(),
            questions: known(api.questions().await).unwrap_or_default(),
        })
    }
}

/// The newest messages, back to the prompt if that can be had; fewer where they are too long to be read.
async fn messages(api: &Api, session: &str, prompt: &str) -> Option<Rows<Message>> {
    let mut most = MESSAGES;
    let newest = loop {
        match api.messages(session, most).await {
            Err(HttpError::TooLong { .. }) if most > 1 => most /= 4,
            answer => break known(answer)?,
        }
    };
    let reaches_back = newest.rows.iter().any(|message| message.info.id == prompt);
    if reaches_back || newest.rows.len() + newest.illegible < MESSAGES {
        return Some(newest);
    }
    known(api.messages(session, MOST).await).or(Some(newest))
}

fn known<T>(answer: Result<T, HttpError>) -> Option<T> {
    answer.inspect_err(|error| tracing::debug!(%error, "not all is known of how a conversation stands")).ok()
}
