//! One JSON object of a stream, or a whole answer, to what it says. No I/O; nothing of it is believed to be of the
//! type that it should be.

use dispatch_core::agent::{Cost, Usage};
use serde_json::Value;

/// What a service said, in order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::native) enum Piece {
    /// More of the answer's text.
    Text(String),
    /// More of the reasoning.
    Reasoning(String),
    /// More of a tool call.
    Call(CallPiece),
    /// Why the model stopped, in the service's word.
    Finish(String),
    /// What the request used.
    Usage(Usage),
    /// An error in place of an answer.
    Error(Value),
}

/// More of a tool call. What services leave out differs: the index, the id, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::native) struct CallPiece {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

/// Everything that an object says.
pub(super) fn pieces(mut object: Value, mut hear: impl FnMut(Piece)) {
    if let Some(error) = object.get_mut("error").map(Value::take).filter(|error| !error.is_null()) {
        return hear(Piece::Error(error));
    }
    let usage = usage(&object);
    if let Some(choice) = object.pointer_mut("/choices/0") {
        let said = ["delta", "message"].iter().find(|key| choice.get(**key).is_some_and(Value::is_object));
        if let Some(said) = said {
            self::said(choice[*said].take(), &mut hear);
        } else if let Some(text) = text(choice.get_mut("text").map(Value::take)) {
            hear(Piece::Text(text));
        }
        if let Some(word) =
            choice.get("finish_reason").and_then(Value::as_str).filter(|word| !word.is_empty())
        {
            hear(Piece::Finish(word.to_owned()));
        }
    }
    if !usage.is_empty() {
        hear(Piece::Usage(usage));
    }
}

fn said(mut said: Value, hear: &mut impl FnMut(Piece)) {
    let mut take = |key: &str| said.get_mut(key).map(Value::take);
    // Some services send both names for the same words.
    let reasoning = text(take("reasoning_content")).or_else(|| text(take("reasoning")));
    if let Some(reasoning) = reasoning {
        hear(Piece::Reasoning(reasoning));
    }
    if let Some(text) = text(take("content")) {
        hear(Piece::Text(text));
    }
    if let Some(text) = text(take("refusal")) {
        hear(Piece::Text(text));
        hear(Piece::Finish("content_filter".to_owned()));
    }
    if let Some(Value::Array(calls)) = take("tool_calls") {
        calls.into_iter().filter_map(call).for_each(|call| hear(Piece::Call(call)));
    }
    if let Some(function) = take("function_call").filter(Value::is_object) {
        call(serde_json::json!({ "index": 0, "function": function }))
            .into_iter()
            .for_each(|call| hear(Piece::Call(call)));
    }
}

/// A text, or the texts of a list of parts; `None` where there is nothing.
fn text(value: Option<Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text,
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn call(mut call: Value) -> Option<CallPiece> {
    let index = call.get("index").and_then(Value::as_u64);
    let word = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|word| !word.is_empty()).map(str::to_owned)
    };
    let id = word(call.get("id"));
    let function = call.get_mut("function").filter(|function| function.is_object())?;
    let name = word(function.get("name"));
    let arguments = match function.get_mut("arguments").map(Value::take) {
        Some(Value::String(text)) => text,
        Some(object @ Value::Object(_)) => object.to_string(),
        _ => String::new(),
    };
    Some(CallPiece { index, id, name, arguments })
}

/// What one request used: `usage` as OpenAI says it, with what DeepSeek and OpenRouter add, else llama.cpp's
/// `timings`.
fn usage(object: &Value) -> Usage {
    let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    let Some(usage) = object.get("usage").filter(|usage| usage.is_object()) else {
        let (cached, read) = (at("/timings/cache_n"), at("/timings/prompt_n"));
        let input = read.map(|read| read.saturating_add(cached.unwrap_or(0)));
        return Usage {
            input_tokens: input,
            output_tokens: at("/timings/predicted_n"),
            cached_tokens: cached,
            ..Usage::default()
        };
    };
    let amount =
        usage.get("cost").and_then(Value::as_f64).filter(|amount| amount.is_finite() && *amount >= 0.0);
    Usage {
        input_tokens: at("/usage/prompt_tokens"),
        output_tokens: at("/usage/completion_tokens"),
        total_tokens: at("/usage/total_tokens"),
        cached_tokens: at("/usage/prompt_tokens_details/cached_tokens")
            .or(at("/usage/prompt_cache_hit_tokens")),
        cost: amount.map(|amount| Cost { amount, currency: "USD".to_owned() }),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn heard(object: Value) -> Vec<Piece> {
        let mut heard = Vec::new();
        pieces(object, |piece| heard.push(piece));
        heard
    }

    fn delta(delta: &Value) -> Vec<Piece> {
        heard(json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }))
    }

    #[test]
    fn text_and_reasoning_in_every_dialect() {
        let (text, reasoning) = (Piece::Text("x".into()), Piece::Reasoning("r".into()));
        assert_eq!(delta(&json!({ "role": "assistant", "content": "x" })), std::slice::from_ref(&text));
        assert_eq!(
            delta(&json!({ "content": [{ "type": "text", "text": "x" }] })),
            std::slice::from_ref(&text)
        );
        assert_eq!(
            delta(&json!({ "content": null, "reasoning_content": "r" })),
            std::slice::from_ref(&reasoning)
        );
        assert_eq!(delta(&json!({ "content": "", "reasoning": "r" })), std::slice::from_ref(&reasoning));
        assert_eq!(
            delta(&json!({ "reasoning": "r", "reasoning_content": "r" })),
            std::slice::from_ref(&reasoning)
        );
        let whole = json!({ "choices": [{ "message": { "content": "x", "reasoning_content": "r" }, "finish_reason": "stop" }] });
        assert_eq!(heard(whole), [reasoning, text, Piece::Finish("stop".into())]);
    }

    #[test]
    fn calls_come_whole_or_in_pieces_and_with_what_they_have() {
        let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| {
            let (id, name) = (id.map(Into::into), name.map(Into::into));
            Piece::Call(CallPiece { index, id, name, arguments: arguments.into() })
        };
        let calls = json!({ "tool_calls": [
            { "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"a\"" } },
            { "function": { "arguments": ":1}" } },
            { "id": "", "function": { "name": "g", "arguments": { "b": 2 } } },
            { "index": 3 },
            7,
        ] });
        assert_eq!(
            delta(&calls),
            [
                piece(Some(0), Some("a"), Some("f"), "{\"a\""),
                piece(None, None, None, ":1}"),
                piece(None, None, Some("g"), "{\"b\":2}"),
            ]
        );
        let legacy = json!({ "function_call": { "name": "f", "arguments": "{}" } });
        assert_eq!(delta(&legacy), [piece(Some(0), None, Some("f"), "{}")]);
    }

    #[test]
    fn usage_comes_with_or_without_choices_and_in_timings() {
        let plain = Usage {
            input_tokens: Some(7),
            output_tokens: Some(2),
            total_tokens: Some(9),
            ..Usage::default()
        };
        let usage = json!({ "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9 });
        assert_eq!(heard(json!({ "choices": [], "usage": usage })), [Piece::Usage(plain.clone())]);
        assert_eq!(heard(json!({ "choices": null, "usage": usage })), [Piece::Usage(plain)]);
        let timings = json!({ "choices": [], "timings": { "cache_n": 5, "prompt_n": 2, "predicted_n": 1 } });
        let expected = Usage {
            input_tokens: Some(7),
            output_tokens: Some(1),
            cached_tokens: Some(5),
            ..Usage::default()
        };
        assert_eq!(heard(timings), [Piece::Usage(expected)]);
        let odd = json!({ "usage": { "prompt_tokens": -1, "cost": "much", "completion_tokens": 1.5 } });
        assert_eq!(heard(odd), []);
    }

    #[test]
    fn what_has_other_types_says_nothing_and_an_error_says_everything() {
        for nothing in [
            json!(7),
            json!([]),
            json!({ "choices": 7 }),
            json!({ "choices": [7] }),
            json!({ "error": null }),
        ] {
            assert_eq!(heard(nothing.clone()), [], "{nothing}");
        }
        assert_eq!(delta(&json!({ "content": 7, "tool_calls": "x", "reasoning": {} })), []);
        assert_eq!(heard(json!({ "error": "no", "choices": [] })), [Piece::Error(json!("no"))]);
    }
}
