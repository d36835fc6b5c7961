//! The models that a service offers, and the size of their context.

use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::fault::Fault;

/// The most models that are remembered.
const MODELS: usize = 1000;
/// The longest name of one, in bytes.
const LONGEST: usize = 200;

/// What a service offers, in its order. Empty where it does not tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::native) struct Models(Vec<Model>);

#[derive(Debug, PartialEq, Eq)]
struct Model {
    id: String,
    aliases: Vec<String>,
    context_size: Option<u64>,
}

impl Models {
    fn read(list: &Value) -> Self {
        let list = ["data", "models"].iter().find_map(|key| list.get(*key)?.as_array()).or(list.as_array());
        Self(list.into_iter().flatten().take(MODELS).filter_map(Model::read).collect())
    }

    /// Their names.
    pub(in crate::native) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|model| model.id.as_str())
    }

    /// Whether the service may know a model of this name: it does not tell, or it is on its list, also under
    /// another name, without its folder (`google/gemma`) or without ollama's `:latest`.
    pub(in crate::native) fn may_have(&self, name: &str) -> bool {
        self.0.is_empty() || self.find(name).is_some()
    }

    /// The size of a model's context in tokens.
    pub(in crate::native) fn context_size(&self, name: &str) -> Option<u64> {
        // A service of one model serves it under any name (llama.cpp).
        let only = if let [only] = &self.0[..] { Some(only) } else { None };
        self.find(name).or(only)?.context_size
    }

    fn find(&self, name: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.is_called(name))
    }
}

impl Model {
    fn read(entry: &Value) -> Option<Self> {
        let word = |value: &Value| {
            value.as_str().filter(|word| !word.is_empty() && word.len() <= LONGEST).map(str::to_owned)
        };
        let id = entry.get("id").or_else(|| entry.get("name")).or(Some(entry)).and_then(word)?;
        let aliases = entry.get("aliases").and_then(Value::as_array);
        let aliases = aliases.into_iter().flatten().take(8).filter_map(word).collect();
        // llama.cpp, vLLM, OpenRouter, LM Studio, in this order.
        let sizes = ["/meta/n_ctx", "/max_model_len", "/context_length", "/loaded_context_length"];
        let context_size = sizes.iter().find_map(|at| entry.pointer(at)?.as_u64()).filter(|size| *size > 0);
        Some(Self { id, aliases, context_size })
    }

    fn is_called(&self, name: &str) -> bool {
        let fits = |id: &str| {
            id == name
                || id.strip_suffix(":latest") == Some(name)
                || id.strip_suffix(name).is_some_and(|folder| folder.ends_with('/'))
        };
        fits(&self.id) || self.aliases.iter().any(|alias| fits(alias))
    }
}

/// Asks for the models. Services that have no list are none the worse for it.
///
/// # Errors
/// A [`Fault`] when the service is not there, does not let us in, or has no time.
pub(in crate::native) async fn known_models(api: &Api, limit: Duration) -> Result<Models, Fault> {
    match api.get("models", limit).await {
        Ok(list) => Ok(Models::read(&list)),
        Err(fault) if fault.is_unauthorised() || fault.is_passing() => Err(fault),
        Err(fault) => {
            tracing::debug!(fault = fault.text, "the service tells of no models");
            Ok(Models::default())
        }
    }
}

/// llama.cpp's own word on the context of the model that it has loaded, which is less than what the model was
/// trained with.
pub(in crate::native) async fn loaded_context(api: &Api, limit: Duration) -> Option<u64> {
    let props = api.get_beside("props", limit).await.ok()?;
    let size =
        ["/default_generation_settings/n_ctx", "/n_ctx"].iter().find_map(|at| props.pointer(at)?.as_u64());
    size.filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_of_several_services() {
        let llama = json!({ "object": "list", "data": [{ "id": "/m/x.gguf", "aliases": ["x"], "meta": { "n_ctx": 4096, "n_ctx_train": 32768 } }] });
        let llama = Models::read(&llama);
        assert_eq!((llama.context_size("x"), llama.context_size("whatever")), (Some(4096), Some(4096)));
        assert!(llama.may_have("x") && llama.may_have("x.gguf") && !llama.may_have("y"));
        let ollama = Models::read(&json!({ "data": [{ "id": "qwen3:latest" }, { "id": "qwen3:8b" }] }));
        assert!(ollama.may_have("qwen3") && !ollama.may_have("qwen3:4b"));
        assert_eq!(ollama.context_size("qwen3"), None);
        let vllm =
            Models::read(&json!({ "data": [{ "id": "Qwen/Qwen3", "max_model_len": 8192 }, { "id": "b" }] }));
        assert_eq!((vllm.context_size("Qwen3"), vllm.context_size("b")), (Some(8192), None));
        for odd in [json!(7), json!({}), json!({ "data": [7, null, { "id": 7 }, { "id": "" }] })] {
            assert_eq!(Models::read(&odd), Models::default());
            assert!(Models::read(&odd).may_have("x"), "who tells nothing may have anything");
        }
    }
}
