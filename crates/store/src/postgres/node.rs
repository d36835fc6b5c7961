//! Nodes: a lease by the server's clock, and a lock file that a live process of this machine holds.
//!
//! A node is dead when its lease has run out; one of the same data folder, as soon as its lock is free.

use std::time::Duration;

use dispatch_core::{
    ids::{ChatId, NodeId, TaskId},
    ports::{NodeInfo, NodeView, Orders, PermissionAnswer},
};
use tokio_postgres::Row;

use super::{
    db::{Db, made_meanwhile},
    host::Host,
};
use crate::{
    fault::Fault,
    node_lock::{self, NodeLock},
    rows::{AnswerRow, NodeRow, or_left_out},
};

/// Takes the node's lock file, which may have to be waited for.
pub(super) async fn lock(host: &Host, node: NodeId) -> Result<NodeLock, Fault> {
    let folder = host.nodes.clone();
    let taken = tokio::task::spawn_blocking(move || NodeLock::acquire(&folder, node));
    taken.await.unwrap_or(Err(Fault::Closed))
}

/// Records a node whose lock is held; returns its row. Turns of a dead one with the same id stay that one's.
pub(super) async fn join(db: &Db, host: &Host, node: &NodeInfo, lease: Duration) -> Result<i64, Fault> {
    let (id, label) = (node.id.to_string(), super::text::shown(&node.label));
    let mut tx = db.begin().await?;
    let joined = tx
        .pipeline([
            (
                "UPDATE node SET gone = true WHERE id = $1 AND NOT gone AND (host = $2 OR expires_at <= now())",
                &[&id, &host.id],
            ),
            (
                "INSERT INTO node (id, host, label, joined_at, expires_at)
                 VALUES ($1, $2, $3, now_ms(), clock_timestamp() + make_interval(secs => $4)) RETURNING num",
                &[&id, &host.id, &label, &lease.as_secs_f64()],
            ),
        ])
        .await;
    let [_, rows] = match joined {
        // It lives on another machine, or in another data folder.
        Err(fault) if made_meanwhile(&fault) => return Err(Fault::NodeTaken(node.id)),
        joined => joined?,
    };
    tx.commit().await?;
    Ok(rows.first().ok_or(Fault::Misuse("a node was not made"))?.try_get(0)?)
}

/// Whether the node's lease still holds.
pub(super) async fn holds(db: &Db, num: i64) -> Result<bool, Fault> {
    const HOLDS: &str = "SELECT num FROM node WHERE num = $1 AND NOT gone AND expires_at > now()";
    Ok(!db.query(HOLDS, &[&num]).await?.is_empty())
}

/// Renews a lease; returns what the record has for the node, or `None` when it is lost.
pub(super) async fn renew(db: &Db, num: i64, lease: Duration) -> Result<Option<Orders>, Fault> {
    const RENEW: &str = "WITH me AS (
      UPDATE node SET expires_at = clock_timestamp() + make_interval(secs => $2)
      WHERE num = $1 AND NOT gone AND expires_at > clock_timestamp() RETURNING num),
    mine AS MATERIALIZED (
      SELECT t.num, t.id, t.epoch, t.stopped FROM me JOIN task t ON t.node = me.num AND t.state = 'running')
    SELECT 0 AS kind, 0 AS num, '', ''::bytea, '' FROM me
    UNION ALL SELECT 1, num, id, '', '' FROM mine WHERE stopped IS NOT NULL
    UNION ALL SELECT 2, p.num, mine.id, p.id, p.answer FROM mine
      JOIN permission p ON p.task = mine.num AND p.epoch = mine.epoch WHERE p.answer IS NOT NULL
    UNION ALL SELECT DISTINCT 3, c.num, c.id, ''::bytea, '' FROM me JOIN warm w ON w.node = me.num
      JOIN chat c ON c.id = w.chat JOIN session s ON s.num = c.session WHERE NOT (c.open AND s.open)
    ORDER BY kind, num";
    let rows = db.query(RENEW, &[&num, &lease.as_secs_f64()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut orders = Orders::default();
    for row in &rows {
        let id: &str = row.try_get(2)?;
        match row.try_get(0)? {
            1 => orders.stops.extend(id.parse::<TaskId>()),
            2 => orders.answers.extend(answer_row(row)?),
            3 => orders.closed.extend(id.parse::<ChatId>()),
            _ => {}
        }
    }
    Ok(Some(orders))
}

fn answer_row(row: &Row) -> Result<Option<PermissionAnswer>, Fault> {
    let id = String::from_utf8_lossy(row.try_get(3)?).into_owned();
    let answer = AnswerRow { num: row.try_get(1)?, task: row.try_get(2)?, id, answer: row.try_get(4)? };
    Ok(or_left_out(answer.read()))
}

/// Gives a node up; its turns are any recovery's from now on.
pub(super) async fn leave(db: &Db, num: i64) -> Result<(), Fault> {
    db.query("UPDATE node SET gone = true WHERE num = $1", &[&num]).await?;
    Ok(())
}

/// Nodes that are not known to be dead, oldest first.
pub(super) async fn live(db: &Db, host: &Host) -> Result<Vec<NodeView>, Fault> {
    Ok(live_rows(db, host).await?.into_iter().filter_map(|node| or_left_out(node.read())).collect())
}

/// The same as they are stored.
pub(super) async fn live_rows(db: &Db, host: &Host) -> Result<Vec<NodeRow>, Fault> {
    const LIVE: &str = "SELECT n.num, n.id, n.label, n.joined_at,
      (SELECT count(*) FROM task t WHERE t.state = 'running' AND t.node = n.num), n.host = $1
    FROM node n WHERE NOT n.gone AND n.expires_at > now() ORDER BY n.num";
    let mut live = Vec::new();
    for row in db.query(LIVE, &[&host.id]).await? {
        let node = NodeRow {
            num: row.try_get(0)?,
            id: row.try_get(1)?,
            label: row.try_get(2)?,
            joined_at: row.try_get(3)?,
            running: row.try_get(4)?,
        };
        if !row.try_get::<_, bool>(5)? || !node_lock::is_free(&host.nodes, &node.id)? {
            live.push(node);
        }
    }
    Ok(live)
}

/// Marks and forgets nodes that are gone, and removes the lock files of this folder's. Their tasks are found
/// by having no live node, so nothing hangs on the rows.
pub(super) async fn bury(db: &Db, host: &Host) -> Result<(), Fault> {
    let mut dead: Vec<i64> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for row in db.query("SELECT num, id FROM node WHERE host = $1", &[&host.id]).await? {
        let id: String = row.try_get(1)?;
        if node_lock::sweep(&host.nodes, &id)? {
            dead.push(row.try_get(0)?);
        }
        known.push(id);
    }
    node_lock::sweep_strays(&host.nodes, |id| known.iter().any(|node| node == id))?;
    db.query(
        "UPDATE node SET gone = true WHERE NOT gone AND (num = ANY ($1) OR expires_at <= clock_timestamp())",
        &[&dead],
    )
    .await?;
    db.query("DELETE FROM node WHERE gone", &[]).await?;
    Ok(())
}
