//! Permission requests that wait for a user.

use dispatch_core::{agent::Answer, ids::TaskId, ports::OpenPermission};

use super::db::{Db, Tx};
use crate::{
    admission::{check_answer, user_answer},
    fault::Fault,
    rows::{PermissionRow, or_left_out},
};

/// What waits for an answer, oldest first.
pub(super) async fn open(db: &Db, task: Option<TaskId>) -> Result<Vec<OpenPermission>, Fault> {
    const OPEN: &str = "SELECT p.num, t.id, s.id, t.agent, p.request, p.asked_at, p.lapses_at, p.answer
    FROM permission p JOIN task t ON t.num = p.task JOIN session s ON s.num = t.session
    WHERE t.state = 'running' AND t.epoch = p.epoch AND ($1::text IS NULL OR t.id = $1) ORDER BY p.num";
    let mut open = Vec::new();
    for row in db.query(OPEN, &[&task.map(|task| task.to_string())]).await? {
        let row = PermissionRow {
            num: row.try_get(0)?,
            task: row.try_get(1)?,
            session: row.try_get(2)?,
            agent: row.try_get(3)?,
            request: row.try_get(4)?,
            asked_at: row.try_get(5)?,
            lapses_at: row.try_get(6)?,
            answer: row.try_get(7)?,
        };
        open.extend(or_left_out(row.read()));
    }
    Ok(open)
}

/// Records a user's answer, which the turn is told until it has resolved the request.
pub(super) async fn answer(tx: &mut Tx, task: TaskId, id: &str, answer: Answer) -> Result<(), Fault> {
    const ANSWER: &str = "UPDATE permission p SET answer = coalesce(p.answer, $3) FROM task t
      WHERE t.id = $1 AND t.state = 'running' AND p.task = t.num AND p.epoch = t.epoch
        AND sha256(p.id) = sha256($2) RETURNING p.answer";
    let given = user_answer(answer)?;
    let row = tx.find(ANSWER, &[&task.to_string(), &id.as_bytes(), &given]).await?;
    check_answer(id, given, row.as_ref().map(|row| row.try_get(0)).transpose()?)?;
    tx.wakes = true;
    Ok(())
}
