//! A terminal of the agent's own, for programs that insist on one.
//!
//! It is a plain one: no echo, nothing translated, and no character that types a signal or edits a line. Only the end of
//! file (VEOF) and the quoting of the next character (VLNEXT) mean something, and both are quoted where they are data.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::stdin;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr,
    tcsetwinsize,
};
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;

use super::command::TerminalSize;

/// What types the end of file: Ctrl-D.
const END: u8 = 0x04;
/// What quotes the character after it: Ctrl-V.
const QUOTE: u8 = 0x16;
/// What switches a special character off (termios(3): `_POSIX_VDISABLE`).
const DISABLED: u8 = 0;

/// Our side of a terminal; clones are of the same one.
#[derive(Debug, Clone)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// Opens one; returns our side and the agent's.
    pub(super) fn open(size: TerminalSize) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        // By the descriptor, as its path may lead elsewhere in another mount namespace.
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        make_plain(&theirs)?;
        let TerminalSize { rows, columns } = size;
        tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // SAFETY: an owned descriptor is the same one for as long as it lives.
        let ours = unsafe { AsyncFd::register(ours) }?;
        Ok((Self(Arc::new(ours)), theirs))
    }

    /// Reads; the end of what is read is that nobody has the agent's side open any more.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let read = ready.try_io(|terminal| Ok(rustix::io::read(terminal, into.initialize_unfilled())?));
            match read {
                Ok(Ok(length)) => {
                    into.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // What Linux says of a terminal whose other side is closed.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }

    /// Writes; fails with [`io::ErrorKind::BrokenPipe`] once there is no room and nobody has the agent's side open, who
    /// could make some.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let is_abandoned = ready.ready().is_write_closed();
            match ready.try_io(|terminal| Ok(rustix::io::write(terminal, bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) if is_abandoned => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Types the end of file, if there is room for it: an agent that reads nothing is stopped otherwise.
    pub(super) fn type_end(&self) {
        let _ = rustix::io::write(&self.0, &[END]);
    }
}

fn make_plain(terminal: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.input_modes &= !(InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::IXON);
    modes.output_modes &= !OutputModes::OPOST;
    modes.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
    modes.local_modes |= LocalModes::ICANON | LocalModes::IEXTEN;
    for code in [
        SpecialCodeIndex::VERASE,
        SpecialCodeIndex::VKILL,
        SpecialCodeIndex::VWERASE,
        SpecialCodeIndex::VREPRINT,
        SpecialCodeIndex::VEOL,
        SpecialCodeIndex::VEOL2,
    ] {
        modes.special_codes[code] = DISABLED;
    }
    modes.special_codes[SpecialCodeIndex::VEOF] = END;
    modes.special_codes[SpecialCodeIndex::VLNEXT] = QUOTE;
    tcsetattr(terminal, OptionalActions::Now, &modes)?;
    Ok(())
}

/// Makes standard input the terminal of this process, in a session of its own. System calls only: it runs between
/// fork and exec.
pub(super) fn make_own() -> io::Result<()> {
    setsid()?;
    ioctl_tiocsctty(stdin())?;
    Ok(())
}

/// What to type for `text` to be read as it is, in whole lines, and then the end of file. A terminal holds at most 4095 bytes of a line
/// (n_tty(4)'s buffer), so a longer one is pushed on in parts; a reader that reads on until the end sees no difference.
pub(crate) fn typed(text: &str) -> Vec<u8> {
    /// Bytes of a line after which it is pushed.
    const PUSHED: usize = 1000;
    let mut typed = Vec::with_capacity(text.len() + text.len() / PUSHED + 2);
    let mut in_line = 0;
    for &byte in text.as_bytes() {
        if byte == END || byte == QUOTE {
            typed.push(QUOTE);
        }
        typed.push(byte);
        in_line = if byte == b'\n' { 0 } else { in_line + 1 };
        if in_line == PUSHED {
            typed.push(END);
            in_line = 0;
        }
    }
    if !text.ends_with('\n') {
        typed.push(b'\n');
    }
    typed.push(END);
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_a_terminal_is_quoted_and_long_lines_are_pushed() {
        assert_eq!(typed("a\n"), b"a\n\x04");
        assert_eq!(typed("a\x04b\x16"), b"a\x16\x04b\x16\x16\n\x04");
        let long = typed(&"x".repeat(2500));
        assert_eq!(long.iter().filter(|byte| **byte == END).count(), 3);
        assert_eq!(long.len(), 2500 + 2 + 2);
    }
}
