//! How a turn will reach its agent and where it will work, decided before it begins.

use std::sync::Arc;

use dispatch_core::{
    agent::{AgentCommand, Failure, Notice, NoticeCode},
    ports::{Backend, Release, StoreError, WorkspaceOwner, WorkspaceSpec},
    profile::BackendProfile,
    routing::{self, Route, RoutingFacts, WorktreeUse},
    task::{Claim, Name, TerminalReason},
};

use crate::{contained::contained, ports::Ports, store_calls::persistently, turn::TurnConfig};

/// How a turn will reach its agent, decided before it begins.
pub(crate) struct Course {
    pub(crate) route: Route,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) profile: &'static BackendProfile,
    pub(crate) commands: Vec<AgentCommand>,
    pub(crate) worktree: Option<(WorkspaceSpec, Release)>,
    pub(crate) notices: Vec<Notice>,
}

/// Why a turn cannot begin.
pub(crate) enum Hindrance {
    /// Its task fails with this.
    Failure(Failure),
    /// The record cannot be written. Nothing is wrong with the task, and nothing of it has gone out.
    Store(StoreError),
}

impl From<Failure> for Hindrance {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Course {
    pub(crate) async fn set(ports: &Ports, config: &TurnConfig, claim: &Claim) -> Result<Self, Hindrance> {
        let course = contained(Self::look(ports, config, claim)).await;
        course.unwrap_or_else(|_| {
            Err(Failure::new(TerminalReason::Internal, "the backend failed: see the log").into())
        })
    }

    async fn look(ports: &Ports, config: &TurnConfig, claim: &Claim) -> Result<Self, Hindrance> {
        let task = &claim.task;
        let mut notices = Vec::new();
        let route = match task.route {
            Some(route) => route,
            None => {
                let agent = task.options.agent.as_ref().map(|name| (name, ports.agents.facts(name)));
                let chosen = routing::choose(&RoutingFacts {
                    agent,
                    from_chat: task.from_chat,
                    available: ports.agents.available(),
                    may_fall_back: config.may_fall_back,
                })?;
                if let Some(text) = chosen.fallback {
                    tracing::warn!(task = %task.id, session = %task.session, text, "the native loop runs instead of the agent");
                    notices.push(Notice { code: NoticeCode::FellBackToNative, text });
                }
                let key = claim.key();
                let recorded = persistently(|| ports.store.record_route(&key, chosen.route)).await;
                recorded.map_err(Hindrance::Store)?;
                chosen.route
            }
        };
        let Some(backend) = ports.agents.backend(route) else {
            let text = format!("the route {route} that this task was given is not switched on here");
            return Err(Failure::new(TerminalReason::CouldNotStart, text).into());
        };
        let worktree = worktree_of(claim, route)?;
        let profile = backend.profile();
        let commands = known_commands(ports, task.options.agent.as_ref()).await;
        Ok(Self { route, backend, profile, commands, worktree, notices })
    }
}

/// The slash commands that the agent was last known to offer (SPEC T7). A turn goes on without them.
async fn known_commands(ports: &Ports, agent: Option<&Name>) -> Vec<AgentCommand> {
    let Some(agent) = agent else { return Vec::new() };
    match ports.store.agent_offer(agent).await {
        Ok(offer) => offer.commands,
        Err(error) => {
            tracing::warn!(%agent, %error, "what the agent offers could not be read");
            Vec::new()
        }
    }
}

/// Which worktree a route's turn works in (SPEC 3), and what becomes of it.
fn worktree_of(claim: &Claim, route: Route) -> Result<Option<(WorkspaceSpec, Release)>, Failure> {
    let (owner, release) = match route.row().worktree {
        WorktreeUse::PerTask => (WorkspaceOwner::Task(claim.task.id), Release::Remove),
        WorktreeUse::Session | WorktreeUse::SessionIfPath => {
            (WorkspaceOwner::Session(claim.task.session), Release::Keep)
        }
    };
    match (&claim.project_path, route.row().worktree) {
        (Some(path), _) => Ok(Some((WorkspaceSpec { project: path.clone(), owner }, release))),
        (None, WorktreeUse::SessionIfPath) => Ok(None),
        (None, _) => {
            Err(Failure::new(TerminalReason::NoProject, "project has no path: cannot create a worktree"))
        }
    }
}
