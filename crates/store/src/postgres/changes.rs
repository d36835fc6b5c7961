//! Pending changes.

use std::collections::HashSet;

use dispatch_core::{
    change::{Change, ChangeDraft, ChangeState},
    ids::ChangeId,
    ports::{ChangeFilter, Decision, NewChange, SettledChange},
    routing::ChangeUse,
    task::TurnKey,
};
use tokio_postgres::Row;

use super::{
    db::{Db, Tx, made_meanwhile},
    tasks::Clauses,
    text::shown,
};
use crate::{
    fault::Fault,
    rows::{ChangeRow, or_left_out, result_tree},
};

const CHANGE: &str = "SELECT h.num, h.id, p.id, s.id, t.id, h.agent, h.state, h.from_failed_turn,
  h.rejected_before, h.superseded_by, h.draft, h.created_at, h.decided_at
FROM change h JOIN project p ON p.num = h.project JOIN session s ON s.num = h.session
  JOIN task t ON t.num = h.task";

fn change_row(row: &Row) -> Result<ChangeRow, Fault> {
    Ok(ChangeRow {
        num: row.try_get(0)?,
        id: row.try_get(1)?,
        project: row.try_get(2)?,
        session: row.try_get(3)?,
        task: row.try_get(4)?,
        agent: row.try_get(5)?,
        state: row.try_get(6)?,
        from_failed_turn: row.try_get(7)?,
        rejected_before: row.try_get(8)?,
        superseded_by: row.try_get(9)?,
        draft: row.try_get(10)?,
        created_at: row.try_get(11)?,
        decided_at: row.try_get(12)?,
    })
}

pub(super) async fn change(db: &Db, id: ChangeId) -> Result<Change, Fault> {
    let rows = db.query(&format!("{CHANGE} WHERE h.id = $1"), &[&id.to_string()]).await?;
    let row = rows.first().ok_or(Fault::NotFound { what: "change", id: id.to_string() })?;
    Ok(change_row(row)?.read()?)
}

pub(super) async fn changes(db: &Db, filter: &ChangeFilter) -> Result<Vec<Change>, Fault> {
    let mut clauses = Clauses::default();
    clauses
        .and("h.project = (SELECT num FROM project WHERE id = $)", filter.project.map(|id| id.to_string()));
    clauses.and("h.task = (SELECT num FROM task WHERE id = $)", filter.task.map(|id| id.to_string()));
    clauses.and("h.state = $", filter.state.map(|state| state.as_str()));
    let rows = clauses.query(db, CHANGE, "h.num", filter.limit).await?;
    let rows: Vec<_> = rows.iter().map(change_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Records a turn's change; returns the pending one that it replaces, if it does (SPEC R1, R2).
pub(super) async fn queue(
    tx: &mut Tx,
    task: i64,
    session: i64,
    new: &SettledChange,
) -> Result<Option<ChangeId>, Fault> {
    let (replaces, rejected_before) = match new.mode {
        ChangeUse::Supersede => (
            retire(tx, session, ChangeState::Superseded, Some(new.id)).await?,
            holds_rejected_edits(tx, session, &new.draft).await?,
        ),
        // A per-task worktree starts from the project's HEAD: it has no earlier edits.
        ChangeUse::Append => (None, false),
    };
    let mode = match new.mode {
        ChangeUse::Supersede => "supersede",
        ChangeUse::Append => "append",
    };
    let (id, agent) = (new.id.to_string(), shown(&new.agent));
    let draft = serde_json::to_string(&new.draft)?;
    tx.query(INSERT, &[&task, &id, &agent, &mode, &new.from_failed_turn, &rejected_before, &draft]).await?;
    Ok(replaces)
}

/// Withdraws the session's pending change: its worktree is back at its base (SPEC R1).
pub(super) async fn withdraw(tx: &mut Tx, session: i64) -> Result<(), Fault> {
    retire(tx, session, ChangeState::Withdrawn, None).await.map(|_| ())
}

/// Takes the session worktree's pending change out of the user's way.
async fn retire(
    tx: &mut Tx,
    session: i64,
    state: ChangeState,
    by: Option<ChangeId>,
) -> Result<Option<ChangeId>, Fault> {
    let by = by.map(|id| id.to_string());
    let retired = tx
        .find(
            "UPDATE change SET state = $2, superseded_by = $3, decided_at = now_ms()
             WHERE session = $1 AND state = 'pending' AND mode = 'supersede' RETURNING id",
            &[&session, &state.as_str(), &by],
        )
        .await?;
    let id = retired.map(|row| row.try_get::<_, String>(0)).transpose()?;
    Ok(id.and_then(|id| id.parse().ok()))
}

/// Whether the session's worktree may still hold edits that were rejected: files of a rejected change that
/// no restore has taken back since (SPEC R3).
async fn holds_rejected_edits(tx: &mut Tx, session: i64, draft: &ChangeDraft) -> Result<bool, Fault> {
    let rejected = tx
        .query(
            "SELECT draft FROM change
             WHERE session = $1 AND state = 'rejected' AND mode = 'supersede' AND NOT restored",
            &[&session],
        )
        .await?;
    let paths: HashSet<&str> = draft.files.iter().map(|file| file.path.as_str()).collect();
    for row in rejected {
        let Ok(earlier) = serde_json::from_str::<ChangeDraft>(row.try_get(0)?) else { continue };
        if earlier.files.iter().any(|file| paths.contains(file.path.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the last applied change of a running turn's session worktree made of it (SPEC R3).
pub(super) async fn compared_with(db: &Db, key: &TurnKey) -> Result<Option<String>, Fault> {
    const APPLIED: &str = "SELECT h.num, h.draft FROM task t JOIN change h ON h.session = t.session
      WHERE t.id = $1 AND t.epoch = $2 AND t.state = 'running'
        AND h.state = 'applied' AND h.mode = 'supersede'
      ORDER BY h.decided_at DESC, h.num DESC LIMIT 1";
    let rows = db.query(APPLIED, &[&key.task.to_string(), &key.epoch.0]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(result_tree(row.try_get(0)?, row.try_get(1)?))
}

const INSERT: &str = "INSERT INTO change (id, project, session, task, agent, mode, state, from_failed_turn,
  rejected_before, draft, created_at)
SELECT $2, project, session, num, $3, $4, 'pending', $5, $6, $7, now_ms() FROM task WHERE num = $1
RETURNING num";

/// Records a change that a user made of a checkpoint: beside the others, whatever its route does.
pub(super) async fn add(db: &Db, new: &NewChange) -> Result<Change, Fault> {
    let id = new.task.to_string();
    let rows = db.query("SELECT num FROM task WHERE id = $1", &[&id]).await?;
    let task: i64 = rows.first().ok_or(Fault::NotFound { what: "task", id })?.try_get(0)?;
    let (change_id, agent) = (new.change.id.to_string(), shown(&new.change.agent));
    let draft = serde_json::to_string(&new.change.draft)?;
    let values: super::db::Values<'_> =
        &[&task, &change_id, &agent, &"append", &new.change.from_failed_turn, &false, &draft];
    match db.query(INSERT, values).await {
        // The same request made again, as its answer was lost.
        Err(fault) if made_meanwhile(&fault) => {}
        made => drop(made?),
    }
    change(db, new.change.id).await
}

/// Records a user's decision.
pub(super) async fn decide(db: &Db, id: ChangeId, decision: Decision) -> Result<Change, Fault> {
    const DECIDE: &str = "UPDATE change SET state = $2, decided_at = now_ms()
      WHERE id = $1 AND state = 'pending' RETURNING num";
    let decided = match decision {
        Decision::Applied => ChangeState::Applied,
        Decision::Rejected => ChangeState::Rejected,
    };
    // Whoever decides first has decided; a damaged change is decided by nobody.
    let before = change(db, id).await?;
    if before.state == ChangeState::Pending {
        db.query(DECIDE, &[&id.to_string(), &decided.as_str()]).await?;
    }
    let found = change(db, id).await?;
    if found.state != decided {
        return Err(Fault::Refused(format!("change {id} is {} already", found.state)));
    }
    Ok(found)
}
