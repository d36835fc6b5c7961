//! What is asked of which agent: the part of the command line that `run` and `task add` share.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

use dispatch_core::task::{Name, PermissionPolicy, TurnOptions};

use crate::{
    cli::{Leave, Request},
    config::Config,
    exit::Error,
    wire::Wanted,
};

/// The largest prompt that is taken, in bytes: far more than any model reads.
const LIMIT: u64 = 16 * 1024 * 1024;

impl Request {
    /// The prompt: the words of the command line, a file, or stdin.
    pub fn input(&self) -> Result<String, Error> {
        let prompt = match (&self.file, self.prompt.as_slice()) {
            (Some(path), _) if path == Path::new("-") => all(io::stdin().lock(), "stdin")?,
            (Some(path), _) => {
                let name = path.display().to_string();
                all(File::open(path).map_err(|error| unreadable(&name, &error))?, &name)?
            }
            (None, [word]) if word == "-" => all(io::stdin().lock(), "stdin")?,
            (None, []) if !io::stdin().is_terminal() => all(io::stdin().lock(), "stdin")?,
            (None, words) => words.join(" "),
        };
        if prompt.trim().is_empty() {
            let text = "the prompt is empty: say what is to be done, as in `boocoder run \"fix the typo in README\"`";
            return Err(Error::usage(text));
        }
        Ok(prompt)
    }

    /// What was chosen for the turn, here or in the configuration.
    pub fn options(&self, agent: &Wanted, config: &Config) -> TurnOptions {
        let or = |given: &Option<String>, configured: &Option<String>| {
            given.as_ref().or(configured.as_ref()).and_then(|text| Name::new(text))
        };
        TurnOptions {
            agent: agent.name().cloned(),
            model: or(&self.model, &config.model),
            mode: or(&self.mode, &config.mode),
            thinking: or(&self.thinking, &config.thinking),
        }
    }

    /// How permission requests are answered: as was said here, else as is configured, else by `otherwise`.
    pub fn permissions(&self, otherwise: PermissionPolicy, config: &Config) -> PermissionPolicy {
        let Leave { allow, deny, ask, auto } = self.leave;
        let said = [
            (allow, PermissionPolicy::Allow),
            (deny, PermissionPolicy::Deny),
            (ask, PermissionPolicy::Ask),
            (auto, PermissionPolicy::Auto),
        ];
        match said.into_iter().find(|(is_said, _)| *is_said) {
            Some((_, policy)) => policy,
            // Where it is asked is not configured: whoever cannot ask does otherwise.
            None => config.permissions.filter(|policy| *policy != PermissionPolicy::Ask).unwrap_or(otherwise),
        }
    }
}

fn all(source: impl Read, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    source.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::usage(format!("the prompt from {name} is larger than {LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::usage(format!("the prompt from {name} is not UTF-8 text: see byte {at}"))
    })
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::usage(format!("the prompt from {name} cannot be read: {error}"))
}
