//! What is known of a conversation, beyond its turns.

use std::collections::VecDeque;

use acp_proto::Notification;
use acp_proto::schema::{AvailableCommand, AvailableCommandInput};
use acp_proto::types::{SessionOpened, SessionUpdate, Update};
use dispatch_core::agent::{AgentCommand, Cost, Usage};

use super::offers::Offers;
use super::usage;
use crate::common::id_hash::id_hash;

/// Tool calls that are remembered.
const REMEMBERED: usize = 4096;
/// Slash commands that are kept of a list.
const MOST_COMMANDS: usize = 1000;

/// A conversation with an agent, as its process has it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The agent's own id.
    pub(super) id: String,
    /// The slash commands that it offers.
    pub(super) commands: Vec<AgentCommand>,
    /// What may be chosen in it.
    pub(super) offers: Offers,
    /// The tool calls of earlier turns.
    pub(super) earlier: Calls,
    /// What the agent's counters showed last, of those that never go back.
    pub(super) counted: Counted,
}

/// The counters of a conversation; absent where the agent has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    /// What the process has cost so far.
    pub(super) cost: Option<Cost>,
    /// Tokens, where answers tell those of the whole conversation.
    pub(super) tokens: Usage,
}

/// What an update changed in what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learned {
    Commands,
    Settings,
    /// Nothing that lasts beyond a turn.
    Nothing,
}

impl Conversation {
    /// A conversation of which only the id is known.
    pub(super) fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// It was opened: takes over what the agent says of it.
    pub(super) fn open(&mut self, opened: SessionOpened) {
        self.id.clone_from(&opened.session_id);
        self.offers = Offers::new(opened);
    }

    /// Takes over what lasts beyond a turn.
    pub(super) fn learn(&mut self, update: &SessionUpdate) -> Learned {
        match &update.update {
            Update::AvailableCommands(list) => {
                self.commands = commands(&list.available_commands);
                Learned::Commands
            }
            Update::CurrentMode(mode) => {
                self.offers.mode_is(&mode.current_mode_id.0);
                Learned::Settings
            }
            Update::ConfigOptions(_) => {
                self.offers.options_are(update.raw());
                Learned::Settings
            }
            Update::Other { kind, fault: Some(_) } if &**kind == "config_option_update" => {
                self.offers.options_are(update.raw());
                Learned::Settings
            }
            Update::Usage(reported) => {
                self.counted.cost = usage::cost(reported).or(self.counted.cost.take());
                Learned::Nothing
            }
            _ => Learned::Nothing,
        }
    }

    /// Takes over what an agent tells in a notification of its own.
    pub(super) fn notified(&mut self, notification: &Notification) -> Learned {
        let is_known = self.offers.notified(&self.id, notification);
        if is_known { Learned::Settings } else { Learned::Nothing }
    }
}

/// The slash commands of a list, as far as they are kept.
fn commands(list: &[AvailableCommand]) -> Vec<AgentCommand> {
    let hint = |command: &AvailableCommand| match &command.input {
        Some(AvailableCommandInput::Unstructured(input)) => Some(input.hint.clone()),
        _ => None,
    };
    let command = |command: &AvailableCommand| AgentCommand {
        name: command.name.trim_start_matches('/').to_owned(),
        description: command.description.clone(),
        hint: hint(command),
    };
    list.iter().take(MOST_COMMANDS).map(command).collect()
}

/// Tool calls by their ids, as far as they are remembered: the newest. Ids are the agent's, so only their hashes are kept.
#[derive(Debug, Default)]
pub(super) struct Calls(VecDeque<u64>);

impl Calls {
    pub(super) fn add(&mut self, id: &str) {
        let hash = id_hash(id);
        if !self.0.contains(&hash) {
            self.push(hash);
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains(&id_hash(id))
    }

    pub(super) fn append(&mut self, newer: Self) {
        newer.0.into_iter().for_each(|hash| self.push(hash));
    }

    fn push(&mut self, hash: u64) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(hash);
    }
}
