//! One turn: the machine in the middle, the world around it.

mod run;

use std::sync::Arc;

use dispatch_core::{
    agent::Failure,
    ids::ChangeId,
    permission::PermissionRule,
    ports::{Agents, Publisher, Store, Workspace, WriteAnswer},
    profile::TurnLimits,
    task::{Claim, Name, TaskState, TerminalReason},
    turn::Outcome,
};

use crate::{
    contained::ContainedPublisher,
    course::{Course, Hindrance},
    inbox::Inbox,
    kept::Kept,
    settler::Settler,
    writer::Writer,
};
use run::RunningTurn;

/// The world as a turn needs it.
#[derive(Clone)]
pub struct Ports {
    /// The durable record.
    pub store: Arc<dyn Store>,
    /// Worktrees and checkpoints.
    pub workspace: Arc<dyn Workspace>,
    /// The agents that can be reached.
    pub agents: Arc<dyn Agents>,
    /// Who watches.
    pub publisher: Arc<dyn Publisher>,
}

/// What is the same for all turns of a node.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// Their limits.
    pub limits: TurnLimits,
    /// The rules by which permission requests are answered under the policy `auto`.
    pub rules: Arc<[PermissionRule]>,
    /// What their processes are tagged with.
    pub run_tag: String,
    /// Whether a task whose agent is missing may run natively instead.
    pub may_fall_back: bool,
}

impl TurnConfig {
    /// The default limits, no rules, no falling back.
    #[must_use]
    pub fn new(run_tag: impl Into<String>) -> Self {
        let limits = TurnLimits::default();
        Self { limits, rules: Arc::default(), run_tag: run_tag.into(), may_fall_back: false }
    }
}

/// How a turn ended, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnReport {
    /// It was settled like this.
    Settled {
        /// The task's final state.
        state: TaskState,
        /// Why.
        reason: TerminalReason,
        /// The change that was queued.
        change: Option<ChangeId>,
    },
    /// Its task is pending again.
    Requeued,
    /// Its end is written by somebody else: the lease or the store was lost.
    Abandoned,
}

/// Runs one turn to its end. When this returns, nothing of it runs any more.
pub async fn run_turn(ports: &Ports, config: &TurnConfig, claim: Claim, inbox: Inbox) -> TurnReport {
    run_turn_of(None, ports, config, claim, inbox).await
}

/// The same for a node, which tells the record what it keeps.
pub(crate) async fn run_turn_of(
    kept: Option<&Arc<Kept>>,
    ports: &Ports,
    config: &TurnConfig,
    claim: Claim,
    mut inbox: Inbox,
) -> TurnReport {
    let publisher = Arc::new(ContainedPublisher(Arc::clone(&ports.publisher)));
    let ports = &Ports { publisher, ..ports.clone() };
    let key = claim.key();
    let agent = claim.task.options.agent.as_ref().map_or("native", Name::as_str).to_owned();
    tracing::info!(task = %key.task, session = %key.session, agent, attempt = claim.task.attempt, "turn begins");
    let report = match Course::set(ports, config, &claim).await {
        Ok(course) => {
            let kept = kept.map(Arc::clone);
            RunningTurn::begin(ports.clone(), kept, config, claim, course, agent.clone())
                .run(&mut inbox)
                .await
        }
        Err(Hindrance::Failure(failure)) => fail_before_turn(ports, config, &claim, failure, &agent).await,
        Err(Hindrance::Store(error)) => {
            tracing::error!(task = %key.task, %error, "the route could not be recorded");
            TurnReport::Abandoned
        }
    };
    if !matches!(report, TurnReport::Settled { .. }) {
        tracing::info!(task = %key.task, session = %key.session, agent, ?report, "turn given up here");
    }
    report
}

/// Settles a task whose turn cannot even begin.
async fn fail_before_turn(
    ports: &Ports,
    config: &TurnConfig,
    claim: &Claim,
    failure: Failure,
    agent: &str,
) -> TurnReport {
    let writer = Writer::spawn(Arc::clone(&ports.store), Arc::clone(&ports.publisher), claim.key());
    let settler = Settler {
        ports: ports.clone(),
        kept: None,
        writer,
        key: claim.key(),
        agent: agent.to_owned(),
        model: claim.task.options.model.clone(),
        route: claim.task.route,
        limits: config.limits,
    };
    let mut outcome = Outcome::failed(failure);
    loop {
        let report = TurnReport::Settled { state: outcome.state, reason: outcome.reason, change: None };
        match settler.settle(outcome, None).await {
            Ok((WriteAnswer::Done, _)) => break report,
            Ok((WriteAnswer::StopFirst, _)) => outcome = Outcome::stopped(),
            Ok((WriteAnswer::Fenced, _)) | Err(_) => break TurnReport::Abandoned,
        }
    }
}
