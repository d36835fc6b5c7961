//! The protocol's calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::calls::CallId;
use super::connection::Client;
use super::error::{AnswerError, CallError, CloseReason};
use super::inbound::PermissionAnswer;
use crate::message::Method;
use crate::method;
use crate::raw::RawJson;
use crate::request_ids::RequestId;
use crate::schema;
use crate::types::{Initialized, SessionOpened};

impl Client {
    /// Introduces the host and asks what the agent can do.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn initialize(&self, request: &schema::InitializeRequest) -> Result<Initialized, CallError> {
        let limit = self.shared.config.time_limits.initialize;
        let result = self.typed(method::INITIALIZE, request, limit).await?;
        Initialized::decode(&result).map_err(undecodable(method::INITIALIZE))
    }

    /// Logs in by one of the methods that the agent announced.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn authenticate(&self, method_id: &str) -> Result<RawJson, CallError> {
        self.other(method::AUTHENTICATE, &json!({"methodId": method_id})).await
    }

    /// Begins a conversation in a folder, which must be absolute: some agents refuse others, some accept them.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::NotEncodable`] for a path that is not UTF-8.
    pub async fn new_session(
        &self,
        cwd: &Path,
        mcp_servers: &[schema::McpServer],
    ) -> Result<SessionOpened, CallError> {
        let params = encode(method::SESSION_NEW, &json_params(method::SESSION_NEW, None, cwd, mcp_servers)?)?;
        let limit = self.shared.config.time_limits.new_session;
        let result = self.call(method::SESSION_NEW, params, limit, Some(cwd.to_owned())).await?;
        SessionOpened::decode(&result, None).map_err(undecodable(method::SESSION_NEW))
    }

    /// Goes on with a conversation, whose history the agent replays as updates, mostly before it answers
    /// (see [`Event::Answered`](super::Event::Answered)), gemini afterwards.
    ///
    /// # Errors
    /// See [`CallError`]. The codes for an unknown session differ from agent to agent.
    pub async fn load_session(
        &self,
        session_id: &str,
        cwd: &Path,
        mcp_servers: &[schema::McpServer],
    ) -> Result<SessionOpened, CallError> {
        self.reopen(method::SESSION_LOAD, session_id, cwd, mcp_servers).await
    }

    /// Goes on with a conversation without hearing its history.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn resume_session(
        &self,
        session_id: &str,
        cwd: &Path,
        mcp_servers: &[schema::McpServer],
    ) -> Result<SessionOpened, CallError> {
        self.reopen(method::SESSION_RESUME, session_id, cwd, mcp_servers).await
    }

    /// Sends a prompt. Returns when it is queued for writing; its end arrives as
    /// [`Event::TurnEnded`](super::Event::TurnEnded), exactly once, with no time limit but the caller's own.
    /// One prompt at a time per session: a second one does something else with every agent.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn prompt(
        &self,
        session_id: &str,
        prompt: &[schema::ContentBlock],
    ) -> Result<CallId, CallError> {
        let params = encode(
            method::SESSION_PROMPT,
            &json!({"sessionId": session_id, "prompt": to_value(method::SESSION_PROMPT, prompt)?}),
        )?;
        self.start_turn(session_id, params).await
    }

    /// Asks the agent to end the turn: sends `session/cancel`, answers all of the session's permissions that are
    /// open or still come with [`PermissionAnswer::Cancelled`], and stops what the turn has running in the host.
    /// The turn then ends with any stop reason, or never. May be repeated; one that came too early can be lost.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn cancel(&self, session_id: &str) -> Result<(), CallError> {
        let open = self.shared.inbound.cancel(session_id);
        let params = encode(method::SESSION_CANCEL, &json!({"sessionId": session_id}))?;
        let mut notify = std::pin::pin!(self.notify(method::SESSION_CANCEL, params));
        // The cancel goes out first, else the agent takes the end of a command for its result and goes on; but
        // an agent that does not read must not keep its commands alive.
        let sent = tokio::select! {
            biased;
            sent = &mut notify => Some(sent),
            () = std::future::ready(()) => None,
        };
        self.shared.handler.turn_stopped(session_id);
        match sent {
            Some(sent) => sent,
            None => notify.await,
        }?;
        self.cancel_permissions(open)
            .await
            .map_err(|reason| CallError::Closed { method: Method::from(method::REQUEST_PERMISSION), reason })
    }

    async fn cancel_permissions(&self, open: Vec<RequestId>) -> Result<(), CloseReason> {
        for id in open {
            match self.answer_permission(&id, PermissionAnswer::Cancelled).await {
                Ok(()) | Err(AnswerError::NotOpen(_)) => {}
                Err(AnswerError::Closed(reason)) => return Err(reason),
            }
        }
        Ok(())
    }

    /// Changes the mode.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn set_mode(&self, session_id: &str, mode_id: &str) -> Result<RawJson, CallError> {
        self.other(method::SESSION_SET_MODE, &json!({"sessionId": session_id, "modeId": mode_id})).await
    }

    /// Changes the model, with agents that list [`Models`](crate::types::Models).
    ///
    /// # Errors
    /// See [`CallError`]. Some agents accept any name.
    pub async fn set_model(&self, session_id: &str, model_id: &str) -> Result<RawJson, CallError> {
        self.other(method::SESSION_SET_MODEL, &json!({"sessionId": session_id, "modelId": model_id})).await
    }

    /// Changes a config option that is a choice of values.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn set_config_option(
        &self,
        session_id: &str,
        config_id: &str,
        value: &str,
    ) -> Result<RawJson, CallError> {
        let params = json!({"sessionId": session_id, "configId": config_id, "value": value});
        self.other(method::SESSION_SET_CONFIG_OPTION, &params).await
    }

    async fn reopen(
        &self,
        name: &'static str,
        session_id: &str,
        cwd: &Path,
        mcp_servers: &[schema::McpServer],
    ) -> Result<SessionOpened, CallError> {
        let params = encode(name, &json_params(name, Some(session_id), cwd, mcp_servers)?)?;
        // The agent may read files while it loads.
        self.shared.handler.session_opened(session_id, cwd);
        let limit = self.shared.config.time_limits.load_session;
        let result = self.call(name, params, limit, Some(cwd.to_owned())).await?;
        SessionOpened::decode(&result, Some(session_id)).map_err(undecodable(name))
    }

    async fn other(&self, name: &'static str, params: &serde_json::Value) -> Result<RawJson, CallError> {
        self.typed(name, params, self.shared.config.time_limits.other).await
    }

    async fn typed<P: Serialize>(
        &self,
        name: &'static str,
        params: &P,
        limit: Duration,
    ) -> Result<RawJson, CallError> {
        self.request(name, encode(name, params)?, limit).await
    }
}

/// The parameters of the calls that open a session.
fn json_params(
    name: &'static str,
    session_id: Option<&str>,
    cwd: &Path,
    mcp_servers: &[schema::McpServer],
) -> Result<serde_json::Value, CallError> {
    let mut params = json!({"cwd": to_value(name, cwd)?, "mcpServers": to_value(name, mcp_servers)?});
    if let Some(session_id) = session_id {
        params["sessionId"] = session_id.into();
    }
    Ok(params)
}

fn encode<P: Serialize>(name: &'static str, params: &P) -> Result<RawJson, CallError> {
    RawJson::encode(params).map_err(not_encodable(name))
}

fn to_value<P: Serialize + ?Sized>(name: &'static str, params: &P) -> Result<serde_json::Value, CallError> {
    serde_json::to_value(params).map_err(not_encodable(name))
}

fn not_encodable(name: &'static str) -> impl FnOnce(serde_json::Error) -> CallError {
    move |error| CallError::NotEncodable { method: Method::from(name), source: Arc::new(error) }
}

fn undecodable(name: &'static str) -> impl FnOnce(serde_json::Error) -> CallError {
    move |error| CallError::Undecodable { method: Method::from(name), source: Arc::new(error) }
}
