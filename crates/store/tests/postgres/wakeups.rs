//! `LISTEN` and `NOTIFY` (SPEC D1).

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use dispatch_core::{
    ids::TaskId,
    ports::{Class, Orders, Records, Store, Wakeups},
    task::NewTask,
};
use store::PostgresStore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, NoTls};

use crate::{PostgresSubject, proxy::Proxy, work};

const LISTENING: &str = "SELECT pid FROM pg_stat_activity
  WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";

async fn woken(wakeups: &mut Box<dyn Wakeups>) {
    tokio::time::timeout(work::SOON, wakeups.next()).await.expect("a wake-up");
}

/// A store whose listener is subscribed, and said so.
async fn listening(store: &PostgresStore) -> Box<dyn Wakeups> {
    let mut wakeups = store.wakeups();
    woken(&mut wakeups).await;
    wakeups
}

/// The processes of the server that notify, as a client hears them that knows nothing of the store.
async fn eavesdrop(subject: &PostgresSubject) -> (tokio_postgres::Client, UnboundedReceiver<i32>) {
    let (client, mut connection) = tokio_postgres::connect(subject.database().url(), NoTls).await.unwrap();
    let (heard, hears) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                assert_eq!(notification.channel(), "tasks_new");
                heard.send(notification.process_id()).unwrap();
            }
        }
    });
    client.batch_execute("LISTEN tasks_new").await.unwrap();
    (client, hears)
}

/// A transaction that notifies keeps others from sharing its flush: notifications have a connection of their
/// own, which does nothing else.
#[tokio::test]
async fn a_request_is_recorded_and_notified_by_different_connections() {
    let subject = PostgresSubject::fresh();
    let (_client, mut hears) = eavesdrop(&subject).await;
    let store = subject.store().await;
    work::task(&store).await;
    let pid = tokio::time::timeout(work::SOON, hears.recv()).await.unwrap().unwrap();
    let last = format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}");
    let last = subject.database().sql(&last).unwrap();
    assert!(last.starts_with("NOTIFY tasks_new"), "{last}");
    let committed = "SELECT count(*) FROM pg_stat_activity
      WHERE datname = current_database() AND query = 'COMMIT'";
    assert_ne!(subject.database().sql(committed).unwrap(), "0", "somebody else recorded it");
}

/// However many requests come, notifications come at most every 5 ms, and one after the last request.
#[tokio::test]
async fn a_burst_of_requests_is_few_notifications() {
    const REQUESTS: usize = 100;
    let subject = PostgresSubject::fresh();
    let store = subject.store().await;
    let new = work::new_task(&store).await;
    let (_client, mut hears) = eavesdrop(&subject).await;
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let new = NewTask { id: TaskId::from_random(work::random()), ..new.clone() };
        store.create_task(new).await.unwrap();
    }
    let most = begun.elapsed().as_millis() / 5 + 2;
    let mut notifications: u128 = 0;
    while let Ok(heard) = tokio::time::timeout(Duration::from_millis(500), hears.recv()).await {
        heard.unwrap();
        notifications += 1;
    }
    assert!((1..=most).contains(&notifications), "{notifications} notifications, at most {most}");
}

/// A process that records tasks and ends at once: whoever is woken, and looks, has seen the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_notification_of_a_process_is_not_lost() {
    const ROUNDS: i64 = 10;
    const TASKS: i64 = 6;
    let subject = PostgresSubject::fresh();
    let (client, mut hears) = eavesdrop(&subject).await;
    for round in 1..=ROUNDS {
        let config = subject.config();
        let process = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store = PostgresStore::connect(config).await.unwrap();
                let new = work::new_task(&store).await;
                let requests = (0..TASKS).map(|_| {
                    store.create_task(NewTask { id: TaskId::from_random(work::random()), ..new.clone() })
                });
                let mut requests: Vec<_> = requests.collect();
                // All at once, so that they fall between two notifications.
                poll_fn(|cx| {
                    requests.retain_mut(|request| request.as_mut().poll(cx).is_pending());
                    if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            });
        });
        let seen = async {
            loop {
                hears.recv().await.unwrap();
                let count = client.query_one("SELECT count(*) FROM task", &[]).await.unwrap();
                if count.get::<_, i64>(0) == round * TASKS {
                    return;
                }
            }
        };
        tokio::time::timeout(work::SOON, seen).await.expect("a notification behind the last task");
        tokio::task::spawn_blocking(|| process.join().unwrap()).await.unwrap();
        // What came later than needed is not the next round's.
        while hears.try_recv().is_ok() {}
    }
}

/// The listener's connection is ended by the server: another one takes over, which wakes to catch up.
#[tokio::test]
async fn a_killed_listener_is_replaced() {
    let subject = PostgresSubject::fresh();
    let (store, other) = (subject.store().await, subject.store().await);
    let mut wakeups = listening(&store).await;
    let pid = subject.database().sql(LISTENING).unwrap();
    subject.database().sql(&format!("SELECT pg_terminate_backend({pid})")).unwrap();
    woken(&mut wakeups).await;
    assert_ne!(subject.database().sql(LISTENING).unwrap(), pid);
    work::task(&other).await;
    woken(&mut wakeups).await;
}

/// The listener's connection is silently dead: a ping finds out, and another one takes over within 10 s.
#[tokio::test]
async fn a_frozen_listener_is_replaced_within_ten_seconds() {
    let subject = PostgresSubject::fresh();
    let (proxy, config) = Proxy::before(&subject).await;
    let (store, other) = (PostgresStore::connect(config).await.unwrap(), subject.store().await);
    let mut wakeups = listening(&store).await;
    let before = proxy.accepted();
    proxy.freeze();
    let frozen = Instant::now();
    woken(&mut wakeups).await;
    let took = frozen.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(proxy.accepted() > before);
    work::task(&other).await;
    woken(&mut wakeups).await;
}

/// A frozen connection of the pool costs one call, in time, and is not used again.
#[tokio::test]
async fn a_frozen_connection_is_given_up() {
    let subject = PostgresSubject::fresh();
    let (proxy, config) = Proxy::before(&subject).await;
    let store = PostgresStore::connect(config).await.unwrap();
    let lease = work::join(&store).await;
    proxy.freeze();
    let frozen = Instant::now();
    let error = store.renew(&lease).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error}");
    assert!(frozen.elapsed() < Duration::from_secs(30), "{:?}", frozen.elapsed());
    assert_eq!(store.renew(&lease).await.unwrap(), Some(Orders::default()));
}
