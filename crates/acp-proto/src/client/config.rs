//! A connection's limits.

use std::time::Duration;

use crate::codec::DEFAULT_MAX_LINE;

/// The limits of a connection; the defaults fit the agents that were measured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest line that is read as a message, in bytes. 16 MiB.
    pub max_line: usize,
    /// Events waiting for their consumer, in bytes of lines, above which the pipe is not read. 1 MiB.
    pub inbox: usize,
    /// The same while somebody awaits an answer. 64 MiB.
    pub inbox_while_awaited: usize,
    /// Lines waiting to be written, in bytes. A longer line waits until it is alone. 8 MiB.
    pub outbox: usize,
    /// Requests of the agent that may be open at once; more are refused. 256.
    pub open_requests: usize,
    /// The same in bytes of their lines, above which the pipe is not read; while somebody awaits an answer it is
    /// read, and what is asked then is refused. 64 MiB.
    pub open_request_bytes: usize,
    /// How long the agent may read nothing while something waits to be written. 30 s.
    pub write_limit: Duration,
    /// How long to go on reading after a failed write, for the agent's last words. 5 s.
    pub after_failed_write: Duration,
    /// How long each call may take.
    pub time_limits: TimeLimits,
}

/// How long each call may take, from being sent to being answered.
#[derive(Clone, Debug)]
pub struct TimeLimits {
    /// `initialize`. Up to 11 s were seen on a busy machine. 60 s.
    pub initialize: Duration,
    /// `session/new`. 60 s.
    pub new_session: Duration,
    /// `session/load` and `session/resume`, which may replay a long history. 120 s.
    pub load_session: Duration,
    /// Everything else that is not a prompt. 30 s.
    pub other: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_line: DEFAULT_MAX_LINE,
            inbox: 1024 * 1024,
            inbox_while_awaited: 64 * 1024 * 1024,
            outbox: 8 * 1024 * 1024,
            open_requests: 256,
            open_request_bytes: 64 * 1024 * 1024,
            write_limit: Duration::from_secs(30),
            after_failed_write: Duration::from_secs(5),
            time_limits: TimeLimits::default(),
        }
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            initialize: Duration::from_secs(60),
            new_session: Duration::from_secs(60),
            load_session: Duration::from_secs(120),
            other: Duration::from_secs(30),
        }
    }
}
