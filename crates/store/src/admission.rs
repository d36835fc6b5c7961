//! What is let in: which tasks may be made and where, and which may go on.

use dispatch_core::{
    agent::Answer,
    ids::NodeId,
    ports::SessionView,
    task::{NewTask, TaskState, TerminalReason},
};

use crate::{fault::Fault, rows::answer_column};

/// Refuses a task that asks for nothing.
pub(crate) fn check_input(new: &NewTask) -> Result<(), Fault> {
    if new.input.trim().is_empty() {
        return Err(Fault::Refused("the task is empty: say what is to be done".into()));
    }
    Ok(())
}

/// The refusal of a task that only a node may run which does not live.
pub(crate) fn without_its_node(node: NodeId) -> Fault {
    Fault::Refused(format!("node {node}, which alone may run the task, is not running"))
}

/// A session or chat that a task is to be put in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    /// The row of what it is part of: a session's project, a chat's session.
    pub of: i64,
    pub open: bool,
}

/// Refuses a task whose session is another project's or closed (SPEC T3).
pub(crate) fn check_session(new: &NewTask, project: i64, session: Holder) -> Result<(), Fault> {
    if session.of != project {
        return Err(Fault::Refused(format!("the session belongs to another project than {}", new.project)));
    }
    if !session.open {
        return Err(Fault::Refused("the session is closed: make the task in another one".into()));
    }
    Ok(())
}

/// Refuses a task whose chat is another session's or closed (SPEC T3).
pub(crate) fn check_chat(session: i64, chat: Holder) -> Result<(), Fault> {
    if chat.of != session {
        return Err(Fault::Refused("the chat belongs to another session".into()));
    }
    if !chat.open {
        return Err(Fault::Refused("the chat is closed: open another one".into()));
    }
    Ok(())
}

/// What asking to go on with a task comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// It goes on already: asking again changes nothing.
    UnderWay,
    /// It becomes pending again.
    Due,
}

/// Whether a task in `state`, which ended for `reason`, may go on (SPEC D6, D7). `open` says of its session
/// and its chat whether they are.
pub(crate) fn resumption(
    (state, reason): (TaskState, Option<TerminalReason>),
    open: [bool; 2],
) -> Result<Resumption, Fault> {
    match (state, reason) {
        (TaskState::Pending | TaskState::Running, _) => return Ok(Resumption::UnderWay),
        (TaskState::Interrupted, _) | (TaskState::Cancelled, Some(TerminalReason::Shutdown)) => {}
        (state, reason) => {
            let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            return Err(Fault::Refused(format!(
                "the task is {state}{why}: only one that was interrupted, or cancelled by a shutdown, can be resumed"
            )));
        }
    }
    match open {
        [true, true] => Ok(Resumption::Due),
        [false, _] => Err(Fault::Refused("its session is closed: make a new task".into())),
        [true, false] => Err(Fault::Refused("its chat is closed: make a new task".into())),
    }
}

/// Refuses to open a session again whose turn is still being stopped, as its worktree is about to go (SPEC R4).
pub(crate) fn check_reopening(session: &SessionView) -> Result<(), Fault> {
    match session.running {
        Some(task) if !session.open => {
            Err(Fault::Refused(format!("task {task} of the session is still being stopped: try again then")))
        }
        _ => Ok(()),
    }
}

/// How the column says what a user answers a permission request. Only a turn lets one lapse, or cancels it.
pub(crate) fn user_answer(answer: Answer) -> Result<&'static str, Fault> {
    answer_column(answer).ok_or_else(|| Fault::Refused("a permission request is allowed or denied".into()))
}

/// What became of a user's answer: `stands` is the one that counts, of an open request.
pub(crate) fn check_answer(id: &str, given: &str, stands: Option<&str>) -> Result<(), Fault> {
    match stands {
        Some(stands) if stands == given => Ok(()),
        Some(stands) => Err(Fault::Refused(format!("the permission request was answered already: {stands}"))),
        None => Err(Fault::NotFound { what: "open permission request", id: id.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(asked: Result<Resumption, Fault>) -> String {
        asked.unwrap_err().to_string()
    }

    #[test]
    fn only_what_was_cut_off_goes_on() {
        let open = [true, true];
        for cut_off in [
            (TaskState::Interrupted, Some(TerminalReason::NodeLost)),
            (TaskState::Cancelled, Some(TerminalReason::Shutdown)),
        ] {
            assert_eq!(resumption(cut_off, open).unwrap(), Resumption::Due);
        }
        let stopped = (TaskState::Cancelled, Some(TerminalReason::Stopped));
        assert_eq!(
            refusal(resumption(stopped, open)),
            "the task is cancelled (stopped): only one that was interrupted, or cancelled by a shutdown, can be resumed"
        );
        assert!(resumption((TaskState::Completed, None), open).is_err());
    }

    #[test]
    fn what_goes_on_already_is_not_refused_for_a_closed_session() {
        for state in [TaskState::Pending, TaskState::Running] {
            assert_eq!(resumption((state, None), [false, false]).unwrap(), Resumption::UnderWay);
        }
    }

    #[test]
    fn nothing_goes_on_in_a_closed_session_or_chat() {
        let cut_off = (TaskState::Interrupted, None);
        assert!(refusal(resumption(cut_off, [false, true])).starts_with("its session is closed"));
        assert!(refusal(resumption(cut_off, [true, false])).starts_with("its chat is closed"));
    }

    #[test]
    fn a_chat_takes_tasks_of_its_own_session_while_it_is_open() {
        assert!(check_chat(7, Holder { of: 7, open: true }).is_ok());
        assert!(check_chat(7, Holder { of: 8, open: true }).is_err());
        assert!(check_chat(7, Holder { of: 7, open: false }).is_err());
    }
}
