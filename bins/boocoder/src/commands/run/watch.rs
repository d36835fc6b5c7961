//! The turn as it goes by. Shown in a task of its own, so that a reader that stalls holds up nothing but
//! the showing.

use std::{
    io::{self, BufWriter, Stdout, Write},
    time::Duration,
};

use dispatch_core::frame::{Frame, FrameBody};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    frames::Follow,
    show::{stream::Stream, text::Style},
};

/// How long to wait after the record could not be read.
const PAUSE: Duration = Duration::from_millis(200);

/// A turn that is being shown on stdout.
pub struct Showing {
    task: JoinHandle<()>,
    turn_ended: watch::Sender<bool>,
    questions: mpsc::UnboundedReceiver<FrameBody>,
}

impl Showing {
    /// Begins to show a session's frames, as text or as JSON lines.
    pub fn begin(follow: Follow, json: bool, style: Style) -> Self {
        let view = if json {
            View::Json { out: BufWriter::new(io::stdout()), broken: false }
        } else {
            View::Text(Box::new(Stream::new(BufWriter::new(io::stdout()), style)))
        };
        let (turn_ended, ended) = watch::channel(false);
        let (asked, questions) = mpsc::unbounded_channel();
        Self { task: tokio::spawn(show(follow, view, ended, asked)), turn_ended, questions }
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
    mut follow: Follow,
    mut view: View,
    mut ended: watch::Receiver<bool>,
    asked: mpsc::UnboundedSender<FrameBody>,
) {
    loop {
        let is_last = *ended.borrow_and_update();
        let read = if is_last {
            follow.read().await
        } else {
            tokio::select! {
                frames = follow.next() => frames,
                _ = ended.changed() => continue,
            }
        };
        let frames = match read {
            Ok(frames) if is_last && frames.is_empty() => return view.end(),
            Ok(frames) => frames,
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
        for frame in frames.into_iter().filter(is_question) {
            // Nobody asks any more once the turn has ended.
            let _ = asked.send(frame.body);
        }
    }
}

enum View {
    Text(Box<Stream<BufWriter<Stdout>>>),
    Json { out: BufWriter<Stdout>, broken: bool },
}

impl View {
    fn show(&mut self, frames: &[Frame]) {
        match self {
            Self::Json { out, broken } => *broken = *broken || json_lines(out, frames).is_err(),
            Self::Text(stream) => {
                frames.iter().for_each(|frame| stream.frame(&frame.body));
                stream.flush();
            }
        }
    }

    fn end(&mut self) {
        if let Self::Text(stream) = self {
            stream.fresh_line();
            stream.flush();
        }
    }
}

fn json_lines(out: &mut impl Write, frames: &[Frame]) -> io::Result<()> {
    for frame in frames {
        serde_json::to_writer(&mut *out, frame)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
