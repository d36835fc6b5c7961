//! Starts that were given up, until nothing is left of them.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::control::Control;

/// How many starts were given up of which something may still run. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct GivenUp(Arc<watch::Sender<usize>>);

impl Default for GivenUp {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl GivenUp {
    /// Looks after a child that is being started: dropping the answer gives the start up, and kills the child.
    pub(crate) fn unless_ready(&self, child: Control) -> Starting {
        Starting { given_up: self.clone(), child: Some(child) }
    }

    /// Returns when nothing is left of any.
    pub(crate) async fn gone(&self) {
        // The sender is ours, so that this does not fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A child that is being started.
#[derive(Debug)]
pub(crate) struct Starting {
    given_up: GivenUp,
    child: Option<Control>,
}

impl Starting {
    /// It is somebody's from now on, or was never there.
    pub(crate) fn over(mut self) {
        self.child = None;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill();
        // Without a runtime there is nobody to wait.
        let Ok(runtime) = Handle::try_current() else { return };
        let count = Arc::clone(&self.given_up.0);
        count.send_modify(|count| *count += 1);
        runtime.spawn(async move {
            child.wait_tree_empty().await;
            count.send_modify(|count| *count -= 1);
        });
    }
}
