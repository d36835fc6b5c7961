//! From a claim to what its turn came to.

use std::sync::Arc;

use dispatch_core::{
    agent::Failure,
    ports::WriteAnswer,
    task::{Claim, Name},
    turn::Outcome,
};

use super::{config::TurnConfig, report::TurnReport, run::RunningTurn};
use crate::{
    contained::ContainedPublisher,
    course::{Course, Hindrance},
    inbox::Inbox,
    kept::Kept,
    ports::Ports,
    settler::Settler,
    writer::Writer,
};

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
