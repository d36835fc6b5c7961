//! Claims: one statement for all that a request leaves room for. What it costs depends neither on how many
//! tasks wait behind others nor on how many wait for an agent without room.

use std::{collections::HashMap, sync::LazyLock};

use dispatch_core::{
    ids::{NodeId, TaskId},
    ports::ClaimRequest,
    task::{Claim, Name},
};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    db::Db,
    recover,
    tasks::{COLUMNS, DETAILS, PLACE, task_row},
    text::shown,
};
use crate::{
    fault::{BadRow, Fault},
    rows::path_of,
};

/// How many more tasks of an agent are looked at than there is room for: as many may be taken by others
/// between the look and the lock.
const SPARE: i64 = 64;

/// How often it is looked again when others were faster.
const TRIES: usize = 3;

/// The claimed tasks with what a claim needs beside; one row without a task when there are none.
static SHOW: LazyLock<String> = LazyLock::new(|| {
    let place = PLACE.replace("JOIN", "LEFT JOIN");
    format!(
        "SELECT {COLUMNS}, p.path, t.resumed, t.ord, k.candidates, k.taken
FROM (SELECT (SELECT count(*) FROM oldest) AS candidates, (SELECT count(*) FROM held) AS taken) k
  LEFT JOIN (SELECT * FROM unheard UNION ALL SELECT * FROM held) t ON true
  {place} {DETAILS}"
    )
});

const HOLD: &str = "held AS (
  UPDATE task t SET state = 'running', node = me.num, epoch = nextval('epoch_seq'), attempt = t.attempt + 1,
    prompt_sent = false, started_at = now_ms(),
    first_seq = (SELECT s.last_seq + 1 FROM session s WHERE s.num = t.session),
    answered = NULL, answered_first = NULL, answered_last = NULL
  FROM locked l, me WHERE t.num = l.num RETURNING t.*)";

/// Values: node, free, running ids, limited agents, their limits, spare.
static ANY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH RECURSIVE me AS MATERIALIZED (
  SELECT num FROM node WHERE num = $1 AND NOT gone AND expires_at > now()),
-- Its claims whose answer was lost: no prompt went out.
unheard AS MATERIALIZED (
  SELECT t.* FROM task t JOIN me ON t.node = me.num
  WHERE t.state = 'running' AND NOT t.prompt_sent AND t.attended_by IS NULL AND t.id <> ALL ($3::text[])
  ORDER BY t.ord LIMIT $2),
-- The agents of claimable tasks. Each step skips to the next one in the index.
waiting(agent) AS (
  SELECT (SELECT t.agent FROM task t WHERE t.state = 'ready' AND t.attended_by IS NULL
          ORDER BY t.agent, t.ord LIMIT 1) FROM me
  UNION ALL
  SELECT (SELECT t.agent FROM task t WHERE t.state = 'ready' AND t.attended_by IS NULL AND t.agent > w.agent
          ORDER BY t.agent, t.ord LIMIT 1)
  FROM waiting w WHERE w.agent IS NOT NULL),
room AS (
  SELECT w.agent, l.most - (SELECT count(*) FROM unheard u WHERE u.agent = w.agent) AS most
  FROM waiting w LEFT JOIN unnest($4::text[], $5::bigint[]) AS l(agent, most) ON l.agent = w.agent
  WHERE w.agent IS NOT NULL),
oldest AS MATERIALIZED (
  SELECT o.num, o.ord FROM room r CROSS JOIN LATERAL (
    SELECT t.num, t.ord FROM task t WHERE t.state = 'ready' AND t.attended_by IS NULL AND t.agent = r.agent
    ORDER BY t.agent, t.ord LIMIT greatest(0, coalesce(r.most, $2 + $6))) o),
locked AS MATERIALIZED (
  SELECT t.num FROM oldest o JOIN task t ON t.num = o.num
  WHERE t.state = 'ready' AND t.attended_by IS NULL ORDER BY o.ord
  LIMIT greatest(0, $2 - (SELECT count(*) FROM unheard)) FOR NO KEY UPDATE OF t SKIP LOCKED),
{HOLD}
{}",
        *SHOW
    )
});

/// Values: node, its id, the task's id, running ids, agents without room. The row is waited for.
static ONE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH me AS MATERIALIZED (SELECT num FROM node WHERE num = $1 AND NOT gone AND expires_at > now()),
unheard AS MATERIALIZED (
  SELECT t.* FROM task t JOIN me ON t.node = me.num
  WHERE t.state = 'running' AND NOT t.prompt_sent AND t.id = $3 AND t.id <> ALL ($4::text[])),
oldest AS MATERIALIZED (SELECT num FROM task WHERE false),
locked AS MATERIALIZED (
  SELECT t.num FROM task t JOIN me ON true
  WHERE t.id = $3 AND t.state = 'ready' AND coalesce(t.attended_by, $2) = $2
    AND t.agent <> ALL ($5::text[]) FOR NO KEY UPDATE OF t),
{HOLD}
{}",
        *SHOW
    )
});

/// How the column says who is to do a task.
pub(super) fn agent_column(agent: Option<&Name>) -> String {
    agent.map_or_else(String::new, |agent| shown(agent.as_str()).into_owned())
}

/// How much more a node can run.
struct Room {
    free: usize,
    limits: HashMap<String, usize>,
}

impl Room {
    fn new(request: &ClaimRequest) -> Self {
        let mut limits = HashMap::new();
        for (agent, limit) in &request.limits {
            let left = limits.entry(agent_column(agent.as_ref())).or_insert(usize::MAX);
            *left = (*left).min(*limit);
        }
        Self { free: request.free, limits }
    }

    fn take(&mut self, agent: &str) {
        self.free = self.free.saturating_sub(1);
        if let Some(left) = self.limits.get_mut(agent) {
            *left = left.saturating_sub(1);
        }
    }
}

/// What one statement brought.
struct Batch {
    claims: Vec<(i64, Claim)>,
    bad: Vec<BadRow>,
    /// Whether others hold some of what would have been taken.
    others_were_faster: bool,
}

/// Claims what the request leaves room for: first what the node was given and never heard of.
pub(super) async fn claim(
    store: &PostgresStore,
    (node, id): (i64, NodeId),
    request: &ClaimRequest,
) -> Result<Vec<Claim>, Fault> {
    let mut room = Room::new(request);
    let mut running: Vec<String> = request.running.iter().map(TaskId::to_string).collect();
    let mut claims: Vec<(i64, Claim)> = Vec::new();
    let mut tries = TRIES;
    while room.free > 0 && tries > 0 {
        let batch = match request.only {
            Some(only) => one(&store.db, (node, id), only, &room, &running).await?,
            None => any(&store.db, node, &room, &running).await?,
        };
        tries = match (batch.others_were_faster, batch.bad.is_empty()) {
            // A session's next task may be claimable in the place of one that was set aside.
            (_, false) => tries,
            (true, true) => tries - 1,
            (false, true) => 0,
        };
        for (_, claim) in &batch.claims {
            room.take(&agent_column(claim.task.options.agent.as_ref()));
            running.push(claim.task.id.to_string());
        }
        claims.extend(batch.claims);
        for bad in &batch.bad {
            recover::set_aside(store, bad).await?;
        }
    }
    claims.sort_by_key(|(ord, _)| *ord);
    Ok(claims.into_iter().map(|(_, claim)| claim).collect())
}

async fn any(db: &Db, node: i64, room: &Room, running: &[String]) -> Result<Batch, Fault> {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
    let free = count(room.free).min(i64::MAX / 4);
    let (agents, limits): (Vec<&str>, Vec<i64>) =
        room.limits.iter().map(|(agent, limit)| (agent.as_str(), count(*limit).min(free))).unzip();
    let rows = db.query(&ANY, &[&node, &free, &running, &agents, &limits, &SPARE]).await?;
    read(&rows, free)
}

async fn one(
    db: &Db,
    (node, id): (i64, NodeId),
    only: TaskId,
    room: &Room,
    running: &[String],
) -> Result<Batch, Fault> {
    let full: Vec<&str> =
        room.limits.iter().filter(|(_, left)| **left == 0).map(|(agent, _)| agent.as_str()).collect();
    read(&db.query(&ONE, &[&node, &id.to_string(), &only.to_string(), &running, &full]).await?, 1)
}

fn read(rows: &[Row], free: i64) -> Result<Batch, Fault> {
    let mut batch = Batch { claims: vec![], bad: vec![], others_were_faster: false };
    for row in rows {
        let (candidates, taken): (i64, i64) = (row.try_get(27)?, row.try_get(28)?);
        batch.others_were_faster = taken < candidates.min(free);
        if row.try_get::<_, Option<i64>>(0)?.is_none() {
            break;
        }
        match task_row(row)?.read() {
            Ok(task) => {
                let epoch = task.epoch.ok_or(Fault::Misuse("a claim without an epoch"))?;
                let project_path = row.try_get::<_, Option<Vec<u8>>>(24)?.map(path_of);
                let claim = Claim { task, epoch, project_path, resumed: row.try_get(25)? };
                batch.claims.push((row.try_get(26)?, claim));
            }
            Err(bad) => batch.bad.push(bad),
        }
    }
    Ok(batch)
}
