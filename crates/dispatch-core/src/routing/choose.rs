//! Which way is taken.

use super::table::{Route, RouteRow, Routes, TABLE};
use crate::{
    agent::Failure,
    task::{Name, TerminalReason},
};

/// What is known of the agent that a task names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentFacts {
    /// The registry has no such agent. The text says which there are.
    Unknown {
        /// How to make it known.
        hint: String,
    },
    /// The registry knows it, but its program is not on this machine.
    NotInstalled {
        /// How to install it.
        hint: String,
    },
    /// It can be started, in these ways.
    Installed {
        /// The routes that it can be reached by.
        by: Routes,
    },
}

/// Everything that routing looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingFacts<'a> {
    /// The agent that the task names, with what is known of it.
    pub agent: Option<(&'a Name, AgentFacts)>,
    /// Whether the task came from a chat.
    pub from_chat: bool,
    /// The routes that are built and switched on.
    pub available: Routes,
    /// Whether a task whose agent is missing may run natively instead; `run --agent` never does.
    pub may_fall_back: bool,
}

/// The route that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The route.
    pub route: Route,
    /// Why it is not the agent that was asked for, where it is not.
    pub fallback: Option<String>,
}

/// Chooses the route of a task.
///
/// # Errors
/// A [`Failure`] in the words that the task then fails with: no agent named and no native inference, or
/// an agent that is unknown, not installed, or not to be reached by any available route.
pub fn choose(facts: &RoutingFacts<'_>) -> Result<Chosen, Failure> {
    let native = facts.available.contains(Route::Native);
    let Some((name, agent)) = &facts.agent else {
        return if native {
            Ok(Chosen { route: Route::Native, fallback: None })
        } else {
            let text = "no agent named, and native inference is not available: name an agent";
            Err(Failure::new(TerminalReason::CouldNotStart, text))
        };
    };
    let refusal = match agent {
        AgentFacts::Installed { by } => {
            let fits = |row: &&RouteRow| {
                row.route != Route::Native
                    && by.contains(row.route)
                    && facts.available.contains(row.route)
                    && (facts.from_chat || !row.needs_chat)
            };
            return match TABLE.iter().find(fits) {
                Some(row) => Ok(Chosen { route: row.route, fallback: None }),
                None => Err(Failure::new(
                    TerminalReason::CouldNotStart,
                    format!("agent {name} cannot be reached by any route that is switched on"),
                )),
            };
        }
        AgentFacts::Unknown { hint } => {
            format!("agent {name} is not installed: it is not known here; {hint}")
        }
        AgentFacts::NotInstalled { hint } => format!("agent {name} is not installed: {hint}"),
    };
    if native && facts.may_fall_back {
        return Ok(Chosen { route: Route::Native, fallback: Some(refusal) });
    }
    Err(Failure::new(TerminalReason::AgentNotInstalled, refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Routes = Routes::of(Route::ALL);

    fn route(by: &[Route], from_chat: bool, available: Routes) -> Option<Route> {
        let name = Name::new("a").unwrap();
        let agent = Some((&name, AgentFacts::Installed { by: Routes::of(by) }));
        choose(&RoutingFacts { agent, from_chat, available, may_fall_back: true })
            .ok()
            .map(|chosen| chosen.route)
    }

    #[test]
    fn the_first_row_that_holds_is_taken() {
        use Route::*;
        let opencode = [OpencodeServer, OneShotAcp, OneShotPty];
        let goose = [WarmAcp, OneShotAcp, OneShotPty];
        assert_eq!(route(&opencode, false, ALL), Some(OpencodeServer));
        assert_eq!(route(&goose, true, ALL), Some(WarmAcp));
        assert_eq!(route(&goose, false, ALL), Some(OneShotAcp));
        assert_eq!(route(&[OneShotPty], true, ALL), Some(OneShotPty));
        assert_eq!(
            route(&opencode, true, Routes::of(&[OneShotAcp])),
            Some(OneShotAcp),
            "skipped when not built"
        );
        assert_eq!(route(&[ClaudeSdk], false, ALL), None);
    }

    #[test]
    fn a_missing_agent_falls_back_only_where_that_is_allowed() {
        let name = Name::new("ghost").unwrap();
        let agent = || Some((&name, AgentFacts::NotInstalled { hint: "npm i -g ghost".into() }));
        let facts = |may_fall_back, available| RoutingFacts {
            agent: agent(),
            from_chat: false,
            available,
            may_fall_back,
        };
        let chosen = choose(&facts(true, ALL)).unwrap();
        assert_eq!(chosen.route, Route::Native);
        assert_eq!(chosen.fallback.as_deref(), Some("agent ghost is not installed: npm i -g ghost"));
        for facts in [facts(false, ALL), facts(true, Routes::of(&[Route::OneShotAcp]))] {
            let refused = choose(&facts).unwrap_err();
            assert_eq!(
                refused,
                Failure::new(
                    TerminalReason::AgentNotInstalled,
                    "agent ghost is not installed: npm i -g ghost"
                )
            );
        }
    }

    #[test]
    fn no_agent_is_native_or_an_error() {
        let facts = |available| RoutingFacts { agent: None, from_chat: true, available, may_fall_back: true };
        assert_eq!(choose(&facts(ALL)).unwrap().route, Route::Native);
        assert_eq!(choose(&facts(Routes::default())).unwrap_err().reason, TerminalReason::CouldNotStart);
    }
}
