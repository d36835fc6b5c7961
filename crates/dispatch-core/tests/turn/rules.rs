//! Single promises of SPEC 4 and 5, each by its exact effects.

use dispatch_core::{
    agent::{Answer, End, EndedHow, NoticeCode, ToolStatus, Usage},
    conversation::{Part, Transcript},
    frame::FrameBody,
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

#[test]
fn a_tool_call_that_its_agent_leaves_open_is_closed_with_the_turn() {
    let stop = || Event::StopAccepted(Why::User);
    let ends = [
        vec![completed()],
        vec![failed()],
        vec![crashed()],
        vec![ended(EndedHow::Cancelled)],
        vec![stop(), completed()],
        vec![stop(), ended(EndedHow::Cancelled)],
        vec![stop(), crashed()],
        vec![stop(), Event::Hurried],
        vec![Event::Elapsed(Timer::Silence), completed()],
    ];
    for profile in PROFILES {
        // One that ends with the last rung of its ladder, too.
        let deaf = [vec![stop()], vec![Event::Elapsed(Timer::Stop); profile.stop.len()]].concat();
        for end in ends.iter().chain([&deaf]) {
            let mut bench = running(&plan(profile));
            let tools = ["done", "begun", "announced"];
            let stand = [ToolStatus::Completed, ToolStatus::InProgress, ToolStatus::Pending];
            let said = tools.iter().zip(stand).map(|(id, status)| tool(id, status));
            let mut effects: Effects = said.chain(end.clone()).flat_map(|event| bench.feed(event)).collect();
            effects.extend(bench.finish());
            let mut transcript = Transcript::default();
            for effect in effects {
                match effect {
                    Effect::Append(frames) => frames.iter().for_each(|frame| transcript.push(frame)),
                    Effect::Settle(_) => {
                        let closed: Vec<_> = transcript.parts().iter().map(status_of).collect();
                        let expected = [ToolStatus::Completed, ToolStatus::Cancelled, ToolStatus::Cancelled];
                        assert_eq!(closed, expected.map(Some), "{}: {:#?}", profile.name, bench.log);
                    }
                    _ => {}
                }
            }
            assert_eq!(transcript.parts().len(), tools.len(), "{}: {:#?}", profile.name, bench.log);
        }
    }
}

fn status_of(part: &Part) -> Option<ToolStatus> {
    match part {
        Part::ToolCall { tool_call } => Some(tool_call.status),
        _ => None,
    }
}

/// Where others share the process, it is replaced only when they have done with it.
#[test]
fn an_agent_that_does_not_obey_is_not_said_to_be_gone_already() {
    let mut bench = running(&plan(&WARM));
    bench.feed(Event::StopAccepted(Why::User));
    let effects = bench.feed(Event::Elapsed(Timer::Stop));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Append(frames) => frames.iter().find_map(|frame| match frame {
            FrameBody::Notice { code: NoticeCode::BackendRecycled, text } => Some(text.as_str()),
            _ => None,
        }),
        _ => None,
    });
    let words =
        "goose did not stop when it was asked: this turn is cut off, and the next one gets another process";
    assert_eq!(told, Some(words), "{:#?}", bench.log);
}
