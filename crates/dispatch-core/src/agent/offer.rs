//! What an agent offers: its slash commands, and what may be chosen with it.

use serde::{Deserialize, Serialize};

/// A slash command that the agent offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCommand {
    /// The name, without the slash.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What to type after it, where it takes input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What may be chosen with an agent (SPEC T8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Its models.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub model: Setting,
    /// Its modes.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub mode: Setting,
    /// Its thinking options.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub thinking: Setting,
}

impl AgentSettings {
    /// Whether nothing may be chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was chosen with an agent before tasks asked for something else: what a task that asks for nothing gets
/// (SPEC T8). None where nothing else was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSettings {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The thinking option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
}

/// One thing that may be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The id of what is chosen, where the agent told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What there is, in the agent's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

impl Setting {
    /// Whether nothing is known of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.current.is_none() && self.choices.is_empty()
    }
}

/// One of the things that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What a task names it by.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// What it is; empty where the agent says nothing of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What an agent was last known to offer, whoever asked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentOffer {
    /// Its slash commands.
    pub commands: Vec<AgentCommand>,
    /// What may be chosen with it.
    pub settings: AgentSettings,
}
