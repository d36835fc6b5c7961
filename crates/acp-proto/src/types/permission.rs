//! `session/request_permission`: the agent asks before it acts.

use serde::Deserialize;
use serde_json::Value;

use crate::raw::RawJson;
use crate::rpc_error::RpcError;
use crate::schema;

/// The parameters of a `session/request_permission`.
#[derive(Clone, Debug)]
pub struct PermissionRequest {
    /// The session that asks.
    pub session_id: String,
    /// The tool call that it is about. It may never have been announced (gemini), or hold nothing but its id
    /// because it was (vibe). `None` if it cannot be read.
    pub tool_call: Option<Box<schema::ToolCallUpdate>>,
    /// The possible answers, in the agent's order, which says nothing: claude lists `allow_always` first.
    pub options: Vec<PermissionOption>,
    params: RawJson,
}

/// One possible answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionOption {
    /// What to answer with; the agent's own word.
    pub id: String,
    /// What to show.
    pub name: String,
    /// What to choose by.
    pub kind: PermissionKind,
}

/// What an option means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// This once.
    AllowOnce,
    /// From now on: the session, or, with some agents, for ever and for every project.
    AllowAlways,
    /// Not this time.
    RejectOnce,
    /// Never.
    RejectAlways,
    /// A word that this crate does not know.
    Other(String),
}

impl PermissionRequest {
    /// Reads the parameters. Options without an id cannot be chosen and are left out.
    ///
    /// # Errors
    /// The error to answer with, if there is no `sessionId`.
    pub fn decode(params: &RawJson) -> Result<Self, RpcError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            session_id: String,
            #[serde(default)]
            tool_call: Value,
            #[serde(default)]
            options: Value,
        }
        let fields: Fields = params.decode().map_err(RpcError::invalid_params)?;
        let Value::Array(options) = fields.options else {
            return Err(RpcError::invalid_params("options is not a list"));
        };
        Ok(Self {
            session_id: fields.session_id,
            tool_call: serde_json::from_value(fields.tool_call).ok().map(Box::new),
            options: options.iter().filter_map(option).collect(),
            params: params.clone(),
        })
    }

    /// The first option of a kind.
    pub fn option(&self, kind: &PermissionKind) -> Option<&PermissionOption> {
        self.options.iter().find(|option| option.kind == *kind)
    }

    /// The parameters as they came.
    pub fn raw(&self) -> &RawJson {
        &self.params
    }
}

fn option(value: &Value) -> Option<PermissionOption> {
    let field = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let id = field("optionId")?;
    let kind = PermissionKind::from(field("kind").unwrap_or_default().as_str());
    Some(PermissionOption { name: field("name").unwrap_or_else(|| id.clone()), id, kind })
}

impl From<&str> for PermissionKind {
    fn from(word: &str) -> Self {
        match word {
            "allow_once" => Self::AllowOnce,
            "allow_always" => Self::AllowAlways,
            "reject_once" => Self::RejectOnce,
            "reject_always" => Self::RejectAlways,
            other => Self::Other(other.to_owned()),
        }
    }
}
