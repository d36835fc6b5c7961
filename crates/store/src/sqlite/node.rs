//! Nodes: a lock file that a live process holds, and a row that its tasks name.

use std::{collections::hash_map::Entry, path::Path};

use dispatch_core::{
    ids::{NodeId, TaskId},
    ports::NodeInfo,
};
use rusqlite::{OptionalExtension, Transaction};

use super::{lookup::text, store::Nodes, writer::Write};
use crate::{
    fault::Fault,
    fresh::now,
    node_lock::{self, NodeLock},
    rows::NodeRow,
};

/// Makes this process a node; again, if it is one. Turns of a dead one with the same id stay that one's.
pub(super) fn join(tx: &Write<'_>, nodes: &Nodes, node: &NodeInfo) -> Result<(), Fault> {
    let mut held = nodes.held();
    if let Entry::Vacant(free) = held.entry(node.id) {
        free.insert(NodeLock::acquire(&nodes.folder, node.id)?);
    } else if number(tx, node.id)?.is_some() {
        return Ok(());
    }
    tx.prepare_cached("UPDATE node SET left = 1 WHERE id = ?1")?.execute([node.id.to_string()])?;
    tx.prepare_cached("INSERT INTO node (id, label, joined_at) VALUES (?1, ?2, ?3)")?.execute((
        node.id.to_string(),
        &node.label,
        now().0,
    ))?;
    Ok(())
}

/// The row of a node that has not left.
pub(super) fn number(tx: &Transaction<'_>, node: NodeId) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached("SELECT num FROM node WHERE id = ?1 AND left = 0")?
        .query_row([node.to_string()], |row| row.get(0))
        .optional()
}

/// The node's tasks whose turn a Stop was accepted for.
pub(super) fn stopped(tx: &Transaction<'_>, node: i64) -> Result<Vec<TaskId>, Fault> {
    let mut stopped = tx.prepare_cached(
        "SELECT id FROM task INDEXED BY task_running
         WHERE state = 'running' AND node = ?1 AND stopped IS NOT NULL ORDER BY num",
    )?;
    let ids = stopped.query_map([node], |row| text(row, 0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

/// Whether the node may claim: it has not left, and its process lives.
pub(super) fn is_live(tx: &Transaction<'_>, folder: &Path, node: NodeId) -> Result<bool, Fault> {
    Ok(number(tx, node)?.is_some() && !node_lock::is_free(folder, &node.to_string())?)
}

/// Gives the node up; its turns are any recovery's from now on.
pub(super) fn leave(tx: &Transaction<'_>, node: NodeId) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE node SET left = 1 WHERE id = ?1")?.execute([node.to_string()])?;
    Ok(())
}

/// Nodes that are not known to be dead, oldest first.
pub(super) fn live(tx: &Transaction<'_>, folder: &Path) -> Result<Vec<NodeRow>, Fault> {
    let mut known = tx.prepare_cached(
        "SELECT n.num, n.id, n.label, n.joined_at,
           (SELECT count(*) FROM task t INDEXED BY task_running WHERE t.state = 'running' AND t.node = n.num)
         FROM node n WHERE n.left = 0 ORDER BY n.num",
    )?;
    let rows = known.query_map([], |row| {
        Ok(NodeRow {
            num: row.get(0)?,
            id: row.get(1)?,
            label: row.get(2)?,
            joined_at: row.get(3)?,
            running: row.get(4)?,
        })
    })?;
    let mut live = Vec::new();
    for row in rows {
        let row = row?;
        if !node_lock::is_free(folder, &row.id)? {
            live.push(row);
        }
    }
    Ok(live)
}

/// Nodes whose process is gone; their lock files are removed.
pub(super) fn dead(tx: &Transaction<'_>, folder: &Path) -> Result<Vec<i64>, Fault> {
    let mut known = tx.prepare_cached("SELECT num, id, left FROM node ORDER BY num")?;
    let nodes = known
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, String, bool)>, _>>()?;
    let mut dead = Vec::new();
    for (num, id, left) in &nodes {
        let gone = node_lock::sweep(folder, id)?;
        if *left || gone {
            dead.push(*num);
        }
    }
    node_lock::sweep_strays(folder, |id| nodes.iter().any(|(_, node, _)| node == id))?;
    Ok(dead)
}
