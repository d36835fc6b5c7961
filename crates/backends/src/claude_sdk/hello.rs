//! How Claude Code introduces itself: its commands, models and thinking options.

use dispatch_core::agent::{AgentCommand, AgentSettings, Choice, Setting};
use serde_json::Value;

use crate::common::json::text;

/// The modes that let nothing happen without leave that the user has not given by choosing them. The one that bypasses
/// all questions is not among them.
const MODES: [(&str, &str); 4] = [
    ("default", "Asks before it changes files or runs commands"),
    ("acceptEdits", "Changes files without asking"),
    ("plan", "Changes nothing"),
    ("dontAsk", "Does what needs no leave, and nothing else"),
];
/// The mode in which a model decides what is asked.
const AUTO: (&str, &str) = ("auto", "A model decides what is asked");
/// The model that it takes where none is chosen.
pub(super) const DEFAULT_MODEL: &str = "default";
/// The mode that it is in where none is chosen.
pub(super) const DEFAULT_MODE: &str = "default";
/// Entries of a list that are kept.
const MOST: usize = 1000;

/// What it said.
#[derive(Debug, Clone, Default)]
pub(super) struct Hello {
    pub(super) commands: Vec<AgentCommand>,
    models: Vec<Model>,
}

#[derive(Debug, Clone)]
struct Model {
    choice: Choice,
    efforts: Vec<String>,
    has_auto_mode: bool,
}

impl Hello {
    /// Reads the answer to `initialize`.
    pub(super) fn read(answer: &Value) -> Self {
        let list = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten().take(MOST);
        Self {
            commands: list("commands").map(command).collect(),
            models: list("models").map(model).collect(),
        }
    }

    /// What may be chosen, and what is.
    pub(super) fn settings(&self, model: &str, mode: &str, effort: Option<&str>) -> AgentSettings {
        let efforts = self.efforts(model).iter().map(|effort| plain(effort, ""));
        AgentSettings {
            model: Setting {
                current: Some(model.to_owned()),
                choices: self.models.iter().map(|model| model.choice.clone()).collect(),
            },
            mode: Setting { current: Some(mode.to_owned()), choices: self.modes().collect() },
            thinking: Setting { current: effort.map(str::to_owned), choices: efforts.collect() },
        }
    }

    /// The mode that a user means.
    pub(super) fn mode(&self, wanted: &str) -> Option<String> {
        self.modes().map(|mode| mode.id).find(|id| id.eq_ignore_ascii_case(wanted))
    }

    /// The model that a user means: one of the list, by its id or name, else what was asked for, since it takes full
    /// names of models as well.
    pub(super) fn model(&self, wanted: &str) -> String {
        let is = |model: &&Model| {
            model.choice.id.eq_ignore_ascii_case(wanted) || model.choice.name.eq_ignore_ascii_case(wanted)
        };
        self.models.iter().find(is).map_or_else(|| wanted.to_owned(), |model| model.choice.id.clone())
    }

    fn modes(&self) -> impl Iterator<Item = Choice> {
        let has_auto = self.models.iter().any(|model| model.has_auto_mode);
        MODES.into_iter().chain(has_auto.then_some(AUTO)).map(|(id, description)| plain(id, description))
    }

    fn efforts(&self, model: &str) -> &[String] {
        let found = self.models.iter().find(|known| known.choice.id == model).or(self.models.first());
        found.map_or(&[], |model| &model.efforts)
    }
}

fn plain(id: &str, description: &str) -> Choice {
    Choice { id: id.to_owned(), name: id.to_owned(), description: description.to_owned() }
}

fn command(command: &Value) -> AgentCommand {
    AgentCommand {
        name: text(command, "name").trim_start_matches('/').to_owned(),
        description: text(command, "description").to_owned(),
        hint: Some(text(command, "argumentHint").to_owned()).filter(|hint| !hint.is_empty()),
    }
}

fn model(model: &Value) -> Model {
    let efforts = model.get("supportedEffortLevels").and_then(Value::as_array).into_iter().flatten();
    Model {
        choice: Choice {
            id: text(model, "value").to_owned(),
            name: text(model, "displayName").to_owned(),
            description: text(model, "description").to_owned(),
        },
        efforts: efforts.filter_map(Value::as_str).take(MOST).map(str::to_owned).collect(),
        has_auto_mode: model.get("supportsAutoMode").and_then(Value::as_bool).unwrap_or(false),
    }
}
