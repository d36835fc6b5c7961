//! A line's text to a message, in one pass that allocates nothing for known methods.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::message::{Extra, Fault, Message, Method, Notification, Request, Response};
use crate::raw::RawJson;
use crate::request_ids::RequestId;
use crate::rpc_error::RpcError;
use crate::wire_str::{Text, WireStr};

/// Reads one message.
pub(crate) fn message(line: &WireStr) -> Result<Message, Fault> {
    let envelope: Envelope<'_> = serde_json::from_str(line).map_err(fault)?;
    envelope.into_message(line)
}

/// The elements of a batch, at most as many as asked for.
pub(crate) struct Batch {
    pub(crate) elements: Vec<WireStr>,
    /// There were more.
    pub(crate) cut: bool,
}

/// Reads a line that begins with `[`.
pub(crate) fn batch(line: &WireStr, limit: usize) -> Result<Batch, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let elements = deserializer.deserialize_seq(BatchVisitor { limit }).map_err(fault)?;
    deserializer.end().map_err(fault)?;
    if elements.0.is_empty() {
        return Err(Fault::NotAMessage("an empty batch".to_owned()));
    }
    Ok(Batch { elements: elements.0.iter().map(|raw| line.share(raw.get())).collect(), cut: elements.1 })
}

fn fault(error: serde_json::Error) -> Fault {
    if error.is_data() { Fault::NotAMessage(error.to_string()) } else { Fault::NotJson(error.to_string()) }
}

/// The members of a JSON-RPC message. As in most parsers the last of duplicates counts.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    extra: Vec<(Text<'a>, &'a RawValue)>,
}

impl Envelope<'_> {
    fn into_message(self, line: &WireStr) -> Result<Message, Fault> {
        let id = self.id.map(|raw| RequestId::from_raw(line, raw));
        let extra: Extra = self
            .extra
            .into_iter()
            .map(|(key, raw)| (line.share_cow(key.0), RawJson::share(line, raw)))
            .collect();
        if let Some(method) = self.method {
            let Ok(Text(name)) = serde_json::from_str(method.get()) else {
                return Err(Fault::NotAMessage("its method is not a string".to_owned()));
            };
            let method = Method::from(&*name);
            let params = self.params.map(|raw| RawJson::share(line, raw));
            return Ok(match id {
                Some(id) => Message::Request(Request { id, method, params, extra }),
                None => Message::Notification(Notification { method, params, extra }),
            });
        }
        // JSON-RPC 1.0 peers send both members, one of them null.
        let error = self.error.filter(|error| error.get() != "null" || self.result.is_none());
        let outcome = match (self.result, error) {
            (_, Some(error)) => Err(RpcError::from_raw(RawJson::share(line, error))),
            (Some(result), None) => Ok(RawJson::share(line, result)),
            (None, None) => return Err(Fault::NotAMessage("no method, result or error".to_owned())),
        };
        if id.is_none() && outcome.is_ok() {
            return Err(Fault::NotAMessage("a result without an id".to_owned()));
        }
        Ok(Message::Response(Response { id, outcome, extra }))
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            match &*key.0 {
                "jsonrpc" if value.get() == "\"2.0\"" => {}
                "id" => envelope.id = Some(value),
                "method" => envelope.method = Some(value),
                "params" => envelope.params = Some(value),
                "result" => envelope.result = Some(value),
                "error" => envelope.error = Some(value),
                _ if envelope.extra.len() < MAX_EXTRA => envelope.extra.push((key, value)),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// How many members unknown to JSON-RPC a message may have before they are dropped. None were ever recorded.
const MAX_EXTRA: usize = 64;

struct BatchVisitor {
    limit: usize,
}

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = (Vec<&'de RawValue>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.limit {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok((elements, false)),
            }
        }
        let mut cut = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            cut = true;
        }
        Ok((elements, cut))
    }
}
