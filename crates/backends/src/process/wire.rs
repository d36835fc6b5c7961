//! What dispatcher and supervisor say to each other over their socket.
//!
//! The dispatcher begins with a header that carries the agent's three standard streams as descriptors, then
//! the request. After that both sides send frames of [`FRAME`] bytes. Both ends are the same program or of the
//! same version; the header's number refuses any other.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Opens every conversation; the number at its end counts incompatible changes.
pub(super) const MAGIC: [u8; 8] = *b"bcsuper2";
/// The magic and the length of the request.
pub(super) const HEADER: usize = MAGIC.len() + 4;
/// Linux takes at most 6 MiB of arguments and environment (execve(2)).
pub(super) const MAX_REQUEST: usize = 8 * 1024 * 1024;
/// The size of every later message: a kind and eight bytes.
pub(super) const FRAME: usize = 9;

/// What the supervisor is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub program: OsString,
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    pub env: Vec<(OsString, OsString)>,
    pub drain: Duration,
    pub fence: Option<Duration>,
    /// The three streams are a terminal, which becomes the program's own.
    pub terminal: bool,
}

/// From the dispatcher. Closing its half of the socket is the third command: kill the whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `SIGTERM` for every process of the tree.
    Terminate,
    /// The dispatcher lived at this time of [`boot_time`].
    Heartbeat(Duration),
}

/// From the supervisor, in this order; `FenceLapsed` at any time after `Started`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Started { pid: i32 },
    Failed { step: Step, errno: i32 },
    FenceLapsed,
    Exited { code: i32 },
    Signaled { signal: i32 },
    TreeEmpty,
}

/// What the supervisor was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Setup,
    Directory,
    Execute,
}

/// Time since boot, also while the machine slept: the two processes share it, and a frozen machine shows in it.
pub(super) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

impl Order {
    pub(super) fn encode(self) -> [u8; FRAME] {
        match self {
            Self::Terminate => frame(b'T', 0),
            Self::Heartbeat(at) => frame(b'H', nanos(at)),
        }
    }

    pub(super) fn decode(bytes: [u8; FRAME]) -> Option<Self> {
        match parts(bytes) {
            (b'T', _) => Some(Self::Terminate),
            (b'H', at) => Some(Self::Heartbeat(Duration::from_nanos(at))),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn encode(self) -> [u8; FRAME] {
        let number = |n: i32| u64::from(n.cast_unsigned());
        match self {
            Self::Started { pid } => frame(b'S', number(pid)),
            Self::Failed { step: Step::Setup, errno } => frame(b's', number(errno)),
            Self::Failed { step: Step::Directory, errno } => frame(b'd', number(errno)),
            Self::Failed { step: Step::Execute, errno } => frame(b'x', number(errno)),
            Self::FenceLapsed => frame(b'F', 0),
            Self::Exited { code } => frame(b'E', number(code)),
            Self::Signaled { signal } => frame(b'K', number(signal)),
            Self::TreeEmpty => frame(b'Z', 0),
        }
    }

    pub(super) fn decode(bytes: [u8; FRAME]) -> Option<Self> {
        let (kind, value) = parts(bytes);
        let number = u32::try_from(value).ok()?.cast_signed();
        Some(match kind {
            b'S' => Self::Started { pid: number },
            b's' => Self::Failed { step: Step::Setup, errno: number },
            b'd' => Self::Failed { step: Step::Directory, errno: number },
            b'x' => Self::Failed { step: Step::Execute, errno: number },
            b'F' => Self::FenceLapsed,
            b'E' => Self::Exited { code: number },
            b'K' => Self::Signaled { signal: number },
            b'Z' => Self::TreeEmpty,
            _ => return None,
        })
    }
}

fn frame(kind: u8, value: u64) -> [u8; FRAME] {
    let mut bytes = [kind; FRAME];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn parts([kind, value @ ..]: [u8; FRAME]) -> (u8, u64) {
    (kind, u64::from_le_bytes(value))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The header of a request of `length` bytes.
pub(super) fn header(length: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// The length that a header announces; `None` when it is not of this version or too large.
pub(super) fn announced_length(header: [u8; HEADER]) -> Option<usize> {
    let length = header.strip_prefix(&MAGIC)?.try_into().map(u32::from_le_bytes).ok()?;
    usize::try_from(length).ok().filter(|length| *length <= MAX_REQUEST)
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        out.extend(nanos(self.drain).to_le_bytes());
        out.extend(self.fence.map_or(0, nanos).to_le_bytes());
        put_count(&mut out, usize::from(self.terminal));
        put(&mut out, &self.program);
        put(&mut out, self.cwd.as_os_str());
        put_count(&mut out, self.args.len());
        self.args.iter().for_each(|arg| put(&mut out, arg));
        put_count(&mut out, self.env.len());
        for (name, value) in &self.env {
            put(&mut out, name);
            put(&mut out, value);
        }
        out
    }

    pub(super) fn decode(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let drain = Duration::from_nanos(take_u64(from)?);
        let fence = Some(take_u64(from)?).filter(|nanos| *nanos > 0).map(Duration::from_nanos);
        let terminal = take_u32(from)? != 0;
        let program = take(from)?;
        let cwd = take(from)?.into();
        let args = (0..take_u32(from)?).map(|_| take(from)).collect::<Option<_>>()?;
        let env = (0..take_u32(from)?).map(|_| Some((take(from)?, take(from)?))).collect::<Option<_>>()?;
        from.is_empty().then_some(Self { program, args, cwd, env, drain, fence, terminal })
    }
}

fn put(out: &mut Vec<u8>, text: &OsStr) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

/// Counts beyond 4 GiB cannot arise: the sender refuses requests above [`MAX_REQUEST`].
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn take(from: &mut &[u8]) -> Option<OsString> {
    let length = usize::try_from(take_u32(from)?).ok()?;
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(OsString::from_vec(text.to_vec()))
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way() {
        let request = Request {
            program: "agent".into(),
            args: vec!["".into(), OsString::from_vec(vec![0xff, b'\n'])],
            cwd: "/w".into(),
            env: vec![("A".into(), "1".into())],
            drain: Duration::from_millis(250),
            fence: Some(Duration::from_secs(7)),
            terminal: true,
        };
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes), Some(request));
        for cut in 0..bytes.len() {
            assert_eq!(Request::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn frames_survive_the_way() {
        for order in [Order::Terminate, Order::Heartbeat(Duration::from_nanos(u64::MAX))] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
        let failed = |step| Report::Failed { step, errno: 2 };
        for report in [
            Report::Started { pid: i32::MAX },
            failed(Step::Setup),
            failed(Step::Directory),
            failed(Step::Execute),
            Report::FenceLapsed,
            Report::Exited { code: -1 },
            Report::Signaled { signal: 64 },
            Report::TreeEmpty,
        ] {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode([0; FRAME]), None);
        assert_eq!(Order::decode([0; FRAME]), None);
    }

    #[test]
    fn headers_of_other_versions_and_giants_are_refused() {
        assert_eq!(announced_length(header(5)), Some(5));
        assert_eq!(announced_length([b'x'; HEADER]), None);
        assert_eq!(announced_length(header(u32::MAX)), None);
    }
}
