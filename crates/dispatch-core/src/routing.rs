//! How a turn reaches its agent: the table of SPEC 3 as data, and one pure function over it.

use crate::{
    agent::Failure,
    task::{Name, TerminalReason},
    words::words,
};

words! {
    /// A way to reach an agent.
    Route {
        /// Our own loop on an OpenAI-compatible endpoint.
        Native = "native",
        /// One opencode server per node.
        OpencodeServer = "opencode_server",
        /// Claude Code's stream-json control protocol, kept warm.
        ClaudeSdk = "claude_sdk",
        /// An ACP process per (chat, agent), kept warm.
        WarmAcp = "warm_acp",
        /// An ACP process per turn.
        OneShotAcp = "one_shot_acp",
        /// A terminal program per turn.
        OneShotPty = "one_shot_pty",
    }
}

/// A set of routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Routes(u8);

impl Routes {
    /// The set of these routes.
    #[must_use]
    pub const fn of(routes: &[Route]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < routes.len() {
            bits |= 1 << routes[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// Whether the set holds `route`.
    #[must_use]
    pub const fn contains(self, route: Route) -> bool {
        self.0 & 1 << route as u8 != 0
    }
}

/// Whose worktree a turn works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorktreeUse {
    /// The session's, kept.
    Session,
    /// The session's, kept; none if the project has no path.
    SessionIfPath,
    /// One of its own, removed after.
    PerTask,
}

/// What a turn's change does to the session's earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeUse {
    /// It replaces the pending one (SPEC R1).
    Supersede,
    /// It stands beside them (SPEC R2).
    Append,
}

/// One row of SPEC 3's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRow {
    /// The route.
    pub route: Route,
    /// Whether it serves only tasks that came from a chat.
    pub needs_chat: bool,
    /// Whose worktree its turns work in.
    pub worktree: WorktreeUse,
    /// What its changes do to earlier ones.
    pub change: ChangeUse,
}

/// SPEC 3's table. The first row that an agent can be reached by is taken.
pub const TABLE: [RouteRow; 6] = {
    use {ChangeUse::*, Route::*, WorktreeUse::*};
    const fn row(route: Route, needs_chat: bool, worktree: WorktreeUse, change: ChangeUse) -> RouteRow {
        RouteRow { route, needs_chat, worktree, change }
    }
    [
        row(Native, false, SessionIfPath, Supersede),
        row(OpencodeServer, false, Session, Supersede),
        row(ClaudeSdk, true, Session, Supersede),
        row(WarmAcp, true, Session, Supersede),
        row(OneShotAcp, false, PerTask, Append),
        row(OneShotPty, false, PerTask, Append),
    ]
};

impl Route {
    /// The route's row in the table.
    #[must_use]
    pub const fn row(self) -> &'static RouteRow {
        // The table is in the order of the enum; a test holds them together.
        &TABLE[self as usize]
    }
}

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
    fn the_table_is_in_the_order_of_the_routes() {
        for route in Route::ALL {
            assert_eq!(route.row().route, *route);
        }
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
