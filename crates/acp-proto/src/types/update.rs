//! `session/update`: what a turn does.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::probe::{Params, Probe};
use crate::raw::RawJson;
use crate::schema;
use crate::wire_str::WireStr;

/// The parameters of a `session/update` notification.
#[derive(Clone, Debug)]
pub struct SessionUpdate {
    /// The session that it belongs to.
    pub session_id: WireStr,
    /// What happened.
    pub update: Update,
    params: RawJson,
}

/// What happened in a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// A piece of the agent's answer.
    AgentMessage(Chunk),
    /// A piece of the agent's reasoning.
    AgentThought(Chunk),
    /// A piece of what the user said: replayed history, or an echo of the prompt. Never the agent's text.
    UserMessage(Chunk),
    /// A tool call, complete.
    ToolCall(Box<schema::ToolCall>),
    /// A patch to a tool call: absent fields keep their value.
    ToolCallUpdate(Box<schema::ToolCallUpdate>),
    /// The plan, the whole list each time.
    Plan(schema::Plan),
    /// The slash commands, the whole list each time.
    AvailableCommands(schema::AvailableCommandsUpdate),
    /// The mode has changed.
    CurrentMode(schema::CurrentModeUpdate),
    /// Config options have changed, the whole list each time.
    ConfigOptions(schema::ConfigOptionUpdate),
    /// The session's title or time has changed.
    SessionInfo(Box<schema::SessionInfoUpdate>),
    /// How full the context is, and what it has cost so far.
    Usage(Box<schema::UsageUpdate>),
    /// A kind that this crate does not know, or one whose fields are not what the protocol says.
    /// [`SessionUpdate::raw`] has it as it came.
    Other {
        /// The word in `sessionUpdate`.
        kind: WireStr,
        /// Why a known kind could not be read; `None` for an unknown kind.
        fault: Option<String>,
    },
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The piece.
    pub content: ChunkContent,
    /// The message that it belongs to, where the agent says so; else neighbours of one kind are one message.
    pub message_id: Option<WireStr>,
    /// The agent's own additions: qwen reports a model call's usage here, on an empty chunk.
    pub meta: Option<RawJson>,
}

/// The content of a [`Chunk`].
#[derive(Clone, Debug, PartialEq)]
pub enum ChunkContent {
    /// Text; may be empty (claude's first chunk of each message is).
    Text(String),
    /// An image, audio, or a resource.
    Block(Box<schema::ContentBlock>),
    /// A type of content that is not known.
    Other(RawJson),
}

impl SessionUpdate {
    /// Reads the parameters; `None` if they have no `sessionId` or no `update` with a `sessionUpdate`.
    pub fn decode(params: &RawJson) -> Option<Self> {
        if let Some(update) = Self::read(params, params) {
            return Some(update);
        }
        // Duplicate keys or lone surrogates: the reading pass takes neither.
        Self::read(&params.normalised()?, params)
    }

    /// The parameters as they came.
    pub fn raw(&self) -> &RawJson {
        &self.params
    }

    fn read(readable: &RawJson, params: &RawJson) -> Option<Self> {
        let Params { session_id, update } = readable.decode_borrowed().ok()?;
        let text = readable.text();
        let update = match &*update.kind.0 {
            "agent_message_chunk" => chunk(update, readable).map(Update::AgentMessage),
            "agent_thought_chunk" => chunk(update, readable).map(Update::AgentThought),
            "user_message_chunk" => chunk(update, readable).map(Update::UserMessage),
            kind => structured(kind, readable),
        }
        .unwrap_or_else(|(kind, fault)| Update::Other { kind: WireStr::from(kind.as_str()), fault });
        Some(Self { session_id: text.share_cow(session_id.0), update, params: params.clone() })
    }
}

/// The kind, and why it could not be read.
type Unread = (String, Option<String>);

fn chunk(probe: Probe<'_>, params: &RawJson) -> Result<Chunk, Unread> {
    let line = params.text();
    let content = match (probe.content.kind.as_deref(), probe.content.text) {
        (Some("text"), Some(text)) => ChunkContent::Text(text.into_owned()),
        _ => block(params).map_err(|fault| (probe.kind.0.into_owned(), Some(fault)))?,
    };
    Ok(Chunk {
        content,
        message_id: probe.message_id.0.map(|id| line.share_cow(id)),
        meta: probe.meta.filter(|meta| meta.get() != "null").map(|meta| RawJson::share(line, meta)),
    })
}

/// Content that is not text.
fn block(params: &RawJson) -> Result<ChunkContent, String> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        update: Chunk<'a>,
    }
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let found: Params<'_> = params.decode_borrowed().map_err(|error| error.to_string())?;
    let content = RawJson::share(params.text(), found.update.content);
    Ok(match content.decode() {
        Ok(block) => ChunkContent::Block(Box::new(block)),
        Err(_) => ChunkContent::Other(content),
    })
}

fn structured(kind: &str, params: &RawJson) -> Result<Update, Unread> {
    let update = match kind {
        "tool_call" => body(params).map(|call| Update::ToolCall(Box::new(call))),
        "tool_call_update" => body(params).map(|call| Update::ToolCallUpdate(Box::new(call))),
        "plan" => body(params).map(Update::Plan),
        "available_commands_update" => body(params).map(Update::AvailableCommands),
        "current_mode_update" => body(params).map(Update::CurrentMode),
        "config_option_update" => body(params).map(Update::ConfigOptions),
        "session_info_update" => body(params).map(|info| Update::SessionInfo(Box::new(info))),
        "usage_update" => body(params).map(|usage| Update::Usage(Box::new(usage))),
        _ => return Err((kind.to_owned(), None)),
    };
    update.map_err(|error| (kind.to_owned(), Some(error.to_string())))
}

/// Decodes the `update` member.
fn body<T: DeserializeOwned>(params: &RawJson) -> Result<T, serde_json::Error> {
    #[derive(Deserialize)]
    struct Params<T> {
        update: T,
    }
    params.decode::<Params<T>>().map(|params| params.update)
}
