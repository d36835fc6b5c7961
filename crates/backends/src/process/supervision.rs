//! The dispatcher's side of a supervised child: one task from its start to its end.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::command::RunTag;
use super::control::{Reins, Wish};
use super::exit::Status;
use super::sweep::sweep_after_lost_supervisor;
use super::watched::Watched;
use super::wire::{FRAME, Order, Report, Step, boot_time};

/// Heartbeats in a fence's time: two may be late.
const BEATS_PER_FENCE: u32 = 4;

/// What the child's task says about the start.
pub(super) type Started = Result<i32, StartFailure>;

/// Why the child's task could not start the program.
#[derive(Debug)]
pub(super) enum StartFailure {
    At { step: Step, errno: i32 },
    SupervisorLost,
    TimedOut,
}

/// A supervised child.
pub(super) struct Run {
    pub process: Watched,
    pub tag: RunTag,
    pub fence: Option<Duration>,
    pub start_limit: Duration,
    pub reins: Reins,
}

impl Run {
    /// Sends the request, answers how it started, and looks after the child until its supervisor has ended.
    ///
    /// When this task is dropped, with its runtime, the socket closes and the supervisor kills the tree.
    pub(super) async fn until_over(
        self,
        socket: UnixStream,
        request: Vec<u8>,
        answer: oneshot::Sender<Started>,
    ) {
        let (reports, orders) = socket.into_split();
        let mut talk = Talk {
            orders: Some(orders),
            reports: Reports::new(reports),
            answer: Some(answer),
            failure: None,
            is_empty: false,
        };
        let deadline = Instant::now() + self.start_limit;
        if let Some(orders) = talk.orders.as_mut()
            && timeout_at(deadline, orders.write_all(&request)).await.is_err()
        {
            self.give_up(&mut talk);
        }
        drop(request);
        self.converse(&mut talk, deadline).await;
        self.conclude(talk).await;
    }

    /// Carries orders and reports until the supervisor closes its end.
    async fn converse(&self, talk: &mut Talk, start_deadline: Instant) {
        let mut heartbeat = self.fence.map(heartbeat);
        loop {
            tokio::select! {
                biased;
                report = talk.reports.next() => match report {
                    Some(report) => self.note(report, talk),
                    None => return,
                },
                wish = self.reins.wishes.next() => self.pass_on(wish, talk),
                () = beat(heartbeat.as_mut()), if talk.orders.is_some() => {
                    talk.order(Order::Heartbeat(boot_time()));
                }
                () = sleep_until(start_deadline), if talk.answer.is_some() && talk.failure.is_none() => {
                    self.give_up(talk);
                }
            }
        }
    }

    /// It may be a program that is no supervisor, or hang in the kernel: its end of the socket goes with it, and
    /// a leader by its death signal.
    fn give_up(&self, talk: &mut Talk) {
        talk.fail(StartFailure::TimedOut);
        self.process.signal(Signal::KILL);
    }

    fn note(&self, report: Report, talk: &mut Talk) {
        let status = |status| self.reins.progress.send_modify(|progress| progress.status = Some(status));
        match report {
            Report::Started { pid } => talk.answer(Ok(pid)),
            Report::Failed { step, errno } => {
                talk.fail(StartFailure::At { step, errno });
                talk.is_empty = true;
            }
            Report::FenceLapsed => self.reins.progress.send_modify(|progress| progress.fence_lapsed = true),
            Report::Exited { code } => status(Status::Code(code)),
            Report::Signaled { signal } => status(Status::Signal(signal)),
            Report::TreeEmpty => talk.is_empty = true,
        }
    }

    /// The agent runs as the same user and may have stopped the supervisor: it is continued first.
    fn pass_on(&self, wish: Wish, talk: &mut Talk) {
        self.process.signal(Signal::CONT);
        match wish {
            Wish::Terminate => talk.order(Order::Terminate),
            Wish::Kill => talk.orders = None,
        }
    }

    /// Says what became of the tree, after looking for what a killed supervisor has left behind.
    async fn conclude(self, mut talk: Talk) {
        drop(talk.orders.take());
        if !talk.is_empty {
            // It is of no more use, and may be a program that only closed its standard input.
            self.process.signal(Signal::KILL);
        }
        self.process.ended().await;
        let tree_empty = talk.is_empty || {
            // Its number is still its own, and so names the session that it led.
            let (session, tag) = (self.process.pid(), self.tag.clone());
            let swept = tokio::task::spawn_blocking(move || sweep_after_lost_supervisor(session, &tag));
            swept.await.unwrap_or(false)
        };
        self.process.reap();
        self.reins.progress.send_modify(|progress| {
            progress.status = progress.status.or(Some(Status::SupervisorLost));
            progress.tree_empty = Some(tree_empty);
        });
        let failure = talk.failure.take().unwrap_or(StartFailure::SupervisorLost);
        talk.answer(Err(failure));
    }
}

/// The conversation's state.
struct Talk {
    /// Closed, it tells the supervisor to kill the tree.
    orders: Option<OwnedWriteHalf>,
    reports: Reports,
    answer: Option<oneshot::Sender<Started>>,
    /// Told when nothing is left.
    failure: Option<StartFailure>,
    is_empty: bool,
}

impl Talk {
    /// Sends without waiting. A supervisor that has let the socket fill up is stopped or stuck: heartbeats are
    /// for its good only, and after a lost `Terminate` the ladder's next rung closes the socket.
    fn order(&mut self, order: Order) {
        let Some(orders) = &self.orders else { return };
        match orders.try_write(&order.encode()) {
            Ok(FRAME) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A broken frame cannot be followed by another one.
            _ => self.orders = None,
        }
    }

    /// Says how it started, the first time.
    fn answer(&mut self, how: Started) {
        if let Some(answer) = self.answer.take()
            && answer.send(how).is_err()
        {
            // Nobody waits for it any more.
            self.orders = None;
        }
    }

    fn fail(&mut self, why: StartFailure) {
        self.orders = None;
        self.failure = Some(why);
    }
}

fn heartbeat(fence: Duration) -> Interval {
    let mut beats = interval((fence / BEATS_PER_FENCE).max(Duration::from_millis(1)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn beat(heartbeat: Option<&mut Interval>) {
    match heartbeat {
        Some(heartbeat) => drop(heartbeat.tick().await),
        None => std::future::pending().await,
    }
}

/// Reads reports.
struct Reports {
    socket: OwnedReadHalf,
    partial: Vec<u8>,
}

impl Reports {
    fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, partial: Vec::new() }
    }

    /// The next report; `None` when the supervisor is gone or says what is not understood. May be dropped and
    /// called again.
    async fn next(&mut self) -> Option<Report> {
        loop {
            if let Some((frame, rest)) = self.partial.split_first_chunk::<FRAME>() {
                let report = Report::decode(*frame);
                self.partial = rest.to_vec();
                return report;
            }
            self.socket.readable().await.ok()?;
            let mut buffer = [0; 8 * FRAME];
            match self.socket.try_read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.partial.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}
