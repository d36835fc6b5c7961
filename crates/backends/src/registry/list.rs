//! All agents: the shipped ones and the user's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dispatch_core::task::Name;
use serde::Deserialize;

use super::entry::{AgentEntry, Cli, Output, Quirks, Transport, Ways};
use super::find::find_program;
use super::shipped;
use super::user_quirks::UserQuirks;
use crate::process::env::is_forbidden;

/// `[agents.NAME]` of the configuration. With the name of a shipped agent it changes that one, whose quirks stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAgent {
    /// The program and its arguments, for the way of `transport`, which is then the only one that the agent has;
    /// needed unless the agent is a shipped one.
    #[serde(default)]
    pub command: Vec<String>,
    /// How the command is talked to.
    #[serde(default)]
    pub transport: Transport,
    /// What the command prints, where it is given one prompt for one process.
    #[serde(default)]
    pub output: Output,
    /// Whether it then insists on a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Where a shipped agent's program is, for all its ways.
    #[serde(default)]
    pub program: Option<String>,
    /// Variables that are set for it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The user's variables that it may see: names, or beginnings of names followed by `*`.
    #[serde(default)]
    pub pass: Vec<String>,
    /// What is put before a model's name that has no `/`; empty for nothing.
    #[serde(default)]
    pub model_prefix: Option<String>,
    /// How it differs from what its protocol says; of a shipped agent, what is not named here stays.
    #[serde(default)]
    pub quirks: UserQuirks,
}

/// What is wrong with an agent of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// An agent that is not shipped needs a command.
    #[error("[agents.{agent}] needs `command = [\"program\", \"argument\"]`")]
    NoCommand {
        /// The agent.
        agent: Name,
    },
    /// The program would be looked for in the worktree, where agents write.
    #[error("[agents.{agent}] starts {program:?}: give a bare name or an absolute path")]
    RelativeProgram {
        /// The agent.
        agent: Name,
        /// The program.
        program: String,
    },
    /// A quirk that cannot be meant.
    #[error("[agents.{agent}.quirks] {quirk}: {why}")]
    Quirk {
        /// The agent.
        agent: Name,
        /// The quirk.
        quirk: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A variable that is never passed to an agent, or no variable's name.
    #[error("[agents.{agent}] names the variable {variable:?}, which no agent is given")]
    Variable {
        /// The agent.
        agent: Name,
        /// The variable, or the pattern.
        variable: String,
    },
}

/// All agents that can be named.
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Vec<AgentEntry>,
}

impl Registry {
    /// The shipped agents, changed and extended by the user's.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn new(user: impl IntoIterator<Item = (Name, UserAgent)>) -> Result<Self, RegistryError> {
        let mut registry = Self { entries: shipped::entries() };
        for (name, agent) in user {
            registry.add(name, agent)?;
        }
        Ok(registry)
    }

    /// With the agent named `demo`, unless the user has one of that name.
    #[must_use]
    pub fn with_demo(mut self, command: Vec<OsString>) -> Self {
        let demo = shipped::demo(command);
        if self.get(demo.name.as_str()).is_none() {
            self.entries.push(demo);
        }
        self
    }

    /// All entries: the shipped ones, the user's, the demo agent.
    pub fn entries(&self) -> impl Iterator<Item = &AgentEntry> {
        self.entries.iter()
    }

    /// The entry of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AgentEntry> {
        self.entries.iter().find(|entry| entry.name.as_str() == name)
    }

    /// The first entry whose program is on this machine, in the order of [`entries`](Self::entries). `path` is the
    /// `PATH` to look in.
    #[must_use]
    pub fn first_installed(&self, path: Option<&OsStr>) -> Option<&AgentEntry> {
        self.entries().find(|entry| Self::installed(entry, path).is_some())
    }

    /// Where an entry's program is, as it would be started; `None` when it is not on this machine.
    #[must_use]
    pub fn installed(entry: &AgentEntry, path: Option<&OsStr>) -> Option<PathBuf> {
        let own = entry.env.get("PATH").map(OsStr::new);
        find_program(&entry.program, own.or(path))
    }

    /// What to say of a name that no entry has.
    #[must_use]
    pub fn unknown_hint(&self) -> String {
        let names: Vec<&str> = self.entries().map(|entry| entry.name.as_str()).collect();
        let names = names.join(", ");
        format!("known are {names}; add another as [agents.NAME] with `command = [\"…\"]` in boocoder.toml")
    }

    fn add(&mut self, name: Name, user: UserAgent) -> Result<(), RegistryError> {
        check(&name, &user)?;
        let known = self.entries.iter_mut().find(|entry| entry.name == name);
        let entry = match known {
            Some(entry) => entry,
            None if user.command.is_empty() => return Err(RegistryError::NoCommand { agent: name }),
            None => {
                let entry = self.entries.push_mut(own_entry(name));
                entry.install = format!(
                    "[agents.{}] in boocoder.toml starts {:?}, which is no program here: correct its `command`",
                    entry.name, user.command[0]
                );
                entry
            }
        };
        if let Some(program) = user.program {
            entry.program = program.into();
        }
        if let Some((program, args)) = user.command.split_first() {
            entry.program = program.into();
            let args = args.iter().map(Into::into).collect();
            entry.ways = match user.transport {
                Transport::Acp => Ways { acp: Some(args), ..Ways::default() },
                Transport::Cli => {
                    let (output, terminal) = (user.output, user.terminal);
                    let cli = Cli { args, output, control_input: false, terminal };
                    Ways { cli: Some(cli), ..Ways::default() }
                }
            };
        }
        entry.env.extend(user.env);
        entry.pass.extend(user.pass);
        if let Some(prefix) = user.model_prefix {
            entry.quirks.model_prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        }
        user.quirks.change(&mut entry.quirks);
        Ok(())
    }
}

/// An entry of the user's own, before its settings are put in.
fn own_entry(name: Name) -> AgentEntry {
    AgentEntry {
        title: name.as_str().to_owned(),
        install: String::new(),
        name,
        program: OsString::new(),
        ways: Ways::default(),
        env: BTreeMap::new(),
        pass: Vec::new(),
        version_args: Vec::new(),
        quirks: Quirks::default(),
    }
}

fn check(agent: &Name, user: &UserAgent) -> Result<(), RegistryError> {
    if let Some(program) = user.command.iter().take(1).chain(&user.program).find(|program| {
        let program = program.as_str();
        !(Path::new(program).is_absolute() || (!program.is_empty() && !program.contains('/')))
    }) {
        return Err(RegistryError::RelativeProgram { agent: agent.clone(), program: program.clone() });
    }
    if let Some((quirk, why)) = user.quirks.trouble() {
        return Err(RegistryError::Quirk { agent: agent.clone(), quirk, why });
    }
    let is_bad = |name: &str| {
        let plain = name.trim_end_matches('*');
        plain.is_empty() || plain.contains(['=', '*', '\0']) || is_forbidden(OsStr::new(plain))
    };
    let set = user.env.keys().find(|name| is_bad(name) || name.ends_with('*'));
    match set.or_else(|| user.pass.iter().find(|pattern| is_bad(pattern))) {
        Some(variable) => Err(RegistryError::Variable { agent: agent.clone(), variable: variable.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn user(command: &[&str]) -> UserAgent {
        UserAgent { command: command.iter().map(|&word| word.to_owned()).collect(), ..UserAgent::default() }
    }

    #[test]
    fn the_users_entry_changes_a_shipped_one_and_keeps_its_quirks() {
        let mut mine = user(&["/opt/goose", "acp", "--fast"]);
        mine.env = [("GOOSE_MODE".to_owned(), "auto".to_owned())].into();
        mine.pass = vec!["MY_*".to_owned()];
        let registry = Registry::new([(name("goose"), mine), (name("own"), user(&["own"]))]).unwrap();
        let goose = registry.get("goose").unwrap();
        assert_eq!(goose.program, "/opt/goose");
        let ways = Ways { acp: Some(vec!["acp".into(), "--fast".into()]), ..Ways::default() };
        assert_eq!(goose.ways, ways, "the command is the only way that it says");
        assert_eq!(goose.env["GOOSE_MODE"], "auto");
        assert!(goose.env.contains_key("GOOSE_TELEMETRY_ENABLED") && goose.quirks.ignores_eof);
        for (variable, passes) in [
            ("GOOSE_MODEL", true),
            ("MY_KEY", true),
            ("MYKEY", false),
            ("GIT_DIR", false),
            ("OLLAMA_HOST", true),
        ] {
            assert_eq!(goose.passes(OsStr::new(variable)), passes, "{variable}");
        }
        assert_eq!(registry.get("own").unwrap().quirks, Quirks::default());
    }

    #[test]
    fn names_come_in_the_order_in_which_they_are_looked_for() {
        let own = (name("own"), user(&["own"]));
        let registry = Registry::new([own]).unwrap().with_demo(vec!["/bin/sh".into()]);
        let names: Vec<&str> = registry.entries().map(|entry| entry.name.as_str()).collect();
        let expected = [
            "opencode",
            "claude",
            "goose",
            "qwen",
            "gemini",
            "codex",
            "vibe",
            "claude-agent-acp",
            "codex-acp",
            "vibe-acp",
            "own",
            "demo",
        ];
        assert_eq!(names, expected);
        assert_eq!(registry.first_installed(None).unwrap().name.as_str(), "demo");
        assert!(registry.unknown_hint().contains("vibe-acp, own, demo"), "{}", registry.unknown_hint());
    }

    #[test]
    fn the_users_own_demo_stays() {
        let registry =
            Registry::new([(name("demo"), user(&["mine"]))]).unwrap().with_demo(vec!["/bin/sh".into()]);
        assert_eq!(registry.get("demo").unwrap().program, "mine");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let error =
            |name_: &str, agent: UserAgent| Registry::new([(name(name_), agent)]).unwrap_err().to_string();
        assert_eq!(error("x", user(&[])), "[agents.x] needs `command = [\"program\", \"argument\"]`");
        for program in ["./agent", "tools/agent", ""] {
            let said = error("x", user(&[program]));
            assert!(said.contains("bare name or an absolute path"), "{said}");
        }
        for variable in ["GIT_DIR", "DATABASE_URL", "BOOCODER_X", "A=B", ""] {
            let mut agent = user(&["a"]);
            agent.env = [(variable.to_owned(), String::new())].into();
            assert!(error("x", agent).contains("names the variable"), "{variable}");
        }
        for pattern in ["GIT_*", "*", "LD_PRELOAD", "A*B"] {
            let mut agent = user(&["a"]);
            agent.pass = vec![pattern.to_owned()];
            assert!(error("x", agent).contains("names the variable"), "{pattern}");
        }
    }

    #[test]
    fn an_agent_is_read_from_configuration() {
        let read = |text: &str| serde_json::from_str::<UserAgent>(text);
        let agent = read(r#"{"command":["a","b"],"transport":"acp","env":{"K":"v"}}"#).unwrap();
        assert_eq!((agent.command.len(), agent.env["K"].as_str()), (2, "v"));
        assert!(read(r#"{"comand":["a"]}"#).unwrap_err().to_string().contains("comand"));
        assert!(read(r#"{"transport":"smoke"}"#).is_err());
    }
}
