//! Single promises of SPEC 4 and 5, each by its exact effects.

use dispatch_core::{
    agent::{Answer, End, EndedHow, ToolStatus, Usage},
    ports::{Close, Release, WriteAnswer},
    profile::Stop,
    task::TerminalReason,
    turn::{Effect, Effects, Event, Outcome, Timer, TurnPlan, Why},
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

#[test]
fn nothing_is_written_after_the_lease_is_lost() {
    for profile in PROFILES {
        let plan = plan(profile);
        let stop = [tool("tool", ToolStatus::InProgress), asks("ask"), Event::StopAccepted(Why::User)];
        let all: Vec<_> = to_running(&plan).into_iter().chain(stop).collect();
        for reached in 0..=all.len() {
            let mut bench = Bench::at(plan.clone(), all[..reached].iter().cloned());
            let mut effects = bench.feed(Event::LeaseLost);
            effects.extend(bench.finish());
            let writes = |effect: &Effect| {
                use Effect::{Append, BeginMessage, RecordPromptSent, Requeue, SendPrompt, Settle};
                matches!(
                    effect,
                    Append(_) | BeginMessage | RecordPromptSent | Requeue(_) | SendPrompt | Settle(_)
                )
            };
            assert!(!effects.iter().any(writes), "{:#?}", bench.log);
            let removes = Effect::ReleaseWorkspace(Release::Remove);
            assert!(!effects.contains(&removes), "whoever settles it decides: {:#?}", bench.log);
        }
    }
}

#[test]
fn a_request_that_comes_while_stopping_is_cancelled_even_over_the_output_limit() {
    let mut bench = running(&plan(&WARM));
    let effects = bench.feed(text(&"x".repeat(5000)));
    assert!(effects.contains(&Effect::Interrupt(Stop::Ask)), "{:#?}", bench.log);
    let effects = bench.feed(asks("ask"));
    assert!(effects.contains(&Effect::Answer("ask".into(), Answer::Cancelled)), "{:#?}", bench.log);
    assert_eq!(bench.feed(text("more")), [], "what is over the limit is not stored");
}

#[test]
fn a_stop_while_the_agent_gets_ready_leaves_a_warm_one_to_its_pool() {
    for (event, how) in [
        (Event::StopAccepted(Why::User), Close::Return),
        (Event::Elapsed(Timer::Start), Close::Kill),
        (Event::LeaseLost, Close::Kill),
    ] {
        let mut bench = Bench::at(plan(&WARM), to_starting(&plan(&WARM)));
        let effects = bench.feed(event);
        assert!(effects.contains(&Effect::CloseSession(how)), "{:#?}", bench.log);
    }
}

#[test]
fn a_stop_that_wins_over_a_failed_diff_leaves_no_worktree() {
    let to_settling = [completed(), Event::SessionClosed, Event::Elapsed(Timer::Collect)];
    for (answers, how) in [
        (vec![WriteAnswer::Done], Release::Keep),
        (vec![WriteAnswer::StopFirst, WriteAnswer::Done], Release::Remove),
    ] {
        let mut bench = running(&plan(&ONE_SHOT));
        let answers = answers.into_iter().map(Event::Settled);
        let last = to_settling.iter().cloned().chain(answers).map(|event| bench.feed(event)).last();
        assert_eq!(last, Some(vec![Effect::ReleaseWorkspace(how)]), "{:#?}", bench.log);
    }
}

#[test]
fn a_worktree_of_an_earlier_attempt_goes_even_if_it_could_not_be_found_again() {
    let failed = || Event::WorkspaceFailed(failure(TerminalReason::NoWorktree));
    let settled = || Event::Settled(WriteAnswer::Done);
    for events in [
        vec![failed(), settled()],
        vec![Event::StopAccepted(Why::User), failed(), settled()],
        vec![Event::StopAccepted(Why::User), settled(), failed()],
    ] {
        let mut bench = Bench::new(plan(&ONE_SHOT));
        let last = events.into_iter().map(|event| bench.feed(event)).last();
        assert_eq!(last, Some(vec![Effect::ReleaseWorkspace(Release::Remove)]), "{:#?}", bench.log);
    }
}
