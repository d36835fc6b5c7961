//! Calls that meet at a lock, and servers that are not set up as ours.

use dispatch_core::{
    ids::MessageId,
    ports::{ClaimRequest, Class, Records, RecordsError, Store, WriteAnswer},
    task::NewTask,
};
use tokio_postgres::NoTls;

use crate::{PostgresSubject, work};

/// A transaction of somebody else that holds rows until it is told to end.
struct Holder(tokio_postgres::Client);

impl Holder {
    async fn of(subject: &PostgresSubject, rows: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(subject.database().url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {rows} FOR UPDATE")).await.unwrap();
        Self(client)
    }

    /// Until so many wait for a lock.
    async fn until_waiting(&self, wanted: i64) {
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock'";
        work::until("they wait for the lock", || async {
            // The view is kept for as long as a transaction goes on.
            self.0.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
            let waiting: i64 = self.0.query_one(WAITING, &[]).await.unwrap().get(0);
            (waiting == wanted).then_some(())
        })
        .await;
    }

    async fn let_go(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

/// An end that waited for a new task of its session sees that one, whatever transactions are by default.
#[tokio::test]
async fn a_session_goes_on_whatever_isolation_is_the_servers_default() {
    let subject = PostgresSubject::fresh();
    let name = subject.database().name().to_owned();
    let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'");
    subject.database().sql(&alter).unwrap();
    let store = subject.store().await;
    let lease = work::join(&store).await;
    let (claim, message) = work::turn(&store, &lease).await;
    let new = NewTask { session: Some(claim.task.session), ..work::new_task(&store).await };
    let holder = Holder::of(&subject, "SELECT num FROM session").await;
    let ending = async {
        holder.until_waiting(1).await;
        let (key, end) = (claim.key(), work::completed(message));
        let ended = store.settle(&key, &end);
        let letting_go = async {
            holder.until_waiting(2).await;
            holder.let_go().await;
        };
        tokio::join!(ended, letting_go).0
    };
    let (made, ended) = tokio::join!(store.create_task(new), ending);
    assert_eq!(ended.unwrap().0, WriteAnswer::Done);
    let next = store.claim(&lease, &ClaimRequest::any(9)).await.unwrap();
    assert_eq!(next.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [made.unwrap().id]);
}

/// One that was given up may still be on its way when it is made again.
#[tokio::test]
async fn a_message_begun_twice_at_once_is_one() {
    let subject = PostgresSubject::fresh();
    let store = subject.store().await;
    let lease = work::join(&store).await;
    let task = work::task(&store).await;
    let claim = store.claim(&lease, &ClaimRequest::only(task.id)).await.unwrap().pop().unwrap();
    let (key, id) = (claim.key(), MessageId::from_random(work::random()));
    let holder = Holder::of(&subject, "SELECT num FROM task").await;
    let letting_go = async {
        holder.until_waiting(2).await;
        holder.let_go().await;
    };
    let (one, two, ()) =
        tokio::join!(store.begin_message(&key, id, None), store.begin_message(&key, id, None), letting_go);
    assert_eq!((one.unwrap(), two.unwrap()), ((WriteAnswer::Done, id), (WriteAnswer::Done, id)));
    assert_eq!(store.messages(task.chat).await.unwrap().len(), 2, "the user's and one more");
}

/// A newer build migrates while this one runs: what it had prepared is prepared again.
#[tokio::test]
async fn statements_are_prepared_again_when_the_schema_changed() {
    let subject = PostgresSubject::fresh();
    let config = store::PostgresConfig { connections: 1, ..subject.config() };
    let store = store::PostgresStore::connect(config).await.unwrap();
    let task = work::task(&store).await;
    assert_eq!(store.projects().await.unwrap().len(), 1);
    subject.database().sql("ALTER TABLE project ALTER COLUMN name TYPE varchar(100)").unwrap();
    let stale = store.projects().await.unwrap_err();
    assert!(matches!(&stale, RecordsError::Store(error) if error.class() == Class::Retry), "{stale}");
    assert_eq!(store.projects().await.unwrap().len(), 1);
    assert_eq!(store.task(task.id).await.unwrap().project, task.project);
}
