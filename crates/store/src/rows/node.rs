//! Nodes and what they keep.

use dispatch_core::{
    ids::Timestamp,
    ports::{NodeView, WarmAgent, WarmView},
};

use super::at::At;
use crate::fault::BadRow;

/// A node and how much it does.
pub(crate) struct NodeRow {
    pub num: i64,
    pub id: String,
    pub label: String,
    pub running: i64,
    pub joined_at: i64,
}

impl NodeRow {
    pub fn read(self) -> Result<NodeView, BadRow> {
        let at = At { table: "node", row: self.num };
        Ok(NodeView {
            id: at.word("id", &self.id)?,
            label: self.label,
            running: self.running.unsigned_abs(),
            joined_at: Timestamp(self.joined_at),
        })
    }
}

/// An agent that a node keeps.
pub(crate) struct WarmRow {
    pub num: i64,
    pub node: String,
    pub label: String,
    pub agent: String,
}

impl WarmRow {
    pub fn read(self) -> Result<WarmView, BadRow> {
        let at = At { table: "warm", row: self.num };
        let agent: WarmAgent = at.json("agent", &self.agent)?;
        Ok(WarmView { node: at.word("node", &self.node)?, label: self.label, agent })
    }
}
