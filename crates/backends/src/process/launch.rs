//! Starting a child, from the dispatcher's side.

use std::ffi::OsStr;
use std::io::{self, IoSlice, pipe};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{oneshot, watch};

use super::child::{Child, KillOnDrop};
use super::command::{Command, Supervisor, TAG_VARIABLE, TerminalSize};
use super::control::{Control, Progress, Reins, Wishes};
use super::error::SpawnError;
use super::stderr::StderrTail;
use super::stdio::{Sink, Source, Stdin, StdinPipe, Stdout};
use super::supervision::{self, StartFailure, Started};
use super::terminal::{self, Terminal};
use super::watched::Watched;
use super::wire::{MAX_REQUEST, Request, Step, header};
use super::{group, shim};

/// A heartbeat is then due every 12 ms, which a busy machine's scheduler still keeps.
const SHORTEST_FENCE: Duration = Duration::from_millis(50);
/// Keeps "no limit", as in [`Duration::MAX`], within what clocks can add.
const LONGEST_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Our ends of the agent's three streams.
struct Streams {
    stdin: Sink,
    stdout: Source,
    stderr: Receiver,
}

impl Command {
    /// Starts the program and returns once it runs, after its `execve` has succeeded. Dropping the future
    /// undoes what has been started. To be called within a runtime that drives I/O and time.
    ///
    /// # Errors
    /// See [`SpawnError`]; nothing is left running.
    pub async fn spawn(&self, supervisor: &Supervisor) -> Result<Child, SpawnError> {
        self.begin(supervisor)?.ready().await
    }

    /// Begins to start the program. To be called within a runtime that drives I/O and time.
    pub(crate) fn begin(&self, supervisor: &Supervisor) -> Result<Spawning<'_>, SpawnError> {
        self.check()?;
        let failed = |source| SpawnError::Supervisor { source };
        let wishes = Arc::new(Wishes::default());
        let kill_on_drop = KillOnDrop(wishes.clone());
        let (sender, progress) = watch::channel(Progress::default());
        let reins = Reins { wishes: wishes.clone(), progress: sender };

        let (ours, theirs) = match self.terminal {
            Some(size) => on_terminal(size),
            None => pipes(),
        }
        .map_err(failed)?;
        let started = match supervisor {
            Supervisor::ProcessGroupOnly if self.fence.is_some() => {
                return Err(SpawnError::FenceWithoutSupervisor);
            }
            Supervisor::ProcessGroupOnly => self.start_alone(theirs, reins)?,
            supervisor => self.start_supervised(supervisor, theirs, reins)?,
        };
        let stdin = StdinPipe::new(ours.stdin);
        let control = Control { stdin, wishes, progress };
        let (stdout, stderr) = (Stdout(ours.stdout), ours.stderr);
        Ok(Spawning { command: self, started, control, stdout, stderr, kill_on_drop })
    }

    /// The environment with the tag.
    fn tagged_environment(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let tag = (OsStr::new(TAG_VARIABLE), OsStr::new(self.tag.as_str()));
        let others = self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        others.filter(|(name, _)| *name != TAG_VARIABLE).chain([tag])
    }

    /// What the kernel cannot be given is refused here, with a name.
    fn check(&self) -> Result<(), SpawnError> {
        let invalid = |what: String| Err(SpawnError::Invalid { what });
        let has_nul = |text: &OsStr| text.as_bytes().contains(&0);
        if has_nul(&self.program) || self.program.is_empty() {
            return invalid("program".to_owned());
        }
        if let Some(index) = self.args.iter().position(|arg| has_nul(arg)) {
            return invalid(format!("argument {}", index + 1));
        }
        if has_nul(self.cwd.as_os_str()) || !self.cwd.is_absolute() {
            return invalid(format!("working folder {}", self.cwd.display()));
        }
        if let Some(fence) = self.fence.filter(|fence| *fence < SHORTEST_FENCE) {
            return Err(SpawnError::FenceTooShort { fence });
        }
        let bad_name = |name: &OsStr| name.is_empty() || has_nul(name) || name.as_bytes().contains(&b'=');
        match self.env.iter().find(|(name, value)| bad_name(name) || has_nul(value)) {
            Some((name, _)) => invalid(format!("environment variable {}", name.display())),
            None => Ok(()),
        }
    }

    fn start_supervised(
        &self,
        supervisor: &Supervisor,
        stdio: [OwnedFd; 3],
        reins: Reins,
    ) -> Result<oneshot::Receiver<Started>, SpawnError> {
        let failed = |source| SpawnError::Supervisor { source };
        let program = shim::program(supervisor).ok_or(SpawnError::NotASupervisor)?;
        let request = self.request().encode();
        if request.len() > MAX_REQUEST {
            return Err(SpawnError::TooLarge { size: request.len(), max: MAX_REQUEST });
        }
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        send_header(&ours, request.len(), &stdio).map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let socket = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let process = Watched::spawn_supervisor(&mut shim_command(program, self.tag.as_str(), theirs.into()))
            .map_err(failed)?;
        let (answer, started) = oneshot::channel();
        let run = supervision::Run {
            process,
            tag: self.tag.clone(),
            fence: self.fence,
            start_limit: self.limits.start.min(LONGEST_LIMIT),
            reins,
        };
        tokio::spawn(run.until_over(socket, request, answer));
        Ok(started)
    }

    fn start_alone(
        &self,
        [stdin, stdout, stderr]: [OwnedFd; 3],
        reins: Reins,
    ) -> Result<oneshot::Receiver<Started>, SpawnError> {
        // Told apart from a missing program, for which the kernel has the same answer. The dot makes it look
        // inside, as entering the folder would.
        std::fs::metadata(self.cwd.join("."))
            .map_err(|source| SpawnError::Directory { path: self.cwd.clone(), source })?;
        let mut command = process::Command::new(&self.program);
        command.args(&self.args).current_dir(&self.cwd).env_clear().envs(self.tagged_environment());
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if self.terminal.is_some() {
            // SAFETY: between fork and exec it makes two system calls, allocates nothing and takes no lock.
            unsafe { command.pre_exec(terminal::make_own) };
        } else {
            command.process_group(0);
        }
        let process = Watched::spawn(&mut command).map_err(|error| self.refused(error))?;
        let (answer, started) = oneshot::channel();
        let _ = answer.send(Ok(process.pid()));
        let run =
            group::Run { process, tag: self.tag.clone(), drain: self.limits.drain.min(LONGEST_LIMIT), reins };
        tokio::spawn(run.until_over());
        Ok(started)
    }

    fn request(&self) -> Request {
        Request {
            program: self.program.clone(),
            args: self.args.clone(),
            cwd: self.cwd.clone(),
            env: self.tagged_environment().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            drain: self.limits.drain.min(LONGEST_LIMIT),
            fence: self.fence,
            terminal: self.terminal.is_some(),
        }
    }

    fn explain(&self, failure: StartFailure) -> SpawnError {
        match failure {
            StartFailure::At { step, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                match step {
                    Step::Setup => SpawnError::Supervisor { source },
                    Step::Directory => SpawnError::Directory { path: self.cwd.clone(), source },
                    Step::Execute => self.refused(source),
                }
            }
            StartFailure::SupervisorLost => SpawnError::SupervisorLost,
            StartFailure::TimedOut => SpawnError::TimedOut { limit: self.limits.start },
        }
    }

    fn refused(&self, source: io::Error) -> SpawnError {
        let program = self.program.clone();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => SpawnError::NotFound { program },
            Some(Errno::ACCESS | Errno::PERM) => SpawnError::PermissionDenied { program },
            _ => SpawnError::Execute { program, source },
        }
    }
}

/// A program that is being started. Dropping it undoes what has been started.
pub(crate) struct Spawning<'a> {
    command: &'a Command,
    started: oneshot::Receiver<Started>,
    control: Control,
    stdout: Stdout,
    stderr: Receiver,
    kill_on_drop: KillOnDrop,
}

impl Spawning<'_> {
    /// A handle that sees it gone.
    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Returns once it runs, after its `execve` has succeeded.
    pub(crate) async fn ready(self) -> Result<Child, SpawnError> {
        let Self { command, started, control, stdout, stderr: stderr_end, kill_on_drop } = self;
        let answer = started.await.unwrap_or(Err(StartFailure::SupervisorLost));
        let pid = answer.map_err(|failure| command.explain(failure))?;
        let stderr = StderrTail::new(command.limits.stderr_tail);
        let stderr_task = tokio::spawn(stderr.clone().drain(stderr_end));
        Ok(Child {
            pid,
            stdin: Some(Stdin(control.stdin.clone())),
            stdout: Some(stdout),
            stderr,
            stderr_task,
            control,
            _kill_on_drop: kill_on_drop,
        })
    }
}

/// Every end is close-on-exec; the agent's ends are closed here once they are sent.
fn pipes() -> io::Result<(Streams, [OwnedFd; 3])> {
    let (their_stdin, stdin) = pipe()?;
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    let ours = Streams {
        stdin: Sink::Pipe(Sender::from_owned_fd(stdin.into())?),
        stdout: Source::Pipe(Receiver::from_owned_fd(stdout.into())?),
        stderr: Receiver::from_owned_fd(stderr.into())?,
    };
    Ok((ours, [their_stdin.into(), their_stdout.into(), their_stderr.into()]))
}

/// As [`pipes`], on a terminal, which takes what is written to standard error as well: our end of that is at its end.
fn on_terminal(size: TerminalSize) -> io::Result<(Streams, [OwnedFd; 3])> {
    let (terminal, theirs) = Terminal::open(size)?;
    let (nothing, _) = pipe()?;
    let ours = Streams {
        stdin: Sink::Terminal(terminal.clone()),
        stdout: Source::Terminal(terminal),
        stderr: Receiver::from_owned_fd(nothing.into())?,
    };
    Ok((ours, [theirs.try_clone()?, theirs.try_clone()?, theirs]))
}

/// The supervisor gets nothing but the socket: no environment, no folder, no stream of ours.
fn shim_command(program: &OsStr, tag: &str, socket: OwnedFd) -> process::Command {
    let mut command = process::Command::new(program);
    command.arg0(shim::ARGUMENT_ZERO).arg(tag).env_clear().current_dir("/");
    command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Sends the request's length, and the agent's three streams with it. Fits into any fresh socket.
fn send_header(socket: &UnixStream, length: usize, stdio: &[OwnedFd; 3]) -> io::Result<()> {
    let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let descriptors: [BorrowedFd<'_>; 3] = stdio.each_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&header(length))], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
