//! What a flood of one turn costs: each of its pieces as much as the first, however many came before.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "what is tested takes time")]

use std::time::{Duration, Instant};

use dispatch_core::{
    agent::{PlanEntry, ToolCall, ToolStatus},
    conversation::{Part, Transcript},
    frame::FrameBody,
    profile::TurnLimits,
    turn::{Event, TurnPlan, Why},
};

use crate::bench::*;

/// Ten times as many pieces take about ten times as long; a hundred times, where each one looks at all before it. A
/// machine that is busy with other things may take longer once.
fn assert_each_costs_the_same(what: &str, pieces: usize, flood: impl Fn(usize)) {
    let time = |pieces| {
        let began = Instant::now();
        flood(pieces);
        began.elapsed()
    };
    let mut times: Vec<(Duration, Duration)> = vec![];
    while times.len() < 3 {
        let (few, many) = (time(pieces), time(10 * pieces));
        if many < few * 30 {
            return;
        }
        times.push((few, many));
    }
    panic!("{what}: {pieces}, and ten times as many, took {times:?}");
}

fn call(id: usize, title: &str) -> FrameBody {
    FrameBody::ToolCall {
        tool_call: ToolCall { id: format!("call-{id}"), title: title.into(), ..ToolCall::default() },
    }
}

fn endless() -> TurnPlan {
    let plan = plan(&WARM);
    TurnPlan { limits: TurnLimits { output_bytes: u64::MAX, ..plan.limits }, ..plan }
}

#[test]
fn tool_calls_are_folded_by_their_ids() {
    assert_each_costs_the_same("tool calls", 20_000, |calls| {
        let mut transcript = Transcript::default();
        (0..calls).for_each(|id| transcript.push(&call(id, "new")));
        transcript.push(&call(0, "updated"));
        assert_eq!(transcript.parts().len(), calls);
        assert!(
            matches!(&transcript.parts()[0], Part::ToolCall { tool_call } if tool_call.title == "updated")
        );
    });
}

#[test]
fn a_plan_is_found_behind_tool_calls() {
    let plan = |step: usize| {
        let entry = PlanEntry { content: step.to_string(), status: String::new(), priority: String::new() };
        FrameBody::Plan { entries: vec![entry] }
    };
    assert_each_costs_the_same("plans", 20_000, |plans| {
        let mut transcript = Transcript::default();
        (0..plans).for_each(|id| transcript.push(&call(id, "new")));
        (0..plans).for_each(|step| transcript.push(&plan(step)));
        assert_eq!(transcript.parts().len(), plans + 1);
        let last = transcript.parts().last();
        assert!(
            matches!(last, Some(Part::Plan { entries }) if entries[0].content == (plans - 1).to_string())
        );
    });
}

#[test]
fn a_turn_takes_calls_and_questions_as_they_come() {
    type Piece = fn(usize) -> Event;
    let pieces: [(&str, Piece); 2] = [
        ("calls", |id| tool(&format!("call-{id}"), ToolStatus::Completed)),
        ("questions", |id| asks(&format!("question-{id}"))),
    ];
    for (what, piece) in pieces {
        assert_each_costs_the_same(what, 10_000, |count| {
            let mut turn = Bench::at(endless(), to_running(&endless())).turn;
            for id in 0..count {
                turn.step(piece(id));
            }
            turn.step(Event::StopAccepted(Why::User));
        });
    }
}
