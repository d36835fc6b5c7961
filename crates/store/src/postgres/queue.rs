//! The queue: only the head of a session is ever claimable.

use dispatch_core::{
    frame::{About, FrameBody},
    ids::TaskId,
    ports::WaitsFor,
    task::{Task, TaskState},
};

use super::{
    db::{Db, Tx},
    frames::{self, Answered, Source},
    locks::LOCK_SESSION_OF_TASK,
    tasks,
};
use crate::{
    admission::{Resumption, resumption},
    fault::{BadRow, Fault},
    rows::Stage,
};

/// A statement of its own, so that it sees what the last holder of the session left.
pub(super) const PROMOTE: &str = "UPDATE task SET state = 'ready'
WHERE num = (SELECT num FROM task WHERE session = $1 AND state = 'queued' ORDER BY ord LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM task WHERE session = $1 AND state IN ('ready', 'running'))
RETURNING num";

/// Makes the session's oldest waiting task claimable, unless one of its tasks is claimable or running.
pub(super) async fn promote(tx: &mut Tx, session: i64) -> Result<(), Fault> {
    if !tx.query(PROMOTE, &[&session]).await?.is_empty() {
        tx.wakes = true;
    }
    Ok(())
}

/// What a task waits for.
pub(super) async fn waits_for(db: &Db, id: TaskId) -> Result<WaitsFor, Fault> {
    const WAITS: &str = "SELECT t.num, t.state, t.attended_by IS NOT NULL,
      (SELECT h.id FROM task h WHERE h.session = t.session AND h.state IN ('ready', 'running')),
      (SELECT count(*) FROM task q WHERE q.session = t.session AND q.state = 'queued' AND q.ord < t.ord)
    FROM task t WHERE t.id = $1";
    let rows = db.query(WAITS, &[&id.to_string()]).await?;
    let row = rows.first().ok_or(Fault::NotFound { what: "task", id: id.to_string() })?;
    let num = row.try_get(0)?;
    let bad = |column, why: String| BadRow { table: "task", row: num, column, why };
    let stage: Stage = row
        .try_get::<_, &str>(1)?
        .parse()
        .map_err(|why: dispatch_core::task::UnknownWord| bad("state", why.to_string()))?;
    let head: Option<&str> = row.try_get(3)?;
    let ahead: i64 = row.try_get(4)?;
    Ok(match (stage, head) {
        (Stage::Running | Stage::Ended(_), _) => WaitsFor::Nothing,
        (Stage::Queued, Some(head)) => WaitsFor::Behind {
            head: head.parse().map_err(|why: dispatch_core::ids::BadId| bad("id", why.to_string()))?,
            ahead: ahead.unsigned_abs() + 1,
        },
        (Stage::Queued | Stage::Ready, _) if row.try_get(2)? => WaitsFor::ItsProcess,
        (Stage::Queued | Stage::Ready, _) => WaitsFor::Slot,
    })
}

/// Makes a task that was broken off pending again, the oldest of its session (SPEC D6, D7).
pub(super) async fn resume(tx: &mut Tx, id: TaskId) -> Result<Task, Fault> {
    let task_id = id.to_string();
    let [_, rows] = tx
        .pipeline([
            (LOCK_SESSION_OF_TASK, &[&task_id]),
            (
                "SELECT t.num, t.session, t.ord, s.open, c.open FROM task t
                   JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat
                 WHERE t.id = $1 FOR NO KEY UPDATE OF t",
                &[&task_id],
            ),
        ])
        .await?;
    let row = rows.first().ok_or(Fault::NotFound { what: "task", id: task_id })?;
    let (num, session, ord): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let task = tasks::task_in(tx, id).await?;
    let open = [row.try_get(3)?, row.try_get(4)?];
    if resumption((task.state, task.reason), open)? == Resumption::UnderWay {
        return Ok(task);
    }
    tx.pipeline([
        // Should the head be claimed this moment, this waits for it, and leaves it alone.
        ("UPDATE task SET state = 'queued' WHERE session = $1 AND state = 'ready' AND ord > $2", &[&session, &ord]),
        (
            "UPDATE task SET state = 'queued', resumed = true, stopped = NULL, prompt_sent = false, reason = NULL,
               finished_at = NULL, assistant_message = NULL, attended_by = NULL, node = NULL,
               first_seq = (SELECT s.last_seq + 1 FROM session s WHERE s.num = task.session)
             WHERE num = $1",
            &[&num],
        ),
        // What earlier attempts cost stays: it was spent.
        ("UPDATE task_result SET summary = NULL WHERE task = $1", &[&num]),
    ])
    .await?;
    let about = About { chat_id: Some(task.chat), message_id: None, task_id: Some(id) };
    let source = Source { session, task: num, session_id: task.session, about };
    let frame = FrameBody::TaskState { state: TaskState::Pending, reason: None };
    frames::append_last(tx, &source, None, vec![frame], Answered::Not).await?;
    promote(tx, session).await?;
    tasks::task_in(tx, id).await
}
