//! Google's `generateContent`, as gemini speaks it.

use super::{
    request::{Message, ModelRequest, Role, Tool, ToolCall},
    script::{Ending, ModelError},
    wire::{Events, Piece, Resolved, WireFormat, data, texts},
};
use serde_json::{Value, json};

/// The format as the server uses it.
pub const GEMINI: WireFormat =
    WireFormat { route: "/v1beta/models/{model_and_method}", read, stream, whole, error };

/// Model and method are the path's last segment, `MODEL:streamGenerateContent`.
fn read(path: &str, body: Value) -> Result<ModelRequest, String> {
    let (model, method) =
        path.rsplit('/').next().and_then(|last| last.split_once(':')).ok_or("the path names no method")?;
    let stream = match method {
        "streamGenerateContent" => true,
        "generateContent" => false,
        other => return Err(format!("unknown method {other}")),
    };
    let system = Message::new(Role::System, &texts(&body["systemInstruction"]["parts"], "text"));
    let contents = body["contents"].as_array().ok_or("contents is no list")?;
    let messages = [system].into_iter().chain(contents.iter().flat_map(messages)).collect();
    let groups = body["tools"].as_array().into_iter().flatten();
    let tools = groups.filter_map(|group| group["functionDeclarations"].as_array()).flatten();
    let tools = tools.map(|tool| Tool {
        name: tool["name"].as_str().unwrap_or("").to_owned(),
        parameters: tool.get("parametersJsonSchema").unwrap_or(&tool["parameters"]).clone(),
    });
    let config = &body["generationConfig"];
    Ok(ModelRequest {
        model: model.to_owned(),
        stream,
        messages,
        tools: tools.collect(),
        schema: config.get("responseJsonSchema").or_else(|| config.get("responseSchema")).cloned(),
        credentials: None,
        body,
    })
}

/// Results of tools come in the user's name, a prompt may stand behind them.
fn messages(content: &Value) -> Vec<Message> {
    let said = texts(&content["parts"], "text");
    let parts = |key: &'static str| {
        content["parts"].as_array().into_iter().flatten().filter_map(move |part| part.get(key))
    };
    if content["role"] == "model" {
        let calls = parts("functionCall").map(|call| ToolCall {
            name: call["name"].as_str().unwrap_or("").to_owned(),
            arguments: call["args"].clone(),
        });
        return vec![Message { calls: calls.collect(), ..Message::new(Role::Assistant, &said) }];
    }
    let results = parts("functionResponse").map(|result| {
        let response = &result["response"];
        let text = response["output"].as_str().or_else(|| response["error"].as_str());
        Message::new(Role::Tool, &[text.unwrap_or_default()])
    });
    let prompt = (!said.is_empty()).then(|| Message::user(&said));
    results.chain(prompt).collect()
}

fn stream(answer: &Resolved) -> Events {
    let chunk = |part: Value| data(&response(answer, vec![part], None));
    let body = answer.pieces().flat_map(|piece| parts(&piece)).map(chunk).collect();
    Events { body, tail: vec![data(&response(answer, vec![], Some(finish_reason(answer))))] }
}

fn parts(piece: &Piece<'_>) -> Vec<Value> {
    match piece {
        Piece::Text(texts) => texts.iter().map(|text| json!({"text": text})).collect(),
        Piece::Reasoning(texts) => texts.iter().map(|text| json!({"text": text, "thought": true})).collect(),
        Piece::Call { call, .. } => {
            vec![json!({"functionCall": {"name": call.name, "args": call.arguments}})]
        }
    }
}

fn whole(answer: &Resolved) -> Value {
    let parts = answer.pieces().flat_map(|piece| parts(&piece)).collect();
    response(answer, parts, Some(finish_reason(answer)))
}

fn response(answer: &Resolved, parts: Vec<Value>, finish: Option<&str>) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if let Some(reason) = finish {
        candidate["finishReason"] = json!(reason);
    }
    let usage = answer.usage();
    json!({"candidates": [candidate], "modelVersion": answer.model,
           "responseId": format!("resp_{}", answer.number),
           "usageMetadata": {"promptTokenCount": usage.input, "candidatesTokenCount": usage.output,
                             "totalTokenCount": usage.input + usage.output}})
}

fn finish_reason(answer: &Resolved) -> &'static str {
    match answer.reply.ending {
        Ending::Length => "MAX_TOKENS",
        Ending::Refusal => "SAFETY",
        Ending::Normal | Ending::Stall | Ending::Cut => "STOP",
    }
}

fn error(error: ModelError) -> Value {
    let (code, status, message) = match error {
        ModelError::Unauthorised => {
            (401, "UNAUTHENTICATED", "API key not valid. Please pass a valid API key.")
        }
        ModelError::Overloaded { .. } => (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"),
        ModelError::Internal => (500, "INTERNAL", "An internal error has occurred"),
        ModelError::ContextTooLong => (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        ModelError::NoSuchModel => (
            404,
            "NOT_FOUND",
            "The model is not found for API version v1beta, or is not supported for generateContent.",
        ),
    };
    json!({"error": {"code": code, "message": message, "status": status}})
}
