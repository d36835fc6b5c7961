//! How a turn ends that its own node cannot end any more (SPEC D6): from its frame log alone.

use std::collections::BTreeSet;

use dispatch_core::{
    agent::{Answer, ToolStatus},
    conversation::{Part, Transcript},
    frame::FrameBody,
    ids::{ChangeId, MessageId},
    ports::Settlement,
    profile::TurnLimits,
    routing::Route,
    task::{Name, TaskState, TerminalReason},
    turn::{Outcome, SettledWith, settlement},
};

/// What is known of a turn or task that somebody else has to end.
pub(crate) struct Orphan<'a> {
    pub agent: &'a str,
    pub model: Option<&'a Name>,
    pub route: Option<Route>,
    /// The assistant message, where it was begun.
    pub message: Option<MessageId>,
    /// What the turn streamed, in order.
    pub frames: &'a [FrameBody],
}

/// Why it has to end.
pub(crate) enum Because {
    /// Its node died after the prompt had gone out.
    NodeLost,
    /// The one process that may run it is gone, and its prompt had not gone out.
    Abandoned,
    /// A Stop was accepted, and nobody else can obey it.
    Stopped,
    /// Its row cannot be understood.
    BadRow(String),
}

/// The settlement that the turn's own node would have written, with what it left open closed.
pub(crate) fn end_of(orphan: &Orphan<'_>, because: Because) -> Settlement {
    let outcome = match because {
        Because::NodeLost => Outcome::interrupted(),
        Because::Abandoned => Outcome {
            reason: TerminalReason::NodeLost,
            words: Some("the process that it was made in ended before the agent was asked".to_owned()),
            ..Outcome::stopped()
        },
        Because::Stopped => Outcome::stopped(),
        Because::BadRow(why) => Outcome {
            state: TaskState::Failed,
            reason: TerminalReason::Internal,
            words: Some(why),
            ..Outcome::stopped()
        },
    };
    let mut transcript = Transcript::default();
    orphan.frames.iter().for_each(|frame| transcript.push(frame));
    let mut closing = close_tools(&transcript);
    closing.iter().for_each(|frame| transcript.push(frame));
    closing.extend(cancel_permissions(orphan.frames));
    let mut settlement = settlement(
        outcome,
        &SettledWith {
            agent: orphan.agent,
            model: orphan.model,
            route: orphan.route,
            limits: &TurnLimits::default(),
            message: orphan.message,
            transcript: &transcript,
            // Nothing is queued from such an end, so the id is never used.
            change: ChangeId::from_random([0; 16]),
        },
    );
    settlement.frames.splice(0..0, closing);
    settlement
}

fn close_tools(transcript: &Transcript) -> Vec<FrameBody> {
    let open = transcript.parts().iter().filter_map(|part| match part {
        Part::ToolCall { tool_call } if !tool_call.status.is_terminal() => Some(tool_call.clone()),
        _ => None,
    });
    open.map(|mut tool_call| {
        tool_call.status = ToolStatus::Cancelled;
        FrameBody::ToolCall { tool_call }
    })
    .collect()
}

fn cancel_permissions(frames: &[FrameBody]) -> Vec<FrameBody> {
    let mut open = BTreeSet::new();
    for frame in frames {
        match frame {
            FrameBody::PermissionRequest { request, .. } => open.insert(&request.id),
            FrameBody::PermissionResolved { id, .. } => open.remove(id),
            _ => continue,
        };
    }
    let resolve = |id: &String| FrameBody::PermissionResolved { id: id.clone(), answer: Answer::Cancelled };
    open.into_iter().map(resolve).collect()
}
