//! What a turn's end writes: the message from the transcript, the task, the change and the last frames.

use super::outcome::{Outcome, OutcomeChange};
use crate::{
    conversation::{Cut, Part, Transcript},
    frame::FrameBody,
    ids::{ChangeId, MessageId},
    ports::{ChangeVerdict, SettledChange, SettledMessage, Settlement},
    profile::TurnLimits,
    routing::{ChangeUse, Route},
    task::{Name, TaskState, TerminalReason, first_chars},
};

/// What a settlement is made of, beside the outcome.
#[derive(Debug, Clone)]
pub struct SettledWith<'a> {
    /// The agent; `native` for native inference.
    pub agent: &'a str,
    /// The model that was asked for.
    pub model: Option<&'a Name>,
    /// The route; `None` when the turn ended before one was chosen.
    pub route: Option<Route>,
    /// The limits of what the rows hold.
    pub limits: &'a TurnLimits,
    /// The assistant message; `None` when the turn ended before it was begun (SPEC T5).
    pub message: Option<MessageId>,
    /// Everything that was streamed.
    pub transcript: &'a Transcript,
    /// The id of the change, should one be queued.
    pub change: ChangeId,
}

/// Puts together what a turn's end writes (SPEC T10 to T13).
#[must_use]
pub fn settlement(outcome: Outcome, with: &SettledWith<'_>) -> Settlement {
    let words = failure_words(&outcome, with);
    let mut usage = with.transcript.usage().clone();
    usage.update(outcome.usage.clone());
    let (status, reason) = outcome.agent_status();
    let message_state = outcome.message_state();

    let mut frames = Vec::with_capacity(4);
    let failed = outcome.state == TaskState::Failed;
    let mode = with.route.map_or(ChangeUse::Append, |route| route.row().change);
    let change = match outcome.change {
        OutcomeChange::Leave => ChangeVerdict::Leave,
        OutcomeChange::BackAtBase if mode == ChangeUse::Supersede => ChangeVerdict::Withdraw,
        OutcomeChange::BackAtBase => ChangeVerdict::Leave,
        OutcomeChange::Changed(draft) => {
            let (additions, deletions) = draft.totals();
            frames.push(FrameBody::PendingChange {
                id: with.change,
                agent: with.agent.to_owned(),
                replaces: None,
                files: draft.files.len() as u64,
                additions,
                deletions,
            });
            ChangeVerdict::Queue(Box::new(SettledChange {
                id: with.change,
                agent: with.agent.to_owned(),
                mode,
                from_failed_turn: failed,
                draft: *draft,
            }))
        }
    };
    let message = with.message.map(|id| {
        frames.push(FrameBody::MessageComplete {
            status: message_state,
            model: with.model.cloned(),
            usage: usage.clone(),
            error: words.clone(),
        });
        let error = words.as_ref().map(|text| Part::Error {
            reason: error_kind(outcome.state, outcome.reason).to_owned(),
            text: text.clone(),
        });
        let content = content(with, outcome.stand_in.as_deref());
        let reasoning = Cut::join(with.transcript.reasoning(), with.limits.reasoning_chars);
        SettledMessage {
            id,
            state: message_state,
            content: content.text,
            content_truncated: content.truncated,
            reasoning: reasoning.text,
            reasoning_truncated: reasoning.truncated,
            parts: with.transcript.parts().iter().cloned().chain(error).collect(),
            usage: usage.clone(),
        }
    });
    frames.push(FrameBody::TaskState { state: outcome.state, reason: Some(outcome.reason) });
    frames.push(FrameBody::AgentStatus { agent: with.agent.to_owned(), status, reason });

    let summary =
        words.map(|words| first_chars(&words, with.limits.summary_chars).to_owned()).or_else(|| {
            let text = Cut::join(with.transcript.text(), with.limits.summary_chars).text;
            (!text.is_empty()).then_some(text)
        });
    Settlement {
        state: outcome.state,
        reason: outcome.reason,
        summary,
        cost: usage.cost,
        message,
        change,
        frames,
    }
}

/// The words of a failure: the agent's own, else `<route> turn failed` (SPEC T12); none for other ends.
fn failure_words(outcome: &Outcome, with: &SettledWith<'_>) -> Option<String> {
    match &outcome.words {
        Some(words) if !words.trim().is_empty() => Some(words.clone()),
        Some(_) => Some(format!("{} turn failed", with.route.map_or("the", Route::as_str))),
        None => None,
    }
}

/// What an error part is called: by its reason, but an interrupted turn's is called that (SPEC D6).
fn error_kind(state: TaskState, reason: TerminalReason) -> &'static str {
    match state {
        TaskState::Interrupted => TaskState::Interrupted.as_str(),
        _ => reason.as_str(),
    }
}

/// The message row's text: what was streamed, else what stands in for it (SPEC T11).
fn content(with: &SettledWith<'_>, stand_in: Option<&str>) -> Cut {
    let limit = with.limits.content_chars;
    let text = Cut::join(with.transcript.text(), limit);
    if !text.text.is_empty() {
        return text;
    }
    Cut::join(with.transcript.placeholder().or(stand_in).into_iter(), limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{EndedHow, Failure};
    use crate::task::TerminalReason;

    fn settle(how: EndedHow, stand_in: Option<&str>, frames: &[FrameBody]) -> Settlement {
        let mut transcript = Transcript::default();
        frames.iter().for_each(|frame| transcript.push(frame));
        let outcome = Outcome { stand_in: stand_in.map(Into::into), ..Outcome::of_agent(how) };
        settlement(
            outcome,
            &SettledWith {
                agent: "goose",
                model: None,
                route: Some(Route::OneShotAcp),
                limits: &TurnLimits { summary_chars: 3, ..TurnLimits::default() },
                message: Some(MessageId::from_random([1; 16])),
                transcript: &transcript,
                change: ChangeId::from_random([2; 16]),
            },
        )
    }

    #[test]
    fn a_stand_in_is_shown_but_is_no_summary() {
        let placeholder = FrameBody::Delta { content: "printed".into(), placeholder: true };
        for (frames, stand_in) in [(vec![placeholder], None), (vec![], Some("printed"))] {
            let settled = settle(EndedHow::Completed, stand_in, &frames);
            assert_eq!(settled.message.unwrap().content, "printed");
            assert_eq!(settled.summary, None);
            assert_eq!(settled.state, TaskState::Completed);
        }
    }

    #[test]
    fn a_failure_without_words_gets_some_and_keeps_what_was_streamed() {
        let failure = Failure::new(TerminalReason::AgentFailed, " ");
        let settled = settle(EndedHow::Failed(failure), None, &[FrameBody::delta("so far")]);
        assert_eq!(settled.summary.as_deref(), Some("one"), "cut at the summary's limit");
        let message = settled.message.unwrap();
        assert_eq!(message.content, "so far");
        assert_eq!(
            message.parts.last(),
            Some(&Part::Error { reason: "agent_failed".into(), text: "one_shot_acp turn failed".into() })
        );
        let names: Vec<_> = settled.frames.iter().map(FrameBody::name).collect();
        assert_eq!(names, ["message_complete", "task_state", "agent_status"]);
    }
}
