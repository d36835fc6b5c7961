//! What one line, or one element of a batch, says.

use std::borrow::Cow;
use std::fmt;

use crate::raw::RawJson;
use crate::request_ids::{RequestId, write_string};
use crate::rpc_error::RpcError;
use crate::wire_str::WireStr;

/// One JSON-RPC 2.0 message, or the reason why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The other side wants an answer.
    Request(Request),
    /// The other side tells us something.
    Notification(Notification),
    /// The other side answers.
    Response(Response),
    /// Bytes that are no message. The stream goes on behind them.
    Malformed(Malformed),
}

/// Members of a message that JSON-RPC does not know, in order.
pub type Extra = Vec<(WireStr, RawJson)>;

/// A call that wants an answer with the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The caller's id.
    pub id: RequestId,
    /// The method's name.
    pub method: Method,
    /// The parameters, undecoded.
    pub params: Option<RawJson>,
    /// Members that JSON-RPC does not know.
    pub extra: Extra,
}

/// A call that wants no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The method's name.
    pub method: Method,
    /// The parameters, undecoded.
    pub params: Option<RawJson>,
    /// Members that JSON-RPC does not know.
    pub extra: Extra,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The id of the request that this answers; `None` if it has none, as codex answers what it cannot read.
    pub id: Option<RequestId>,
    /// The result, undecoded, or the error.
    pub outcome: Result<RawJson, RpcError>,
    /// Members that JSON-RPC does not know.
    pub extra: Extra,
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with them.
    pub why: Fault,
    /// Their first 256 bytes at most, as text, for a log line.
    pub excerpt: String,
}

/// What is wrong with bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than the codec's limit; only the beginning was kept.
    #[error("a line of {length} bytes, longer than {limit}")]
    TooLong {
        /// The line's length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// So many values that they would take far more memory than their text; none was read. See
    /// [`is_modest`](crate::is_modest).
    #[error("{length} bytes with more values than are read")]
    TooManyValues {
        /// The message's length in bytes.
        length: usize,
    },
    /// A banner, a log line, half an object.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but neither request, notification nor response.
    #[error("not a JSON-RPC message: {0}")]
    NotAMessage(String),
    /// The stream ended inside a line, and what there is of it is no message.
    #[error("the stream ended inside a line: {0}")]
    CutOff(String),
    /// A batch with more elements than are taken from one line; the rest was dropped.
    #[error("a batch of more than {limit} messages, the rest was dropped")]
    BatchTooLong {
        /// How many were taken.
        limit: usize,
    },
}

/// A method's name; the names of the protocol cost no allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Method(Cow<'static, str>);

impl Method {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        match crate::method::ALL.iter().find(|known| **known == name) {
            Some(known) => Self(Cow::Borrowed(known)),
            None => Self(Cow::Owned(name.to_owned())),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Request {
    /// A request of ours.
    pub fn new(id: impl Into<RequestId>, method: &str, params: RawJson) -> Self {
        Self { id: id.into(), method: method.into(), params: Some(params), extra: Extra::new() }
    }

    /// The same request in buffers of its own: one that is kept for long keeps no line alive, and weighs what
    /// [`weight`](Self::weight) says.
    pub(crate) fn detached(&self) -> Self {
        Self {
            id: self.id.detached(),
            method: self.method.clone(),
            params: self.params.as_ref().map(RawJson::detached),
            extra: self.extra.iter().map(|(key, value)| (key.detached(), value.detached())).collect(),
        }
    }

    /// The bytes that the request holds on to.
    pub(crate) fn weight(&self) -> usize {
        let extra = self.extra.iter().map(|(key, value)| key.len() + value.as_str().len());
        let params = self.params.as_ref().map_or(0, |params| params.as_str().len());
        self.id.weight() + self.method.as_str().len() + params + extra.sum::<usize>()
    }

    /// Appends the request as one line.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out);
        out.extend_from_slice(b",\"id\":");
        self.id.write(out);
        call(&self.method, self.params.as_ref(), out);
        close(&self.extra, out);
    }
}

impl Notification {
    /// A notification of ours.
    pub fn new(method: &str, params: RawJson) -> Self {
        Self { method: method.into(), params: Some(params), extra: Extra::new() }
    }

    /// Appends the notification as one line.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out);
        call(&self.method, self.params.as_ref(), out);
        close(&self.extra, out);
    }
}

impl Response {
    /// An answer of ours.
    pub fn new(id: RequestId, outcome: Result<RawJson, RpcError>) -> Self {
        Self { id: Some(id), outcome, extra: Extra::new() }
    }

    /// Appends the answer as one line.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out);
        if let Some(id) = &self.id {
            out.extend_from_slice(b",\"id\":");
            id.write(out);
        }
        match &self.outcome {
            Ok(result) => {
                out.extend_from_slice(b",\"result\":");
                out.extend_from_slice(result.as_str().as_bytes());
            }
            Err(error) => {
                out.extend_from_slice(b",\"error\":");
                error.write(out);
            }
        }
        close(&self.extra, out);
    }
}

impl Message {
    /// Appends the message as one line; nothing for [`Malformed`], of which too little is known.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(request) => request.encode(out),
            Self::Notification(notification) => notification.encode(out),
            Self::Response(response) => response.encode(out),
            Self::Malformed(_) => {}
        }
    }
}

fn open(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
}

fn call(method: &Method, params: Option<&RawJson>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"method\":");
    write_string(method.as_str(), out);
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(params.as_str().as_bytes());
    }
}

fn close(extra: &Extra, out: &mut Vec<u8>) {
    for (key, value) in extra {
        out.push(b',');
        write_string(key, out);
        out.push(b':');
        out.extend_from_slice(value.as_str().as_bytes());
    }
    out.extend_from_slice(b"}\n");
}
