//! A machine on which one real agent is installed, or none, configured as a user would do it, and its model.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    model_server::ModelServer,
    product::Machine,
    real_agents::{Approval, RealAgent, Site, tool},
};

/// A machine with one agent, or none.
pub struct Desk {
    /// The agent as boocoder's registry calls it, or `native`.
    pub agent: &'static str,
    /// Where boocoder runs.
    pub machine: Machine,
    /// Whom the agent asks.
    pub server: ModelServer,
}

impl Desk {
    /// A desk with `agent`, called `name` by boocoder, whose configuration begins with `config`.
    ///
    /// # Panics
    /// When the agent is not installed, or nothing can be written.
    #[must_use]
    pub fn new(agent: &RealAgent, name: &'static str, config: &str) -> Self {
        let (server, mut machine) = (ModelServer::start(), Machine::new());
        let dir = machine.root().join("agent");
        // codex 0.169 refuses to start with the one policy under which its adapter asks, and by itself it asks nothing.
        let approval = if name == "codex" { Approval::Allow } else { Approval::Ask };
        let env = agent.env(&Site { model_url: &server.url(), dir: &dir, approval });
        let env = env.iter().filter(|(name, _)| name != "PATH");
        // For plain text, JSON's strings are TOML's.
        let lines = env.map(|(name, value)| format!("{name} = {}\n", Value::from(value.as_str())));
        machine.configure(&format!("{config}\n[agents.{name}.env]\n{}", lines.collect::<String>()));
        let programs = machine.root().join("bin");
        fs::create_dir(&programs).expect("a folder for programs");
        for program in BTreeSet::from([agent.name, agent.acp_program]) {
            symlink(tool(program), programs.join(program)).expect("a link to the program");
        }
        let path = env::var("PATH").expect("a PATH");
        machine.set("PATH", format!("{}:{path}", programs.display()));
        Self { agent: name, machine, server }
    }

    /// A desk without an agent, whose configuration begins with `config`: boocoder itself asks the model.
    ///
    /// # Panics
    /// When nothing can be written.
    #[must_use]
    pub fn native(config: &str) -> Self {
        let (server, mut machine) = (ModelServer::start(), Machine::new());
        let endpoint =
            format!("endpoint = \"{}/v1\"\nmodel = \"mock-1\"\napi_key = \"scripted\"\n", server.url());
        machine.configure(&format!("{config}\n[native]\n{endpoint}"));
        Self { agent: "native", machine, server }
    }

    /// The arguments of a run that allows what the agent asks leave for.
    #[must_use]
    pub fn args<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--agent", self.agent, "--json", "--allow"], rest].concat()
    }

    /// The user's repository as it is, but for the mark by which opencode knows it again, which opencode
    /// itself puts into the folder of git that all worktrees share.
    #[must_use]
    pub fn repository(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut files = self.machine.fingerprint();
        files.remove(Path::new(".git/opencode"));
        files
    }

    /// Checks that the repository is byte by byte as it was; a failure names the files only.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_untouched(&self, before: &BTreeMap<PathBuf, (u32, Vec<u8>)>) {
        let now = self.repository();
        let all = now.keys().chain(before.keys());
        let changed: BTreeSet<_> = all.filter(|path| now.get(*path) != before.get(*path)).collect();
        assert_eq!(changed, BTreeSet::new());
    }

    /// Checks that nothing of a turn is left: no process, no worktree, no lock.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_clean(&self) {
        assert_eq!(self.machine.processes(), Vec::<u32>::new());
        assert_eq!(self.machine.worktrees(), Vec::<PathBuf>::new());
        assert_eq!(self.machine.node_locks(), Vec::<PathBuf>::new());
    }
}
