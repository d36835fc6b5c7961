//! What nodes keep between turns, and what they are to let go of (SPEC R4, W1).

use dispatch_core::{
    ids::{ChatId, NodeId, Timestamp},
    ports::{ChangeVerdict, Orders, WarmAgent},
    routing::Route,
    task::Name,
};

use super::{
    kit::{Ears, Kit, stopped},
    subject::StoreSubject,
};

pub(super) fn kept(chat: Option<ChatId>, pid: u32) -> WarmAgent {
    WarmAgent {
        agent: Name::new("goose").expect("because it is a name"),
        route: if chat.is_some() { Route::WarmAcp } else { Route::OpencodeServer },
        chat,
        pid,
        turns: 1,
        started_at: Timestamp(5),
        idle_since: Timestamp(7),
    }
}

async fn record(kit: &Kit, warm: &[WarmAgent]) {
    kit.view.store.record_warm(&kit.lease, warm).await.unwrap();
}

async fn listed(kit: &Kit) -> Vec<(NodeId, u32)> {
    let warm = kit.view.records.warm().await.unwrap();
    warm.into_iter().map(|warm| (warm.node, warm.agent.pid)).collect()
}

async fn orders(kit: &Kit) -> Orders {
    kit.view.store.renew(&kit.lease).await.unwrap().expect("because the node lives")
}

/// What a node keeps is listed everywhere, as it last said, until it leaves or is dead.
pub async fn what_a_node_keeps_is_listed(subject: &dyn StoreSubject) {
    let (kit, dying, leaving) = (Kit::new(subject).await, Kit::new(subject).await, Kit::new(subject).await);
    assert_eq!(listed(&kit).await, []);
    let chat = kit.task().await.chat;
    record(&dying, &[kept(Some(chat), 1), kept(None, 2)]).await;
    record(&leaving, &[kept(None, 3)]).await;
    let (dead, left) = (dying.lease.node, leaving.lease.node);
    assert_eq!(listed(&kit).await, [(dead, 1), (dead, 2), (left, 3)]);
    let first = kit.view.records.warm().await.unwrap().remove(0);
    assert_eq!((first.label.as_str(), first.agent), ("test", kept(Some(chat), 1)));

    for _ in 0..2 {
        record(&dying, &[kept(Some(chat), 4)]).await;
        assert_eq!(listed(&kit).await, [(dead, 4), (left, 3)]);
    }
    leaving.view.store.leave(&leaving.lease).await.unwrap();
    record(&leaving, &[kept(None, 5)]).await;
    assert_eq!(listed(&kit).await, [(dead, 4)]);
    subject.die(dying.view).await;
    assert_eq!(listed(&kit).await, []);
    kit.view.store.recover().await.unwrap();
    record(&kit, &[kept(None, 6)]).await;
    assert_eq!(listed(&kit).await, [(kit.lease.node, 6)]);
    record(&kit, &[]).await;
    assert_eq!(listed(&kit).await, []);
}

/// A node is told which chats are closed that it keeps an agent for, until it says that it keeps none.
pub async fn closed_chats_are_told_to_who_keeps_an_agent(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let (of_session, alone, running) = (kit.task().await, kit.task().await, kit.running().await);
    let all = [of_session.chat, alone.chat, running.key.chat].map(|chat| kept(Some(chat), 1));
    record(&kit, &[&all[..], &[kept(None, 2), kept(Some(of_session.chat), 3)]].concat()).await;
    record(&other, &[kept(None, 4)]).await;
    assert_eq!(orders(&kit).await, Orders::default());

    kit.view.records.close_session(of_session.session).await.unwrap();
    subject.close_chat(alone.chat).await;
    let closed = Orders { closed: vec![of_session.chat, alone.chat], ..Orders::default() };
    for _ in 0..2 {
        assert_eq!(orders(&kit).await, closed);
    }
    assert_eq!(orders(&other).await, Orders::default());
    kit.view.records.close_session(running.key.session).await.unwrap();
    let both = Orders { closed: vec![of_session.chat, alone.chat, running.key.chat], ..stopped(&running) };
    assert_eq!(orders(&kit).await, both);
    record(&kit, &all[2..]).await;
    assert_eq!(orders(&kit).await, Orders { closed: vec![running.key.chat], ..stopped(&running) });
    record(&kit, &[]).await;
    assert_eq!(orders(&kit).await, stopped(&running));
}

/// A session's close wakes every process, as any may keep an agent for it, though nothing of it waits or runs.
pub async fn a_close_wakes_who_may_keep_an_agent(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = kit.running().await;
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let mut ears = Ears::new([&kit, &other]);
    other.view.records.close_session(turn.key.session).await.unwrap();
    ears.hear("a close").await;
}
