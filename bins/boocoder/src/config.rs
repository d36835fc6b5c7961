//! Configuration: the user's file, the repository's (filtered), the environment; later ones win.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use backends::{pool::PoolSettings, registry::UserAgent};
use config::{Config as Sources, Environment, File, FileFormat, Map, Value};
use dispatch_core::{permission::PermissionRule, profile::TurnLimits, task::PermissionPolicy};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{cli::Globals, exit::Error, secret::Secret, trust};

/// The keys that an untrusted repository's file may set: nothing that runs, allows or moves anything.
const HARMLESS: [&str; 4] = ["model", "mode", "thinking", "limits"];

/// What each variable of the environment that is a key begins with.
const PREFIX: &str = "BOOCODER_";

/// Where everything is kept is decided before a repository's own file is looked at, trusted or not.
const USERS_OWN: [&str; 2] = ["data_dir", "database_url"];

/// The keys that may hold a secret: a line of theirs is never shown.
const SECRETS: [&str; 2] = ["database_url", "api_key"];

/// Environment variables of ours that are no keys, or, like the data directory, belong to the command line.
const NOT_KEYS: [&str; 8] = [
    "BOOCODER_CONFIG",
    "BOOCODER_DATABASE_URL",
    "BOOCODER_DATA_DIR",
    "BOOCODER_DEMO_STATE",
    "BOOCODER_HALT_AT",
    "BOOCODER_LOG",
    "BOOCODER_RUN",
    "BOOCODER_TOOLS",
];

/// What a file says, key by key.
type Values = Map<String, Value>;

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The agent to use where none is named.
    pub agent: Option<String>,
    /// The model to use where none is named.
    pub model: Option<String>,
    /// The mode to use where none is named.
    pub mode: Option<String>,
    /// The thinking option to use where none is named.
    pub thinking: Option<String>,
    /// How permission requests are answered where neither `--allow` nor `--deny` is given.
    pub permissions: Option<PermissionPolicy>,
    /// How they are answered under the policy `auto`: the first rule that fits counts, else the user is asked.
    pub permission_rules: Vec<PermissionRule>,
    /// Where everything is kept.
    pub data_dir: Option<PathBuf>,
    /// The PostgreSQL database that the record is kept in, where it is not SQLite's.
    pub database_url: Option<Secret>,
    /// The limits of a turn.
    pub limits: Limits,
    /// How `boocoder serve` works.
    pub serve: Serve,
    /// Which ways to reach an agent are switched on.
    pub routes: RouteSwitches,
    /// The agents that are kept between turns.
    pub pool: Pool,
    /// Native inference.
    pub native: Native,
    /// Agents of the user's own, and changes to the known ones.
    pub agents: BTreeMap<String, UserAgent>,
}

/// How `boocoder serve` works; what is absent keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// How many turns run at once.
    pub slots: Option<usize>,
    /// Seconds between two looks at the queue, should a wake-up be lost.
    pub poll_s: Option<u64>,
    /// Seconds that running turns are given when it is stopped.
    pub grace_s: Option<u64>,
    /// How many turns of an agent run at once, by its name.
    pub agents: BTreeMap<String, usize>,
}

/// Which ways to reach an agent are switched on (SPEC 3). One that is off is skipped, and the next one that the agent
/// can do is taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSwitches {
    /// opencode's server, one for each node.
    pub opencode_server: bool,
    /// Claude Code's control protocol, for tasks that come from a chat.
    pub claude_sdk: bool,
    /// An ACP process for each chat, kept between turns.
    pub warm_acp: bool,
    /// An ACP process for each turn.
    pub one_shot_acp: bool,
    /// A program for each turn that is given one prompt.
    pub one_shot_pty: bool,
}

impl Default for RouteSwitches {
    fn default() -> Self {
        Self {
            opencode_server: true,
            claude_sdk: false,
            warm_acp: true,
            one_shot_acp: true,
            one_shot_pty: true,
        }
    }
}

/// The agents that are kept between turns; what is absent keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Seconds without a turn after which one is let go.
    pub idle_s: Option<u64>,
    /// How many are kept at most.
    pub most: Option<usize>,
}

impl Pool {
    /// The settings of the agents' pool.
    pub fn settings(&self) -> PoolSettings {
        let defaults = PoolSettings::default();
        let idle = self.idle_s.map_or(defaults.idle, Duration::from_secs);
        PoolSettings { idle, cap: self.most.unwrap_or(defaults.cap) }
    }
}

/// Native inference: our own loop on an endpoint that speaks OpenAI's Chat Completions. Without an endpoint there is none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Native {
    /// Where it is, as `http://127.0.0.1:8080/v1`.
    pub endpoint: Option<String>,
    /// The key that it wants.
    pub api_key: Option<Secret>,
    /// The model to use where a task names none.
    pub model: Option<String>,
    /// How many tokens the model reads, where the endpoint does not tell.
    pub context_size: Option<u64>,
    /// The address of a proxy to reach it by; the environment's are not looked at.
    pub proxy: Option<String>,
}

/// The limits of a turn; what is absent keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds without an update before a turn counts as stalled.
    pub silence_s: Option<u64>,
    /// The same while a tool call is open.
    pub tool_silence_s: Option<u64>,
    /// Seconds that a permission request waits for an answer.
    pub permission_s: Option<u64>,
    /// Seconds that an agent may take to get ready.
    pub start_s: Option<u64>,
    /// Seconds that computing a change may take.
    pub diff_s: Option<u64>,
    /// Seconds that an agent is given to obey a Stop.
    pub stop_grace_s: Option<u64>,
    /// The most bytes that a turn stores.
    pub output_bytes: Option<u64>,
}

impl Limits {
    /// The limits as the turn machine takes them.
    pub fn turn(&self) -> TurnLimits {
        let defaults = TurnLimits::default();
        let or = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
        TurnLimits {
            silence: or(self.silence_s, defaults.silence),
            tool_silence: or(self.tool_silence_s, defaults.tool_silence),
            permission: or(self.permission_s, defaults.permission),
            // Which call was not answered, and what the agent printed, only its connection can tell: it comes first.
            start: or(self.start_s.map(|limit| limit.saturating_add(5)), defaults.start),
            collect: or(self.diff_s, defaults.collect),
            output_bytes: self.output_bytes.unwrap_or(defaults.output_bytes),
            ..defaults
        }
    }
}

/// What holds of a file that is not trusted: its harmless keys. Others are not even looked at.
#[derive(Deserialize)]
#[expect(dead_code, reason = "it is only checked whether a file can be read as this")]
struct Harmless {
    model: Option<String>,
    mode: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    limits: Limits,
}

/// Configuration with where it led.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The database of the record, where it is not SQLite's in the data directory.
    pub database_url: Option<Secret>,
    /// The files that it came from.
    pub files: Vec<PathBuf>,
    /// What a person should hear about it.
    pub remarks: Vec<String>,
}

/// Reads the configuration that holds in `repository`.
pub fn load(globals: &Globals, repository: Option<&Path>) -> Result<Loaded, Error> {
    let (mut files, mut layers, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    if let Some((path, text)) = user_file(globals)? {
        check::<Config>(&path, &text)?;
        layers.push(values(&path, &text)?);
        files.push(path);
    }
    let mut config = merge(&layers)?;
    let data_dir = data_dir(globals, config.data_dir.clone())?;
    // An empty variable is none, as for every other key: it must not hide the database that is configured.
    let is_given = |url: &Secret| !url.reveal().trim().is_empty();
    let database_url = globals.database_url.clone().filter(is_given);
    let database_url = database_url.or_else(|| config.database_url.clone().filter(is_given));
    if let Some(repository) = repository
        && let Some((path, values)) = own_file(repository, &data_dir, &mut remarks)?
    {
        layers.push(values);
        files.push(path);
        config = merge(&layers)?;
    }
    Ok(Loaded { config, data_dir, database_url, files, remarks })
}

/// Checks that a file says what it may say.
///
/// # Errors
/// What is wrong with it, and in which line.
fn check<T: DeserializeOwned>(path: &Path, text: &str) -> Result<(), Error> {
    toml::from_str::<T>(text).map(drop).map_err(|error| {
        // It shows the line that it is about, which may hold a password.
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let begin = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let secret = text.get(begin..).map(str::trim_start);
        let secret = secret.and_then(|line| SECRETS.into_iter().find(|key| line.starts_with(key)));
        let words = if let Some(key) = secret {
            let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}, {key}: {}", error.message())
        } else {
            error.to_string().trim_end().to_owned()
        };
        Error::usage(format!("{} is wrong: {words}", path.display()))
    })
}

/// Checks that a repository's file could be used if it were trusted.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn check_own(path: &Path, text: &str) -> Result<(), Error> {
    check::<Config>(path, text)
}

fn values(path: &Path, text: &str) -> Result<Values, Error> {
    let parsed = Sources::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    parsed
        .and_then(Sources::try_deserialize)
        .map_err(|error| Error::usage(format!("{} is wrong: {error}", path.display())))
}

/// The layers, later ones over earlier ones, and the environment over all.
fn merge(layers: &[Values]) -> Result<Config, Error> {
    let mut builder = Sources::builder();
    for values in layers {
        let mut layer = Sources::builder();
        for (key, value) in values {
            layer = layer.set_override(key, value.clone()).map_err(wrong)?;
        }
        builder = builder.add_source(layer.build().map_err(wrong)?);
    }
    let environment = Environment::with_prefix("BOOCODER")
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true)
        .source(Some(variables()?));
    builder.add_source(environment).build().and_then(Sources::try_deserialize).map_err(wrong)
}

/// The files were checked before, each by itself.
fn wrong(error: config::ConfigError) -> Error {
    Error::usage(format!(
        "a variable of the environment is wrong: {error}; each is {PREFIX} and a key, as in {PREFIX}LIMITS__SILENCE_S=60"
    ))
}

/// The environment's variables that are keys. The others may be anything, bytes that are no text included.
fn variables() -> Result<Map<String, String>, Error> {
    let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    ours.filter(|(name, _)| name.starts_with(PREFIX) && !NOT_KEYS.contains(&name.as_str()))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(Error::usage(format!("the variable {name} is not UTF-8 text"))),
        })
        .collect()
}

/// The user's file: the one named, which must be there, or the one in the configuration folder.
fn user_file(globals: &Globals) -> Result<Option<(PathBuf, String)>, Error> {
    if let Some(path) = &globals.config {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("{} cannot be read: {error}", path.display())))?;
        return Ok(Some((path.clone(), text)));
    }
    match home("XDG_CONFIG_HOME", ".config") {
        Some(folder) => read_if_there(&folder.join("boocoder").join(trust::FILE)),
        None => Ok(None),
    }
}

fn read_if_there(path: &Path) -> Result<Option<(PathBuf, String)>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::usage(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// The repository's own file: all of it when it is trusted, else what cannot run anything.
fn own_file(
    repository: &Path,
    data_dir: &Path,
    remarks: &mut Vec<String>,
) -> Result<Option<(PathBuf, Values)>, Error> {
    let Some((path, text)) = read_if_there(&repository.join(trust::FILE))? else { return Ok(None) };
    let mut values = values(&path, &text)?;
    if trust::is_trusted(data_dir, repository, text.as_bytes()) {
        check::<Config>(&path, &text)?;
    } else {
        check::<Harmless>(&path, &text)?;
        let mut ignored: Vec<_> =
            values.keys().filter(|key| !HARMLESS.contains(&key.as_str())).cloned().collect();
        ignored.sort();
        values.retain(|key, _| HARMLESS.contains(&key.as_str()));
        if !ignored.is_empty() {
            remarks.push(format!(
                "{} is not trusted: {} ignored; look at the file, then say `boocoder trust`",
                path.display(),
                ignored.join(", ")
            ));
        }
    }
    for key in USERS_OWN {
        if values.remove(key).is_some() {
            remarks.push(format!("{}: {key} is ignored, it is the user's to set", path.display()));
        }
    }
    Ok(Some((path, values)))
}

fn data_dir(globals: &Globals, configured: Option<PathBuf>) -> Result<PathBuf, Error> {
    let chosen = globals.data_dir.clone().or(configured);
    let folder = match chosen {
        Some(folder) => folder,
        None => home("XDG_DATA_HOME", ".local/share")
            .map(|folder| folder.join("boocoder"))
            .ok_or_else(|| Error::usage("neither HOME nor XDG_DATA_HOME is set: say --data-dir"))?,
    };
    std::path::absolute(&folder)
        .map_err(|error| Error::usage(format!("--data-dir {}: {error}", folder.display())))
}

fn home(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| set("HOME").map(|home| home.join(below_home)))
}
