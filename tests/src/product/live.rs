//! A boocoder that runs.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Finished, PATIENCE};

/// A boocoder that runs.
pub struct Live {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    complaints: Receiver<String>,
    stderr: String,
    patience: Duration,
}

impl Live {
    /// Starts a command and reads what it prints.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("boocoder starts");
        let lines = lines_of(child.stdout.take().expect("its stdout"));
        let complaints = lines_of(child.stderr.take().expect("its stderr"));
        Self { child, lines, seen: Vec::new(), complaints, stderr: String::new(), patience: PATIENCE }
    }

    /// Waits that long for whatever is waited for, in place of [`PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of stdout.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("the line did not come; so far: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without the line; it said: {:#?}", self.seen)
                }
            }
        }
    }

    /// Waits for a line of stderr.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_complaint(&mut self, wanted: &str) {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.complaints.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stderr += &format!("{line}\n");
                    if line.contains(wanted) {
                        return;
                    }
                }
                Err(why) => panic!("stderr does not say {wanted:?} ({why}); so far: {}", self.stderr),
            }
        }
    }

    /// Waits for a frame of `--json` of this type.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_frame(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).expect("a line of JSON");
        let line = self.wait_for_line(|line| {
            let frame = parse(line);
            frame["type"] == kind && wanted(&frame)
        });
        parse(&line)
    }

    /// Sends a signal, by its number.
    ///
    /// # Panics
    /// When `kill` fails.
    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("it did not end; it said: {:#?}", self.seen);
                }
            }
        }
        let status = self.child.wait().expect("it can be waited for");
        self.complaints.iter().for_each(|line| self.stderr += &format!("{line}\n"));
        Finished { status, stdout: self.seen, stderr: self.stderr }
    }
}

/// A `boocoder serve` that takes tasks. Dropped, it is killed.
pub struct Serve {
    live: Option<Live>,
    ready: String,
}

impl Serve {
    /// Starts a command that is a `boocoder serve`, and waits until it takes tasks.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let mut serve = Self { live: Some(Live::start(command)), ready: String::new() };
        serve.ready = serve.live().wait_for_line(|line| line.starts_with("serving: "));
        serve
    }

    /// The process, to wait for what it says or to send it any signal.
    pub fn live(&mut self) -> &mut Live {
        self.live.as_mut().expect("it is there until it is finished")
    }

    /// What it said when it got ready.
    #[must_use]
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&mut self) -> u32 {
        self.live().pid()
    }

    /// Sends a signal, by its number.
    pub fn signal(&mut self, signal: i32) {
        self.live().signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        self.live.take().expect("it is there until it is finished").finish()
    }

    /// Stops it in order, by SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn stop(mut self) -> Finished {
        self.signal(15);
        self.finish()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) -> Finished {
        self.signal(9);
        self.finish()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if let Some(live) = &mut self.live {
            // Its supervisors end what it has started.
            let _ = live.child.kill();
            let _ = live.child.wait();
        }
    }
}

/// Sends a process a signal, by its number.
///
/// # Panics
/// When `kill` fails.
pub fn signal(pid: u32, number: i32) {
    let status = Command::new("kill").args([format!("-{number}"), pid.to_string()]).status();
    assert!(status.expect("kill is installed").success(), "signal {number} for {pid}");
}

/// The lines of a stream as they come, read whether somebody waits for them or not.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}
