//! Model, mode and thinking option: what an agent offers, and how it is told (SPEC T8).

use acp_proto::client::{CallError, Client};
use acp_proto::schema::{
    SessionConfigKind, SessionConfigOption, SessionConfigOptionCategory as Category,
    SessionConfigSelectOption, SessionConfigSelectOptions, SessionModeState,
};
use acp_proto::types::{Models, SessionOpened};
use dispatch_core::agent::{Notice, NoticeCode};
use dispatch_core::task::Name;
use serde::Deserialize;

/// How many values a notice names.
const NAMED: usize = 12;

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Model,
    Thinking,
    Mode,
}

impl Setting {
    fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Thinking => "thinking option",
            Self::Mode => "mode",
        }
    }

    /// Whether a config option is this setting's: by its category, else by its id.
    fn is(self, option: &SessionConfigOption) -> bool {
        match (self, &option.category) {
            (Self::Model, Some(Category::Model)) => true,
            (Self::Thinking, Some(Category::ThoughtLevel)) => true,
            (Self::Mode, Some(Category::Mode)) => true,
            (Self::Model, None) => &*option.id.0 == "model",
            (Self::Thinking, None) => &*option.id.0 == "thought_level",
            (Self::Mode, None) => &*option.id.0 == "mode",
            _ => false,
        }
    }
}

/// What a conversation offers.
#[derive(Debug)]
pub(super) struct Offers {
    session: String,
    options: Vec<SessionConfigOption>,
    modes: Option<SessionModeState>,
    models: Option<Models>,
}

/// How a setting is made, and to what.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    by: By,
    current: String,
    /// Values, each with what a person calls it.
    values: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
enum By {
    ConfigOption(String),
    SetMode,
    SetModel,
}

impl Offers {
    pub(super) fn new(opened: SessionOpened) -> Self {
        let SessionOpened { session_id, modes, models, config_options, .. } = opened;
        Self { session: session_id, options: config_options, modes, models }
    }

    /// Makes a setting; returns what the user should know.
    ///
    /// # Errors
    /// The connection is gone, or the agent does not answer. What the agent refuses is a notice.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        agent: &Name,
        setting: Setting,
        wanted: &str,
    ) -> Result<Option<Notice>, CallError> {
        let word = setting.word();
        let Some(choice) = self.choice(setting) else {
            return Ok(ignored(format!(
                "agent {agent} lets nobody choose its {word}; `{wanted}` was left out"
            )));
        };
        let Some(value) = choice.find(wanted) else {
            let has = choice.names();
            return Ok(ignored(format!("agent {agent} has no {word} `{wanted}`; it has {has}")));
        };
        if value == choice.current {
            return Ok(None);
        }
        let set = match &choice.by {
            By::ConfigOption(id) => client.set_config_option(&self.session, id, value).await,
            By::SetMode => client.set_mode(&self.session, value).await,
            By::SetModel => client.set_model(&self.session, value).await,
        };
        match set {
            Ok(answer) => {
                self.learn(&answer);
                Ok(None)
            }
            Err(CallError::Agent { error, .. }) => {
                Ok(ignored(format!("agent {agent} refused the {word} `{wanted}`: {}", error.useful_text())))
            }
            Err(error) => Err(error),
        }
    }

    /// A new model may bring other thinking options: the answer lists all that there are now.
    fn learn(&mut self, answer: &acp_proto::RawJson) {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "configOptions")]
            options: Vec<serde_json::Value>,
        }
        if let Ok(Answer { options }) = answer.decode() {
            self.options = options.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect();
        }
    }

    fn choice(&self, setting: Setting) -> Option<Choice> {
        let option = self.options.iter().find(|option| setting.is(option)).and_then(by_option);
        let modes = || {
            let modes = self.modes.as_ref()?;
            let values = modes.available_modes.iter().map(|mode| (mode.id.0.to_string(), mode.name.clone()));
            let current = modes.current_mode_id.0.to_string();
            Some(Choice { by: By::SetMode, current, values: values.collect() })
        };
        let models = || {
            let models = self.models.as_ref()?;
            let values =
                models.available_models.iter().map(|model| (model.model_id.clone(), model.name.clone()));
            let current = models.current_model_id.clone();
            Some(Choice { by: By::SetModel, current, values: values.collect() })
        };
        option.or_else(|| match setting {
            Setting::Model => models(),
            Setting::Mode => modes(),
            Setting::Thinking => None,
        })
    }
}

impl Choice {
    /// The value that a user means: the value itself, else in other case, else by its name.
    fn find(&self, wanted: &str) -> Option<&str> {
        let by = |fits: &dyn Fn(&(String, String)) -> bool| self.values.iter().find(|value| fits(value));
        let found = by(&|(value, _)| value == wanted)
            .or_else(|| by(&|(value, _)| value.eq_ignore_ascii_case(wanted)))
            .or_else(|| by(&|(_, name)| name.eq_ignore_ascii_case(wanted)));
        found.map(|(value, _)| value.as_str())
    }

    fn names(&self) -> String {
        let mut names: Vec<&str> = self.values.iter().take(NAMED).map(|(value, _)| value.as_str()).collect();
        let more = self.values.len().saturating_sub(NAMED);
        let more = format!("{more} more");
        if self.values.len() > NAMED {
            names.push(&more);
        }
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// An option that is a choice between values.
fn by_option(option: &SessionConfigOption) -> Option<Choice> {
    let SessionConfigKind::Select(select) = &option.kind else { return None };
    let value = |it: &SessionConfigSelectOption| (it.value.0.to_string(), it.name.clone());
    let values = match &select.options {
        SessionConfigSelectOptions::Ungrouped(options) => options.iter().map(value).collect(),
        SessionConfigSelectOptions::Grouped(groups) => {
            groups.iter().flat_map(|group| &group.options).map(value).collect()
        }
        _ => return None,
    };
    let current = select.current_value.0.to_string();
    Some(Choice { by: By::ConfigOption(option.id.0.to_string()), current, values })
}

fn ignored(text: String) -> Option<Notice> {
    Some(Notice { code: NoticeCode::OptionIgnored, text })
}
