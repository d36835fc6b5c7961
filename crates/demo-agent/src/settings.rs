//! What a host can set for a session: mode, model and how much to think.

use serde_json::{Value, json};

const MODES: [(&str, &str); 2] =
    [("default", "Does what the prompt says"), ("plan", "Changes nothing of its own accord")];
const MODELS: [(&str, &str); 2] = [("demo-1", "Demo One"), ("demo-2", "Demo Two")];
const THOUGHT_LEVELS: [(&str, &str); 3] = [("low", "Low"), ("medium", "Medium"), ("high", "High")];

/// The settings of one session, each one of the values above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub mode: &'static str,
    pub model: &'static str,
    pub thought_level: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: MODES[0].0, model: MODELS[0].0, thought_level: THOUGHT_LEVELS[0].0 }
    }
}

impl Settings {
    /// Sets one option; false when there is no such option or value.
    #[must_use]
    pub fn set(&mut self, option: &str, value: &str) -> bool {
        let (slot, known): (_, &[(&'static str, &str)]) = match option {
            "mode" => (&mut self.mode, &MODES),
            "model" => (&mut self.model, &MODELS),
            "thought_level" => (&mut self.thought_level, &THOUGHT_LEVELS),
            _ => return false,
        };
        let found = known.iter().find(|(id, _)| *id == value);
        if let Some((id, _)) = found {
            *slot = id;
        }
        found.is_some()
    }

    /// The `modes`, `models` and `configOptions` of a `session/new` answer.
    pub fn describe(&self) -> Value {
        let modes = MODES.map(|(id, text)| json!({"id": id, "name": id, "description": text}));
        let models = MODELS.map(|(id, name)| json!({"modelId": id, "name": name}));
        json!({
            "modes": {"currentModeId": self.mode, "availableModes": modes},
            "models": {"currentModelId": self.model, "availableModels": models},
            "configOptions": self.options(),
        })
    }

    /// The list that `config_option_update` and the answer of `session/set_config_option` carry.
    pub fn options(&self) -> Value {
        let select = |id: &str, category: &str, name: &str, current: &str, values: &[(&str, &str)]| {
            let options: Vec<_> =
                values.iter().map(|(id, name)| json!({"value": id, "name": name})).collect();
            json!({"id": id, "name": name, "category": category, "type": "select",
                   "currentValue": current, "options": options})
        };
        json!([
            select("mode", "mode", "Mode", self.mode, &MODES),
            select("model", "model", "Model", self.model, &MODELS),
            select("thought_level", "thought_level", "Thinking", self.thought_level, &THOUGHT_LEVELS),
        ])
    }
}
