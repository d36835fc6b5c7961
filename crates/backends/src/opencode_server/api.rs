//! opencode's calls, as far as a turn makes them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::http::{Bounds, Http, HttpError};
use super::rows::Rows;
use super::wire::{Asked, Message, Question, Session, Status};
use crate::common::json;

/// What is asked quickly and answered shortly.
const SHORT: Bounds = Bounds { time: Duration::from_secs(15), bytes: 1 << 20 };
/// The first use of a folder takes seconds, on a busy machine more.
const FIRST_USE: Bounds = Bounds { time: Duration::from_secs(60), bytes: 8 << 20 };
/// A conversation's messages.
const MESSAGES: Bounds = Bounds { time: Duration::from_secs(60), bytes: 8 << 20 };
/// A command answers when its turn is over.
const COMMAND: Bounds = Bounds { time: Duration::from_secs(30 * 24 * 3600), bytes: 8 << 20 };

/// One server, seen from one folder.
#[derive(Debug, Clone)]
pub(super) struct Api {
    http: Http,
    directory: String,
}

/// A prompt, or a command.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Asking {
    #[serde(rename = "messageID")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

/// A model by its provider's name and its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ModelId {
    #[serde(rename = "providerID")]
    pub(super) provider: String,
    #[serde(rename = "modelID")]
    pub(super) model: String,
}

impl Api {
    pub(super) fn new(http: Http, directory: String) -> Self {
        Self { http, directory }
    }

    fn url(&self, segments: &[&str]) -> Url {
        self.http.url(segments, &[("directory", &self.directory)])
    }

    pub(super) async fn providers(&self) -> Result<Providers, HttpError> {
        self.http.get(self.url(&["config", "providers"]), FIRST_USE).await
    }

    pub(super) async fn config(&self) -> Result<Config, HttpError> {
        self.http.get(self.url(&["config"]), FIRST_USE).await
    }

    pub(super) async fn agents(&self) -> Result<Vec<AgentMode>, HttpError> {
        self.http.get(self.url(&["agent"]), FIRST_USE).await
    }

    pub(super) async fn commands(&self) -> Result<Vec<Command>, HttpError> {
        self.http.get(self.url(&["command"]), FIRST_USE).await
    }

    pub(super) async fn new_session(&self, title: &str) -> Result<Session, HttpError> {
        let url = self.url(&["session"]);
        let path = url.path().to_owned();
        let body = self.http.post(url, &json!({"title": title}), FIRST_USE).await?;
        serde_json::from_slice(&body).map_err(|error| HttpError::Garbled { path, text: error.to_string() })
    }

    /// `None` when there is no such conversation.
    pub(super) async fn session(&self, id: &str) -> Result<Option<Session>, HttpError> {
        match self.http.get(self.url(&["session", id]), FIRST_USE).await {
            Ok(session) => Ok(Some(session)),
            Err(HttpError::Refused { status: StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What a conversation is at; `None` when it is idle.
    pub(super) async fn status(&self, session: &str) -> Result<Option<Status>, HttpError> {
        let url = self.url(&["session", "status"]);
        let path = url.path().to_owned();
        // Of all conversations of the folder that are not idle; what is said of others may be anything.
        let mut all: HashMap<String, Box<RawValue>> = self.http.get(url, SHORT).await?;
        let Some(status) = all.remove(session) else { return Ok(None) };
        let status: Status = json::decode(Box::<str>::from(status))
            .map_err(|error| HttpError::Garbled { path, text: error.to_string() })?;
        Ok(Some(status).filter(|status| status.kind != "idle"))
    }

    /// The newest messages, oldest first.
    pub(super) async fn messages(&self, session: &str, most: usize) -> Result<Rows<Message>, HttpError> {
        let most = most.to_string();
        let query = [("directory", self.directory.as_str()), ("limit", &most)];
        self.http.get(self.http.url(&["session", session, "message"], &query), MESSAGES).await
    }

    /// The permission requests that are open, of all conversations of the folder.
    pub(super) async fn permissions(&self) -> Result<Rows<Asked>, HttpError> {
        self.http.get(self.url(&["permission"]), MESSAGES).await
    }

    /// The questions that are open, of all conversations of the folder.
    pub(super) async fn questions(&self) -> Result<Rows<Question>, HttpError> {
        self.http.get(self.url(&["question"]), MESSAGES).await
    }

    /// The conversations that the conversation's tools began.
    pub(super) async fn children(&self, session: &str) -> Result<Rows<Session>, HttpError> {
        self.http.get(self.url(&["session", session, "children"]), MESSAGES).await
    }

    /// Sends a prompt; it is answered at once.
    pub(super) async fn prompt(
        &self,
        session: &str,
        asking: &Asking,
        model: Option<&ModelId>,
        text: &str,
    ) -> Result<(), HttpError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            asking: &'a Asking,
            #[serde(skip_serializing_if = "Option::is_none")]
            model: Option<&'a ModelId>,
            parts: [serde_json::Value; 1],
        }
        let body = Body { asking, model, parts: [json!({"type": "text", "text": text})] };
        self.http.post(self.url(&["session", session, "prompt_async"]), &body, FIRST_USE).await.map(drop)
    }

    /// Runs a slash command; it is answered when the turn is over.
    pub(super) async fn command(
        &self,
        session: &str,
        asking: &Asking,
        model: Option<&ModelId>,
        command: &str,
        arguments: &str,
    ) -> Result<(), HttpError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            asking: &'a Asking,
            #[serde(skip_serializing_if = "Option::is_none")]
            model: Option<String>,
            command: &'a str,
            arguments: &'a str,
        }
        let model = model.map(|ModelId { provider, model }| format!("{provider}/{model}"));
        let body = Body { asking, model, command, arguments };
        self.http.post(self.url(&["session", session, "command"]), &body, COMMAND).await.map(drop)
    }

    /// Ends what the conversation does; answered when it has been torn down.
    pub(super) async fn abort(&self, session: &str) -> Result<(), HttpError> {
        self.http.post(self.url(&["session", session, "abort"]), &json!({}), SHORT).await.map(drop)
    }

    /// Answers a permission request. With a message, a refusal is told to the model, which goes on; without, it ends
    /// the turn.
    pub(super) async fn reply(
        &self,
        request: &str,
        reply: &str,
        message: Option<&str>,
    ) -> Result<(), HttpError> {
        let body = match message {
            Some(message) => json!({"reply": reply, "message": message}),
            None => json!({"reply": reply}),
        };
        self.http.post(self.url(&["permission", request, "reply"]), &body, SHORT).await.map(drop)
    }

    /// Declines a question.
    pub(super) async fn decline(&self, question: &str) -> Result<(), HttpError> {
        self.http.post(self.url(&["question", question, "reject"]), &json!({}), SHORT).await.map(drop)
    }
}

/// `GET /config/providers`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Providers {
    #[serde(default)]
    pub(super) providers: Vec<Provider>,
    /// Each provider's default model.
    #[serde(default)]
    pub(super) default: BTreeMap<String, String>,
}

/// Where models come from.
#[derive(Debug, Deserialize)]
pub(super) struct Provider {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) models: BTreeMap<String, Model>,
}

/// A model.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Model {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) limit: Limit,
    /// Ways to think, by name.
    #[serde(default)]
    pub(super) variants: serde_json::Map<String, serde_json::Value>,
}

/// What a model can take.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Limit {
    /// Tokens.
    #[serde(default)]
    pub(super) context: f64,
}

/// `GET /config`, as far as it chooses for a turn.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) default_agent: Option<String>,
}

/// A row of `GET /agent`: what we call a mode.
#[derive(Debug, Deserialize)]
pub(super) struct AgentMode {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) mode: String,
    #[serde(default)]
    pub(super) hidden: bool,
}

/// A row of `GET /command`.
#[derive(Debug, Deserialize)]
pub(super) struct Command {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) hints: Vec<String>,
}
