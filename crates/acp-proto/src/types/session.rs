//! The answers that open a connection and a session.

use serde::Deserialize;

use crate::raw::RawJson;
use crate::schema;

/// The result of `initialize`.
#[derive(Clone, Debug)]
pub struct Initialized {
    /// What the agent can do, and who it is.
    pub agent: schema::InitializeResponse,
    raw: RawJson,
}

/// The result of `session/new`, `session/load` or `session/resume`.
#[derive(Clone, Debug)]
pub struct SessionOpened {
    /// The session's id: the agent's answer, else what was asked for (the answer to a load has none).
    pub session_id: String,
    /// The modes, where the agent has some. Older than config options, which may hold them as well.
    pub modes: Option<schema::SessionModeState>,
    /// The models, to be changed by `session/set_model`. Gone from the schema, but qwen, gemini and goose have it.
    pub models: Option<Models>,
    /// The config options, to be changed by `session/set_config_option`.
    pub config_options: Vec<schema::SessionConfigOption>,
    raw: RawJson,
}

/// The models of a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Models {
    /// The one that is used.
    pub current_model_id: String,
    /// Those that may be chosen.
    #[serde(default)]
    pub available_models: Vec<ModelInfo>,
}

/// A model that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// What to ask for.
    pub model_id: String,
    /// What to show.
    #[serde(default)]
    pub name: String,
    /// More to show.
    #[serde(default)]
    pub description: Option<String>,
}

impl Initialized {
    /// Reads the result of `initialize`.
    ///
    /// # Errors
    /// It has no `protocolVersion` that is a number.
    pub fn decode(result: &RawJson) -> Result<Self, serde_json::Error> {
        Ok(Self { agent: result.decode()?, raw: result.clone() })
    }

    /// The result as it came.
    pub fn raw(&self) -> &RawJson {
        &self.raw
    }
}

impl SessionOpened {
    /// Reads the result of a call that opens the session `asked`, or a new one.
    ///
    /// # Errors
    /// A new session without a `sessionId`.
    pub fn decode(result: &RawJson, asked: Option<&str>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Fields {
            session_id: Option<String>,
            modes: serde_json::Value,
            models: serde_json::Value,
            config_options: serde_json::Value,
        }
        // The answer to a load may be `null`.
        let fields: Fields = result.decode::<Option<Fields>>()?.unwrap_or_default();
        let session_id = fields.session_id.or_else(|| asked.map(str::to_owned));
        let session_id =
            session_id.ok_or_else(|| <serde_json::Error as serde::de::Error>::missing_field("sessionId"))?;
        let options = match fields.config_options {
            serde_json::Value::Array(options) => options,
            _ => Vec::new(),
        };
        Ok(Self {
            session_id,
            modes: serde_json::from_value(fields.modes).ok(),
            models: serde_json::from_value(fields.models).ok(),
            config_options: options.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect(),
            raw: result.clone(),
        })
    }

    /// The result as it came.
    pub fn raw(&self) -> &RawJson {
        &self.raw
    }
}
