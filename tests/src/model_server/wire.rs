//! What a wire format has to do.

use super::{
    request::{ModelRequest, ToolCall},
    script::{ModelError, Part, Reply},
};
use serde_json::Value;

/// One way to put requests and answers on the wire.
#[derive(Debug, Clone, Copy)]
pub struct WireFormat {
    /// Where agents post to.
    pub path: &'static str,
    /// Reads a request's body; `Err` says what is wrong with it.
    pub read: fn(Value) -> Result<ModelRequest, String>,
    /// An answer as events of a stream.
    pub stream: fn(&Resolved) -> Events,
    /// An answer in one piece.
    pub whole: fn(&Resolved) -> Value,
    /// The body of an error.
    pub error: fn(ModelError) -> Value,
}

/// A reply whose tool calls are in the agent's words.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is said, and how it ends.
    pub reply: Reply,
    /// The tool calls of `reply`, in order.
    pub calls: Vec<ToolCall>,
    /// The model's name, as asked for.
    pub model: String,
    /// Unlike any other answer's number.
    pub number: usize,
}

/// The events of a stream, each complete with its blank line.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// What is sent in any case: one event for each delta.
    pub body: Vec<String>,
    /// What makes the answer a finished one.
    pub tail: Vec<String>,
}

impl Resolved {
    /// Looks up the agent's tools for the reply's calls.
    ///
    /// # Errors
    /// A sentence about the call that no tool can do.
    pub fn new(reply: Reply, request: &ModelRequest, number: usize) -> Result<Self, String> {
        let calls = reply.calls().map(|call| call.resolve(&request.tools)).collect::<Result<_, _>>()?;
        Ok(Self { reply, calls, model: request.model.clone(), number })
    }

    /// All text, without the reasoning.
    pub fn text(&self) -> String {
        let texts = self.reply.parts.iter().filter_map(|part| match part {
            Part::Text(deltas) => Some(deltas.concat()),
            Part::Reasoning(_) | Part::Call(_) => None,
        });
        texts.collect()
    }
}
