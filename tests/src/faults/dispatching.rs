//! A dispatcher that runs beside a test.

use std::time::Duration;

use dispatch_core::{ids::NodeId, ports::StoreError};
use dispatch_driver::{Dispatcher, DispatcherConfig, Node, Shutdown, Summary};
use tokio::{sync::mpsc, task::JoinHandle};

use super::plan::PATIENCE;

/// A dispatcher that runs beside a test.
pub struct Dispatching {
    /// The node that it began with.
    pub node: NodeId,
    shutdown: mpsc::Sender<Shutdown>,
    run: JoinHandle<Result<Summary, StoreError>>,
}

impl Dispatching {
    pub(super) fn begin(node: Node, config: DispatcherConfig) -> Self {
        let (shutdown, told) = mpsc::channel(4);
        Self { node: node.id(), shutdown, run: tokio::spawn(Dispatcher::run(node, config, told)) }
    }

    /// Tells it to end.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn tell(&self, how: Shutdown) {
        self.shutdown.send(how).await.expect("it runs");
    }

    /// Waits until it has heard everything that it was told.
    ///
    /// # Panics
    /// When it does not listen.
    pub async fn heard(&self) {
        let heard = async {
            while self.shutdown.capacity() < self.shutdown.max_capacity() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("it listens");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end, or badly.
    pub async fn ended(self) -> Summary {
        let ended = tokio::time::timeout(PATIENCE + Duration::from_secs(10), self.run).await;
        ended.expect("it ends").expect("no panic").expect("a summary")
    }

    /// Says these words, no more will follow, and waits for its end.
    ///
    /// # Panics
    /// When there are more of them than it can be told at once, or as in [`Self::ended`].
    pub async fn end_with<const WORDS: usize>(self, words: [Shutdown; WORDS]) -> Summary {
        let Self { node, shutdown, run } = self;
        words.into_iter().for_each(|word| shutdown.try_send(word).expect("room for it"));
        drop(shutdown);
        Self { node, shutdown: mpsc::channel(1).0, run }.ended().await
    }

    /// Tells it to end and waits for that.
    pub async fn end(self, how: Shutdown) -> Summary {
        self.tell(how).await;
        self.ended().await
    }
}
