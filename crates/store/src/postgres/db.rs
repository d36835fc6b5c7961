//! Connections, statements and transactions.

use std::{error::Error, pin::Pin, task::Poll, time::Duration};

use deadpool_postgres::{Object, Pool, PoolError};
use postgres_types::ToSql;
use tokio_postgres::{Row, error::SqlState};

use crate::fault::Fault;

/// A statement's values.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement with its values, to be sent together with others.
pub(super) type Step<'a> = (&'a str, Values<'a>);

/// How long a call may take, all waiting included: a lease lasts as long, and whoever waits for a frozen
/// server any longer cannot do anything sensible any more.
pub(super) const CALL: Duration = Duration::from_secs(10);

/// The same for a call that carries a whole turn's text.
pub(super) const LONG_CALL: Duration = Duration::from_secs(30);

/// What every connection is set to.
///
/// Each statement behind a lock is to see what the lock's last holder left, whatever the server's default is.
/// The server ends a statement that outlives the longest call, and what a client left open that it forgot.
/// Every statement of ours is a handful of look-ups in indexes; the planner, who guesses how many rows the
/// steps of a claim bring, and knows a growing queue only as it last looked, is not to read whole tables
/// instead (a claim beside 30,000 tasks: 197 ms). Compiling a statement would take longer than any of ours
/// runs.
pub(super) const SESSION: &str = "SET default_transaction_isolation = 'read committed'; SET statement_timeout = '30s'; SET lock_timeout = '9s';
  SET idle_in_transaction_session_timeout = '30s'; SET jit = off; SET client_min_messages = warning;
  SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Waits for a call, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(Fault::TimedOut(limit)))
}

/// The pool.
#[derive(Clone)]
pub(super) struct Db {
    pool: Pool,
}

impl Db {
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// A transaction; nothing is sent before its first statement.
    pub async fn begin(&self) -> Result<Tx, Fault> {
        let object = self.pool.get().await.map_err(pool_fault)?;
        Ok(Tx { object: Some(object), state: State::Idle, wakes: false })
    }

    /// Runs one statement, which is a transaction of its own.
    pub async fn query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        let mut tx = self.begin().await?;
        // Not begun: the statement commits by itself. Until it is answered the connection is not reused.
        let found = {
            let client = tx.connection()?;
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, values).await
        };
        // A statement that fails, too, is over; but as one prepared before a migration, or on a server that was
        // demoted, it would fail again: the next call gets another connection.
        let found = found?;
        tx.state = State::Idle;
        Ok(found)
    }
}

fn pool_fault(error: PoolError) -> Fault {
    match error {
        PoolError::Backend(error)
        | PoolError::PostCreateHook(deadpool_postgres::HookError::Backend(error)) => error.into(),
        PoolError::Timeout(_) => Fault::TimedOut(CALL),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Fault::Closed,
    }
}

/// Where a transaction stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The connection is in order and in no transaction.
    Idle,
    /// Something was sent, and it is not known to be over.
    Busy,
    /// Within a transaction.
    Begun,
}

/// A transaction and its connection. Dropped without an end, as its caller gave up or failed, it closes the
/// connection, and the server undoes it: what is still on its way there cannot meet the next user.
pub(super) struct Tx {
    object: Option<Object>,
    state: State,
    /// Whether it makes something that a node may want to act on.
    pub wakes: bool,
}

impl Tx {
    /// The connection, marked as in use.
    fn connection(&mut self) -> Result<&Object, Fault> {
        self.state = State::Busy;
        self.object.as_ref().ok_or(Fault::Closed)
    }

    /// Sends all steps at once, in this order, and returns their rows; the first error is returned, and the
    /// server runs nothing behind it.
    pub async fn pipeline<const N: usize>(&mut self, steps: [Step<'_>; N]) -> Result<[Vec<Row>; N], Fault> {
        let begin = if self.state == State::Idle { "BEGIN" } else { "" };
        let rows = self.send(begin, &steps, "").await?;
        self.state = State::Begun;
        Ok(rows)
    }

    /// The same, and commits behind the last step.
    pub async fn pipeline_and_commit<const N: usize>(
        mut self,
        steps: [Step<'_>; N],
    ) -> Result<[Vec<Row>; N], Fault> {
        let begin = if self.state == State::Idle { "BEGIN" } else { "" };
        let rows = self.send(begin, &steps, "COMMIT").await?;
        self.state = State::Idle;
        Ok(rows)
    }

    /// Runs one statement.
    pub async fn query(&mut self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        let [rows] = self.pipeline([(sql, values)]).await?;
        Ok(rows)
    }

    /// Runs one statement that finds one row or none.
    pub async fn find(&mut self, sql: &str, values: Values<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Makes everything last.
    pub async fn commit(mut self) -> Result<(), Fault> {
        if self.state == State::Begun {
            self.connection()?.batch_execute("COMMIT").await?;
            self.state = State::Idle;
        }
        Ok(())
    }

    /// Undoes everything, and keeps the connection.
    pub async fn undo(mut self) -> Result<(), Fault> {
        if self.state != State::Idle {
            self.connection()?.batch_execute("ROLLBACK").await?;
            self.state = State::Idle;
        }
        Ok(())
    }

    async fn send<const N: usize>(
        &mut self,
        begin: &'static str,
        steps: &[Step<'_>; N],
        end: &'static str,
    ) -> Result<[Vec<Row>; N], Fault> {
        let client = self.connection()?;
        let mut statements = Vec::with_capacity(N);
        for (sql, _) in steps {
            statements.push(client.prepare_cached(sql).await?);
        }
        let mut sent: Vec<Answer<'_>> = Vec::with_capacity(N + 2);
        if !begin.is_empty() {
            sent.push(Box::pin(async move { client.batch_execute(begin).await.map(|()| vec![]) }));
        }
        for (statement, (_, values)) in statements.iter().zip(steps) {
            sent.push(Box::pin(client.query(statement, values)));
        }
        if !end.is_empty() {
            sent.push(Box::pin(async move { client.batch_execute(end).await.map(|()| vec![]) }));
        }
        let mut answers = in_order(sent).await?;
        answers.drain(..usize::from(!begin.is_empty()));
        answers.truncate(N);
        <[Vec<Row>; N]>::try_from(answers).map_err(|_| Fault::Closed)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.state != State::Idle
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'a>>;

/// Waits for all answers; what is sent by each one's first poll is sent in this order. The first error of
/// the order is returned once all have been answered: the ones behind it fail because of it.
async fn in_order(mut waiting: Vec<Answer<'_>>) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
    let mut answered: Vec<Option<_>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (answer, answered) in waiting.iter_mut().zip(&mut answered) {
            if answered.is_none()
                && let Poll::Ready(ready) = answer.as_mut().poll(cx)
            {
                *answered = Some(ready);
            }
        }
        if answered.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answered.into_iter().flatten().collect()
}

/// What the server or the network said, in full.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => {
            let detail = answer.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{detail} [{}]", answer.message(), answer.code().code())
        }
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Whether the same call may succeed later: the server cannot be reached, restarts, is full or busy, or
/// chose this transaction to give way; or a newer build changed the schema under a prepared statement ("cached
/// plan must not change result type", which is the one feature of ours that is not supported). A server that is
/// read-only, or refuses us, will go on to.
pub(crate) fn may_pass(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        let from_the_system = error.source().is_some_and(|source| source.is::<std::io::Error>());
        return error.is_closed() || from_the_system;
    };
    // Class 08 is "connection exception".
    code.code().starts_with("08")
        || [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::DISK_FULL,
            SqlState::OUT_OF_MEMORY,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::IDLE_SESSION_TIMEOUT,
            SqlState::FEATURE_NOT_SUPPORTED,
        ]
        .contains(code)
}

/// Whether the statement failed because another transaction made the same thing first.
pub(super) fn made_meanwhile(fault: &Fault) -> bool {
    matches!(fault, Fault::Postgres(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
}
