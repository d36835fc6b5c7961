//! The agent's standard input and output.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::terminal::Terminal;

/// The agent's standard output. Nothing is read ahead: an agent that writes faster than this is read is
/// stopped by the pipe (64 KiB). It ends when the tree is gone.
#[derive(Debug)]
pub struct Stdout(pub(super) Source);

/// Where the agent's output comes from.
#[derive(Debug)]
pub(super) enum Source {
    Pipe(Receiver),
    Terminal(Terminal),
}

/// Where its input goes to.
#[derive(Debug)]
pub(super) enum Sink {
    Pipe(Sender),
    Terminal(Terminal),
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::Pipe(pipe) => Pin::new(pipe).poll_read(cx, into),
            Source::Terminal(terminal) => terminal.poll_read(cx, into),
        }
    }
}

/// The agent's standard input. Dropping it, shutting it down and [`Control::close_stdin`](super::Control::close_stdin)
/// all close it; writing fails with [`io::ErrorKind::BrokenPipe`] afterwards, also a write that is waiting. On a terminal
/// closing types the end of file.
#[derive(Debug)]
pub struct Stdin(pub(super) StdinPipe);

/// The pipe, shared with those who may close it.
#[derive(Debug, Clone)]
pub(super) struct StdinPipe(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    sink: Option<Sink>,
    /// Of a write that waits for the agent to read.
    waiting: Option<Waker>,
}

impl StdinPipe {
    pub(super) fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(Open { sink: Some(sink), waiting: None })))
    }

    pub(super) fn close(&self) {
        let mut open = self.lock();
        if let Some(Sink::Terminal(terminal)) = open.sink.take() {
            terminal.type_end();
        }
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
        let written = match open.sink.as_mut() {
            Some(Sink::Pipe(pipe)) => Pin::new(pipe).poll_write(cx, bytes),
            Some(Sink::Terminal(terminal)) => terminal.poll_write(cx, bytes),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
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
