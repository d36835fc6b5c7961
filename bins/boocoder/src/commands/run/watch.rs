//! The turn as it goes by. Shown in a task of its own, so that a reader that stalls holds up nothing but
//! the showing.

use std::time::Duration;

use dispatch_core::frame::{Frame, FrameBody};
use dispatch_driver::{Delivery, Subscription};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::show::view::View;

/// How long to wait after the record could not be read.
const PAUSE: Duration = Duration::from_millis(200);

/// A turn that is being shown on stdout.
pub struct Showing {
    task: JoinHandle<()>,
    turn_ended: watch::Sender<bool>,
    questions: mpsc::UnboundedReceiver<FrameBody>,
}

impl Showing {
    /// Begins to show a session's frames.
    pub fn begin(frames: Subscription, view: View) -> Self {
        let (turn_ended, ended) = watch::channel(false);
        let (asked, questions) = mpsc::unbounded_channel();
        Self { task: tokio::spawn(show(frames, view, ended, asked)), turn_ended, questions }
    }

    /// The next permission request or its answer, once it was shown. Cancel-safe.
    pub async fn question(&mut self) -> FrameBody {
        match self.questions.recv().await {
            Some(body) => body,
            None => std::future::pending().await,
        }
    }

    /// Shows what is left after the turn's end. Cancel-safe; given up, the rest is not shown.
    pub async fn end(&mut self) {
        self.turn_ended.send_replace(true);
        // A showing that panicked has shown what it could.
        let _ = (&mut self.task).await;
    }
}

async fn show(
    mut subscription: Subscription,
    mut view: View,
    mut ended: watch::Receiver<bool>,
    asked: mpsc::UnboundedSender<FrameBody>,
) {
    loop {
        let is_last = *ended.borrow_and_update();
        let read = if is_last {
            subscription.read().await
        } else {
            tokio::select! {
                delivery = subscription.next() => delivery.map(Some),
                _ = ended.changed() => continue,
            }
        };
        let frames = match read {
            Ok(Some(Delivery::Frames(frames))) => frames,
            // A reader that was slow: the rest comes from the record.
            Ok(Some(Delivery::Resync { .. } | Delivery::Reset { .. })) => continue,
            Ok(None) => return view.end(),
            Err(error) => {
                // The turn goes on, and the record is still there to be read later.
                tracing::warn!(%error, "the frames could not be read");
                if is_last {
                    return view.end();
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let shown = spawn_blocking(move || {
            view.show(&frames);
            (view, frames)
        });
        let Ok((back, frames)) = shown.await else { return };
        view = back;
        let is_question = |frame: &Frame| {
            matches!(frame.body, FrameBody::PermissionRequest { .. } | FrameBody::PermissionResolved { .. })
        };
        for frame in frames.iter().filter(|frame| is_question(frame)) {
            // Nobody asks any more once the turn has ended.
            let _ = asked.send(frame.body.clone());
        }
    }
}
