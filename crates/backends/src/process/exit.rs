//! How a child and its tree ended.

use std::fmt;

use nix::sys::signal::Signal;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How the leader, the process that was asked for, ended.
    pub status: Status,
    /// Whether it is proven that no process of the tree is left; always so unless the supervisor was lost or
    /// there is none.
    pub tree_empty: bool,
    /// Whether the supervisor killed the tree because this process had shown no life for [`Command::fence`](super::Command::fence).
    pub fence_lapsed: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited by itself: 0 to 255, of which 0 means success.
    Code(i32),
    /// It was killed by a signal of that number, as in signal(7); our own kill is 9.
    Signal(i32),
    /// Nobody saw it end: the supervisor was killed.
    SupervisorLost,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "signal {signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
            Self::SupervisorLost => f.write_str("its supervisor"),
        }
    }
}
