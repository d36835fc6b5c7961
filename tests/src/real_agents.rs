//! Real agents, each in an environment of its own that knows one model server and nothing else.
//!
//! The programs come from `target/tools`, where `cargo xtask tools` installs them in the versions that
//! `tools/package-lock.json` names. Nothing of the user's own configuration is read, and nothing is
//! written outside the folder given.

use serde_json::json;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Whether an agent asks before it changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// By `session/request_permission`, before edits and commands.
    Ask,
    /// Never.
    Allow,
}

/// How to start an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealAgent {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

impl RealAgent {
    /// A process to be, with this environment only.
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear().envs(self.env.iter().cloned());
        command
    }
}

/// `opencode acp`, its model at `model_url` (without a path), its home and temporary files below `dir`.
///
/// # Panics
/// When opencode is not installed, or `dir` cannot be written.
pub fn opencode(model_url: &str, dir: &Path, approval: Approval) -> RealAgent {
    let ask = if approval == Approval::Ask { "ask" } else { "allow" };
    let model = |name: &str| json!({"name": name, "reasoning": true, "tool_call": true, "limit": {"context": 100_000, "output": 8000}});
    let options = json!({"baseURL": format!("{model_url}/v1"), "apiKey": "scripted"});
    let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "Mock", "options": options,
                          "models": {"mock-1": model("Mock One"), "mock-2": model("Mock Two")}});
    let config = json!({
        "autoupdate": false, "share": "disabled", "model": "mock/mock-1", "small_model": "mock/mock-1",
        "enabled_providers": ["mock"], "provider": {"mock": provider},
        "permission": {"edit": ask, "bash": ask, "webfetch": "deny"},
    });
    let mut env = home(dir);
    let file = dir.join("opencode.json");
    fs::write(&file, config.to_string()).expect("because the test's folder can be written");
    env.push(("OPENCODE_CONFIG".into(), text(&file)));
    for switch in ["AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS"] {
        env.push((format!("OPENCODE_DISABLE_{switch}"), "1".into()));
    }
    RealAgent { command: vec![text(&tool("opencode")), "acp".into()], env }
}

/// `goose acp`, its model at `model_url` (without a path), its home and temporary files below `dir`.
///
/// goose 1.34 hears `session/cancel` only with the model's next word: while the model is silent, nothing
/// but a signal stops it.
///
/// # Panics
/// When goose is not installed, or `dir` cannot be written.
pub fn goose(model_url: &str, dir: &Path, approval: Approval) -> RealAgent {
    let mode = if approval == Approval::Ask { "approve" } else { "auto" };
    let mut env = home(dir);
    let settings = [
        ("GOOSE_PROVIDER", "openai"),
        ("GOOSE_MODEL", "mock-1"),
        ("GOOSE_MODE", mode),
        ("GOOSE_DISABLE_KEYRING", "1"),
        ("GOOSE_TELEMETRY_ENABLED", "false"),
        ("OPENAI_HOST", model_url),
        ("OPENAI_API_KEY", "scripted"),
    ];
    env.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    RealAgent { command: vec![text(&tool("goose")), "acp".into()], env }
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

fn text(path: &Path) -> String {
    path.to_str().expect("because test folders have plain names").to_owned()
}
