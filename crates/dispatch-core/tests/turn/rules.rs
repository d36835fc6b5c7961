//! Single promises of SPEC 4 and 5, each by its exact effects.

use dispatch_core::{
    agent::{AgentUpdate, Answer, End, EndedHow, Usage},
    ports::{Close, WriteAnswer},
    profile::Stop,
    turn::{Effect, Effects, Event, Outcome, Phase, Timer, TurnPlan, Why},
};

use crate::bench::*;

fn running(plan: &TurnPlan) -> Bench {
    Bench::at(plan.clone(), to_running(plan))
}

fn settled(effects: &Effects) -> Option<Outcome> {
    effects.iter().find_map(|effect| match effect {
        Effect::Settle(outcome) => Some(Outcome::clone(outcome)),
        _ => None,
    })
}

#[test]
fn what_the_agent_used_counts_however_late_the_stop_came() {
    let used = Usage { total_tokens: Some(7), ..Usage::default() };
    let end = || Event::Ended(End { usage: used.clone(), ..End::new(EndedHow::Completed) });
    let stop = || Event::StopAccepted(Why::User);
    let first = || Event::Settled(WriteAnswer::StopFirst);
    let late_stops = [
        vec![stop(), end(), Event::SessionClosed],
        vec![end(), stop(), Event::SessionClosed],
        vec![end(), Event::SessionClosed, stop()],
        vec![end(), Event::SessionClosed, changed(), first()],
    ];
    for events in late_stops {
        let mut bench = running(&plan(&ONE_SHOT));
        let last = events.into_iter().map(|event| bench.feed(event)).last();
        let outcome = last.as_ref().and_then(settled).expect("a settlement");
        assert_eq!(outcome, Outcome { usage: used.clone(), ..Outcome::stopped() }, "{:#?}", bench.log);
    }
}
