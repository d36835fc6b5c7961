//! The server goes and comes back.

use dispatch_core::{
    frame::FrameBody,
    ids::Seq,
    ports::{Class, Records, Store},
};
use store::{PostgresConfig, PostgresStore};
use test_postgres::{Cluster, Shutdown};

use crate::work;

/// What was answered is there, calls meanwhile may be made again, and a connection that died is replaced.
#[tokio::test]
async fn a_restarted_server_costs_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start().unwrap();
    let database = cluster.server().database().unwrap();
    let config = PostgresConfig::new(database.url(), folder.path());
    let lease = std::time::Duration::from_secs(600);
    let store = PostgresStore::connect(PostgresConfig { lease, ..config }).await.unwrap();
    let lease = work::join(&store).await;
    let (claim, message) = work::turn(&store, &lease).await;
    let mut batch = 0;
    for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Immediate] {
        batch += 1;
        let frames = [FrameBody::delta("before")];
        let before = store.append(&claim.key(), batch, Some(message), &frames).await.unwrap().unwrap();
        cluster.stop(how).unwrap();
        let down = store.renew(&lease).await.unwrap_err();
        assert_eq!(down.class(), Class::Retry, "{down}");
        cluster.boot().unwrap();
        batch += 1;
        let after = work::until("the server is used again", || async {
            match store.append(&claim.key(), batch, Some(message), &frames).await {
                Ok(appended) => Some(appended.expect("because the turn runs")),
                Err(error) => {
                    assert_eq!(error.class(), Class::Retry, "{error}");
                    None
                }
            }
        })
        .await;
        assert_eq!(after.first.0, before.first.0 + 1);
    }
    let frames = store.frames(claim.task.session, Seq(0), 0).await.unwrap();
    assert!(frames.iter().map(|frame| frame.seq.0).eq(1..=batch as i64));
    assert!(store.settle(&claim.key(), &work::completed(message)).await.is_ok());
}
