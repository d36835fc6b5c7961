//! Leases by the server's clock, and machines that see nothing of each other but the database (SPEC D5).

use std::time::{Duration, Instant};

use dispatch_core::{
    frame::FrameBody,
    ports::{ClaimRequest, Class, NodeInfo, Orders, Recovered, RecoveredAs, Store, StoreError, WriteAnswer},
};
use store::{PostgresConfig, PostgresStore};

use crate::{PostgresSubject, work};

/// Long enough to be renewed on a slow machine, short enough to wait for.
const SHORT: Duration = Duration::from_secs(3);

async fn elsewhere(subject: &PostgresSubject, lease: Duration) -> (tempfile::TempDir, PostgresStore) {
    let folder = tempfile::tempdir().unwrap();
    let config = PostgresConfig { data_dir: folder.path().into(), lease, ..subject.config() };
    (folder, PostgresStore::connect(config).await.unwrap())
}

/// A node that does not renew has lost its turns to whoever comes first, though its process lives.
#[tokio::test]
async fn a_lease_that_ran_out_is_lost_for_good() {
    let subject = PostgresSubject::fresh();
    let (_folder, slow) = elsewhere(&subject, SHORT).await;
    let lease = work::join(&slow).await;
    assert_eq!(lease.ttl, Some(SHORT));
    let (claim, message) = work::turn(&slow, &lease).await;
    let other = subject.store().await;
    let recovered = work::until("the lease runs out", || async {
        Some(other.recover().await.unwrap()).filter(|recovered| !recovered.is_empty())
    })
    .await;
    assert_eq!(recovered, [Recovered { task: claim.task.id, became: RecoveredAs::Pending }]);
    assert_eq!(slow.renew(&lease).await.unwrap(), None);
    assert!(slow.claim(&lease, &ClaimRequest::any(9)).await.unwrap().is_empty());
    assert_eq!(slow.record_prompt_sent(&claim.key()).await.unwrap(), WriteAnswer::Fenced);
    let late = slow.append(&claim.key(), 1, Some(message), &[FrameBody::delta("late")]).await.unwrap();
    assert_eq!(late, None);
}

/// Another machine cannot see the lock, and leaves a node alone for as long as it renews.
#[tokio::test]
async fn a_node_of_another_machine_lives_by_its_lease() {
    // Where the machine stood still, the lease may have run out.
    while !is_left_alone_while_it_renews().await {}
}

/// Whether it was renewed in time to be asked.
async fn is_left_alone_while_it_renews() -> bool {
    let subject = PostgresSubject::fresh();
    let (_folder, node) = elsewhere(&subject, SHORT).await;
    let other = subject.store().await;
    let lease = work::join(&node).await;
    let (claim, _) = work::turn(&node, &lease).await;
    let (begun, mut renewed) = (Instant::now(), Instant::now());
    while begun.elapsed() < SHORT * 2 {
        let now = Instant::now();
        let orders = node.renew(&lease).await.unwrap();
        let recovered = other.recover().await.unwrap();
        if renewed.elapsed() > SHORT / 2 {
            return false;
        }
        assert_eq!((orders, recovered), (Some(Orders::default()), vec![]));
        renewed = now;
        tokio::time::sleep(SHORT / 20).await;
    }
    drop(node);
    let recovered = work::until("it is dead", || async {
        Some(other.recover().await.unwrap()).filter(|recovered| !recovered.is_empty())
    })
    .await;
    assert_eq!(recovered[0].task, claim.task.id);
    true
}

#[tokio::test]
async fn a_node_id_is_taken_across_machines() {
    let subject = PostgresSubject::fresh();
    let (_folder, node) = elsewhere(&subject, Duration::from_secs(600)).await;
    let lease = work::join(&node).await;
    let other = subject.store().await;
    let again = NodeInfo { id: lease.node, label: "again".into() };
    let refused = other.join(&again).await.unwrap_err();
    assert!(matches!(refused, StoreError::NodeTaken { node } if node == lease.node), "{refused}");
    assert_eq!(refused.class(), Class::GiveUp);
    node.leave(&lease).await.unwrap();
    other.join(&again).await.unwrap();
}
