//! A panic of an adapter ends a call, not a turn: a turn that never ended would keep its session for ever.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use dispatch_core::{frame::Frame, ports::Publisher};

/// A call panicked; its words are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it panicked: see the log")]
pub(crate) struct Panicked;

/// Makes a call; a panic is its failure. What the call had borrowed is not looked at again by us, and an
/// adapter's own state is its own matter.
pub(crate) async fn contained<T>(call: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut call = pin!(call);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// A publisher whose panics are logged and change nothing, as publishing never fails (SPEC 6).
pub(crate) struct ContainedPublisher(pub(crate) Arc<dyn Publisher>);

impl Publisher for ContainedPublisher {
    fn publish(&self, frames: &Arc<[Frame]>) {
        if catch_unwind(AssertUnwindSafe(|| self.0.publish(frames))).is_err() {
            tracing::error!("the publisher panicked; its watchers must read the record again");
        }
    }
}
