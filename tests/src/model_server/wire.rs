//! What a wire format has to do.

use super::{
    request::{ModelRequest, ToolCall},
    script::{ModelError, Part, Reply, Usage},
};
use serde_json::Value;

/// One way to put requests and answers on the wire.
#[derive(Debug, Clone, Copy)]
pub struct WireFormat {
    /// Where agents post to, as axum writes routes.
    pub route: &'static str,
    /// Reads a request from its path and body; `Err` says what is wrong with it.
    pub read: fn(&str, Value) -> Result<ModelRequest, String>,
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

/// A piece of an answer, ready for the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece<'a> {
    /// Text in these deltas.
    Text(&'a [String]),
    /// Reasoning in these deltas.
    Reasoning(&'a [String]),
    /// A tool call.
    Call {
        /// Unlike any other call's.
        id: String,
        /// How many calls of this answer came before.
        index: usize,
        /// In the agent's words.
        call: &'a ToolCall,
    },
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
    /// A sentence about the call that no tool can do, unless the reply has other words for that.
    pub fn new(reply: Reply, request: &ModelRequest, number: usize) -> Result<Self, String> {
        let directory = request.directory();
        let calls = reply.calls().map(|call| call.resolve(&request.tools, directory.as_deref()));
        match (calls.collect::<Result<_, _>>(), reply.otherwise) {
            (Ok(calls), _) => Ok(Self { reply, calls, model: request.model.clone(), number }),
            (Err(_), Some(text)) => Self::new(Reply::text(text), request, number),
            (Err(why), None) => Err(why),
        }
    }

    /// What is said, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut calls = self.calls.iter().enumerate();
        self.reply.parts.iter().filter_map(move |part| match part {
            Part::Text(deltas) => Some(Piece::Text(deltas)),
            Part::Reasoning(deltas) => Some(Piece::Reasoning(deltas)),
            Part::Call(_) => calls.next().map(|(index, call)| {
                let id = format!("call_{}_{index}", self.number);
                Piece::Call { id, index, call }
            }),
        })
    }

    /// What it cost.
    pub fn usage(&self) -> Usage {
        self.reply.usage
    }

    /// All text, without the reasoning.
    pub fn text(&self) -> String {
        let texts = self.pieces().filter_map(|piece| match piece {
            Piece::Text(deltas) => Some(deltas.concat()),
            Piece::Reasoning(_) | Piece::Call { .. } => None,
        });
        texts.collect()
    }
}

/// A server-sent event that has only data.
pub fn data(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// A server-sent event with the name that its data has as `type`.
pub fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("message"))
}

/// A text in two pieces, as real servers stream the arguments of a call.
pub fn halves(text: &str) -> [&str; 2] {
    let mut middle = text.len() / 2;
    while !text.is_char_boundary(middle) {
        middle += 1;
    }
    let (first, second) = text.split_at(middle);
    [first, second]
}

/// The text at `key` of each object in a list, or the value itself when it is text.
pub fn texts<'a>(content: &'a Value, key: &str) -> Vec<&'a str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part[key].as_str()).collect(),
        _ => Vec::new(),
    }
}
