//! Connecting, and being refused.

use dispatch_core::ports::{Class, Records};
use store::{ConnectError, PostgresConfig, PostgresStore};
use test_postgres::Server;

use crate::{PostgresSubject, work};

async fn refused(config: PostgresConfig) -> ConnectError {
    PostgresStore::connect(config).await.expect_err("because it must be refused")
}

/// Several processes find no schema at once: one makes it, all go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_open_an_empty_database_at_once_all_succeed() {
    let subject = PostgresSubject::fresh();
    let opening: Vec<_> = (0..8).map(|_| tokio::spawn(PostgresStore::connect(subject.config()))).collect();
    for opened in opening {
        let store = opened.await.unwrap().unwrap();
        assert!(store.projects().await.unwrap().is_empty());
    }
    let migrations = subject.database().sql("SELECT count(*) FROM refinery_schema_history").unwrap();
    assert_eq!(migrations, "1");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let subject = PostgresSubject::fresh();
    drop(subject.store().await);
    let newer = "INSERT INTO refinery_schema_history SELECT 99, 'future', applied_on, checksum
                 FROM refinery_schema_history";
    subject.database().sql(newer).unwrap();
    let error = refused(subject.config()).await;
    assert!(matches!(error, ConnectError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("use a newer boocoder"), "{error}");
    assert_eq!(error.class(), Class::GiveUp);
}

#[tokio::test]
async fn a_read_only_database_is_refused() {
    let subject = PostgresSubject::fresh();
    drop(subject.store().await);
    let name = subject.database().name();
    let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    subject.database().sql(&set).unwrap();
    let error = refused(subject.config()).await;
    assert!(matches!(error, ConnectError::ReadOnly { .. }), "{error}");
    assert_eq!(error.class(), Class::GiveUp);
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let subject = PostgresSubject::fresh();
    let server = Server::of_this_run().unwrap();
    let name = format!("{}_ascii", subject.database().name());
    server.sql(&format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")).unwrap();
    let url = subject.database().url().replace(subject.database().name(), &name);
    let error = refused(PostgresConfig { url, ..subject.config() }).await;
    server.sql(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    assert!(matches!(error, ConnectError::Encoding { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_and_a_missing_database_will_not() {
    let subject = PostgresSubject::fresh();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://me:secret@127.0.0.1:{port}/x");
    let error = refused(PostgresConfig { url, ..subject.config() }).await;
    assert_eq!(error.class(), Class::Retry, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let url = format!("{}_missing", subject.database().url());
    let error = refused(PostgresConfig { url, ..subject.config() }).await;
    assert_eq!(error.class(), Class::GiveUp, "{error}");
    assert!(error.to_string().contains("does not exist"), "{error}");
}

/// A server that takes the connection and then says nothing hangs nobody.
#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let subject = PostgresSubject::fresh();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://me@127.0.0.1:{}/x", listener.local_addr().unwrap().port());
    let connecting = refused(PostgresConfig { url, ..subject.config() });
    let error = tokio::time::timeout(work::SOON, connecting).await.unwrap();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
    assert_eq!(error.class(), Class::Retry);
}
