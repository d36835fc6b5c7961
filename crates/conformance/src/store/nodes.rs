//! Nodes and their leases (SPEC D5, D8).

use dispatch_core::ports::{ClaimRequest, Lease, NodeInfo, Orders, StoreError};

use super::{
    kit::{Kit, a_node, stopped},
    subject::StoreSubject,
};

fn info(lease: &Lease) -> NodeInfo {
    NodeInfo { id: lease.node, label: "again".into() }
}

/// SPEC D8: of two processes with the same identity, the second is refused; the first may ask again.
pub async fn a_running_node_is_refused_a_second_time(subject: &dyn StoreSubject) {
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    for _ in 0..2 {
        let refused = two.view.store.join(&info(&one.lease)).await.unwrap_err();
        assert!(matches!(refused, StoreError::NodeTaken { node } if node == one.lease.node), "{refused}");
        assert_eq!(one.view.store.join(&info(&one.lease)).await.unwrap(), one.lease);
    }
    one.task().await;
    assert_eq!(one.claim(1).await.len(), 1, "the first one is still the node");
}

/// A lease that was given back claims nothing and cannot be renewed.
pub async fn a_lease_given_back_is_lost_for_good(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    kit.task().await;
    assert_eq!(kit.view.store.renew(&kit.lease).await.unwrap(), Some(Orders::default()));
    kit.view.store.leave(&kit.lease).await.unwrap();
    assert!(kit.claim(1).await.is_empty());
    assert_eq!(kit.view.store.renew(&kit.lease).await.unwrap(), None);
    kit.view.store.recover().await.unwrap();
    assert_eq!(kit.view.store.renew(&kit.lease).await.unwrap(), None);
    kit.view.store.leave(&kit.lease).await.unwrap();
}

/// The same identity may come back after it left or died; its earlier turns are not its own any more.
pub async fn a_node_may_come_back(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let node = a_node();
    let dying = subject.open().await;
    let lease = dying.store.join(&node).await.unwrap();
    assert_eq!(dying.store.claim(&lease, &ClaimRequest::any(1)).await.unwrap().len(), 1);
    subject.die(dying).await;
    kit.view.store.join(&node).await.unwrap();
    let recovered = kit.view.store.recover().await.unwrap();
    assert_eq!(recovered.iter().map(|turn| turn.task).collect::<Vec<_>>(), [task.id]);
    kit.view.store.leave(&lease).await.unwrap();
    kit.view.store.join(&node).await.unwrap();
}

/// Renewing tells which turns a Stop was accepted for, until they end; only this node's own.
pub async fn renewing_tells_what_was_stopped(subject: &dyn StoreSubject) {
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    let (mine, other) = (one.running().await, two.running().await);
    for turn in [&mine, &other] {
        two.view.store.request_stop(turn.key.task).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(one.view.store.renew(&one.lease).await.unwrap(), Some(stopped(&mine)));
    }
    one.view.store.settle(&mine.key, &super::kit::cancelled(&mine)).await.unwrap();
    assert_eq!(one.view.store.renew(&one.lease).await.unwrap(), Some(Orders::default()));
}

/// Nodes that live, oldest first, with what they run; not those that left or died.
pub async fn live_nodes_are_listed(subject: &dyn StoreSubject) {
    let (one, dying, leaving) = (Kit::new(subject).await, Kit::new(subject).await, Kit::new(subject).await);
    one.running().await;
    one.prompted().await;
    dying.running().await;
    let list = async || {
        let nodes = one.view.records.nodes().await.unwrap();
        nodes.into_iter().map(|node| (node.id, node.running)).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [(one.lease.node, 2), (dying.lease.node, 1), (leaving.lease.node, 0)]);
    let first = one.view.records.nodes().await.unwrap().remove(0);
    assert!(first.label == "test" && first.joined_at.0 > 0);
    leaving.view.store.leave(&leaving.lease).await.unwrap();
    assert_eq!(list().await, [(one.lease.node, 2), (dying.lease.node, 1)]);
    subject.die(dying.view).await;
    assert_eq!(list().await, [(one.lease.node, 2)]);
}
