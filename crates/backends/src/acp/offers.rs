//! Model, mode and thinking option: what a conversation offers, what is chosen in it, and how that is changed
//! (SPEC T8, W3).

use acp_proto::client::{CallError, Client};
use acp_proto::schema::{
    SessionConfigKind, SessionConfigOption, SessionConfigOptionCategory as Category,
    SessionConfigSelectOption, SessionConfigSelectOptions, SessionModeState,
};
use acp_proto::types::{Models, SessionOpened};
use acp_proto::{Notification, RawJson};
use dispatch_core::agent::{AgentSettings, Choice, Notice, NoticeCode, OwnSettings, Setting as Offered};
use dispatch_core::task::Name;
use serde::Deserialize;
use serde_json::Value;

/// How many values a notice names.
const NAMED: usize = 12;
/// How many values of a setting are kept.
const MOST: usize = 2000;
/// The longest list that is looked at, in bytes; opencode's, of all providers' models, are some hundred KB.
const LONGEST_LIST: usize = 4 * 1024 * 1024;
/// Characters of a name or a description of a value.
const LONGEST: usize = 300;
/// qwen's own news of a changed mode and model.
const QWEN_MODE: &str = "qwen/notify/session/mode-update";
const QWEN_MODEL: &str = "qwen/notify/session/model-update";

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Model,
    Thinking,
    Mode,
}

impl Setting {
    /// In the order in which they are made: the others may depend on the model.
    pub(super) const ALL: [Self; 3] = [Self::Model, Self::Thinking, Self::Mode];

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
#[derive(Debug, Default)]
pub(super) struct Offers {
    options: Vec<SessionConfigOption>,
    modes: Option<SessionModeState>,
    models: Option<Models>,
    /// What was chosen before a task asked for something else.
    own: OwnSettings,
}

/// Why a setting is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A task asks for it.
    Asked,
    /// It is ours to choose, as the agent begins with another one.
    Usual,
    /// No task asks for another one any more.
    TakenBack,
}

/// How a setting is made, and to what.
#[derive(Debug)]
struct Way {
    by: By,
    offered: Offered,
}

#[derive(Debug, PartialEq, Eq)]
enum By {
    ConfigOption(String),
    SetMode,
    SetModel,
}

impl Offers {
    pub(super) fn new(opened: SessionOpened) -> Self {
        let SessionOpened { modes, models, config_options: options, .. } = opened;
        Self { options, modes, models, own: OwnSettings::default() }
    }

    /// The conversation is gone on with, in which this was chosen before tasks asked for something else.
    pub(super) fn goes_on(&mut self, own: OwnSettings) {
        self.own = own;
    }

    /// What was chosen before tasks asked for something else.
    pub(super) fn own(&self) -> &OwnSettings {
        &self.own
    }

    /// What a setting is to be taken back to.
    pub(super) fn before(&self, setting: Setting) -> Option<String> {
        let OwnSettings { model, mode, thinking } = &self.own;
        let before = match setting {
            Setting::Model => model,
            Setting::Mode => mode,
            Setting::Thinking => thinking,
        };
        before.clone()
    }

    fn before_mut(&mut self, setting: Setting) -> &mut Option<String> {
        let OwnSettings { model, mode, thinking } = &mut self.own;
        match setting {
            Setting::Model => model,
            Setting::Mode => mode,
            Setting::Thinking => thinking,
        }
    }

    /// What may be chosen, and what is.
    pub(super) fn settings(&self) -> AgentSettings {
        let offered = |setting| self.way(setting).map(|way| way.offered).unwrap_or_default();
        AgentSettings {
            model: offered(Setting::Model),
            mode: offered(Setting::Mode),
            thinking: offered(Setting::Thinking),
        }
    }

    /// Makes a setting; returns what the user should know. What was chosen before a task asked for something else is
    /// remembered, until it is chosen again or is not there any more.
    ///
    /// # Errors
    /// The connection is gone, or the agent does not answer. What the agent refuses is a notice.
    pub(super) async fn apply(
        &mut self,
        client: &Client,
        session: &str,
        agent: &Name,
        setting: Setting,
        (wanted, why): (&str, Why),
    ) -> Result<Option<Notice>, CallError> {
        let word = setting.word();
        let before = self.before_mut(setting).take_if(|_| why == Why::TakenBack);
        let Some(Way { by, offered }) = self.way(setting) else {
            return Ok(ignored(format!(
                "agent {agent} lets nobody choose its {word}; `{wanted}` was left out"
            )));
        };
        let Some(value) = find(&offered, wanted) else {
            let has = names(&offered);
            return Ok(ignored(format!("agent {agent} has no {word} `{wanted}`; it has {has}")));
        };
        if offered.current.as_deref() == Some(value) {
            return Ok(None);
        }
        let set = match &by {
            By::ConfigOption(id) => client.set_config_option(session, id, value).await,
            By::SetMode => client.set_mode(session, value).await,
            By::SetModel => client.set_model(session, value).await,
        };
        match set {
            Ok(answer) => {
                if why == Why::Asked && offered.current.as_ref().is_none_or(|now| now.len() <= LONGEST) {
                    let before = self.before_mut(setting);
                    *before = before.take().or_else(|| offered.current.clone());
                }
                self.is_now(setting, value);
                self.answered(&answer);
                Ok(None)
            }
            Err(CallError::Agent { error, .. }) => {
                if before.is_some() {
                    *self.before_mut(setting) = before;
                }
                Ok(ignored(format!("agent {agent} refused the {word} `{wanted}`: {}", error.useful_text())))
            }
            Err(error) => Err(error),
        }
    }

    /// The agent has another mode now.
    pub(super) fn mode_is(&mut self, mode: &str) {
        self.is_now(Setting::Mode, mode);
    }

    /// The agent's options are others now: the `update` of a `session/update` lists all that there are.
    pub(super) fn options_are(&mut self, params: &RawJson) {
        if params.as_str().len() > LONGEST_LIST {
            return;
        }
        #[derive(Deserialize)]
        struct Params {
            update: Value,
        }
        let update = params.decode::<Params>().map(|params| params.update);
        self.take_options(update.unwrap_or_default());
    }

    /// Whether a notification of the agent's own told of a setting, of this session.
    pub(super) fn notified(&mut self, session: &str, notification: &Notification) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            session_id: String,
            current_mode_id: Option<String>,
            current_model_id: Option<String>,
        }
        if !matches!(notification.method.as_str(), QWEN_MODE | QWEN_MODEL) {
            return false;
        }
        let params = notification.params.as_ref().and_then(|params| params.decode::<Params>().ok());
        let Some(params) = params.filter(|params| params.session_id == session) else { return false };
        for (setting, now) in
            [(Setting::Mode, params.current_mode_id), (Setting::Model, params.current_model_id)]
        {
            if let Some(now) = now {
                self.is_now(setting, &now);
            }
        }
        true
    }

    /// A new model may bring other thinking options: the answer lists all that there are now.
    fn answered(&mut self, answer: &RawJson) {
        self.take_options(answer.decode().unwrap_or_default());
    }

    fn take_options(&mut self, mut holder: Value) {
        if let Some(Value::Array(options)) = holder.get_mut("configOptions").map(Value::take) {
            self.options = options.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect();
        }
    }

    /// Notes what is chosen, wherever the agent lists it.
    fn is_now(&mut self, setting: Setting, value: &str) {
        for option in self.options.iter_mut().filter(|option| setting.is(option)) {
            if let SessionConfigKind::Select(select) = &mut option.kind {
                select.current_value = value.to_owned().into();
            }
        }
        match setting {
            Setting::Mode => {
                if let Some(modes) = &mut self.modes {
                    modes.current_mode_id = value.to_owned().into();
                }
            }
            Setting::Model => {
                if let Some(models) = &mut self.models {
                    value.clone_into(&mut models.current_model_id);
                }
            }
            Setting::Thinking => {}
        }
    }

    fn way(&self, setting: Setting) -> Option<Way> {
        let option = self.options.iter().find(|option| setting.is(option)).and_then(by_option);
        option.or_else(|| match setting {
            Setting::Model => self.models.as_ref().map(by_models),
            Setting::Mode => self.modes.as_ref().map(by_modes),
            Setting::Thinking => None,
        })
    }
}

/// An option that is a choice between values.
fn by_option(option: &SessionConfigOption) -> Option<Way> {
    let SessionConfigKind::Select(select) = &option.kind else { return None };
    let value = |it: &SessionConfigSelectOption| choice(&it.value.0, &it.name, it.description.as_deref());
    let choices = match &select.options {
        SessionConfigSelectOptions::Ungrouped(options) => options.iter().take(MOST).map(value).collect(),
        SessionConfigSelectOptions::Grouped(groups) => {
            groups.iter().flat_map(|group| &group.options).take(MOST).map(value).collect()
        }
        _ => return None,
    };
    let offered = Offered { current: Some(select.current_value.0.to_string()), choices };
    Some(Way { by: By::ConfigOption(option.id.0.to_string()), offered })
}

fn by_modes(modes: &SessionModeState) -> Way {
    let modes_ = modes.available_modes.iter().take(MOST);
    let choices = modes_.map(|mode| choice(&mode.id.0, &mode.name, mode.description.as_deref())).collect();
    Way { by: By::SetMode, offered: Offered { current: Some(modes.current_mode_id.0.to_string()), choices } }
}

fn by_models(models: &Models) -> Way {
    let listed = models.available_models.iter().take(MOST);
    let choices = listed.map(|it| choice(&it.model_id, &it.name, it.description.as_deref())).collect();
    Way { by: By::SetModel, offered: Offered { current: Some(models.current_model_id.clone()), choices } }
}

fn choice(id: &str, name: &str, description: Option<&str>) -> Choice {
    let cut = |text: &str| text.chars().take(LONGEST).collect();
    Choice { id: id.to_owned(), name: cut(name), description: cut(description.unwrap_or_default()) }
}

/// The value that a user means: the value itself, else in other case, else by its name.
fn find<'a>(offered: &'a Offered, wanted: &str) -> Option<&'a str> {
    let by = |fits: &dyn Fn(&Choice) -> bool| offered.choices.iter().find(|choice| fits(choice));
    let found = by(&|choice| choice.id == wanted)
        .or_else(|| by(&|choice| choice.id.eq_ignore_ascii_case(wanted)))
        .or_else(|| by(&|choice| choice.name.eq_ignore_ascii_case(wanted)));
    found.map(|choice| choice.id.as_str())
}

fn names(offered: &Offered) -> String {
    let mut names: Vec<&str> = offered.choices.iter().take(NAMED).map(|choice| choice.id.as_str()).collect();
    let more = offered.choices.len().saturating_sub(NAMED);
    let more = format!("{more} more");
    if offered.choices.len() > NAMED {
        names.push(&more);
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn ignored(text: String) -> Option<Notice> {
    Some(Notice { code: NoticeCode::OptionIgnored, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn offers() -> Offers {
        let value = |id: &str| json!({"value": id, "name": id.to_uppercase()});
        let option = |id: &str, category: &str, current: &str, values: &[&str]| {
            let options: Vec<_> = values.iter().map(|id| value(id)).collect();
            json!({"id": id, "name": id, "category": category, "type": "select", "currentValue": current,
                   "options": options})
        };
        let answer = json!({
            "sessionId": "s",
            "modes": {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "do", "name": "Do"}]},
            "models": {"currentModelId": "a", "availableModels": [{"modelId": "a", "name": "A"}, {"modelId": "b"}]},
            "configOptions": [
                option("m", "mode", "ask", &["ask", "do"]),
                option("effort", "thought_level", "low", &["low", "high"]),
                {"id": "other", "name": "x", "type": "hologram"},
            ],
        });
        let answer = RawJson::encode(&answer).unwrap();
        Offers::new(SessionOpened::decode(&answer, None).unwrap())
    }

    fn chosen(offers: &Offers) -> [Option<String>; 3] {
        let AgentSettings { model, mode, thinking } = offers.settings();
        [model.current, mode.current, thinking.current]
    }

    fn some(values: [&str; 3]) -> [Option<String>; 3] {
        values.map(|value| Some(value.to_owned()))
    }

    #[test]
    fn settings_are_known_from_wherever_an_agent_lists_them() {
        let offers = offers();
        assert_eq!(chosen(&offers), some(["a", "ask", "low"]));
        let settings = offers.settings();
        let names: Vec<_> = settings.thinking.choices.iter().map(|choice| choice.name.as_str()).collect();
        assert_eq!(names, ["LOW", "HIGH"]);
        assert_eq!(
            settings.model.choices[1],
            Choice { id: "b".into(), name: String::new(), description: String::new() }
        );
    }

    #[test]
    fn every_way_to_tell_of_a_change_is_heard() {
        let mut offers = offers();
        offers.mode_is("do");
        assert_eq!(chosen(&offers), some(["a", "do", "low"]), "in its options, too");
        let tell = |offers: &mut Offers, method: &str, params: Value| {
            let params = RawJson::encode(&params).unwrap();
            offers.notified("s", &Notification::new(method, params))
        };
        let mode = |session: &str| json!({"v": 1, "sessionId": session, "currentModeId": "ask"});
        assert!(tell(&mut offers, QWEN_MODE, mode("s")));
        assert!(tell(&mut offers, QWEN_MODEL, json!({"v": 1, "sessionId": "s", "currentModelId": "b"})));
        assert_eq!(chosen(&offers), some(["b", "ask", "low"]));
        assert!(!tell(&mut offers, QWEN_MODE, json!({"sessionId": "another", "currentModeId": "do"})));
        assert!(!tell(&mut offers, "_other/mode-update", json!({"sessionId": "s", "currentModeId": "do"})));
        assert!(!tell(&mut offers, QWEN_MODE, json!([])));
        assert_eq!(chosen(&offers), some(["b", "ask", "low"]));
        let update = json!({"update": {"configOptions": [{"id": "effort", "name": "x", "category": "thought_level",
            "type": "select", "currentValue": "none", "options": []}, 7]}});
        offers.options_are(&RawJson::encode(&update).unwrap());
        assert_eq!(chosen(&offers), some(["b", "ask", "none"]), "the modes are still listed apart");
    }

    #[test]
    fn an_endless_list_is_cut() {
        let models: Vec<_> =
            (0..10_000).map(|n| json!({"modelId": n.to_string(), "name": "n".repeat(1000)})).collect();
        let answer = json!({"sessionId": "s", "models": {"currentModelId": "1", "availableModels": models}});
        let answer = SessionOpened::decode(&RawJson::encode(&answer).unwrap(), None).unwrap();
        let settings = Offers::new(answer).settings();
        assert_eq!((settings.model.choices.len(), settings.model.choices[0].name.len()), (MOST, LONGEST));
    }
}
