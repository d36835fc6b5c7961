//! The environment of an agent: an allow-list, never the dispatcher's own.
//!
//! The dispatcher's environment holds what an agent must not see (SAFETY A16): database addresses, tokens of
//! the API, keys of other agents. What is not named here or by the agent's registry entry is not passed on.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Names and values, ordered by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// Variables that every agent inherits when the dispatcher has them.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TERM",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The same, as beginnings of names.
const ALLOWED_PREFIXES: &[&str] = &["LC_", "XDG_", "SSL_CERT_"];

/// Variables that no list can let through: they change which repository git works on, reach the dispatcher's
/// own data, or load code into every program that the agent starts.
const FORBIDDEN: &[&str] = &["DATABASE_URL", "LD_PRELOAD", "LD_AUDIT"];

/// The same, as beginnings of names.
const FORBIDDEN_PREFIXES: &[&str] = &["GIT_", "BOOCODER_"];

/// A `GIT_` variable that only narrows where git looks for a repository; allowed when set explicitly.
const CEILING: &str = "GIT_CEILING_DIRECTORIES";

/// An agent's entry names a variable that agents never get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {} is never passed to an agent", name.display())]
pub struct ForbiddenVariable {
    /// The variable's name.
    pub name: OsString,
}

/// Builds an agent's environment from `parent` (usually [`std::env::vars_os`]).
///
/// Inherited are `PATH HOME USER LOGNAME SHELL LANG LC_* TERM TZ TMPDIR XDG_* SSL_CERT_*`, the proxy variables
/// in both cases, and the names in `extra_allowed` (exact names). `explicit` values come on top and win.
/// The tag of the run is added later, by [`Command::spawn`](super::Command::spawn).
///
/// # Errors
/// [`ForbiddenVariable`] when `extra_allowed` or `explicit` names `GIT_*`, `BOOCODER_*`, `DATABASE_URL`,
/// `LD_PRELOAD` or `LD_AUDIT`; an explicit `GIT_CEILING_DIRECTORIES` is fine.
pub fn agent_environment(
    parent: impl IntoIterator<Item = (OsString, OsString)>,
    extra_allowed: &[impl AsRef<OsStr>],
    explicit: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, ForbiddenVariable> {
    if let Some(name) = extra_allowed.iter().map(AsRef::as_ref).find(|name| is_forbidden(name)) {
        return Err(ForbiddenVariable { name: name.to_owned() });
    }
    let mut environment: Environment = parent
        .into_iter()
        .filter(|(name, _)| is_allowed(name) || extra_allowed.iter().any(|extra| extra.as_ref() == name))
        .collect();
    for (name, value) in explicit {
        if is_forbidden(&name) && name != CEILING {
            return Err(ForbiddenVariable { name });
        }
        environment.insert(name, value);
    }
    Ok(environment)
}

fn is_allowed(name: &OsStr) -> bool {
    matches(name, ALLOWED, ALLOWED_PREFIXES)
}

pub(crate) fn is_forbidden(name: &OsStr) -> bool {
    matches(name, FORBIDDEN, FORBIDDEN_PREFIXES)
}

fn matches(name: &OsStr, names: &[&str], prefixes: &[&str]) -> bool {
    names.iter().any(|known| name == *known)
        || prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        of.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    const NONE: &[&str] = &[];

    #[test]
    fn only_listed_variables_pass() {
        let parent = pairs(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("XDG_CONFIG_HOME", "/c"),
            ("https_proxy", "p"),
            ("SSL_CERT_FILE", "/s"),
            ("ANTHROPIC_API_KEY", "mine"),
            ("OPENAI_API_KEY", "another agent's"),
            ("DATABASE_URL", "postgres://"),
            ("GIT_DIR", "/r/.git"),
            ("GIT_CEILING_DIRECTORIES", "/"),
            ("BOOCODER_TOKEN", "t"),
            ("BOOCODER_RUN", "outer/1"),
            ("LD_PRELOAD", "/x.so"),
            ("PATHOLOGY", "no"),
        ]);
        let environment = agent_environment(parent, &["ANTHROPIC_API_KEY"], []).unwrap();
        let names: Vec<_> = environment.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["ANTHROPIC_API_KEY", "LC_ALL", "PATH", "SSL_CERT_FILE", "XDG_CONFIG_HOME", "https_proxy"]
        );
    }

    #[test]
    fn explicit_values_win_and_may_set_the_ceiling() {
        let explicit = pairs(&[("PATH", "/agent/bin"), ("GIT_CEILING_DIRECTORIES", "/trees")]);
        let environment = agent_environment(pairs(&[("PATH", "/bin")]), NONE, explicit).unwrap();
        assert_eq!(environment[OsStr::new("PATH")], "/agent/bin");
        assert_eq!(environment[OsStr::new("GIT_CEILING_DIRECTORIES")], "/trees");
    }

    #[test]
    fn forbidden_names_are_refused_by_name() {
        for name in ["GIT_DIR", "DATABASE_URL", "BOOCODER_TOKEN", "LD_PRELOAD", "LD_AUDIT"] {
            let refused = ForbiddenVariable { name: name.into() };
            assert_eq!(agent_environment([], NONE, pairs(&[(name, "x")])), Err(refused.clone()));
            assert_eq!(agent_environment([], &[name], []), Err(refused));
        }
    }
}
