//! The agent's standard input and output.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

/// The agent's standard output. Nothing is read ahead: an agent that writes faster than this is read is
/// stopped by the pipe (64 KiB). It ends when the tree is gone.
#[derive(Debug)]
pub struct Stdout(pub(super) Receiver);

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

/// The agent's standard input. Dropping it, shutting it down and [`Control::close_stdin`](super::Control::close_stdin)
/// all close it; writing fails with [`io::ErrorKind::BrokenPipe`] afterwards, also a write that is waiting.
#[derive(Debug)]
pub struct Stdin(pub(super) StdinPipe);

/// The pipe, shared with those who may close it.
#[derive(Debug, Clone)]
pub(super) struct StdinPipe(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    pipe: Option<Sender>,
    /// Of a write that waits for the agent to read.
    waiting: Option<Waker>,
}

impl StdinPipe {
    pub(super) fn new(pipe: Sender) -> Self {
        Self(Arc::new(Mutex::new(Open { pipe: Some(pipe), waiting: None })))
    }

    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.pipe = None;
        if let Some(waiting) = open.waiting.take() {
            waiting.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut open = self.0.lock();
        let Some(pipe) = open.pipe.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let written = Pin::new(pipe).poll_write(cx, bytes);
        open.waiting = written.is_pending().then(|| cx.waker().clone());
        Poll::Ready(ready!(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.0.close();
    }
}
