//! The two pipes to the host: lines in, lines out. The program's own standard streams, or those to a front.
//!
//! Everything happens on one thread: whoever waits, waits in [`Wire::next`], and a message that arrives
//! meanwhile is handled there. Output is collected and written when [`BATCH`] bytes are there or when
//! the agent is about to wait, so a burst of small updates costs few system calls.

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde_json::{Value, json};
use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// Bytes of output that are written at once; what a pipe holds.
const BATCH: usize = 64 << 10;

/// The longest line that is read; a host that sends more is broken.
const LONGEST_LINE: usize = 256 << 20;

/// How long the agent lives on when nobody can tell it anything any more; then SIGALRM ends it.
const DEAF_SECONDS: u32 = 600;

/// Why the agent ends.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The host closed our stdin, or nobody reads our stdout any more.
    HostGone,
    /// A directive asked for it.
    Exit(u8),
    /// A pipe failed.
    Broken(Errno),
    /// The host sent a line longer than [`LONGEST_LINE`].
    LineTooLong,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostGone => write!(f, "the host is gone"),
            Self::Exit(code) => write!(f, "told to end with code {code}"),
            Self::Broken(errno) => write!(f, "a pipe to the host failed: {errno}"),
            Self::LineTooLong => write!(f, "the host sent a line longer than {LONGEST_LINE} bytes"),
        }
    }
}

impl Halt {
    /// The exit code of a process that ends by it, which complains where something is wrong.
    pub fn code(&self) -> u8 {
        match self {
            Self::HostGone => 0,
            Self::Exit(code) => *code,
            Self::Broken(_) | Self::LineTooLong => {
                eprintln!("demo-agent: {self}");
                1
            }
        }
    }
}

impl From<std::io::Error> for Halt {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::HostGone,
            _ => Self::Broken(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
        }
    }
}

/// What became ready while waiting.
pub(crate) enum Ready {
    /// A line of the host, not empty.
    Line(Vec<u8>),
    /// The other descriptor can be read, or is at its end.
    Other,
    /// The deadline passed.
    Late,
}

/// Where lines come from, and where they go.
pub(crate) struct Wire {
    source: OwnedFd,
    sink: OwnedFd,
    input: Vec<u8>,
    /// Bytes of `input` that are known to hold no newline.
    scanned: usize,
    output: Vec<u8>,
    /// The source has ended and the agent was told to go on.
    deaf: bool,
    /// Do not end when the source does.
    pub ignore_eof: bool,
    /// Request ids are strings instead of 0, 1, 2 …
    pub string_ids: bool,
    next_id: u64,
}

impl Wire {
    pub fn new(source: OwnedFd, sink: OwnedFd) -> Self {
        Self {
            source,
            sink,
            input: Vec::new(),
            scanned: 0,
            output: Vec::with_capacity(BATCH),
            deaf: false,
            ignore_eof: false,
            string_ids: false,
            next_id: 0,
        }
    }

    /// stdin and stdout. To be called once: nobody else uses them from then on.
    pub fn standard() -> Self {
        // SAFETY: every program begins with these two, and nothing else in this one uses them.
        let [source, sink] = [0, 1].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Self::new(source, sink)
    }

    /// Writes what is collected, then waits for a line, for `other`, or for the deadline.
    pub fn wait(&mut self, deadline: Option<Instant>, other: Option<BorrowedFd<'_>>) -> Result<Ready, Halt> {
        self.flush()?;
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Ready::Line(line));
            }
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll(timeout, other)? {
                (true, _) => self.fill()?,
                (false, true) => return Ok(Ready::Other),
                (false, false) if deadline.is_some_and(|at| at <= Instant::now()) => return Ok(Ready::Late),
                (false, false) => {}
            }
        }
    }

    /// Whether the source and `other` can be read.
    fn poll(&self, timeout: Option<Duration>, other: Option<BorrowedFd<'_>>) -> Result<(bool, bool), Halt> {
        let mut fds = Vec::with_capacity(2);
        fds.extend((!self.deaf).then(|| PollFd::new(self.source.as_fd(), PollFlags::POLLIN)));
        fds.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // One millisecond more, since poll rounds down and must not spin before the deadline.
        let timeout = timeout.map_or(PollTimeout::NONE, |left| match left {
            Duration::ZERO => PollTimeout::ZERO,
            left => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Halt::Broken(errno)),
        }
        let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.any().unwrap_or(true));
        let input = !self.deaf && ready(fds.first());
        let other = other.is_some() && ready(fds.last());
        Ok((input, other))
    }

    fn fill(&mut self) -> Result<(), Halt> {
        let mut chunk = [0; 64 << 10];
        match nix::unistd::read(&self.source, &mut chunk) {
            Ok(0) if self.ignore_eof => {
                self.deaf = true;
                // SAFETY: a plain system call. A failed test must not leave a deaf agent for good.
                unsafe { libc::alarm(DEAF_SECONDS) };
            }
            Ok(0) => return Err(Halt::HostGone),
            Ok(n) => self.input.extend_from_slice(&chunk[..n]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(Halt::Broken(errno)),
        }
        if self.input.len() > LONGEST_LINE { Err(Halt::LineTooLong) } else { Ok(()) }
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>, Halt> {
        loop {
            let Some(end) = self.input[self.scanned..].iter().position(|&b| b == b'\n') else {
                self.scanned = self.input.len();
                return Ok(None);
            };
            let rest = self.input.split_off(self.scanned + end + 1);
            let mut line = std::mem::replace(&mut self.input, rest);
            self.scanned = 0;
            line.pop();
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Value) -> Result<(), Halt> {
        serde_json::to_writer(&mut self.output, message)
            .expect("because a Value is JSON and a Vec takes all");
        self.end_line()
    }

    /// Sends a request and returns its id.
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value, Halt> {
        let id = if self.string_ids { json!(format!("demo-{}", self.next_id)) } else { json!(self.next_id) };
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    /// Sends bytes that need not be a line, nor JSON, nor UTF-8.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.output.extend_from_slice(bytes);
        if self.output.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Sends `bytes` bytes of `x`, without holding them all.
    pub fn raw_filler(&mut self, mut bytes: usize) -> Result<(), Halt> {
        const FILLER: [u8; 4096] = [b'x'; 4096];
        while bytes > 0 {
            let some = bytes.min(FILLER.len());
            self.raw(&FILLER[..some])?;
            bytes -= some;
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Halt> {
        self.raw(b"\n")
    }

    /// Writes what is collected.
    pub fn flush(&mut self) -> Result<(), Halt> {
        let mut written = 0;
        while written < self.output.len() {
            match nix::unistd::write(&self.sink, &self.output[written..]) {
                Ok(n) => written += n,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::NONE).or_else(again).map_err(Halt::Broken)?;
                }
                Err(Errno::EPIPE) => return Err(Halt::HostGone),
                Err(errno) => return Err(Halt::Broken(errno)),
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Closes the sink for whoever reads it. Later output goes nowhere.
    pub fn close_sink(&mut self) -> Result<(), Halt> {
        self.flush()?;
        let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null");
        let nowhere =
            nowhere.map_err(|err| Halt::Broken(Errno::from_raw(err.raw_os_error().unwrap_or(0))))?;
        nix::unistd::dup2(nowhere, &mut self.sink).map_err(Halt::Broken)
    }
}

fn again(errno: Errno) -> Result<i32, Errno> {
    if errno == Errno::EINTR { Ok(0) } else { Err(errno) }
}
