//! How turns end: SPEC 4's table and SPEC 5, row by row, as traces.

use std::fmt::Write as _;

use dispatch_core::{
    agent::{Answer, EndedHow, ToolStatus},
    conversation::Transcript,
    frame::FrameBody,
    ids::{ChangeId, MessageId},
    ports::{ChangeVerdict, WriteAnswer},
    task::{PermissionPolicy, TerminalReason},
    turn::{Effect, Event, Outcome, SettledWith, Timer, TurnPlan, Why, settlement},
};

use crate::bench::*;

/// A turn as a chapter: one line a step, and what its end wrote.
fn chapter(title: &str, plan: TurnPlan, events: Vec<Event>) -> String {
    let mut bench = Bench::new(plan.clone());
    let (mut transcript, mut begun, mut ends) = (Transcript::default(), false, String::new());
    let mut take = |effects: Vec<Effect>| {
        for effect in effects {
            match effect {
                Effect::Append(frames) => frames.iter().for_each(|frame| transcript.push(frame)),
                Effect::Settle(outcome) => ends = written(*outcome, &plan, begun, &transcript),
                Effect::Checkpoint | Effect::OpenSession => begun = true,
                Effect::Requeue(frames) => {
                    let names: Vec<_> = frames.iter().map(shown).collect();
                    ends = format!("= pending again; frames {names:?}");
                }
                _ => {}
            }
        }
    };
    for event in events {
        take(bench.feed(event));
    }
    take(bench.finish());
    format!("## {title}\n{}\n{ends}\n\n", bench.log.join("\n"))
}

fn written(outcome: Outcome, plan: &TurnPlan, begun: bool, transcript: &Transcript) -> String {
    let with = SettledWith {
        agent: &plan.agent,
        model: None,
        route: Some(plan.profile.route),
        limits: &plan.limits,
        message: begun.then(|| MessageId::from_random([1; 16])),
        transcript,
        change: ChangeId::from_random([2; 16]),
    };
    let end = settlement(outcome, &with);
    let mut line = format!("= task {} ({})", end.state, end.reason);
    // Writing to a string cannot fail.
    let _ = match &end.message {
        Some(message) => write!(line, ", message {} {:?}", message.state, message.content),
        None => write!(line, ", no message"),
    };
    let _ = match &end.change {
        ChangeVerdict::Leave => write!(line, ", no change"),
        ChangeVerdict::Withdraw => write!(line, ", change withdrawn"),
        ChangeVerdict::Queue(change) if change.from_failed_turn => write!(line, ", change of a failed turn"),
        ChangeVerdict::Queue(_) => write!(line, ", change"),
    };
    let _ = write!(line, ", summary {:?}", end.summary);
    let frames: Vec<_> = end.frames.iter().map(shown).collect();
    let _ = write!(line, "\n= frames {}", frames.join(", "));
    line
}

fn shown(frame: &FrameBody) -> String {
    match frame {
        FrameBody::AgentStatus { status, reason, .. } => format!("{status} ({reason})"),
        other => other.name().to_owned(),
    }
}

fn works(plan: &TurnPlan, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    to_running(plan).into_iter().chain(more).collect()
}

fn stop() -> Event {
    Event::StopAccepted(Why::User)
}

#[test]
fn the_table_of_ends() {
    let plan = plan(&ONE_SHOT);
    let gone = || Event::SessionClosed;
    let rows = [
        ("completed", works(&plan, [text("done"), completed(), gone(), changed()])),
        ("agent failed", works(&plan, [text("so far"), failed(), gone(), changed()])),
        ("agent crashed", works(&plan, [text("so far"), crashed(), gone(), changed()])),
        ("agent cancelled by itself", works(&plan, [ended(EndedHow::Cancelled), gone(), unchanged()])),
        (
            "stalled, and then it says that it is done",
            works(&plan, [text("so far"), Event::Elapsed(Timer::Silence), completed(), gone(), changed()]),
        ),
        ("user Stop", works(&plan, [text("so far"), stop(), ended(EndedHow::Cancelled)])),
        ("user Stop, and then it says that it is done", works(&plan, [stop(), completed()])),
        (
            "node stopped, prompt out",
            works(
                &plan,
                [text("so far"), Event::ShuttingDown, Event::StopAccepted(Why::Shutdown), completed()],
            ),
        ),
        ("node stopped, prompt not out", [to_starting(&plan), vec![Event::ShuttingDown]].concat()),
        ("lease lost", works(&plan, [text("so far"), Event::LeaseLost])),
        ("worktree not made", vec![Event::WorkspaceFailed(failure(TerminalReason::NoWorktree))]),
        (
            "agent not started",
            [to_starting(&plan), vec![Event::SessionFailed(failure(TerminalReason::CouldNotStart))]].concat(),
        ),
        ("agent not ready in time", [to_starting(&plan), vec![Event::Elapsed(Timer::Start)]].concat()),
        (
            "diff failed",
            works(
                &plan,
                [text("done"), completed(), gone(), Event::ChangeCollected(Err("git failed".into()))],
            ),
        ),
        ("diff too slow", works(&plan, [text("done"), completed(), gone(), Event::Elapsed(Timer::Collect)])),
        (
            "a Stop came before the end was written",
            works(&plan, [completed(), gone(), changed(), Event::Settled(WriteAnswer::StopFirst)]),
        ),
        ("output limit", works(&plan, [text(&"x".repeat(5000)), text("more"), ended(EndedHow::Cancelled)])),
    ];
    // Nobody wants to read five thousand x.
    let all: String = rows.into_iter().map(|(title, events)| chapter(title, plan.clone(), events)).collect();
    insta::assert_snapshot!(all.replace(&"x".repeat(5000), "x…").replace(&"x".repeat(500), "x…"));
}

#[test]
fn what_is_shown_where_there_is_no_text() {
    let plan = plan(&PTY);
    let end = |stdout, stderr| printed(EndedHow::Completed, stdout, stderr);
    let tool = || tool("tool", ToolStatus::Completed);
    let rows = [
        ("nothing parseable, stdout", works(&plan, [end("out", "err")])),
        ("nothing parseable, stderr", works(&plan, [end(" \n", "err")])),
        ("nothing at all", works(&plan, [end("", "")])),
        ("parsed without text, stderr", works(&plan, [tool(), end("out", "err")])),
        ("parsed without text", works(&plan, [tool(), end("out", "")])),
        (
            "failed without text",
            works(&plan, [printed(EndedHow::Failed(failure(TerminalReason::AgentFailed)), "", "err")]),
        ),
    ];
    let all: String = rows.into_iter().map(|(title, events)| chapter(title, plan.clone(), events)).collect();
    insta::assert_snapshot!(all);
}

/// The events that bring a turn into each phase in which its agent may be, and the phase's name.
fn everywhere(plan: &TurnPlan) -> Vec<(String, Vec<Event>)> {
    let mut all = works(plan, [text("so far"), completed(), Event::SessionClosed]);
    if plan.worktree.is_some() {
        all.push(changed());
    }
    all.push(Event::Settled(WriteAnswer::Done));
    let name = |events: &[Event]| Bench::at(plan.clone(), events.iter().cloned()).turn.phase().to_string();
    let mut places: Vec<_> =
        (0..=all.len()).map(|reached| (name(&all[..reached]), all[..reached].to_vec())).collect();
    places.dedup_by(|next, before| next.0 == before.0);
    places
}

#[test]
fn a_stop_a_shutdown_and_a_lost_lease_in_every_phase() {
    for (file, events) in [
        ("stop_in_every_phase", vec![stop()]),
        (
            "shutdown_in_every_phase",
            vec![Event::ShuttingDown, Event::StopAccepted(Why::Shutdown), Event::Hurried],
        ),
        ("lease_lost_in_every_phase", vec![Event::LeaseLost]),
    ] {
        let plan = plan(&ONE_SHOT);
        let chapters = everywhere(&plan).into_iter().map(|(phase, before)| {
            let whole = chapter(&phase, plan.clone(), [before.clone(), events.clone()].concat());
            // The steps before are the same in every chapter.
            let mut lines: Vec<_> = whole.lines().collect();
            lines.drain(1..=before.len());
            lines.join("\n") + "\n\n"
        });
        insta::assert_snapshot!(file, chapters.collect::<String>());
    }
}

#[test]
fn every_profile_climbs_its_own_ladder() {
    let mut all = String::new();
    for profile in PROFILES {
        let plan = plan(profile);
        let climbs = vec![Event::Elapsed(Timer::Stop); profile.stop.len()];
        let mut events = works(&plan, [tool("tool", ToolStatus::InProgress), stop()]);
        events.extend(climbs);
        let whole = chapter(profile.name, plan.clone(), events);
        let skipped = to_running(&plan).len();
        let lines: Vec<_> = whole.lines().enumerate().filter(|(n, _)| *n == 0 || *n > skipped).collect();
        lines.into_iter().for_each(|(_, line)| all.extend([line, "\n"]));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn permissions_and_silence() {
    let ask = plan(&WARM);
    let by_policy = |permissions| TurnPlan { permissions, ..ask.clone() };
    let answered = |answer| Event::PermissionAnswered { id: "ask".into(), answer };
    let open = || tool("tool", ToolStatus::InProgress);
    let closed = || tool("tool", ToolStatus::Completed);
    let rows = [
        ("allowed by the user", ask.clone(), vec![asks("ask"), answered(Answer::Allow)]),
        (
            "denied by the user",
            ask.clone(),
            vec![asks("ask"), answered(Answer::Deny), answered(Answer::Allow)],
        ),
        ("nobody answers", ask.clone(), vec![asks("ask"), asks("second"), Event::Elapsed(Timer::Permission)]),
        (
            "cancelled by a Stop",
            ask.clone(),
            vec![asks("ask"), stop(), asks("late"), answered(Answer::Allow)],
        ),
        (
            "taken back by the agent",
            ask.clone(),
            vec![asks("ask"), asks("second"), takes_back("ask"), takes_back("second"), takes_back("second")],
        ),
        ("taken back at once", ask.clone(), vec![asks_and_takes_back("ask"), answered(Answer::Allow)]),
        ("allowed by policy", by_policy(PermissionPolicy::Allow), vec![asks("ask")]),
        ("denied by policy", by_policy(PermissionPolicy::Deny), vec![asks("ask")]),
        (
            "policy never allows for ever",
            by_policy(PermissionPolicy::Allow),
            vec![asks_with("ask", &[dispatch_core::agent::OptionKind::AllowAlways])],
        ),
        (
            "silence while a tool is open",
            ask.clone(),
            vec![open(), asks("ask"), answered(Answer::Allow), closed()],
        ),
        ("a tool is left open", ask.clone(), vec![open(), Event::Elapsed(Timer::Silence)]),
    ];
    let mut all = String::new();
    for (title, plan, events) in rows {
        let whole = chapter(title, plan.clone(), works(&plan, events));
        let skipped = to_running(&plan).len();
        let lines: Vec<_> = whole.lines().enumerate().filter(|(n, _)| *n == 0 || *n > skipped).collect();
        lines.into_iter().for_each(|(_, line)| all.extend([line, "\n"]));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_worktree_that_comes_late_is_removed() {
    let plan = plan(&ONE_SHOT);
    let settled = || Event::Settled(WriteAnswer::Done);
    let failed = || Event::WorkspaceFailed(failure(TerminalReason::NoWorktree));
    let rows = [
        ("before the end is written", vec![stop(), Event::WorkspaceReady, settled()]),
        ("after the end is written", vec![stop(), settled(), Event::WorkspaceReady]),
        ("not at all", vec![stop(), settled(), failed()]),
        (
            "pending again",
            vec![Event::ShuttingDown, Event::Requeued(WriteAnswer::Done), Event::WorkspaceReady],
        ),
        ("lease lost", vec![Event::LeaseLost, Event::WorkspaceReady]),
    ];
    let all: String = rows.into_iter().map(|(title, events)| chapter(title, plan.clone(), events)).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn a_stop_that_was_first_decides_each_write() {
    let plan = plan(&ONE_SHOT);
    let first = WriteAnswer::StopFirst;
    let starting = to_starting(&plan);
    let rows = [
        ("begin message", vec![Event::WorkspaceReady, Event::MessageBegun(first)]),
        ("prompt sent", [starting.clone(), vec![ready(), Event::PromptSentRecorded(first)]].concat()),
        (
            "requeue",
            [starting, vec![Event::ShuttingDown, Event::SessionClosed, Event::Requeued(first)]].concat(),
        ),
    ];
    let all: String = rows.into_iter().map(|(title, events)| chapter(title, plan.clone(), events)).collect();
    insta::assert_snapshot!(all);
}
