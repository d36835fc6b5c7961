//! Going on with a task that was cut off (SPEC D6, D7).

use dispatch_core::{
    frame::FrameBody,
    ids::TaskId,
    task::{Task, TaskState},
};

use super::{frames, lookup::number, queue, tasks, writer::Write};
use crate::{
    admission::{Resumption, resumption},
    fault::Fault,
};

/// Makes an interrupted task, or one that a shutdown cancelled, pending again.
pub(super) fn resume(tx: &Write<'_>, id: TaskId) -> Result<Task, Fault> {
    let task = tasks::task(tx, id)?;
    let num = number(tx, "task", &id.to_string())?;
    let (session, open): (i64, [bool; 2]) = tx
        .prepare_cached(
            "SELECT s.num, s.open, c.open FROM task t JOIN session s ON s.num = t.session
               JOIN chat c ON c.num = t.chat WHERE t.num = ?1",
        )?
        .query_row([num], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?])))?;
    if resumption((task.state, task.reason), open)? == Resumption::UnderWay {
        return Ok(task);
    }
    put_in_its_place(tx, num, session)?;
    let source = frames::Source {
        session,
        task: num,
        session_id: task.session,
        about: dispatch_core::frame::About { chat_id: Some(task.chat), message_id: None, task_id: Some(id) },
    };
    let frame = FrameBody::TaskState { state: TaskState::Pending, reason: None };
    frames::append_and_show(tx, &source, None, vec![frame])?;
    tasks::task(tx, id)
}

/// Before all others of its session that wait: one of them that is claimable goes back behind it.
fn put_in_its_place(tx: &Write<'_>, task: i64, session: i64) -> Result<(), Fault> {
    tx.prepare_cached("UPDATE task SET state = 'queued' WHERE session = ?1 AND state = 'ready'")?
        .execute([session])?;
    tx.prepare_cached(
        "UPDATE task SET state = 'queued', resumed = 1, reason = NULL, stopped = NULL, prompt_sent = 0,
           finished_at = NULL, assistant_message = NULL, attended_by = NULL, node = NULL,
           first_seq = (SELECT last_seq + 1 FROM session WHERE num = task.session)
         WHERE num = ?1",
    )?
    .execute([task])?;
    // What earlier attempts cost stays: it was spent.
    tx.prepare_cached("UPDATE task_result SET summary = NULL WHERE task = ?1")?.execute([task])?;
    Ok(queue::promote(tx, session)?)
}
