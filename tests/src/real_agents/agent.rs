//! How an agent is started, whichever it is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Whether an agent asks before it changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Before edits and commands; where there is nobody to ask, they do not happen.
    Ask,
    /// Never.
    Allow,
}

/// Where an agent is to live.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The model server, without a path.
    pub model_url: &'a str,
    /// Its home and temporary files are made here.
    pub dir: &'a Path,
    /// Whether it asks.
    pub approval: Approval,
}

/// An agent that can be installed from `tools/`: a row of [`AGENTS`](super::AGENTS).
#[derive(Debug)]
pub struct RealAgent {
    /// As boocoder's own registry calls it, and the program that takes one prompt.
    pub name: &'static str,
    /// The program that speaks ACP.
    pub acp_program: &'static str,
    pub(super) acp_args: fn(Approval) -> Vec<&'static str>,
    /// Its arguments for one prompt, and what goes to its standard input.
    pub(super) once: fn(Approval, &str) -> (Vec<String>, String),
    /// Its arguments for prompts on standard input, one JSON object a line; empty when it knows no such thing.
    pub(super) stream_args: fn(Approval) -> Vec<&'static str>,
    /// Writes its configuration below `home`, and says what of it goes into the environment.
    pub(super) configure: fn(&Site<'_>, &Path) -> Vec<(&'static str, String)>,
}

/// A process to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// What it reads from its standard input.
    pub input: String,
}

impl Start {
    /// A command with this environment only.
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear().envs(self.env.iter().cloned());
        command
    }
}

impl RealAgent {
    /// The Agent Client Protocol on its standard streams.
    ///
    /// # Panics
    /// When the agent is not installed, or the site cannot be written; likewise below.
    pub fn acp(&self, site: &Site<'_>) -> Start {
        let args = (self.acp_args)(site.approval).into_iter().map(str::to_owned).collect();
        self.start(self.acp_program, args, String::new(), site)
    }

    /// One prompt, told as one JSON object a line.
    pub fn once(&self, site: &Site<'_>, prompt: &str) -> Start {
        let (args, input) = (self.once)(site.approval, prompt);
        self.start(self.name, args, input, site)
    }

    /// Any number of prompts as claude's control protocol has them, for agents that know it.
    pub fn stream(&self, site: &Site<'_>) -> Option<Start> {
        let args: Vec<_> = (self.stream_args)(site.approval).into_iter().map(str::to_owned).collect();
        (!args.is_empty()).then(|| self.start(self.name, args, String::new(), site))
    }

    /// The whole environment of any of its processes; writes its configuration, too.
    pub fn env(&self, site: &Site<'_>) -> Vec<(String, String)> {
        let mut env = home(site.dir);
        let own = (self.configure)(site, &site.dir.join("home"));
        env.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        env
    }

    fn start(&self, program: &str, args: Vec<String>, input: String, site: &Site<'_>) -> Start {
        let command = [vec![text(&tool(program))], args].concat();
        Start { command, env: self.env(site), input }
    }
}

/// A program that `cargo xtask tools` installs.
///
/// # Panics
/// When it is not there.
pub fn tool(name: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let tools = env::var_os("BOOCODER_TOOLS").map_or_else(default, PathBuf::from);
    let program = tools.join("bin").join(name);
    let installed = program.canonicalize();
    installed
        .unwrap_or_else(|err| panic!("{}: {err}; install it with `cargo xtask tools`", program.display()))
}

/// Where an agent may keep its own things.
fn home(dir: &Path) -> Vec<(String, String)> {
    let mut env = vec![("PATH".to_owned(), env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))];
    let places = [
        ("HOME", "home"),
        ("XDG_CONFIG_HOME", "home/.config"),
        ("XDG_DATA_HOME", "home/.local/share"),
        ("XDG_STATE_HOME", "home/.local/state"),
        ("XDG_CACHE_HOME", "home/.cache"),
        ("TMPDIR", "tmp"),
    ];
    for (name, place) in places {
        let place = dir.join(place);
        fs::create_dir_all(&place).expect("because the test's folder can be written");
        env.push((name.to_owned(), text(&place)));
    }
    env
}

/// Writes a file of an agent's configuration and returns where it is.
pub(super) fn write(file: &Path, content: &str) -> String {
    let folder = file.parent().expect("because it is a file");
    fs::create_dir_all(folder).expect("because the test's folder can be written");
    fs::write(file, content).expect("because the test's folder can be written");
    text(file)
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().expect("because test folders have plain names").to_owned()
}
