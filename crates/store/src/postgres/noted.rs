//! What the record keeps of a turn's frames beside their log.

use tokio_postgres::Row;

use super::db::{Step, Tx};
use crate::{
    fault::Fault,
    noted::{Noted, no_commands, no_settings},
};

/// The statements run behind the one that appends, and count only if this batch is the turn's last and the turn
/// still runs: one that is only answered again, or was fenced off, changes nothing.
macro_rules! of_turn {
    ($statement:literal) => {
        concat!(
            "WITH turn AS MATERIALIZED (
               SELECT t.num, t.agent, t.epoch, s.append_ts FROM task t JOIN session s ON s.num = t.session
               WHERE t.id = $1 AND t.epoch = $2 AND t.state = 'running'
                 AND s.append_epoch = $2 AND s.append_batch = $3)
             ",
            $statement
        )
    };
}

const RESOLVE: &str = of_turn!(
    "DELETE FROM permission p USING turn, unnest($4::bytea[]) AS r(id)
     WHERE p.task = turn.num AND p.epoch = turn.epoch AND sha256(p.id) = sha256(r.id)"
);

/// Of two with one id, the first stays: a user may be about to answer it.
const ASK: &str = of_turn!(
    "INSERT INTO permission (task, epoch, id, request, asked_at, lapses_at)
     SELECT turn.num, turn.epoch, a.id, a.request, turn.append_ts, turn.append_ts + a.waits_ms
     FROM turn, unnest($4::bytea[], $5::text[], $6::bigint[]) WITH ORDINALITY AS a(id, request, waits_ms, place)
     ORDER BY a.place
     ON CONFLICT DO NOTHING"
);

/// Native inference offers nothing of its own. The row, which turns of other sessions share, is only touched to
/// be changed.
const OFFER: &str = of_turn!(
    "INSERT INTO agent_offer AS o (agent, commands, settings)
     SELECT turn.agent, coalesce($4, $6), coalesce($5, $7) FROM turn
     WHERE turn.agent <> '' AND ($4::text IS NOT NULL OR $5::text IS NOT NULL) AND NOT EXISTS (
       SELECT FROM agent_offer k WHERE k.agent = turn.agent
         AND k.commands = coalesce($4, k.commands) AND k.settings = coalesce($5, k.settings))
     ON CONFLICT (agent) DO UPDATE SET commands = coalesce($4, o.commands), settings = coalesce($5, o.settings)"
);

/// Closes whatever a task's turn still asks, as the turn is over.
pub(super) const CLOSE_ALL: &str = "DELETE FROM permission WHERE task = $1";

/// Appends a batch (its task, epoch and number) and keeps what it comes to, in one round trip; returns what the
/// appending step answered.
pub(super) async fn append(
    tx: Tx,
    (task, epoch, batch): (&str, i64, i64),
    [lock, append]: [Step<'_>; 2],
    noted: &Noted,
) -> Result<Vec<Row>, Fault> {
    let resolved: Vec<&[u8]> = noted.resolved.iter().map(String::as_bytes).collect();
    let ids: Vec<&[u8]> = noted.asked.iter().map(|asked| asked.id.as_bytes()).collect();
    let requests: Vec<&str> = noted.asked.iter().map(|asked| asked.request.as_str()).collect();
    let waits: Vec<i64> = noted.asked.iter().map(|asked| asked.waits_ms).collect();
    let (commands, settings) = (no_commands()?, no_settings()?);
    let [_, rows, ..] = tx
        .pipeline_and_commit([
            lock,
            append,
            (RESOLVE, &[&task, &epoch, &batch, &resolved]),
            (ASK, &[&task, &epoch, &batch, &ids, &requests, &waits]),
            (OFFER, &[&task, &epoch, &batch, &noted.commands, &noted.settings, &commands, &settings]),
        ])
        .await?;
    Ok(rows)
}
