//! Directives that misbehave.

use crate::{
    agent::Refusal,
    script::{ChildKind, Directive},
    turn::{Flow, Turn, text_block},
    wire::Halt,
};
use nix::{
    libc,
    sys::signal::{SigHandler, Signal, raise, signal},
    unistd::{ForkResult, fork, getpid, setsid, write},
};
use serde_json::{Value, json};
use std::{
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::Command,
    time::{Duration, Instant},
};

/// How long a hostile child lives if nobody ends it; a failed test must not leave it for good.
const CHILD_SECONDS: &str = "600";

impl Turn<'_> {
    pub fn misbehave(&mut self, directive: Directive) -> Result<Flow, Halt> {
        use Directive as D;
        match directive {
            D::IgnoreCancel => self.active_mut().ignore_cancel = true,
            D::EndTurnWhenCancelled => self.end_turn_when_cancelled = true,
            D::IgnoreSignals => ignore_signals(),
            D::IgnoreEof => self.agent.wire.ignore_eof = true,
            D::Fork { count, kinds } => self.fork(count, &kinds)?,
            D::Crash(signal) => return Err(self.crash(signal)?),
            D::Exit(code) => {
                self.agent.wire.flush()?;
                return Err(Halt::Exit(code));
            }
            D::CloseStdout => self.agent.wire.close_stdout()?,
            D::Garbage(lines) => self.garbage(lines)?,
            D::LongLine(bytes) => {
                self.agent.wire.raw_filler(bytes)?;
                self.agent.wire.raw(b"\n")?;
            }
            D::Flood(time) => self.flood(time)?,
            D::FloodStderr(time) => self.flood_stderr(time)?,
            D::Stderr(text) => eprintln!("{text}"),
            D::BadUtf8 => self.chunk_of(b"bad \xff\xfe\xc3\x28 bytes")?,
            D::Nul => {
                self.chunk_of(b"a nul: \\u0000.")?;
                self.chunk_of(b"half a pair: \\ud800.")?;
            }
            D::WrongSession(text) => {
                let update = json!({"sessionUpdate": "agent_message_chunk", "content": text_block(&text)});
                self.agent.update("somebody-elses-session", &update)?;
            }
            D::Late(text) => self.late.push(text),
            D::AnswerTwice => self.answer_twice = true,
            D::Error { code, message } => {
                self.refusal = Some(Refusal { code, message });
                return Ok(Flow::End);
            }
            D::Stop(reason) => {
                self.stop_reason = reason;
                return Ok(Flow::End);
            }
            D::Update(update) => self.update(update)?,
            D::Notify { method, params } => {
                self.agent.wire.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))?;
            }
            D::Request { method, params } => self.ask_anything(&method, params)?,
            D::StringIds => self.agent.wire.string_ids = true,
            D::Raw(text) => self.agent.wire.raw(format!("{text}\n").as_bytes())?,
            other => unreachable!("{other:?} is no misbehaviour"),
        }
        Ok(Flow::Next)
    }

    fn ask_anything(&mut self, method: &str, params: Value) -> Result<(), Halt> {
        let text = match self.call(method, params)? {
            Ok(result) => format!("{method} answered {result}\n"),
            Err(error) => format!("{method} refused {error}\n"),
        };
        self.say(&text)
    }

    /// A message chunk whose text is these bytes of JSON.
    fn chunk_of(&mut self, text: &[u8]) -> Result<(), Halt> {
        let (head, tail) = self.chunk_frame();
        self.agent.wire.raw(&head)?;
        self.agent.wire.raw(text)?;
        self.agent.wire.raw(tail)
    }

    fn garbage(&mut self, lines: u64) -> Result<(), Halt> {
        const LINES: [&[u8]; 5] =
            [b"this is no JSON\n", b"{\"jsonrpc\": \"2.0\", \n", b"\n", b"\xff\xfe\x00\n", b"[1, 2\n"];
        for line in LINES.iter().cycle().zip(0..lines) {
            self.agent.wire.raw(line.0)?;
        }
        Ok(())
    }

    fn flood(&mut self, time: Duration) -> Result<(), Halt> {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.cancelled()? {
            for _ in 0..256 {
                self.chunk_of(b"flood flood flood ")?;
            }
        }
        Ok(())
    }

    fn flood_stderr(&mut self, time: Duration) -> Result<(), Halt> {
        let end = Instant::now() + time;
        let line = [b'e'; 999];
        while Instant::now() < end && !self.cancelled()? {
            // Nobody may be reading: that is not our trouble.
            let _ = writeln!(io::stderr(), "{}", String::from_utf8_lossy(&line));
        }
        Ok(())
    }

    fn fork(&mut self, count: usize, kinds: &[ChildKind]) -> Result<(), Halt> {
        let mut text = String::new();
        for kind in kinds.iter().cycle().take(count) {
            text += &match start_child(*kind) {
                Ok(pid) => format!("{} {pid}\n", kind.name()),
                Err(err) => format!("{} failed: {err}\n", kind.name()),
            };
        }
        self.say(&text)
    }

    /// Dies by a signal; returns only if that signal does not kill.
    fn crash(&mut self, by: Signal) -> Result<Halt, Halt> {
        self.agent.wire.flush()?;
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a plain system call; it keeps a core file out of the worktree. The default handler
        // takes the place of Rust's own, which would return after a SIGSEGV that is no memory fault.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            let _ = signal(by, SigHandler::SigDfl);
        }
        let _ = raise(by);
        Ok(Halt::Exit(1))
    }
}

fn ignore_signals() {
    for name in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: to ignore a signal runs no code of ours.
        let _ = unsafe { signal(name, SigHandler::SigIgn) };
    }
}

/// Starts a child that ignores polite signals, holds our pipes open and sleeps; returns its process id.
fn start_child(kind: ChildKind) -> io::Result<i32> {
    let (mut pid, tell) = io::pipe()?;
    let mut command = Command::new("sleep");
    command.arg(CHILD_SECONDS);
    match kind {
        ChildKind::Group => drop(command.process_group(0)),
        ChildKind::Cleared => drop(command.env_clear()),
        ChildKind::Plain | ChildKind::Session | ChildKind::Daemon => {}
    }
    let escape = move || {
        ignore_signals();
        if matches!(kind, ChildKind::Session | ChildKind::Daemon) {
            setsid()?;
        }
        if kind == ChildKind::Daemon {
            // SAFETY: this is the child of a fork, so it has one thread; the parent half ends at once.
            match unsafe { fork()? } {
                ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
                ForkResult::Child => {}
            }
        }
        write(tell.as_fd(), &getpid().as_raw().to_ne_bytes())?;
        Ok(())
    };
    // SAFETY: `escape` makes system calls only; it neither allocates nor takes a lock.
    let mut child = unsafe { command.pre_exec(escape) }.spawn()?;
    if kind == ChildKind::Daemon {
        child.wait()?;
    }
    let mut bytes = [0; 4];
    pid.read_exact(&mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}
