//! Pending changes.

use std::collections::HashSet;

use dispatch_core::{
    change::{Change, ChangeDraft, ChangeState},
    ids::{ChangeId, Timestamp},
    ports::{ChangeFilter, Decision, NewChange, SettledChange},
    routing::ChangeUse,
    task::TurnKey,
};
use rusqlite::{OptionalExtension, Row, Transaction, types::Value};

use super::lookup::{limit, maybe_text, number, text};
use crate::{
    fault::Fault,
    fresh::now,
    rows::{ChangeRow, or_left_out, result_tree},
};

const CHANGE: &str = "SELECT h.num, h.id, p.id, s.id, t.id, h.agent, h.state, h.from_failed_turn,
  h.rejected_before, h.superseded_by, h.draft, h.created_at, h.decided_at
FROM change h JOIN project p ON p.num = h.project JOIN session s ON s.num = h.session
  JOIN task t ON t.num = h.task";

fn change_row(row: &Row<'_>) -> rusqlite::Result<ChangeRow> {
    Ok(ChangeRow {
        num: row.get(0)?,
        id: text(row, 1)?,
        project: text(row, 2)?,
        session: text(row, 3)?,
        task: text(row, 4)?,
        agent: text(row, 5)?,
        state: text(row, 6)?,
        from_failed_turn: row.get(7)?,
        rejected_before: row.get(8)?,
        superseded_by: maybe_text(row, 9)?,
        draft: text(row, 10)?,
        created_at: row.get(11)?,
        decided_at: row.get(12)?,
    })
}

pub(super) fn change(tx: &Transaction<'_>, id: ChangeId) -> Result<Change, Fault> {
    let found = tx
        .prepare_cached(&format!("{CHANGE} WHERE h.id = ?1"))?
        .query_row([id.to_string()], change_row)
        .optional()?;
    Ok(found.ok_or(Fault::NotFound { what: "change", id: id.to_string() })?.read()?)
}

pub(super) fn changes(tx: &Transaction<'_>, filter: &ChangeFilter) -> Result<Vec<Change>, Fault> {
    let mut sql = format!("{CHANGE} WHERE true");
    let mut values: Vec<Value> = Vec::new();
    let mut and = |clause: &str, value: Option<String>| {
        if let Some(value) = value {
            sql.push_str(clause);
            values.push(value.into());
        }
    };
    and(" AND h.project = (SELECT num FROM project WHERE id = ?)", filter.project.map(|id| id.to_string()));
    and(" AND h.task = (SELECT num FROM task WHERE id = ?)", filter.task.map(|id| id.to_string()));
    and(" AND h.state = ?", filter.state.map(|state| state.to_string()));
    sql.push_str(" ORDER BY h.num DESC LIMIT ?");
    values.push(limit(filter.limit));
    let mut found = tx.prepare_cached(&sql)?;
    let rows = found.query_map(rusqlite::params_from_iter(values), change_row)?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Records a turn's change; returns the pending one that it replaces, if it does (SPEC R1, R2).
pub(super) fn queue(
    tx: &Transaction<'_>,
    task: i64,
    session: i64,
    new: &SettledChange,
) -> Result<Option<ChangeId>, Fault> {
    let replaces = match new.mode {
        ChangeUse::Supersede => retire(tx, session, ChangeState::Superseded, Some(new.id))?,
        ChangeUse::Append => None,
    };
    let rejected_before = match new.mode {
        ChangeUse::Supersede => holds_rejected_edits(tx, session, &new.draft)?,
        // A per-task worktree starts from the project's HEAD: it has no earlier edits.
        ChangeUse::Append => false,
    };
    insert(tx, task, new, new.mode, rejected_before)?;
    Ok(replaces)
}

/// Withdraws the session's pending change: its worktree is back at its base (SPEC R1).
pub(super) fn withdraw(tx: &Transaction<'_>, session: i64) -> Result<(), Fault> {
    retire(tx, session, ChangeState::Withdrawn, None).map(|_| ())
}

/// Takes the session worktree's pending change out of the user's way.
fn retire(
    tx: &Transaction<'_>,
    session: i64,
    state: ChangeState,
    by: Option<ChangeId>,
) -> Result<Option<ChangeId>, Fault> {
    let retired: Option<String> = tx
        .prepare_cached(
            "UPDATE change SET state = ?2, superseded_by = ?3, decided_at = ?4
             WHERE session = ?1 AND state = 'pending' AND mode = 'supersede' RETURNING id",
        )?
        .query_row((session, state.as_str(), by.map(|id| id.to_string()), now().0), |row| row.get(0))
        .optional()?;
    Ok(retired.and_then(|id| id.parse().ok()))
}

/// Whether the session's worktree may still hold edits that were rejected: files of a rejected change that
/// no restore has taken back since (SPEC R3).
fn holds_rejected_edits(tx: &Transaction<'_>, session: i64, draft: &ChangeDraft) -> Result<bool, Fault> {
    let mut rejected = tx.prepare_cached(
        "SELECT num, draft FROM change
         WHERE session = ?1 AND state = 'rejected' AND mode = 'supersede' AND NOT restored",
    )?;
    let paths: HashSet<&str> = draft.files.iter().map(|file| file.path.as_str()).collect();
    let rows = rejected.query_map([session], |row| text(row, 1))?;
    for earlier in rows {
        let Ok(earlier) = serde_json::from_str::<ChangeDraft>(&earlier?) else { continue };
        if earlier.files.iter().any(|file| paths.contains(file.path.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the last applied change of a running turn's session worktree made of it (SPEC R3).
pub(super) fn compared_with(tx: &Transaction<'_>, key: &TurnKey) -> Result<Option<String>, Fault> {
    let applied = tx
        .prepare_cached(
            "SELECT h.num, h.draft FROM task t JOIN change h ON h.session = t.session
             WHERE t.id = ?1 AND t.epoch = ?2 AND t.state = 'running'
               AND h.state = 'applied' AND h.mode = 'supersede'
             ORDER BY h.decided_at DESC, h.num DESC LIMIT 1",
        )?
        .query_row((key.task.to_string(), key.epoch.0), |row| Ok((row.get(0)?, text(row, 1)?)))
        .optional()?;
    Ok(applied.and_then(|(num, draft)| result_tree(num, &draft)))
}

fn insert(
    tx: &Transaction<'_>,
    task: i64,
    new: &SettledChange,
    mode: ChangeUse,
    rejected_before: bool,
) -> Result<(), Fault> {
    let mode = match mode {
        ChangeUse::Supersede => "supersede",
        ChangeUse::Append => "append",
    };
    tx.prepare_cached(
        "INSERT INTO change (id, project, session, task, agent, mode, state, from_failed_turn,
           rejected_before, draft, created_at)
         SELECT ?2, project, session, num, ?3, ?4, 'pending', ?5, ?6, ?7, ?8 FROM task WHERE num = ?1",
    )?
    .execute((
        task,
        new.id.to_string(),
        &new.agent,
        mode,
        new.from_failed_turn,
        rejected_before,
        serde_json::to_string(&new.draft)?,
        now().0,
    ))?;
    Ok(())
}

/// Records a change that a user made of a checkpoint: beside the others, whatever its route does. Once for
/// an id.
pub(super) fn add(tx: &Transaction<'_>, new: &NewChange) -> Result<Change, Fault> {
    let task = number(tx, "task", &new.task.to_string())?;
    let id = new.change.id;
    if !tx.prepare_cached("SELECT 1 FROM change WHERE id = ?1")?.exists([id.to_string()])? {
        insert(tx, task, &new.change, ChangeUse::Append, false)?;
    }
    change(tx, id)
}

/// Records a user's decision.
pub(super) fn decide(tx: &Transaction<'_>, id: ChangeId, decision: Decision) -> Result<Change, Fault> {
    let decided = match decision {
        Decision::Applied => ChangeState::Applied,
        Decision::Rejected => ChangeState::Rejected,
    };
    let found = change(tx, id)?;
    if found.state == decided {
        return Ok(found);
    }
    if found.state != ChangeState::Pending {
        return Err(Fault::Refused(format!("change {id} is {} already", found.state)));
    }
    let at = now();
    tx.prepare_cached("UPDATE change SET state = ?2, decided_at = ?3 WHERE id = ?1")?.execute((
        id.to_string(),
        decided.as_str(),
        at.0,
    ))?;
    Ok(Change { state: decided, decided_at: Some(Timestamp(at.0)), ..found })
}
