//! A call whose answer was lost after the server had done it is made again, and answered as the first one
//! would have been.

use std::fmt::Debug;

use dispatch_core::{
    frame::FrameBody,
    ids::{MessageId, Seq},
    ports::{
        ClaimRequest, Class, Records, RecordsError, StopAnswer, Store, StoreError, TaskFilter, WriteAnswer,
    },
};
use store::PostgresStore;

use crate::{PostgresSubject, proxy::Proxy, work};

/// What the server says at the end of a transaction, of one that is a statement alone, and of one that
/// changes a row.
const COMMITTED: &[u8] = b"COMMIT\0";
const SELECTED: &[u8] = b"SELECT 1\0";
const UPDATED: &[u8] = b"UPDATE 1\0";

fn is_retry(error: &RecordsError) -> bool {
    matches!(error, RecordsError::Store(error) if error.class() == Class::Retry)
}

/// Loses the answer of the first call.
async fn again<T: Debug, F: Future<Output = Result<T, StoreError>>>(
    proxy: &Proxy,
    answer: &'static [u8],
    call: impl Fn() -> F,
) -> T {
    proxy.cut_at(answer);
    let lost = call().await.expect_err("because its answer was lost");
    assert_eq!(lost.class(), Class::Retry, "{lost}");
    assert!(!proxy.will_cut());
    call().await.unwrap()
}

async fn fresh() -> (PostgresSubject, Proxy, PostgresStore, PostgresStore) {
    let subject = PostgresSubject::fresh();
    let (proxy, config) = Proxy::before(&subject).await;
    let store = PostgresStore::connect(config).await.unwrap();
    let straight = PostgresStore::connect(subject.config()).await.unwrap();
    (subject, proxy, store, straight)
}

#[tokio::test]
async fn frames_are_appended_once() {
    let (_subject, proxy, store, straight) = fresh().await;
    let lease = work::join(&store).await;
    let (claim, message) = work::turn(&store, &lease).await;
    let key = claim.key();
    // The first one prepares the statements, so that the next one is a single round trip.
    store.append(&key, 1, Some(message), &[FrameBody::delta("a")]).await.unwrap().unwrap();
    let frames = [FrameBody::delta("b"), FrameBody::delta("c")];
    let appended = again(&proxy, COMMITTED, || store.append(&key, 2, Some(message), &frames)).await.unwrap();
    assert_eq!(appended.first, Seq(2));
    let stored = straight.frames(key.session, Seq(0), 0).await.unwrap();
    assert_eq!(stored.len(), 3);
    assert_eq!(stored[1].ts, appended.ts);
}

#[tokio::test]
async fn an_end_is_written_once() {
    let (_subject, proxy, store, straight) = fresh().await;
    let lease = work::join(&store).await;
    let (claim, message) = work::turn(&store, &lease).await;
    let (key, end) = (claim.key(), work::completed(message));
    let (answer, frames) = again(&proxy, COMMITTED, || store.settle(&key, &end)).await;
    assert_eq!(answer, WriteAnswer::Done);
    assert_eq!(frames, straight.frames(key.session, Seq(0), 0).await.unwrap());
    assert_eq!(frames.len(), 1);
}

#[tokio::test]
async fn a_turn_is_requeued_once() {
    let (_subject, proxy, store, straight) = fresh().await;
    let lease = work::join(&store).await;
    let (claim, _) = work::turn(&store, &lease).await;
    let (key, told) = (claim.key(), [FrameBody::delta("later")]);
    let (answer, frames) = again(&proxy, COMMITTED, || store.requeue(&key, &told)).await;
    assert_eq!(answer, WriteAnswer::Done);
    assert_eq!(frames, straight.frames(key.session, Seq(0), 0).await.unwrap());
}

#[tokio::test]
async fn a_claim_is_handed_out_again() {
    let (_subject, proxy, store, straight) = fresh().await;
    let lease = work::join(&store).await;
    assert!(store.claim(&lease, &ClaimRequest::any(9)).await.unwrap().is_empty());
    let task = work::task(&straight).await;
    let request = ClaimRequest::any(9);
    let claims = again(&proxy, SELECTED, || store.claim(&lease, &request)).await;
    assert_eq!(claims.len(), 1);
    let stored = straight.task(task.id).await.unwrap();
    assert_eq!((stored.epoch, stored.attempt), (Some(claims[0].epoch), 1));
    assert_eq!(claims[0].task, stored);
}

#[tokio::test]
async fn a_prompt_and_a_message_are_recorded_once() {
    let (_subject, proxy, store, straight) = fresh().await;
    let lease = work::join(&store).await;
    work::turn(&store, &lease).await;
    let task = work::task(&straight).await;
    let claim = store.claim(&lease, &ClaimRequest::only(task.id)).await.unwrap().pop().unwrap();
    let (key, id) = (claim.key(), MessageId::from_random(work::random()));
    let begun = again(&proxy, COMMITTED, || store.begin_message(&key, id, None)).await;
    assert_eq!(begun, (WriteAnswer::Done, id));
    assert_eq!(straight.messages(key.chat).await.unwrap().len(), 2, "the user's and one more");
    let sent = again(&proxy, UPDATED, || store.record_prompt_sent(&key)).await;
    assert_eq!(sent, WriteAnswer::Done);
}

#[tokio::test]
async fn a_task_is_made_once_and_a_stop_answered_alike() {
    let (_subject, proxy, store, straight) = fresh().await;
    let new = work::new_task(&store).await;
    proxy.cut_at(COMMITTED);
    let lost = store.create_task(new.clone()).await.unwrap_err();
    assert!(is_retry(&lost) && !proxy.will_cut(), "{lost}");
    let task = store.create_task(new).await.unwrap();
    assert_eq!(straight.tasks(&TaskFilter::default()).await.unwrap(), std::slice::from_ref(&task));
    let stopped = again(&proxy, COMMITTED, || store.request_stop(task.id)).await;
    assert_eq!(stopped, StopAnswer::Cancelled);
}
