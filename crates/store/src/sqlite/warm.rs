//! What nodes keep between turns.

use dispatch_core::{
    ids::{ChatId, NodeId},
    ports::{WarmAgent, WarmView},
};
use rusqlite::Transaction;

use super::{lookup::text, node};
use crate::{
    fault::Fault,
    rows::{NodeRow, WarmRow, or_left_out},
};

/// Replaces what a node keeps; what one that has left says counts no more.
pub(super) fn record(tx: &Transaction<'_>, id: NodeId, warm: &[WarmAgent]) -> Result<(), Fault> {
    let Some(node) = node::number(tx, id)? else { return Ok(()) };
    tx.prepare_cached("DELETE FROM warm WHERE node = ?1")?.execute([node])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO warm (node, place, chat, agent) VALUES (?1, ?2, ?3, ?4)")?;
    for (place, agent) in (0_i64..).zip(warm) {
        let chat = agent.chat.map(|chat| chat.to_string());
        insert.execute((node, place, chat, serde_json::to_string(agent)?))?;
    }
    Ok(())
}

/// What these nodes keep.
pub(super) fn of_nodes(tx: &Transaction<'_>, nodes: Vec<NodeRow>) -> Result<Vec<WarmView>, Fault> {
    let mut found = tx.prepare_cached("SELECT agent FROM warm WHERE node = ?1 ORDER BY place")?;
    let mut warm = Vec::new();
    for node in nodes {
        let agents = found.query_map([node.num], |row| text(row, 0))?.collect::<Result<Vec<_>, _>>()?;
        warm.extend(agents.into_iter().filter_map(|agent| {
            let (id, label) = (node.id.clone(), node.label.clone());
            or_left_out(WarmRow { num: node.num, node: id, label, agent }.read())
        }));
    }
    Ok(warm)
}

/// The closed chats that a node keeps an agent for.
pub(super) fn closed_chats(tx: &Transaction<'_>, node: i64) -> Result<Vec<ChatId>, Fault> {
    let mut closed = tx.prepare_cached(
        "SELECT DISTINCT c.id FROM warm w JOIN chat c ON c.id = w.chat JOIN session s ON s.num = c.session
         WHERE w.node = ?1 AND NOT (c.open AND s.open) ORDER BY c.num",
    )?;
    let chats = closed.query_map([node], |row| text(row, 0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(chats.iter().filter_map(|id| id.parse().ok()).collect())
}
