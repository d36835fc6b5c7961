//! Model, mode and thinking option: what opencode offers in a folder, and what a turn takes of it (SPEC T8).

use dispatch_core::agent::{AgentCommand, AgentSettings, Choice, Notice, NoticeCode, Setting};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::Name;

use super::api::{AgentMode, Api, Command, Config, Model, ModelId, Provider, Providers};
use super::http::HttpError;
use crate::registry::Quirks;

/// The most choices, commands or names that are passed on; somebody with every provider has thousands of models.
const MOST: usize = 500;
/// How many values a notice names.
const NAMED: usize = 12;
/// The longest name or description that is passed on, in characters.
const LONGEST: usize = 1000;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Offers {
    providers: Providers,
    config: Config,
    modes: Vec<AgentMode>,
    commands: Vec<Command>,
}

/// What a turn takes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chosen {
    pub(super) model: Option<ModelId>,
    pub(super) mode: Option<String>,
    pub(super) variant: Option<String>,
    /// What it wanted and does not get.
    pub(super) notices: Vec<Notice>,
}

impl Offers {
    /// Asks for everything at once: the first use of a folder takes seconds.
    pub(super) async fn ask(api: &Api) -> Result<Self, HttpError> {
        let asked = tokio::join!(api.providers(), api.config(), api.agents(), api.commands());
        let (providers, config, modes, commands) = asked;
        Ok(Self {
            providers: legible(providers)?,
            config: legible(config)?,
            modes: legible(modes)?,
            commands: legible(commands)?,
        })
    }

    /// What a turn of this agent takes.
    pub(super) fn choose(&self, agent: &Name, spec: &SessionSpec, quirks: &Quirks) -> Chosen {
        let mut chosen = Chosen { model: self.default_model(), ..Chosen::default() };
        let lacks = |what: &str, wanted: &Name, has: Vec<&str>| Notice {
            code: NoticeCode::OptionIgnored,
            text: format!("agent {agent} has no {what} `{wanted}`; it has {}", names(&has)),
        };
        if let Some(wanted) = &spec.model {
            let full = quirks.full_model(wanted);
            match self.find_model(&full) {
                Some((provider, id, _)) => chosen.model = Some(model_id(provider, id)),
                None => {
                    let all: Vec<String> = self.models().map(|(p, id, _)| format!("{}/{id}", p.id)).collect();
                    let all = all.iter().map(String::as_str).collect();
                    let full = Name::new(&full).unwrap_or_else(|| wanted.clone());
                    chosen.notices.push(lacks("model", &full, all));
                }
            }
        }
        if let Some(wanted) = &spec.mode {
            let all: Vec<&str> = self.modes().map(|mode| mode.name.as_str()).collect();
            match find(&all, wanted.as_str()) {
                Some(mode) => chosen.mode = Some(mode.to_owned()),
                None => chosen.notices.push(lacks("mode", wanted, all)),
            }
        }
        if let Some(wanted) = &spec.thinking {
            let all = self.variants(chosen.model.as_ref());
            match find(&all, wanted.as_str()) {
                Some(variant) => chosen.variant = Some(variant.to_owned()),
                None => chosen.notices.push(lacks("thinking option", wanted, all)),
            }
        }
        chosen
    }

    /// The configured model, else a provider's default. It is sent with every prompt: without one, opencode takes what
    /// the conversation used last, also when that was a model that there is not.
    fn default_model(&self) -> Option<ModelId> {
        let configured = self.config.model.as_deref().and_then(|model| self.find_model(model));
        let default = || {
            let default = |provider: &Provider| self.providers.default.get(&provider.id).cloned();
            self.providers.providers.iter().find_map(|provider| {
                let id = default(provider)?;
                provider.models.get_key_value(&id).map(|(id, model)| (provider, id.as_str(), model))
            })
        };
        configured.or_else(default).map(|(provider, id, _)| model_id(provider, id))
    }

    fn models(&self) -> impl Iterator<Item = (&Provider, &str, &Model)> {
        self.providers.providers.iter().flat_map(|provider| {
            provider.models.iter().map(move |(id, model)| (provider, id.as_str(), model))
        })
    }

    fn find_model(&self, wanted: &str) -> Option<(&Provider, &str, &Model)> {
        let (provider, model) = wanted.split_once('/')?;
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let exact = self.models().find(|(p, id, _)| p.id == provider && *id == model);
        exact.or_else(|| self.models().find(|(p, id, _)| same(&p.id, provider) && same(id, model)))
    }

    fn model(&self, id: &ModelId) -> Option<&Model> {
        let provider = self.providers.providers.iter().find(|provider| provider.id == id.provider)?;
        provider.models.get(&id.model)
    }

    fn variants(&self, model: Option<&ModelId>) -> Vec<&str> {
        let model = model.and_then(|id| self.model(id));
        model.map_or_else(Vec::new, |model| model.variants.keys().map(String::as_str).collect())
    }

    /// The agents that a user may talk to.
    fn modes(&self) -> impl Iterator<Item = &AgentMode> {
        self.modes.iter().filter(|mode| !mode.hidden && mode.mode != "subagent")
    }

    /// The size of a model's context, in tokens.
    pub(super) fn context_size(&self, provider: &str, model: &str) -> Option<u64> {
        let id = ModelId { provider: provider.to_owned(), model: model.to_owned() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        self.model(&id).map(|model| model.limit.context as u64).filter(|size| *size > 0)
    }

    /// What may be chosen, and what is.
    pub(super) fn settings(&self, chosen: &Chosen) -> AgentSettings {
        let models = self.models().map(|(provider, id, model)| Choice {
            id: format!("{}/{id}", provider.id),
            name: named(&model.name, id),
            description: cut(&provider.name),
        });
        let modes = self.modes().map(|mode| Choice {
            id: mode.name.clone(),
            name: mode.name.clone(),
            description: cut(&mode.description),
        });
        let variants = self.variants(chosen.model.as_ref()).into_iter().map(|name| Choice {
            id: name.to_owned(),
            name: name.to_owned(),
            description: String::new(),
        });
        let default_mode = || self.config.default_agent.clone().or_else(|| Some("build".to_owned()));
        let mode = chosen.mode.clone().or_else(default_mode);
        AgentSettings {
            model: Setting {
                current: chosen.model.as_ref().map(|id| format!("{}/{}", id.provider, id.model)),
                choices: models.take(MOST).collect(),
            },
            mode: Setting {
                current: mode.filter(|mode| self.modes().any(|known| known.name == *mode)),
                choices: modes.take(MOST).collect(),
            },
            thinking: Setting { current: chosen.variant.clone(), choices: variants.take(MOST).collect() },
        }
    }

    /// The slash commands.
    pub(super) fn commands(&self) -> Vec<AgentCommand> {
        let command = |command: &Command| AgentCommand {
            name: command.name.clone(),
            description: cut(&command.description),
            hint: (!command.hints.is_empty()).then(|| cut(&command.hints.join(" "))),
        };
        self.commands.iter().take(MOST).map(command).collect()
    }

    /// The command that a prompt is, and what follows it.
    pub(super) fn command_in<'a>(&self, prompt: &'a str) -> Option<(&str, &'a str)> {
        let line = prompt.trim_start().strip_prefix('/')?;
        let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let command = self.commands.iter().find(|command| command.name == name)?;
        Some((&command.name, arguments.trim()))
    }
}

/// A list that cannot be read offers nothing; the turn can do without it.
fn legible<T: Default>(answer: Result<T, HttpError>) -> Result<T, HttpError> {
    match answer {
        Err(error @ (HttpError::Garbled { .. } | HttpError::TooLong { .. } | HttpError::Refused { .. })) => {
            tracing::warn!(%error, "opencode's offers could not be read");
            Ok(T::default())
        }
        answer => answer,
    }
}

fn model_id(provider: &Provider, model: &str) -> ModelId {
    ModelId { provider: provider.id.clone(), model: model.to_owned() }
}

/// The value that a user means: itself, else in other case.
fn find<'a>(all: &[&'a str], wanted: &str) -> Option<&'a str> {
    let same = |value: &&&str| value.eq_ignore_ascii_case(wanted);
    all.iter().find(|value| **value == wanted).or_else(|| all.iter().find(same)).copied()
}

fn names(all: &[&str]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut named: Vec<String> = all.iter().take(NAMED).map(|&name| name.to_owned()).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}

fn named(name: &str, id: &str) -> String {
    cut(if name.is_empty() { id } else { name })
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
