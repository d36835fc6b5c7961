//! What agents were last known to offer.

use dispatch_core::{agent::AgentOffer, task::Name};

use super::{db::Db, text::shown};
use crate::{fault::Fault, rows::OfferRow};

pub(super) async fn offer(db: &Db, agent: &Name) -> Result<AgentOffer, Fault> {
    const OFFER: &str = "SELECT commands, settings FROM agent_offer WHERE agent = $1";
    let rows = db.query(OFFER, &[&shown(agent.as_str())]).await?;
    let Some(row) = rows.first() else { return Ok(AgentOffer::default()) };
    Ok(OfferRow { commands: row.try_get(0)?, settings: row.try_get(1)? }.read())
}
