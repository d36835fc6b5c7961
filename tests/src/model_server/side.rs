//! What agents ask for themselves: titles, summaries, forms to be filled in, token counts, the list of models.

use super::{
    request::{ModelRequest, ToolCall},
    script::Reply,
    toolbox::Call,
};
use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Map, Value, json};

/// Names that the lists of models have.
const MODELS: [&str; 2] = ["mock-1", "mock-2"];

/// An answer that fits a request without a script.
pub(super) fn reply(request: &ModelRequest) -> Reply {
    if let Some(form) = request.tools.first() {
        let call = ToolCall { name: form.name.clone(), arguments: instance(&form.parameters) };
        return Reply::new().call(Call::Named(call));
    }
    let text = request.schema.as_ref().map(|schema| instance(schema).to_string());
    Reply::text(text.as_deref().unwrap_or("Scripted title"))
}

/// A small value that fits a JSON schema; Google writes the types in capitals.
pub(super) fn instance(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = if schema["type"].is_array() { &schema["type"][0] } else { &schema["type"] };
    match kind.as_str().unwrap_or("").to_lowercase().as_str() {
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let members = required.map(|name| (name.to_owned(), instance(&schema["properties"][name])));
            Value::Object(members.collect::<Map<_, _>>())
        }
        "array" => json!([]),
        "boolean" => json!(false),
        "integer" | "number" => json!(0),
        "null" => Value::Null,
        _ => json!("scripted"),
    }
}

/// The paths where no model is asked.
pub(super) fn router() -> Router {
    let openai = MODELS.map(|id| json!({"id": id, "object": "model", "owned_by": "scripted"}));
    let openai = json!({"object": "list", "data": openai});
    let google = MODELS.map(|id| json!({"name": format!("models/{id}"), "inputTokenLimit": 100_000}));
    let google = json!({"models": google});
    Router::new()
        // claude asks for the mere address, by HEAD.
        .route("/", get(|| async { "scripted" }))
        .route("/v1/models", get(move || async move { Json(openai) }))
        .route("/v1beta/models", get(move || async move { Json(google) }))
        .route(
            "/v1/messages/count_tokens",
            post(|body: String| async move { Json(count(&body, "input_tokens")) }),
        )
}

/// A guess at the number of tokens: four bytes each.
pub(super) fn count(body: &str, key: &str) -> Value {
    json!({ key: body.len() / 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_filled_in_as_its_schema_says() {
        let schema = json!({"type": "OBJECT", "required": ["why", "next", "sure", "count", "all"], "properties": {
            "why": {"type": "STRING"}, "next": {"type": "STRING", "enum": ["user", "model"]},
            "sure": {"type": "boolean"}, "count": {"type": ["integer", "null"]}, "all": {"type": "array"},
            "other": {"type": "string"}}});
        let filled = json!({"why": "scripted", "next": "user", "sure": false, "count": 0, "all": []});
        assert_eq!(instance(&schema), filled);
    }
}
