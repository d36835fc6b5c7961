//! Every event in every phase: handled, or on the list of those that cannot come.

use std::collections::BTreeSet;

use dispatch_core::{
    agent::{Answer, EndedHow, ToolStatus},
    ports::{Release, WriteAnswer},
    task::TerminalReason,
    turn::{Effect, Event, Timer, TurnPlan, Why},
};

use crate::bench::*;

const BEFORE_AGENT: &str = "Preparing Opening Snapshotting";
const WITH_AGENT: &str = "Starting Committing Running Stopping";

/// Events that cannot come in a phase, with the reason. All other pairs are handled.
const IMPOSSIBLE: &[(&[&str], &[&str], &str)] = &[
    (
        &["WorkspaceReady", "WorkspaceFailed"],
        &[
            "Opening",
            "Snapshotting",
            "Starting",
            "Committing",
            "Running",
            "Stopping",
            "Closing",
            "Collecting",
        ],
        "the worktree is asked for once, and these phases begin after its answer",
    ),
    (
        &["WorkspaceReady", "WorkspaceFailed"],
        &["Done"],
        "a turn is not done before a worktree under way has come",
    ),
    (
        &["MessageBegun"],
        &["Preparing", "Snapshotting", WITH_AGENT],
        "the write is made once, in Opening, and only the end of the turn overtakes its answer",
    ),
    (
        &["CheckpointTaken"],
        &["Preparing", "Opening", WITH_AGENT],
        "it is taken once, in Snapshotting, and only the end of the turn overtakes its answer",
    ),
    (
        &["SessionReady", "SessionFailed"],
        &[BEFORE_AGENT, "Committing", "Running", "Stopping"],
        "the agent is started once, in Starting, and only letting it go overtakes its answer",
    ),
    (
        &["PromptSentRecorded"],
        &[BEFORE_AGENT, "Starting", "Running", "Stopping"],
        "the write is made once, in Committing, and only letting the agent go overtakes its answer",
    ),
    (
        &["Updates", "Ended"],
        &[BEFORE_AGENT, "Starting", "Committing"],
        "the agent is listened to only after the prompt was sent",
    ),
    (&["SessionClosed"], &[BEFORE_AGENT, WITH_AGENT], "the agent is let go only in Closing"),
    (
        &["ChangeCollected"],
        &[BEFORE_AGENT, WITH_AGENT, "Closing"],
        "the change is computed only in Collecting",
    ),
    (
        &["Settled"],
        &[BEFORE_AGENT, WITH_AGENT, "Closing Collecting Requeueing"],
        "the end is recorded only in Settling, and only a lost store overtakes its answer",
    ),
    (
        &["Requeued"],
        &[BEFORE_AGENT, WITH_AGENT, "Closing Collecting Settling"],
        "the task is made pending only in Requeueing, and only a lost store overtakes its answer",
    ),
    (
        &["WorkspaceReleased"],
        &[BEFORE_AGENT, WITH_AGENT, "Closing Collecting Settling Requeueing Done"],
        "the worktree is given back once, in Releasing, which waits for the answer",
    ),
];

fn kind(shown: &str) -> &str {
    shown.split('(').next().unwrap_or(shown).split(' ').next().unwrap_or(shown)
}

fn impossible(at: &str, event: &str, bench: &Bench) -> Option<&'static str> {
    match (at, event) {
        ("Releasing", "WorkspaceReady" | "WorkspaceFailed") if bench.gives_back() => {
            return Some("the worktree has come, and is being given back");
        }
        ("Releasing", "WorkspaceReleased") if !bench.gives_back() => {
            return Some("the worktree has not come yet");
        }
        _ => {}
    }
    IMPOSSIBLE.iter().find_map(|(events, phases, why)| {
        let phase = phases.iter().flat_map(|names| names.split(' ')).any(|name| name == at);
        (events.contains(&event) && phase).then_some(*why)
    })
}

const WHYS: [Why; 4] = [Why::User, Why::Shutdown, Why::Stalled, Why::OutputLimit];
const ANSWERS: [WriteAnswer; 3] = [WriteAnswer::Done, WriteAnswer::Fenced, WriteAnswer::StopFirst];

/// Every kind of event, with every kind of payload that the machine looks at.
fn events() -> Vec<Event> {
    let mut events = vec![
        Event::WorkspaceReady,
        Event::WorkspaceFailed(failure(TerminalReason::NoWorktree)),
        checkpoint(),
        Event::CheckpointTaken(Err("no space".into())),
        ready(),
        Event::SessionFailed(failure(TerminalReason::CouldNotStart)),
        Event::Updates(vec![]),
        text("text"),
        text(&"x".repeat(5000)),
        tool("tool", ToolStatus::InProgress),
        tool("tool", ToolStatus::Completed),
        asks("ask"),
        completed(),
        ended(EndedHow::Cancelled),
        failed(),
        crashed(),
        printed(EndedHow::Completed, "out", "err"),
        Event::Hurried,
        Event::ShuttingDown,
        Event::LeaseLost,
        Event::StoreLost,
        Event::SessionClosed,
        changed(),
        unchanged(),
        Event::ChangeCollected(Err("git failed".into())),
        Event::WorkspaceReleased,
    ];
    for answer in [Answer::Allow, Answer::Deny, Answer::Lapsed, Answer::Cancelled] {
        events.push(Event::PermissionAnswered { id: "ask".into(), answer });
    }
    events.extend(Timer::ALL.map(Event::Elapsed));
    events.extend(WHYS.map(Event::StopAccepted));
    events.extend(ANSWERS.map(Event::MessageBegun));
    events.extend(ANSWERS.map(Event::PromptSentRecorded));
    events.extend(ANSWERS.map(Event::Settled));
    events.extend(ANSWERS.map(Event::Requeued));
    events
}

fn plans() -> Vec<TurnPlan> {
    PROFILES
        .iter()
        .flat_map(|p| {
            [None, Some(Release::Keep), Some(Release::Remove)]
                .map(|worktree| TurnPlan { worktree, ..plan(p) })
        })
        .collect()
}

/// Turns that stand in every phase, each in every way that differs.
fn situations() -> Vec<Bench> {
    let mut all = vec![];
    for plan in plans() {
        let has_worktree = plan.worktree.is_some();
        let stop = || Event::StopAccepted(Why::User);
        let at = |events: Vec<Event>| Bench::at(plan.clone(), events);
        let starting = to_starting(&plan);
        let running = to_running(&plan);
        let committing = running[..running.len() - 1].to_vec();
        let and = |events: &[Event], more: &[Event]| [events, more].concat();

        // Everything up to the agent's start, untouched, stopped, shut down, and with its lease lost.
        for reached in 0..=starting.len() {
            let before = &starting[..reached];
            for more in [
                vec![],
                vec![stop()],
                vec![Event::ShuttingDown],
                vec![Event::LeaseLost],
                vec![Event::StoreLost],
            ] {
                all.push(at(and(before, &more)));
                all.push(at(and(before, &and(&more, &[stop()]))));
            }
        }
        all.push(at(committing.clone()));
        all.push(at(and(&committing, &[stop()])));
        all.push(at(and(&committing, &[Event::LeaseLost])));

        let tool = tool("tool", ToolStatus::InProgress);
        for news in [vec![], vec![text("a")], vec![tool.clone()], vec![asks("ask")], vec![tool, asks("ask")]]
        {
            let works = and(&running, &news);
            all.push(at(works.clone()));
            for why in WHYS {
                for rungs in 0..=plan.profile.stop.len() {
                    let climbed = vec![Event::Elapsed(Timer::Stop); rungs];
                    all.push(at(and(&works, &and(&[Event::StopAccepted(why)], &climbed))));
                }
            }
            for end in [completed(), failed(), crashed(), Event::LeaseLost, Event::StoreLost] {
                let closing = and(&works, &[end]);
                let collecting = and(&closing, &[Event::SessionClosed]);
                all.push(at(closing));
                all.push(at(collecting.clone()));
                if has_worktree {
                    for more in [changed(), Event::Elapsed(Timer::Collect), stop()] {
                        let settling = and(&collecting, &[more]);
                        all.push(at(and(&settling, &[Event::Settled(WriteAnswer::Done)])));
                        all.push(at(and(&settling, &[Event::StoreLost])));
                        all.push(at(settling));
                    }
                }
            }
        }
        let mut done = at(running);
        done.finish();
        all.push(done);
    }
    all
}

#[test]
fn every_event_in_every_phase_is_handled_or_listed_as_impossible() {
    let (mut pairs, mut used) = (BTreeSet::new(), BTreeSet::new());
    for bench in situations() {
        let at = bench.turn.phase().to_string();
        for event in events() {
            let shown = event.to_string();
            let (phase, what) = (kind(&at).to_owned(), kind(&shown).to_owned());
            let listed = impossible(&phase, &what, &bench);
            let mut bench = bench.clone();
            let effects = bench.feed(event);
            let reported = effects.iter().any(|effect| matches!(effect, Effect::Report(_)));
            assert_eq!(reported, listed.is_some(), "{listed:?}: {:#?}", bench.log);
            if reported {
                assert_eq!(
                    (effects.len(), bench.turn.phase().to_string()),
                    (1, at.clone()),
                    "{:#?}",
                    bench.log
                );
                used.insert((phase.clone(), what.clone()));
            }
            pairs.insert((phase, what));
            let after = bench.finish();
            assert!(!after.iter().any(|effect| matches!(effect, Effect::Report(_))), "{:#?}", bench.log);
        }
    }
    let phases: BTreeSet<_> = pairs.iter().map(|(phase, _)| phase.as_str()).collect();
    assert_eq!(phases.len(), 13, "every phase was reached: {phases:?}");
    assert_eq!(pairs.len(), 13 * 21, "every pair was tried");
    for (events, phases, why) in IMPOSSIBLE {
        for phase in phases.iter().flat_map(|names| names.split(' ')) {
            for event in *events {
                assert!(used.contains(&(phase.to_owned(), (*event).to_owned())), "{phase} + {event}: {why}");
            }
        }
    }
}

/// A small generator, so that a walk is named by a number.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn whatever_comes_in_whatever_order_the_turn_still_ends() {
    let (events, plans) = (events(), plans());
    for walk in 0..20_000_u64 {
        let mut state = walk;
        let mut pick = |n: usize| (random(&mut state) % n as u64) as usize;
        let mut bench = Bench::new(plans[pick(plans.len())].clone());
        for _ in 0..pick(40) {
            bench.feed(events[pick(events.len())].clone());
        }
        bench.finish();
    }
}
