//! What nodes keep between turns.

use dispatch_core::ports::{WarmAgent, WarmView};

use super::{db::Db, host::Host, node};
use crate::{
    fault::Fault,
    rows::{WarmRow, or_left_out},
};

/// Replaces what a node keeps; what one without a lease says counts no more.
pub(super) async fn record(db: &Db, node: i64, warm: &[WarmAgent]) -> Result<(), Fault> {
    const HOLD: &str = "SELECT num FROM node WHERE num = $1 FOR NO KEY UPDATE";
    const FORGET: &str = "DELETE FROM warm WHERE node = $1";
    const KEEP: &str = "INSERT INTO warm (node, place, chat, agent)
      SELECT n.num, w.place, w.chat, w.agent
      FROM node n, unnest($2::text[], $3::text[]) WITH ORDINALITY AS w(chat, agent, place)
      WHERE n.num = $1 AND NOT n.gone AND n.expires_at > clock_timestamp()";
    let chats: Vec<_> = warm.iter().map(|agent| agent.chat.map(|chat| chat.to_string())).collect();
    let agents = warm.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let tx = db.begin().await?;
    tx.pipeline_and_commit([(HOLD, &[&node]), (FORGET, &[&node]), (KEEP, &[&node, &chats, &agents])]).await?;
    Ok(())
}

/// What the nodes that are not known to be dead keep.
pub(super) async fn all(db: &Db, host: &Host) -> Result<Vec<WarmView>, Fault> {
    const KEPT: &str = "SELECT agent FROM warm WHERE node = $1 ORDER BY place";
    let mut warm = Vec::new();
    for node in node::live_rows(db, host).await? {
        for row in db.query(KEPT, &[&node.num]).await? {
            let (num, id, label) = (node.num, node.id.clone(), node.label.clone());
            warm.extend(or_left_out(WarmRow { num, node: id, label, agent: row.try_get(0)? }.read()));
        }
    }
    Ok(warm)
}
