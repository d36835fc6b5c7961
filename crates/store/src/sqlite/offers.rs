//! What agents were last known to offer.

use dispatch_core::{agent::AgentOffer, task::Name};
use rusqlite::{OptionalExtension, Transaction};

use super::lookup::text;
use crate::{
    fault::Fault,
    noted::{Noted, no_commands, no_settings},
    rows::OfferRow,
};

/// Keeps what a task's agent told; native inference offers nothing of its own.
pub(super) fn note(tx: &Transaction<'_>, task: i64, noted: &Noted) -> Result<(), Fault> {
    if !noted.has_offer() {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO agent_offer AS o (agent, commands, settings)
         SELECT agent, coalesce(?2, ?4), coalesce(?3, ?5) FROM task WHERE num = ?1 AND agent <> ''
         ON CONFLICT (agent) DO UPDATE SET commands = coalesce(?2, o.commands), settings = coalesce(?3, o.settings)
         WHERE (o.commands, o.settings) <> (coalesce(?2, o.commands), coalesce(?3, o.settings))",
    )?
    .execute((task, &noted.commands, &noted.settings, no_commands()?, no_settings()?))?;
    Ok(())
}

pub(super) fn offer(tx: &Transaction<'_>, agent: &Name) -> Result<AgentOffer, Fault> {
    let found = tx
        .prepare_cached("SELECT commands, settings FROM agent_offer WHERE agent = ?1")?
        .query_row([agent.as_str()], |row| Ok(OfferRow { commands: text(row, 0)?, settings: text(row, 1)? }))
        .optional()?;
    Ok(found.map(OfferRow::read).unwrap_or_default())
}
