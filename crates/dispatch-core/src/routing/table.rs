//! The ways to reach an agent, and what goes with each.

use crate::words::words;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_routes() {
        for route in Route::ALL {
            assert_eq!(route.row().route, *route);
        }
    }
}
