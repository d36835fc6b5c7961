//! boocoder at a terminal: a real one, as the kernel makes them.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

use nix::{
    pty::openpty,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::product::PATIENCE;

/// A program whose three streams are one terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// How much of what was shown has been waited for.
    read: usize,
}

impl Terminal {
    /// Starts a command at a terminal of its own.
    ///
    /// # Panics
    /// When there is no terminal to be had, or the command cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let pair = openpty(None, None).expect("a pseudo terminal");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("boocoder starts");
        // The terminal ends with its last program's end, which the command and the pair would keep open.
        drop((command, pair.slave));
        let keyboard = File::from(pair.master);
        let mut glass = keyboard.try_clone().expect("a descriptor");
        let (send, screen) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(size @ 1..) = glass.read(&mut piece) {
                if send.send(piece[..size].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: String::new(), read: 0 }
    }

    /// Waits until this is shown, after what was waited for before.
    ///
    /// # Panics
    /// When it is not.
    pub fn wait_for(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.read..].find(wanted) {
                self.read += at + wanted.len();
                return;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Err(why) => panic!("{wanted:?} is not shown ({why}); the screen says: {}", self.shown),
            }
        }
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").expect("the terminal is there");
    }

    /// Sends the program a signal, by its number.
    ///
    /// # Panics
    /// When there is no such signal.
    pub fn signal(&self, signal: i32) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::try_from(signal).expect("a signal")).expect("the program is not waited for yet");
    }

    /// Waits for the program's end; returns its exit code and all that was shown.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn finish(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("it did not end; the screen says: {}", self.shown);
                }
            }
        }
        let status = self.child.wait().expect("it can be waited for");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        (code, self.shown)
    }
}
