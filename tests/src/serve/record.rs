//! What the record must say of a turn that has ended.

use dispatch_core::{
    change::Change,
    conversation::{Message, MessageState, Part, Role},
    ids::TaskId,
    ports::ChangeFilter,
    task::{Task, TaskState, TerminalReason},
};
use serde_json::Value;

use crate::{product::text, queue::Site};

/// The frames of a task, after a check that its session has no gap.
#[must_use]
pub fn turn_frames(site: &Site, task: &Task) -> Vec<Value> {
    let id = Value::from(task.id.to_string());
    site.frames(task.session).into_iter().filter(|frame| frame["task_id"] == id).collect()
}

/// The text that frames add up to.
#[must_use]
pub fn deltas(frames: &[Value]) -> String {
    let deltas = frames.iter().filter(|frame| frame["type"] == "delta");
    deltas.filter_map(|frame| frame["content"].as_str()).collect()
}

/// The changes that were queued by a task.
#[must_use]
pub fn changes(site: &Site, task: TaskId) -> Vec<Change> {
    let filter = ChangeFilter { task: Some(task), ..ChangeFilter::default() };
    site.ask(|records| async move { records.changes(&filter).await })
}

/// The assistant messages of a task, oldest first, after a check that it has exactly one user message.
///
/// # Panics
/// When it has not.
#[must_use]
pub fn answers(site: &Site, task: &Task) -> Vec<Message> {
    let mut messages = site.ask(|records| async move { records.messages(task.chat).await });
    messages.retain(|message| message.task == task.id);
    let (asked, answers): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|message| message.role == Role::User);
    assert_eq!(asked.iter().map(|message| message.id).collect::<Vec<_>>(), [task.user_message], "{task:?}");
    answers
}

/// Checks what holds for every task that ended after one attempt: one end, in order, and nothing after it (SPEC
/// T13); what was streamed is what its message says. Returns its message, where one was begun.
///
/// # Panics
/// When it does not hold.
pub fn assert_settled_once(site: &Site, task: &Task) -> Option<Message> {
    let frames = turn_frames(site, task);
    let kinds: Vec<_> = frames.iter().map(|frame| text(&frame["type"])).collect();
    let count = |kind: &str| kinds.iter().filter(|each| **each == kind).count();
    // Recovery and a shutdown tell of tasks that wait again.
    let is_end = |frame: &&Value| frame["type"] == "task_state" && frame["state"] != "pending";
    assert_eq!(frames.iter().filter(is_end).count(), 1, "{task:?}: {kinds:?}");
    let mut answers = answers(site, task);
    assert!(answers.len() <= 1, "{answers:?}");
    let answer = answers.pop();
    assert_eq!(count("message_complete"), usize::from(answer.is_some()), "{task:?}: {kinds:?}");
    // A task that only waited has no turn, so no agent has a status.
    let mut end = if task.attempt == 0 { vec!["task_state"] } else { vec!["task_state", "agent_status"] };
    if answer.is_some() {
        end.insert(0, "message_complete");
    }
    let changes = changes(site, task.id);
    if !changes.is_empty() {
        end.insert(0, "pending_change");
    }
    assert_eq!(
        (changes.len(), count("pending_change")),
        (changes.len().min(1), changes.len()),
        "{changes:?}"
    );
    assert_eq!(kinds[kinds.len() - end.len()..], end, "{task:?}: {kinds:?}");
    let told = frames.iter().find(is_end).expect("counted");
    assert_eq!(text(&told["state"]), task.state.as_str());
    assert_eq!(text(&told["reason"]), task.reason.expect("a reason").as_str());
    if let Some(answer) = &answer {
        let kept: String = answer.parts.iter().filter_map(part_text).collect();
        assert_eq!(kept, deltas(&frames), "{task:?}");
        assert_eq!(task.assistant_message, Some(answer.id));
    }
    answer
}

fn part_text(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

fn last_status(site: &Site, task: &Task) -> (String, String) {
    let frames = turn_frames(site, task);
    let status = frames.iter().rfind(|frame| frame["type"] == "agent_status").expect("a status");
    (text(&status["status"]).to_owned(), text(&status["reason"]).to_owned())
}

/// Checks everything about a task that was cancelled for this reason (SPEC S3).
///
/// # Panics
/// When something is not as it should be.
pub fn assert_cancelled(site: &Site, id: TaskId, reason: TerminalReason) -> Task {
    let task = site.task(id);
    assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(reason)), "{task:?}");
    let answer = assert_settled_once(site, &task);
    assert!(answer.is_none_or(|answer| answer.state == MessageState::Cancelled), "{task:?}");
    assert_eq!(changes(site, id), []);
    if task.attempt > 0 {
        let why = if reason == TerminalReason::Shutdown { "shutdown" } else { "cancelled" };
        assert_eq!(last_status(site, &task), ("idle".to_owned(), why.to_owned()));
    }
    task
}

/// Checks everything about a task that completed.
///
/// # Panics
/// When something is not as it should be.
pub fn assert_completed(site: &Site, id: TaskId) -> Task {
    let task = site.task(id);
    assert_eq!(
        (task.state, task.reason),
        (TaskState::Completed, Some(TerminalReason::Completed)),
        "{task:?}"
    );
    let answer = assert_settled_once(site, &task).expect("a message");
    assert_eq!(answer.state, MessageState::Complete);
    assert_eq!(last_status(site, &task), ("idle".to_owned(), "turn_complete".to_owned()));
    task
}

/// Checks everything about a task whose dispatcher died after its prompt had gone out (SPEC D6).
///
/// # Panics
/// When something is not as it should be.
pub fn assert_interrupted(site: &Site, id: TaskId) -> Task {
    let task = site.task(id);
    assert_eq!(
        (task.state, task.reason),
        (TaskState::Interrupted, Some(TerminalReason::NodeLost)),
        "{task:?}"
    );
    let answer = assert_settled_once(site, &task).expect("a message");
    assert_eq!(answer.state, MessageState::Failed);
    let errors: Vec<_> = answer.parts.iter().filter_map(error_kind).collect();
    assert_eq!(errors, ["interrupted"]);
    assert_eq!(last_status(site, &task), ("error".to_owned(), "interrupted".to_owned()));
    assert_eq!(changes(site, id), []);
    task
}

fn error_kind(part: &Part) -> Option<&str> {
    match part {
        Part::Error { reason, .. } => Some(reason),
        _ => None,
    }
}
